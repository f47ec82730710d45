import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type BuildPods, startBuildPods } from './pod.ts'

/** Milliseconds: an hour, for who has no hour. */
const lifetime = 15_000

let pods: BuildPods

beforeAll(async () => {
  pods = await startBuildPods({ statusVertex: true }, lifetime)
})
afterAll(async () => {
  await pods?.stop()
})

test('a build that takes longer than its certificate lives: its status has platform and bases as any other', async () => {
  const sleep = `RUN ["/bin/busybox", "sleep", "${lifetime / 1000 + 2}"]`
  const ran = await pods.run(
    { source: { workspace: {} }, output: { names: ['example.test/long:v1'], push: false } },
    {
      workspace: {
        busybox: await readFile('/bin/busybox'),
        Dockerfile: `FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\n${sleep}\n`,
      },
    },
  )
  expect(ran, ran.output).toMatchObject({ exitCode: 0, outcome: { result: 'succeeded', bases: [] } })
  expect(ran.outcome.platform).toMatch(/^linux\//)
  expect(ran.output).not.toContain('cannot be read')
})
