import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Build } from '../../src/api/builds/builds.ts'
import { makeClaim } from '../e2e/fixtures/claims.ts'
import { ensureInstalled, type Installed, repository } from '../e2e/fixtures/insitu.ts'
import { waitFor } from '../lab/wait.ts'

// npx vitest run --project by-hand test/by-hand/lost-node.test.ts

const namespace = `lost-${randomBytes(3).toString('hex')}`
const lost = 'node2'
let insitu: Installed

const cut = ['INPUT', 'OUTPUT', 'FORWARD']
const network = async (there: boolean): Promise<void> => {
  for (const chain of cut) await insitu.lab.exec(lost, ['iptables', '-w', there ? '-D' : '-I', chain, '-j', 'DROP'])
}
const kubectl = (...args: string[]) => insitu.kubectl(['-n', namespace, ...args])
const get = async () => JSON.parse(await kubectl('get', 'build', 'b', '-o', 'json')) as Build
/** Of names such as `pod/b-…-clean-x7k2p`. */
const isCleaning = (name: string): boolean => /-clean(-|$)/.test(name)
const steps = async (): Promise<string> => (await insitu.lab.exec('node1', ['ps', '-eo', 'args'])).stdout

beforeAll(async () => {
  insitu = await ensureInstalled()
  await insitu.kubectl(['create', 'namespace', namespace])
  await kubectl('apply', '-f', join(repository, 'config/examples/builds/account.yaml'))
})
afterAll(async () => {
  // Twice does no harm: a rule that is not there is an error.
  await network(true).catch(() => undefined)
  await insitu?.kubectl(['delete', 'namespace', namespace, '--wait=false', '--ignore-not-found'])
  await insitu?.kubectl(['wait', '--for=condition=Ready', `node/${lost}`, '--timeout=180s'])
})

it('a Build whose pod was on a node that is lost: pod, Job and what the daemon of another node did are gone, and its directory once the node is back', async () => {
  await using claim = await makeClaim(insitu, { namespace, name: namespace, reclaim: 'Retain', node: lost })
  const has = async (): Promise<boolean> => ((await claim.content()) ?? []).some((one) => one.startsWith('b-'))
  const spec = {
    ...{ serviceAccountName: 'builder', node: 'node1', retries: 0, cleanUp: { pod: '0s' } },
    source: { dockerfile: `FROM busybox\nRUN echo ${namespace} && sleep 6005 && true\n` },
    workspace: { claimName: claim.name },
    podTemplate: { spec: { nodeSelector: { 'kubernetes.io/hostname': lost } } },
  }
  const build = { apiVersion: 'insitu.build/v1alpha1', kind: 'Build', metadata: { name: 'b', namespace }, spec }
  await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(build))
  await waitFor('its step to run', async () => ((await steps()).includes('sleep 6005') ? true : undefined), {
    timeout: 180_000,
  })
  expect(await has()).toBe(true)
  await network(false)
  const begun = Date.now()
  const say = (text: string): void => void process.stdout.write(`${text}\n`)
  const after = (): string => `${Math.round((Date.now() - begun) / 1000)} s`
  await waitFor('the step to be gone', async () => ((await steps()).includes('sleep 6005') ? undefined : true), {
    timeout: 300_000,
  })
  say(`the step of the daemon is gone after ${after()}`)
  const ended = await waitFor(
    'the Build to end',
    async () => {
      const found = await get()
      return found.status?.completionTime === undefined ? undefined : found
    },
    { timeout: 300_000 },
  )
  say(`the Build has ended after ${after()}: ${ended.status?.message}`)
  const why = ended.status?.conditions?.find(({ type }) => type === 'Succeeded')
  expect(why).toMatchObject({ status: 'False', reason: 'InfrastructureFailed' })
  // What cleans the claim waits for the node that has it.
  const left = async () => (await kubectl('get', 'jobs,pods', '-o', 'name')).split('\n').filter(Boolean)
  await waitFor('Job and pod to be gone', async () => (await left()).every(isCleaning) || undefined, {
    timeout: 300_000,
  })
  say(`Job and pod are gone after ${after()}`)
  await network(true)
  await waitFor('its directory to be gone', async () => ((await has()) ? undefined : true), { timeout: 300_000 })
  await waitFor('nothing to be left', async () => ((await left()).length === 0 ? true : undefined), {
    timeout: 120_000,
  })
  say(`the directory, and what has cleaned it, are gone after ${after()}`)
})
