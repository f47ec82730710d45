import { afterAll, beforeAll, expect, test } from 'vitest'
import { startFront } from '../../../src/agent/front/front.ts'
import { turnHandler } from '../../../src/agent/turns/part.ts'
import { createNodeTurns } from '../../../src/agent/turns/turns.ts'
import { spiffe } from '../../../src/api/certificate.ts'
import { holdTurn } from '../../../src/gateway/directory/agent-turn.ts'
import { createQueue } from '../../../src/gateway/queue/queue.ts'
import { createAuthority } from '../../../src/kernel/tls/ca.ts'
import type { TlsSource } from '../../../src/kernel/tls/material.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, type Client } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { startGateway, type TestGateway } from '../fixtures/gateway.ts'
import { agentTls, gatewayTls, silent } from '../fixtures/mirror-peers.ts'
import { until } from '../fixtures/until.ts'

// Two gateways in front of one node: what an agent counts holds for both.

const limit = 2
const turns = createNodeTurns()
let daemon: Buildkitd
let work: Workspace
let front: Awaited<ReturnType<typeof startFront>>
let tls: TlsSource
let gateways: TestGateway[] = []
let trouble: string | undefined

beforeAll(async () => {
  const authority = await createAuthority()
  ;[daemon, work, tls] = await Promise.all([startBuildkitd(), createWorkspace(), gatewayTls(authority)])
  front = await startFront({
    ...{ host: '127.0.0.1', port: 0, tls: await agentTls(authority, 'one'), socket: daemon.socket, log: silent },
    client: spiffe('buildkit-system', 'insitu-gateway'),
    handlers: () => [turnHandler(turns)],
  })
  gateways = await Promise.all([start(), start()])
})
afterAll(async () => {
  await Promise.all(gateways.map((gateway) => gateway.close()))
  await front?.close()
  await daemon?.stop()
  await work?.remove()
})

function start(): Promise<TestGateway> {
  return startGateway({
    nodes: { one: daemon },
    config: { statusVertex: true },
    turns: createQueue({
      ...{ perNode: () => 0, tenant: () => ({ name: 'all', weight: 1, builds: 0 }), lookAgain: 50 },
      trouble: () => trouble,
      shared: {
        hold: (node, wish) => holdTurn({ node, host: '127.0.0.1', port: front.port }, tls, wish),
        logger: silent,
      },
    }),
  })
}

const build = (gateway: TestGateway | undefined, context: string, most = limit): Client =>
  buildctl(gateway?.address ?? '', context, ['--no-cache', `--opt=insitu.builds-per-node=${most}`])
const runs = (client: Client): Promise<unknown> => until('the step to run', () => client.output().includes('step-runs'))
const end = async (...clients: readonly Client[]): Promise<void> => {
  for (const client of clients) client.kill('SIGINT')
  await Promise.all(clients.map(({ ended }) => ended))
}
const stepOf = () => work.context('RUN echo step-runs; sleep 600; true\n')

test('the limit of a node is one over both, with the place in the progress, and a turn is handed on between them', async () => {
  const [a, b] = gateways
  const contexts = await Promise.all([stepOf(), stepOf(), work.context('RUN echo my-turn\n'), stepOf()])
  const [first, second] = [build(a, contexts[0]), build(b, contexts[1])]
  await Promise.all([runs(first), runs(second)])
  const third = build(a, contexts[2])
  await until('the third to wait', () => third.output().includes('place 1 in the queue'))
  const fourth = build(b, contexts[3])
  await until('the fourth to wait', () => fourth.output().includes('place 2 in the queue'))
  expect(turns).toMatchObject({ taken: limit, waiting: 2 })
  await end(second)
  const result = await third.ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  expect(result.output).toContain('[insitu] waiting for a turn on node one')
  await runs(fourth)
  await end(first, fourth)
  await until('all turns to be given back', () => turns.taken === 0)
})

test('a gateway that is gone has no turns any more', async () => {
  const [, b] = gateways
  const lost = await start()
  const [first, second, third] = await Promise.all([stepOf(), stepOf(), stepOf()])
  const held = [build(lost, first), build(lost, second)]
  await Promise.all(held.map(runs))
  const next = build(b, third)
  await until('the next to wait', () => turns.waiting === 1)
  await lost.close()
  await runs(next)
  await end(next, ...held)
  await until('all turns to be given back', () => turns.taken === 0)
})

test('who waits for a turn on a node that goes away is told, and a node that cannot be asked builds all the same', async () => {
  const [a, b] = gateways
  const [first, second] = await Promise.all([stepOf(), stepOf()])
  const held = build(a, first, 1)
  await runs(held)
  const waiting = build(b, second, 1)
  await until('it to wait', () => turns.waiting === 1)
  trouble = 'is being stopped'
  const { exitCode, output } = await waiting.ended
  trouble = undefined
  expect({ exitCode, output }).toMatchObject({
    exitCode: 1,
    output: expect.stringContaining('being stopped') as string,
  })
  await until('it to have left', () => turns.waiting === 0)
  await end(held)
  await front.close()
  const alone = await build(a, await work.context('RUN echo alone\n')).ended
  expect(alone, alone.output).toMatchObject({ exitCode: 0 })
})
