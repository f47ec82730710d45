import { create } from '@bufbuild/protobuf'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connectionOf, type FrontDoor, openFrontDoor, type Person } from '../fixtures/front-door.ts'
import { contentPaths } from '../../../src/buildkit/content.ts'
import { decodeHistoryEvent, encodeHistoryRequest, everyRecord, historyEvent } from '../../../src/buildkit/history.ts'
import { paths } from '../../../src/buildkit/methods.ts'
import { BuildHistoryRequestSchema } from '../../../src/buildkit/gen/control_pb.ts'
import { grpcConnection } from '../../../src/kernel/grpc/connection.ts'
import { fieldOf } from '../../../src/kernel/grpc/wire.ts'
import { startClient } from '../fixtures/clients.ts'
import { startGateway } from '../fixtures/gateway.ts'
import { trailersOf } from '../fixtures/grpc.ts'
import { until } from '../fixtures/until.ts'

// Records, logs, results and caches of two nodes, seen by two people and an administrator.

let door: FrontDoor
let alice: Person
let bob: Person
let root: Person
/** Refs by who and where. */
const refs: Record<string, string> = {}

beforeAll(async () => {
  door = await openFrontDoor()
  ;[alice, bob, root] = await Promise.all([door.person('alice'), door.person('bob'), door.administrator()])
  for (const [who, node] of [
    [alice, 'red'],
    [alice, 'blue'],
    [bob, 'blue'],
  ] as const) {
    const context = await door.work.context(`RUN echo step-of-${who.name}-on-${node}\nRUN echo $RANDOM > /x\n`)
    const metadata = join(await door.work.directory(), 'metadata.json')
    const result = await who.buildx([
      ...['build', '--progress=plain', `--build-arg=insitu.node=${node}`, `--metadata-file=${metadata}`],
      ...['-o', `type=image,name=${who.name}/app`, '--sbom=false', '--provenance=mode=max', context],
    ])
    if (result.exitCode !== 0) throw new Error(result.output)
    const { 'buildx.build.ref': ref } = JSON.parse(readFileSync(metadata, 'utf8')) as Record<string, string>
    refs[`${who.name}-${node}`] = ref?.split('/').at(-1) ?? ''
  }
})

afterAll(async () => {
  await door?.stop()
})

const list = async (who: Person, ...args: string[]): Promise<string[]> => {
  const result = await who.buildx(['history', 'ls', '--format={{.Ref}}', '--no-trunc', ...args])
  expect(result, result.output).toMatchObject({ exitCode: 0 })
  return result.output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('/').at(-1) as string)
}

test('everybody sees own builds of all nodes, newest first, and the administrator sees all', async () => {
  expect(await list(alice)).toEqual([refs['alice-blue'], refs['alice-red']])
  expect(await list(bob)).toEqual([refs['bob-blue']])
  expect(await list(root)).toEqual([refs['bob-blue'], refs['alice-blue'], refs['alice-red']])
})

/** Who asks with a limit. */
async function newest(who: Person, limit: number): Promise<(string | undefined)[]> {
  const request = encodeHistoryRequest(create(BuildHistoryRequestSchema, { earlyExit: true, limit }))
  const connection = connectionOf(door, who)
  const found: (string | undefined)[] = []
  try {
    await connection.stream({ method: paths.listenBuildHistory, request }, (message) => {
      found.push(decodeHistoryEvent(message).record?.ref)
    })
  } finally {
    connection.close()
  }
  return found
}

test('a limit counts own builds only, and a filter is the daemons’', async () => {
  const all = await alice.buildctl(['debug', 'histories', '--format={{json .}}'])
  expect(all.output).toContain(refs['alice-red'])
  expect(all.output).not.toContain(refs['bob-blue'])
  // The newest on that node is bob's.
  expect(await newest(alice, 1)).toEqual([refs['alice-blue']])
  expect(await newest(alice, 5)).toEqual([refs['alice-blue'], refs['alice-red']])
  expect(await newest(bob, 1)).toEqual([refs['bob-blue']])
  expect(await list(alice, `--filter=ref=${refs['alice-red']}`)).toEqual([refs['alice-red']])
  expect(await list(bob, `--filter=ref=${refs['alice-red']}`)).toEqual([])
  expect(await list(alice, '--filter=status=error')).toEqual([])
})

test('a record says on which node it is and whose', async () => {
  const { output } = await root.buildctl(['debug', 'histories', '--format={{json .}}'])
  expect(output).toMatch(new RegExp(`"insitu.node":"red"[^\\n]*"insitu.owner":"person alice"[^\\n]*`))
})

