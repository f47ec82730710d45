import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NodeReport } from '../../../src/api/node-report.ts'
import type { BuildNode, Directory } from '../../../src/gateway/directory/directory.ts'
import { createFixedDirectory } from '../../../src/gateway/directory/fixed.ts'
import { createFixedPlacer } from '../../../src/gateway/placement/fixed.ts'
import type { Placer } from '../../../src/gateway/placement/placer.ts'
import { noQueue } from '../../../src/gateway/queue/turns.ts'
import { InsituError } from '../../../src/kernel/errors.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, type ClientResult, startClient } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { startGateway, type TestGateway, type TestGatewayOptions } from '../fixtures/gateway.ts'

// Builds that wait: clients give up after 15 s without an answer to LLBBridge/Ping, and end a session after 10 s without a
// preface of HTTP/2. A gateway that only holds their calls back lets every build fail that waits for longer.

/** Milliseconds: 15 s and the 5 s for which the client waits for Solve after that, and some more. */
const wait = 24_000

let daemons: readonly Buildkitd[]
let work: Workspace
const gateways: TestGateway[] = []

beforeAll(async () => {
  work = await createWorkspace()
  daemons = await Promise.all([startBuildkitd(), startBuildkitd()])
})
afterAll(async () => {
  for (const gateway of gateways) await gateway.close()
  for (const daemon of daemons ?? []) await daemon.stop()
  await work?.remove()
})

async function open(options: Partial<TestGatewayOptions>): Promise<TestGateway> {
  const [red, blue] = daemons as [Buildkitd, Buildkitd]
  const gateway = await startGateway({ nodes: { red, blue }, config: { statusVertex: true }, ...options })
  gateways.push(gateway)
  return gateway
}

/** Every build waits for its turn on its node. */
const queue = () =>
  open({
    turns: {
      ...noQueue,
      async wait({ onPosition, signal }) {
        onPosition?.(1)
        await sleep(wait, undefined, { signal })
        return () => undefined
      },
    },
  })

/** Every build waits for a node. */
function placement() {
  const directory = createFixedDirectory(
    daemons.map(({ socket }, i) => ({ name: i === 0 ? 'red' : 'blue', address: { path: socket } })),
  )
  return open({ placer: placingAfter(wait, directory) })
}

/** @param time milliseconds. */
function placingAfter(time: number, directory: Directory): Placer {
  const placer = createFixedPlacer({ directory, running: () => 0 })
  return {
    ...placer,
    async place(request) {
      await sleep(time)
      return placer.place(request)
    },
  }
}

/** The only node is restarted: nobody can be asked what daemons can do. */
async function restart(): Promise<TestGateway> {
  const [{ socket }] = daemons as [Buildkitd]
  const fixed = createFixedDirectory([{ name: 'red', address: { path: socket } }])
  let away = false
  const report: NodeReport = {
    ...{ version: 1, node: 'red', ready: true, state: 'ready', platforms: ['linux/amd64'], buildkit: 'v0.33.1' },
    ...{ containerd: 'v2.4.2', snapshotter: 'overlayfs', distribution: 'unknown', network: 'bridge', findings: [] },
  }
  // A new agent has not reported yet.
  const nodes = (): readonly BuildNode[] =>
    fixed.nodes().map((node) => ({ ...node, ready: !away, report: away ? undefined : report }))
  const directory = { nodes, node: () => nodes()[0] }
  const placer = createFixedPlacer({ directory, running: () => 0 })
  const place: Placer['place'] = async (request) => {
    if (away) throw new InsituError('NO_NODE', 'no node can build', { status: 'UNAVAILABLE' })
    return placer.place(request)
  }
  const gateway = await open({ directory, placer: { ...placer, place } })
  const before = await byBuildx(gateway)
  expect(before, before.output).toMatchObject({ exitCode: 0 })
  away = true
  setTimeout(() => (away = false), wait)
  return gateway
}

const env = { env: { WORD: 'swordfish' } }
const content = randomBytes(2 << 20)
const expected = createHash('sha256').update(content).digest('hex')
const context = (): Promise<string> =>
  work.context(`COPY data /data\nRUN --mount=type=secret,id=word sha256sum /data && cat /run/secrets/word\n`, {
    data: content,
  })

const secret = '--secret=id=word,env=WORD'

async function byBuildctl({ address }: TestGateway): Promise<ClientResult> {
  return buildctl(address, await context(), [secret, '--no-cache'], env).ended
}

async function byBuildx({ address }: TestGateway): Promise<ClientResult> {
  const config = { BUILDX_CONFIG: await work.directory() }
  const buildx = (...args: string[]) => startClient('buildx', args, { env: { ...config, ...env.env } }).ended
  await buildx('create', '--name=door', '--driver=remote', '--use', address)
  const tar = join(await work.directory(), 'out.tar')
  return buildx('build', '--progress=plain', '--no-cache', secret, `--output=type=tar,dest=${tar}`, await context())
}

test.concurrent.for([
  ['for its turn', 'buildctl', queue, byBuildctl],
  ['for its turn', 'buildx', queue, byBuildx],
  ['for a node', 'buildctl', placement, byBuildctl],
  ['for a node', 'buildx', placement, byBuildx],
  ['for the only node, which is restarted', 'buildctl', restart, byBuildctl],
  ['for the only node, which is restarted', 'buildx', restart, byBuildx],
] as const)('a build that waits %s for longer than %s waits for an answer', async ([, , gateway, build]) => {
  const result = await build(await gateway())
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain(expected)
  expect(result.output).toContain('[insitu] waiting for ')
})

test.concurrent('a build that is refused after a while: its client gets the reason and ends', async () => {
  const { address } = await open({ placer: placingAfter(8000, createFixedDirectory([])) })
  const started = performance.now()
  const result = await buildctl(address, await context(), [secret], env).ended
  expect(result, result.output).toMatchObject({ exitCode: 1 })
  expect(result.output).toContain('this gateway has no nodes')
  expect(performance.now() - started).toBeLessThan(wait)
})
