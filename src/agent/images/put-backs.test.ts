import { expect, it } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { createPutBacks } from './put-backs.ts'

const event = { name: 'registry.test/team/app:1', digest: 'sha256:a', instead: 'sha256:b', as: 'record' } as const

/** @param part what a part of a build has just made; undefined: the daemon does not answer. */
function open(part: string | undefined) {
  const state = { changes: 0 }
  const putBacks = createPutBacks({
    changed: () => void (state.changes += 1),
    isOfPart: ({ name, digest }) =>
      part === undefined
        ? Promise.reject(new Error('the daemon is away'))
        : Promise.resolve(name === event.name && digest === part),
    log: createLogger({ level: 'silent' }),
  })
  return { putBacks, state, count: () => /total\{kind="built"\} (\d+)/.exec(putBacks.metrics(0))?.[1] }
}

it('a part of a build that ended before the others is nobody’s fault', async () => {
  const { putBacks, state, count } = open('sha256:b')
  await putBacks.add(event)
  expect([putBacks.findings(), count(), state.changes]).toEqual([[], '0', 0])
  putBacks.stop()
})

it.each([
  ['that no part has made', 'sha256:c', event],
  ['while the daemon is away', undefined, event],
  ['under a name that a part has not written', 'sha256:b', { ...event, name: 'registry.test/team/other:1' }],
  ['under a protected name', 'sha256:b', { ...event, as: 'protected' as const }],
])('an image %s is reported', async (_, part, one) => {
  const { putBacks, state, count } = open(part)
  await putBacks.add(one)
  expect(putBacks.findings()).toMatchObject([
    { code: 'IMAGE_PUT_BACK', message: expect.stringMatching(`^${one.name} was overwritten with sha256:b on`) },
  ])
  expect([count(), state.changes]).toEqual([one.as === 'record' ? '1' : '0', 1])
  putBacks.stop()
})

it('a deletion is reported whatever parts have made', async () => {
  const { putBacks } = open('sha256:a')
  await putBacks.add({ ...event, instead: undefined })
  expect(putBacks.findings()).toHaveLength(1)
  putBacks.stop()
})
