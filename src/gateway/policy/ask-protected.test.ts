import { expect, test } from 'vitest'
import { InsituError } from '../../kernel/errors.ts'
import { createLogger } from '../../kernel/log.ts'
import { askProtectedNames } from './ask-protected.ts'

const signal = AbortSignal.timeout(60_000)
const names = ['docker.io/library/app:latest', 'registry.k8s.io/pause:3.10']
const asked: string[] = []
const find = (
  answers: Record<string, readonly string[] | Error>,
  nodes: readonly string[],
  isLost: (node: string) => boolean = () => false,
) =>
  askProtectedNames({
    logger: createLogger({ level: 'silent' }),
    isLost,
    ask: (node, path) => {
      asked.push(path)
      const answer = answers[node] ?? []
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve({ protected: answer })
    },
  }).find(names, nodes, signal)
const gone = (text: string): Error => new InsituError('AGENT_UNREACHABLE', text, { status: 'UNAVAILABLE' })

test('every node is asked about every name, and one that has it is enough', async () => {
  expect(await find({}, ['a', 'b'])).toBeUndefined()
  expect(asked[0]).toBe('/v1/protected?name=docker.io%2Flibrary%2Fapp%3Alatest&name=registry.k8s.io%2Fpause%3A3.10')
  expect(await find({ b: ['registry.k8s.io/pause:3.10'] }, ['a', 'b'])).toEqual({ name: names[1], node: 'b' })
})

test('without the answer of the builder nothing is built; another node may be gone', async () => {
  await expect(find({ a: gone('no answer') }, ['a', 'b'])).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' })
  expect(await find({ b: gone('no answer') }, ['a', 'b'])).toBeUndefined()
  expect(await find({ a: gone('HTTP 404 for /v1/protected') }, ['a'])).toBeUndefined()
})

test('a target that is lost is not asked, and nothing waits for it; the builder always is', async () => {
  const lost = (node: string): boolean => node !== 'b'
  expect(await find({ c: gone('no answer'), b: ['registry.k8s.io/pause:3.10'] }, ['a', 'b', 'c'], lost)).toMatchObject({
    node: 'b',
  })
  expect(await find({ c: ['registry.k8s.io/pause:3.10'] }, ['a', 'b', 'c'], lost)).toBeUndefined()
  await expect(find({ a: gone('no answer') }, ['a', 'b'], lost)).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' })
})
