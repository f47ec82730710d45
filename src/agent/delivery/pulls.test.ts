import { expect, test } from 'vitest'
import type { BuiltImage, Peer, PullProgress } from '../../api/images.ts'
import { createLogger } from '../../kernel/log.ts'
import { createPulls, type PullsOptions } from './pulls.ts'

const digest = `sha256:${'a'.repeat(64)}`
const image: BuiltImage = { name: 'docker.io/library/app:1', digest, version: 1 }
const peer: Peer = { node: 'n2', host: '10.0.0.2', port: 2376 }
const never = new AbortController().signal

function node(more: Partial<PullsOptions> = {}) {
  const state = {
    has: undefined as string | undefined,
    pulls: 0,
    recorded: [] as BuiltImage[],
    bytes: 0,
    ended: 0,
    from: [] as readonly Peer[],
  }
  const pulls = createPulls({
    pull: () => {
      state.pulls += 1
      state.has = digest
      state.bytes += 100
      return Promise.resolve()
    },
    digestOf: () => Promise.resolve(state.has),
    arriving: (image) => {
      if (state.has === image.digest) state.recorded.push(image)
      return Promise.resolve()
    },
    begin(request) {
      state.from = request.peers
      const before = state.bytes
      return { received: () => state.bytes - before, end: () => void (state.ended += 1) }
    },
    sizeOf: () => 100,
    log: createLogger({ level: 'silent' }),
    ...more,
  })
  const pull = async (signal = never): Promise<PullProgress | undefined> => {
    const lines: PullProgress[] = []
    await pulls.pull({ image, peers: [peer] }, (line) => lines.push(line), signal)
    return lines.at(-1)
  }
  return { state, pull }
}

test('an image is pulled, looked at, recorded and counted', async () => {
  const { state, pull } = node()
  expect(await pull()).toEqual({ done: true, bytes: 100 })
  expect(state).toMatchObject({ pulls: 1, recorded: [image], ended: 1, from: [peer] })
})

test('what is here already is recorded without a pull', async () => {
  const { state, pull } = node()
  state.has = digest
  expect(await pull()).toEqual({ done: true, bytes: 0 })
  expect(state).toMatchObject({ pulls: 0, recorded: [image, image] })
})

test('a name that came with another digest is an error and not recorded', async () => {
  const { state, pull } = node({ digestOf: () => Promise.resolve(`sha256:${'b'.repeat(64)}`) })
  expect(await pull()).toEqual({ error: expect.stringContaining('another build of it is newer') as string })
  expect(state.recorded).toEqual([])
})

test('two gateways cause one pull, which goes on when one of them leaves and ends with the last', async () => {
  let signalOfPull: AbortSignal | undefined
  const { pull } = node({
    pull: (_, signal) => {
      signalOfPull = signal
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
    },
  })
  const [first, second] = [new AbortController(), new AbortController()]
  const both = [pull(first.signal), pull(second.signal)]
  first.abort(new Error('gone'))
  expect(await both[0]).toEqual({ error: 'gone' })
  expect(signalOfPull?.aborted).toBe(false)
  second.abort(new Error('gone too'))
  await both[1]
  expect(signalOfPull?.aborted).toBe(true)
})

test('who asks right after the last one left does not share the end of its pull', async () => {
  let pulls = 0
  const ending: (() => void)[] = []
  const { pull } = node({
    pull: (_, signal) =>
      new Promise((resolve, reject) => {
        pulls += 1
        if (pulls > 1) return resolve()
        // containerd takes a moment to give it up.
        signal.addEventListener('abort', () => void ending.push(() => reject(signal.reason as Error)))
      }),
    digestOf: () => Promise.resolve(pulls > 1 ? digest : undefined),
  })
  const first = new AbortController()
  const left = pull(first.signal)
  await expect.poll(() => pulls).toBe(1)
  first.abort(new Error('gone'))
  await left
  const second = pull()
  for (const end of ending) end()
  expect(await second).toMatchObject({ done: true })
  expect(pulls).toBe(2)
})
