import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { serveLocally } from './socket.ts'

let directory: string
let path: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-connect-'))
  path = join(directory, 'buildkitd.sock')
})
afterEach(() => rm(directory, { recursive: true }))

/** No gateway is there: what counts is who takes the connection. */
const serve = () =>
  serveLocally({
    path,
    target: { path: join(directory, 'gateway.sock') },
    serverName: 'gateway',
    tls: { current: () => ({ cert: '', key: '', ca: '' }) },
    onFailure: () => undefined,
  })
const answers = (): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

it('does not take a socket over from one that serves it', async () => {
  const first = await serve()
  await expect(serve()).rejects.toMatchObject({
    code: 'SOCKET_IN_USE',
    message: expect.stringContaining(path) as string,
    fix: expect.stringContaining('--directory') as string,
  })
  expect(await answers()).toBe(true)
  await first.close()
  expect(await readdir(directory)).toEqual([])
})

it('lets nobody else connect, whoever may look into its directory', async () => {
  await chmod(directory, 0o755)
  const server = await serve()
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  await server.close()
})

it('takes the place of what nobody serves any more', async () => {
  await writeFile(path, '')
  const server = await serve()
  expect(await answers()).toBe(true)
  await server.close()
  expect(existsSync(path)).toBe(false)
})

it('removes at its end only its own socket', async () => {
  const first = await serve()
  await rm(path)
  const second = await serve()
  await first.close()
  expect(await answers()).toBe(true)
  await second.close()
  expect(await readdir(directory)).toEqual([])
})
