import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { cp, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { run } from '../../src/kernel/process/run.ts'
import { waitFor } from '../lab/wait.ts'
import { buildctl, ensureInstalled, type Installed, repository, temporary } from './fixtures/insitu.ts'
import { podStatus, runPod } from './fixtures/pods.ts'
import { portForward } from './fixtures/port-forward.ts'

const id = randomBytes(3).toString('hex')
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled()
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
})

it("insitu builds its own image from its Dockerfile's upstream names, and a pod runs it without a push", async () => {
  await using context = await temporary()
  // What a clone has, with the changes of the day.
  const { stdout } = await run('git', ['-C', repository, 'ls-files', '--cached', '--others', '--exclude-standard'])
  for (const file of stdout.split('\n')) {
    await mkdir(join(context.path, file, '..'), { recursive: true })
    await cp(join(repository, file), join(context.path, file)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error // deleted in the working tree
    })
  }
  const name = `ghcr.io/insitu-build/insitu:self-${id}`
  await buildctl({ addr: door.addr, context: context.path, name, opt: { 'insitu.node': 'node2' }, timeout: 290_000 })
  const pod = await runPod(insitu, { label: id, image: name, node: 'node2', command: ['insitu', '--version'] })
  await waitFor(
    'the pod to end',
    async () => ((await podStatus(insitu, pod)).phase === 'Succeeded' ? true : undefined),
    {
      timeout: 60_000,
    },
  )
  const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { version: string }
  expect((await insitu.kubectl(['logs', pod])).trim()).toBe(version)
})