test('logs, details, provenance and errors of a build that ended, from whichever node has it', async () => {
  for (const node of ['red', 'blue']) {
    const ref = refs[`alice-${node}`] as string
    const logs = await alice.buildx(['history', 'logs', '--progress=plain', ref])
    expect(logs, logs.output).toMatchObject({ exitCode: 0 })
    expect(logs.output).toContain(`step-of-alice-on-${node}`)
    const details = await alice.buildx(['history', 'inspect', ref])
    expect(details, details.output).toMatchObject({ exitCode: 0 })
    expect(details.output).toMatch(new RegExp(`insitu.node:\\s+${node}`))
    const provenance = await alice.buildx(['history', 'inspect', 'attachment', ref, '--type=provenance'])
    expect(provenance, provenance.output).toMatchObject({ exitCode: 0 })
    expect(provenance.output).toContain('buildType')
  }
})

test('another gateway, which relayed none of these builds, finds them too', async () => {
  const gateway = await startGateway({
    nodes: { red: door.red, blue: door.blue },
    config: { recordOwner: true },
  })
  const other = ['--addr', gateway.address]
  try {
    for (const node of ['red', 'blue']) {
      const records = await startClient('buildctl', [...other, 'debug', 'logs', refs[`alice-${node}`] as string]).ended
      expect(records, records.output).toMatchObject({ exitCode: 0 })
      expect(records.output).toContain(`step-of-alice-on-${node}`)
    }
    const unknown = await startClient('buildctl', [...other, 'debug', 'logs', 'no-such-build']).ended
    expect(unknown.exitCode).not.toBe(0)
    expect(unknown.output).toContain('there is no build no-such-build of yours')
  } finally {
    await gateway.close()
  }
})

test('a node that is gone and one that is stuck are named, and the rest arrives within the bound', async () => {
  const stuck = createServer()
  const socket = join(await door.work.directory(), 'stuck.sock')
  await new Promise<void>((resolve) => stuck.listen(socket, resolve))
  const nodes = { red: door.red, blue: door.blue, gone: { socket: '/nowhere' }, stuck: { socket } }
  const gateway = await startGateway({ nodes, config: { recordOwner: true }, patience: 2000 })
  const address = ['--addr', gateway.address]
  const call = (...args: string[]) => startClient('buildctl', [...address, ...args]).ended
  try {
    const started = performance.now()
    const usage = await call('du')
    expect(performance.now() - started).toBeLessThan(20_000)
    expect(usage, usage.output).toMatchObject({ exitCode: 0 })
    expect(usage.output).toMatch(/node gone is missing/)
    expect(usage.output).toMatch(/node stuck is missing/)
    const records = await call('debug', 'histories', '--format={{json .}}')
    expect(records, records.output).toMatchObject({ exitCode: 0 })
    for (const ref of Object.values(refs)) expect(records.output).toContain(ref)
    const trailers = await trailersOf(gateway.port, paths.listenBuildHistory, everyRecord())
    expect(trailers).toMatchObject({ 'grpc-status': '0', 'insitu-missing-nodes': 'gone,stuck' })
    expect(gateway.log()).toContain('a node is missing in a merged answer')
    // Nothing says for sure that this build is nowhere.
    const logs = await call('debug', 'logs', 'no-such-build')
    expect(logs.output).toContain('these nodes do not answer: gone, stuck')
    const pruned = await call('prune', '--filter=id==none')
    expect(pruned.exitCode).toBe(1)
    expect(pruned.output).toContain('the other nodes are pruned, 2 not')
  } finally {
    await gateway.close()
    stuck.close()
  }
})

test('what builds of others returned is not found', async () => {
  const ref = refs['alice-blue'] as string
  for (const args of [
    ['history', 'logs', ref],
    ['history', 'inspect', ref],
    ['history', 'inspect', 'attachment', ref, '--type=provenance'],
    ['history', 'rm', ref],
  ]) {
    const result = await bob.buildx(args)
    expect(result.exitCode, `${args.join(' ')}: ${result.output}`).not.toBe(0)
    expect(result.output).not.toContain('step-of-alice')
  }
})

test('content is read by digest, of own builds only, and never listed', async () => {
  const records = await alice.buildctl(['debug', 'histories', '--format={{json .}}'])
  const digest = /"logs":\{[^}]*"digest":"(sha256:[0-9a-f]{64})"/.exec(records.output)?.[1] as string
  const mine = await alice.buildctl(['debug', 'get', digest])
  expect(mine, mine.output).toMatchObject({ exitCode: 0 })
  const theirs = await bob.buildctl(['debug', 'get', digest])
  expect(theirs.exitCode).not.toBe(0)
  expect(theirs.output).toContain('not found in what builds of yours returned')
})

