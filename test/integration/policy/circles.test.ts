import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startFront } from '../../../src/agent/front/front.ts'
import { turnHandler } from '../../../src/agent/turns/part.ts'
import { createNodeTurns } from '../../../src/agent/turns/turns.ts'
import { spiffe } from '../../../src/api/certificate.ts'
import { holdTurn } from '../../../src/gateway/directory/agent-turn.ts'
import { createQueue, type Queue } from '../../../src/gateway/queue/queue.ts'
import { createAuthority } from '../../../src/kernel/tls/ca.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, startClient } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { startGateway, type TestGateway } from '../fixtures/gateway.ts'
import { agentTls, gatewayTls, silent } from '../fixtures/mirror-peers.ts'
import { until } from '../fixtures/until.ts'

// Two nodes, each of which takes one connection, with the turns of their agents.

let red: Buildkitd
let blue: Buildkitd
let work: Workspace
let gateway: TestGateway
let queue: Queue
let fronts: ReadonlyMap<string, Awaited<ReturnType<typeof startFront>>> = new Map()
const turns = { red: createNodeTurns(), blue: createNodeTurns() }

const both = 'linux/amd64,linux/arm64'

beforeAll(async () => {
  ;[work, red, blue] = await Promise.all([
    createWorkspace(),
    startBuildkitd({ config: '[worker.oci]\nplatforms = ["linux/amd64"]\n' }),
    startBuildkitd({ config: '[worker.oci]\nplatforms = ["linux/arm64"]\n' }),
  ])
  const authority = await createAuthority()
  const tls = await gatewayTls(authority)
  const front = async (node: 'red' | 'blue', { socket }: Buildkitd) =>
    startFront({
      ...{ host: '127.0.0.1', port: 0, tls: await agentTls(authority, node), socket, log: silent },
      client: spiffe('buildkit-system', 'insitu-gateway'),
      handlers: () => [turnHandler(turns[node])],
    })
  fronts = new Map([
    ['red', await front('red', red)],
    ['blue', await front('blue', blue)],
  ])
  queue = createQueue({
    ...{ perNode: () => 1, tenant: () => ({ name: 'all', weight: 1, builds: 0 }), lookAgain: 50 },
    shared: {
      hold: (node, wish) => holdTurn({ node, host: '127.0.0.1', port: fronts.get(node)?.port ?? 0 }, tls, wish),
      logger: silent,
      // A circle that is not seen, and waited for like what another gateway builds, outlasts the test.
      patience: 3600_000,
    },
  })
  gateway = await startGateway({
    nodes: {
      red: { socket: red.socket, native: ['linux/amd64'] },
      blue: { socket: blue.socket, native: ['linux/arm64'] },
    },
    config: { statusVertex: true },
    turns: queue,
  })
})
afterAll(async () => {
  await gateway?.close()
  await Promise.all([...fronts.values()].map((front) => front.close()))
  await Promise.all([red?.stop(), blue?.stop()])
  await work?.remove()
})

test('a bake and a split build that wait for each other’s turns both end', async () => {
  const sleeps = await work.context('RUN echo step-runs; sleep 600\n')
  const first = buildctl(gateway.address, sleeps, ['--no-cache', '--opt=platform=linux/arm64'])
  await until('node blue to build', () => first.output().includes('step-runs'))
  const context = await work.context('RUN echo split-$TARGETARCH\n')
  const split = buildctl(gateway.address, context, ['--no-cache', `--opt=platform=${both}`])
  await until('the split build to wait', () => queue.waiting().get('blue') === 1)

  // The assets are on node red until the app is done, which waits for node blue.
  const directory = await work.directory()
  const busybox = await work.context('COPY --from=assets /asset /asset\nRUN echo app-has-$(cat /asset)\n')
  await writeFile(join(directory, 'Dockerfile'), 'FROM scratch\nCOPY <<EOF /asset\nthe-asset\nEOF\n')
  const target = {
    assets: { context: directory, platforms: ['linux/amd64'], output: ['type=cacheonly'] },
    app: {
      context: busybox,
      contexts: { assets: 'target:assets' },
      platforms: both.split(','),
      output: ['type=cacheonly'],
    },
  }
  const file = join(directory, 'bake.json')
  await writeFile(file, JSON.stringify({ target }))
  const env = { BUILDX_CONFIG: await work.directory() }
  await startClient('buildx', ['create', '--name=c', '--driver=remote', gateway.address], { env }).ended
  const args = ['bake', '--builder=c', '--progress=plain', '--allow=fs.read=*', `--file=${file}`, 'assets', 'app']
  const bake = startClient('buildx', args, { env, cwd: directory })
  await until('the app to wait', () => queue.waiting().get('blue') === 2)
  first.kill('SIGINT')
  await first.ended
  const [splitEnd, bakeEnd] = await Promise.all([split.ended, bake.ended])
  expect(splitEnd, splitEnd.output).toMatchObject({ exitCode: 0 })
  expect(bakeEnd, bakeEnd.output).toMatchObject({ exitCode: 0 })
  expect(bakeEnd.output).toContain('app-has-the-asset')
  await until('the queue to be empty', () => queue.waiting().size === 0)
  await until('all turns to be given back', () => Object.values(turns).every(({ taken }) => taken === 0))
})
