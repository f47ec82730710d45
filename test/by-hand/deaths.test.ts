import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { buildUidLabel } from '../../src/api/builds/work.ts'
import { namespace as ours, serviceAccounts } from '../../src/api/names.ts'
import { type Controller, createController } from '../../src/controller/controller.ts'
import { createKubernetesClient, type KubernetesClient } from '../../src/kernel/k8s/client.ts'
import { createLogger } from '../../src/kernel/log.ts'
import { type Death, mortal } from '../integration/builds/mortal.ts'
import { apiServer } from '../lab/layout.ts'
import { pkiFile } from '../lab/pki.ts'
import { waitFor } from '../lab/wait.ts'
import { startCommand } from '../e2e/fixtures/background.ts'
import { type BuildsNamespace, buildObject, openBuilds } from '../e2e/fixtures/builds.ts'
import { makeClaim, type NodeClaim } from '../e2e/fixtures/claims.ts'
import { ensureInstalled, type Installed } from '../e2e/fixtures/insitu.ts'

// npx vitest run --project by-hand test/by-hand/deaths.test.ts

const namespace = `deaths-${randomBytes(3).toString('hex')}`
const deployment = 'deployment/insitu-controller'
const inOurs = (...args: string[]): Promise<string> => insitu.kubectl(['-n', ours, ...args])
/** More than one of a busy machine needs to renew its Lease in, and short enough to be waited for. */
const leaseDuration = 3000
let insitu: Installed
let here: BuildsNamespace
let claim: NodeClaim
let image: string

beforeAll(async () => {
  insitu = await ensureInstalled()
  here = await openBuilds(insitu, namespace)
  claim = await makeClaim(insitu, { namespace, name: namespace, reclaim: 'Retain' })
  image = await inOurs('get', deployment, '-o', 'jsonpath={.spec.template.spec.containers[0].image}')
  // Those of this file act instead, from here, with the rights of their account.
  await inOurs('scale', deployment, '--replicas=0')
  await inOurs('wait', 'pods', '-l', 'insitu.build/role=controller', '--for=delete', '--timeout=120s')
})
afterAll(async () => {
  await here?.[Symbol.asyncDispose]()
  await claim?.[Symbol.asyncDispose]()
  await inOurs('scale', deployment, '--replicas=2')
  await inOurs('rollout', 'status', deployment, '--timeout=170s')
})

async function clientOfController(): Promise<KubernetesClient> {
  const token = (await inOurs('create', 'token', serviceAccounts.controller)).trim()
  const ca = await readFile(pkiFile('ca.crt'), 'utf8')
  const credentials = { ca, headers: { authorization: `Bearer ${token}` } }
  return createKubernetesClient({
    endpoint: { server: apiServer, namespace: ours, credentials: () => Promise.resolve(credentials) },
  })
}

const controller = (client: KubernetesClient, identity: string): Controller =>
  createController({
    ...{ client, namespace: ours, identity, image, leaseDuration, logger: createLogger({ level: 'silent' }) },
    limits: { perNamespace: 4, perNode: 4 },
  })

/** A Build with a directory on a claim: a finalizer before it, and a Job after it that cleans. */
const build = (name: string): object =>
  buildObject(name, {
    ...{ source: { dockerfile: `FROM busybox\nRUN echo ${namespace} ${name}\n` }, cleanUp: { pod: '0s' } },
    ...{
      node: 'node1',
      workspace: { claimName: namespace },
      output: { names: [`images.internal/${namespace}/${name}:1`] },
    },
    steps: {
      before: [{ name: 'write', image: 'docker.io/library/busybox', command: ['sh', '-c', 'echo x > there'] }],
    },
  })

it('a controller that dies at any of its writes, before or after it: the Build is built once, and nothing is left of it', async () => {
  await using watch = startCommand('kubectl', [
    ...['--kubeconfig', insitu.lab.kubeconfig, '-n', namespace, 'get', 'jobs', '-w', '--output-watch-events'],
    ...[
      '-o',
      `jsonpath={.object.metadata.labels.${buildUidLabel.replaceAll('.', '\\.')}} {.object.metadata.uid}{"\\n"}`,
    ],
  ])
  let deaths = 0

  /** @returns whether it died. */
  async function dies({ write, moment }: Death): Promise<boolean> {
    const name = `b-${write}-${moment}`
    let dead = false
    const client = await clientOfController()
    const first = controller(
      mortal(client, { write, moment }, () => (dead = true)),
      `first-${name}`,
    )
    await waitFor('it to lead', () => first.leads() || undefined, { timeout: 60_000, interval: 100 })
    await here.apply(build(name))
    const over = async (): Promise<boolean> => {
      const { status, metadata } = await here.get(name)
      const objects = await here.kubectl('get', 'jobs,pods', '-o', 'name')
      return status?.completionTime !== undefined && !metadata?.finalizers?.length && objects === ''
    }
    await waitFor('an end or a death', async () => dead || (await over()) || undefined, { timeout: 240_000 })
    // It is gone without a word: its Lease is not given back.
    const second = dead ? controller(client, `second-${name}`) : undefined
    await waitFor('it to come to its end', async () => (await over()) || undefined, { timeout: 240_000 })
    const { status, metadata } = await here.get(name)
    expect(status, name).toMatchObject({
      phase: 'Succeeded',
      attempt: 1,
      digest: expect.stringMatching(/^sha256:/) as string,
    })
    // One Job has built, and one has cleaned.
    const jobs = new Set(
      watch
        .output()
        .split('\n')
        .filter((line) => line.startsWith(`${metadata?.uid} `)),
    )
    expect(jobs.size, name).toBe(2)
    expect(await claim.content(), name).toEqual([])
    await first.stop()
    await second?.stop()
    client.close()
    return dead
  }

  for (let write = 1; ; write += 1) {
    const died = [await dies({ write, moment: 'before' }), await dies({ write, moment: 'after' })]
    deaths += died.filter(Boolean).length
    // There was no such write any more.
    if (!died.includes(true)) break
  }
  expect(deaths).toBeGreaterThanOrEqual(12)
}, 900_000)