test('a blob of somebody else is not read beside one of one’s own, where decoders read different digests', async () => {
  const logsOf = async (who: Person): Promise<string> => {
    const { output } = await who.buildctl(['debug', 'histories', '--format={{json .}}'])
    const line = output.split('\n').find((one) => one.includes(refs[`${who.name}-blue`] as string)) ?? ''
    return /"logs":\{[^}]*"digest":"(sha256:[0-9a-f]{64})"/.exec(line)?.[1] as string
  }
  const [theirs, own] = [await logsOf(alice), await logsOf(bob)]
  const bobs = connectionOf(door, bob)
  const ask = async (method: string, request: Uint8Array): Promise<string> => {
    const parts: Uint8Array[] = []
    await bobs.stream({ method, request }, (message) => void parts.push(message))
    return Buffer.concat(parts).toString()
  }
  try {
    // The digest once more as a number, 2. Protobuf-es takes that for a text of two bytes and reads the second digest;
    // for Go it is no digest, and those two bytes begin field 15, which holds all that follows.
    const wrongType = Uint8Array.of(0x08, 0x02, 0x7a, 0x49)
    const request = Buffer.concat([fieldOf(1, theirs), wrongType, fieldOf(1, own)])
    expect(await ask(contentPaths.read, request)).toContain('step-of-bob')
    const info = await ask(contentPaths.info, request)
    expect([info.includes(own), info.includes(theirs)]).toEqual([true, false])
  } finally {
    bobs.close()
  }
})

test('a follower is told of builds on all nodes, own ones only', async () => {
  const follower = startClient('buildctl', [
    ...['--addr', door.gateway.address, ...alice.tls, 'debug', 'monitor', '--completed'],
  ])
  try {
    const context = await door.work.context(`RUN echo $RANDOM\n`)
    const build = (who: Person, node: string) =>
      who.buildctl([
        ...['build', '--progress=plain', '--frontend=dockerfile.v0', `--opt=insitu.node=${node}`],
        ...[`--local=context=${context}`, `--local=dockerfile=${context}`],
      ])
    await until('the follower to have the past', () => follower.output().includes(refs['alice-red'] as string))
    const before = (await list(alice)).length
    await build(alice, 'red')
    await build(bob, 'red')
    await build(alice, 'blue')
    const after = await list(alice)
    expect(after).toHaveLength(before + 2)
    for (const ref of after.slice(0, 2)) {
      await until(`the end of ${ref}`, () => follower.output().includes(ref))
    }
    const theirs = await list(bob)
    expect(follower.output()).not.toContain(theirs[0])
  } finally {
    follower.kill('SIGTERM')
    await follower.ended
  }
})

test('disk usage is that of all nodes; steps of others are not shown', async () => {
  const mine = await alice.buildctl(['du', '--verbose'])
  expect(mine, mine.output).toMatchObject({ exitCode: 0 })
  expect(mine.output).not.toContain('step-of-bob')
  const all = await root.buildctl(['du', '--verbose'])
  for (const step of ['alice-on-red', 'alice-on-blue', 'bob-on-blue']) expect(all.output).toContain(`step-of-${step}`)
  const buildx = await alice.buildx(['du'])
  expect(buildx, buildx.output).toMatchObject({ exitCode: 0 })
  expect(buildx.output).toContain('Total:')
})

test('workers are filtered', async () => {
  const names = async (...filter: string[]): Promise<string> =>
    (await alice.buildctl(['debug', 'workers', ...filter.map((f) => `--filter=${f}`)])).output
  expect(await names()).toMatch(/linux[^]*linux/)
  const red = await names('labels."insitu.build/node"==red')
  expect(red.match(/linux/g)?.length).toBeGreaterThan(0)
  expect(red.split('\n').filter((line) => line.includes('linux/amd64'))).toHaveLength(1)
  expect(await names('labels."insitu.build/node"=')).toContain('is not understood')
})

test('a record is deleted by its owner, where it is, and at once', async () => {
  const ref = refs['alice-red'] as string
  // A daemon says so when it removes a record, and not when it only hides it until it starts again.
  const daemon = grpcConnection(door.red.socket)
  const deleted: (string | undefined)[] = []
  const request = encodeHistoryRequest(create(BuildHistoryRequestSchema, { activeOnly: true }))
  const call = { method: paths.listenBuildHistory, request, timeout: 100_000 }
  const following = daemon
    .stream(call, (message) => {
      const { type, record } = decodeHistoryEvent(message)
      if (type === historyEvent.deleted) deleted.push(record?.ref)
    })
    .catch(() => undefined)
  try {
    const removed = await alice.buildx(['history', 'rm', ref])
    expect(removed, removed.output).toMatchObject({ exitCode: 0 })
    expect(await list(alice)).not.toContain(ref)
    expect(await list(root)).not.toContain(ref)
    await until('the daemon to remove it', () => deleted.includes(ref))
  } finally {
    daemon.close()
    await following
  }
})

test('a prune is for administrators and reaches every node', async () => {
  const refused = await alice.buildx(['prune', '--force', '--all'])
  expect(refused.exitCode).not.toBe(0)
  expect(refused.output).toContain('Prune is for administrators')
  const pruned = await root.buildx(['prune', '--force', '--all'])
  expect(pruned, pruned.output).toMatchObject({ exitCode: 0 })
  expect(pruned.output).toContain('Total:')
  for (const daemon of [door.red, door.blue]) {
    const usage = await startClient('buildctl', ['--addr', daemon.address, 'du']).ended
    expect(usage.output).not.toContain('step-of')
    expect(usage.output).toMatch(/Total:\s+0B/)
  }
})
