import { afterEach, expect, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import type { Lookup } from '../../api/images.ts'
import type { Gateways } from './gateways.ts'
import { type Mirror, type MirrorOptions, startMirror } from './mirror.ts'

// How soon a pull goes on to its registry: one question to all gateways at a time, and none that waits for a dead one.

let mirror: Mirror | undefined
afterEach(async () => mirror?.close())

interface Question {
  readonly gateway: string
  readonly path: string
  readonly answer: () => void
}

/** A mirror of a node that has nothing, and what it asks gateways; those that are `dead` never answer. */
async function open(
  names: readonly string[],
  dead: readonly string[] = [],
  { answer = { state: 'none' }, ...more }: Partial<MirrorOptions> & { readonly answer?: Lookup } = {},
) {
  const asked: Question[] = []
  let arrived: () => void = () => {}
  const gateways: Gateways = {
    connected: () => names,
    get: (gateway, path, signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('no answer in time')))
        asked.push({ gateway, path, answer: () => dead.includes(gateway) || resolve(answer) })
        arrived()
      }),
    close() {},
  }
  mirror = await startMirror({
    ...{ containerdRoot: '/nowhere', containerd: () => Promise.reject(new Error('not asked')), gateways },
    ...{ tls: new Promise(() => {}), port: 0, host: '127.0.0.1', log: createLogger({ level: 'silent' }) },
    records: { find: () => undefined, list: () => [], revision: () => 0 },
    ...more,
  })
  const base = `http://127.0.0.1:${mirror.server.port}/v2/library/app`
  return {
    asked,
    base,
    status: async (path: string) => (await fetch(`${base}/${path}?ns=docker.io`, { method: 'HEAD' })).status,
    /** When so many questions are open. */
    questions: async (count: number) => {
      while (asked.length < count) await new Promise<void>((resolve) => (arrived = resolve))
    },
  }
}

const digest = `sha256:${'a'.repeat(64)}`

test('a name that nobody has costs one question to all gateways at once, and the blobs of its pull none', async () => {
  const { asked, status, questions } = await open(['one', 'two', 'three'])
  const answered = status('manifests/v1')
  // None of them has answered: nobody waits for another.
  await questions(3)
  expect(asked.map(({ gateway }) => gateway)).toEqual(['one', 'two', 'three'])
  for (const { answer } of asked) answer()
  expect(await answered).toBe(404)
  expect(await status(`blobs/${digest}`)).toBe(404)
  expect(asked).toHaveLength(3)
})

test('a refusal has nothing to read, so that containerd asks for the next blob on the same connection', async () => {
  const { base } = await open([])
  const refused = await fetch(`${base}/blobs/${digest}?ns=docker.io`)
  expect([refused.status, refused.headers.get('content-length'), await refused.text()]).toEqual([404, '0', ''])
})

test('a gateway that does not answer delays one pull by the patience with late ones, and is not waited for again', async () => {
  const { asked, status, questions } = await open(['one', 'dead'], ['dead'])
  const answered = status('manifests/v1')
  await questions(2)
  for (const { answer } of asked) answer()
  expect(await answered).toBe(404)
  const again = status('manifests/v2')
  await questions(3)
  expect(asked.map(({ gateway }) => gateway)).toEqual(['one', 'dead', 'one'])
  asked[2]?.answer()
  expect(await again).toBe(404)
})

test('a pull that was sent on to wait asks a silent gateway once more, as it may have the build, and goes on', async () => {
  const { asked, base, questions } = await open(['one', 'dead'], ['dead'], { hold: 500 })
  const answered = fetch(`${base}/manifests/v1?ns=docker.io&insitu-hop=1`, { method: 'HEAD', redirect: 'manual' })
  for (const number of [2, 3, 4]) {
    await questions(number)
    for (const { answer } of asked) answer()
  }
  expect((await answered).status).toBe(404)
  expect(asked.map(({ gateway }) => gateway)).toEqual(['one', 'dead', 'dead', 'one'])
  expect(asked[2]?.path).toContain('wait=')
})

test('without any gateway nothing is waited for', async () => {
  const { asked, status } = await open([])
  expect(await status('manifests/v1')).toBe(404)
  expect(await status(`manifests/${digest}`)).toBe(404)
  expect(asked).toEqual([])
})

test.each<[string, Lookup]>([
  ['is being built', { state: 'building', node: 'n', crowded: true }],
  ['waits for its build', { state: 'onPull', crowded: true }],
])('a pull of what %s is over when others wait behind it, one image at a time', async (_, said) => {
  const { asked, base, questions } = await open(['one'], [], { answer: said, serial: true, hold: 100 })
  const pull = async (hop: string): Promise<{ answer: Response; waited: string | undefined }> => {
    const before = asked.length
    const answered = fetch(`${base}/manifests/v1?ns=docker.io${hop}`, { method: 'HEAD', redirect: 'manual' })
    for (const number of [1, 2]) {
      await questions(before + number)
      asked.at(-1)?.answer()
    }
    return { answer: await answered, waited: asked.at(-1)?.path }
  }
  // For a moment it is held in any case.
  expect((await pull('')).waited).not.toContain('serial')
  const { answer, waited } = await pull('&insitu-hop=1')
  expect(waited).toContain('serial=1')
  expect([answer.status, answer.statusText]).toEqual([300, expect.stringContaining('other pods of this node wait')])
})

test('what is no address is a bad request, and the next one is answered', async () => {
  const { base, status } = await open([])
  expect((await fetch(new URL(base).origin + '//')).status).toBe(400)
  expect(await status('manifests/v1')).toBe(404)
})
