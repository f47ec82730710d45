import { randomBytes } from 'node:crypto'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { buildctl, type Client, startClient } from '../fixtures/clients.ts'
import { createWorkspace, type Workspace } from '../fixtures/context.ts'
import { until } from '../fixtures/until.ts'

const insitu = fileURLToPath(new URL('../../../bin/insitu', import.meta.url))

let daemon: Buildkitd
let work: Workspace
let gateway: Client
let directory: string
let address: string

beforeAll(async () => {
  work = await createWorkspace()
  daemon = await startBuildkitd()
  directory = await work.directory()
  address = `unix://${directory}/s`
  const policy = join(directory, 'policy.toml')
  await writeFile(policy, '[[tenant]]\nname = "all"\nmatch = { anybody = true }\n')
  const args = ['gateway', '--listen', address, '--node', `one=${daemon.address}`, '--policy', policy]
  gateway = startClient(insitu, [...args, '--log-level', 'trace'], {
    cwd: directory,
    env: { NODE_OPTIONS: '--heapsnapshot-signal=SIGUSR2' },
  })
  await until('the gateway to listen', () => gateway.output().includes('"listening"'))
})
afterAll(async () => {
  gateway?.kill('SIGKILL')
  await gateway?.ended
  await daemon?.stop()
  await work?.remove()
})

// The contents of Buffers, which are passed on unread, are not in a snapshot.
test('a secret that went through a session is in no log at trace level, and no text is made of it', async () => {
  const canary = `canary-${randomBytes(24).toString('hex')}`
  const secret = join(await work.directory(), 'secret')
  await writeFile(secret, canary)
  const context = await work.context('RUN --mount=type=secret,id=it test $(wc -c < /run/secrets/it) = 55\n')
  const result = await buildctl(address, context, [`--secret=id=it,src=${secret}`]).ended
  expect(result, result.output).toMatchObject({ exitCode: 0 })

  expect(gateway.output()).toContain('"level":"trace"')
  expect(gateway.output()).not.toContain(canary)

  gateway.kill('SIGUSR2')
  const snapshot = await until('the heap snapshot', async () => {
    const name = (await readdir(directory)).find((file) => file.endsWith('.heapsnapshot'))
    const text = name && (await readFile(join(directory, name), 'utf8'))
    return text && text.trimEnd().endsWith('}') ? { file: join(directory, name), text } : undefined
  })
  expect(snapshot.text).toContain('policy.toml')
  expect(snapshot.text).not.toContain(canary)
  await rm(snapshot.file)
})
