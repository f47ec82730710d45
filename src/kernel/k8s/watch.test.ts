import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createLogger } from '../log.ts'
import type { BackoffOptions } from './backoff.ts'
import { createKubernetesClient } from './client.ts'
import { resources } from './resources.ts'
import { watchResource } from './watch.ts'

// What a real API server does seldom and not when it is asked to; the rest is in test/integration/k8s/watch.

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

/** Watches the ConfigMaps of a server that has none. @param answer gets every watch with its number, from 1. */
async function watched(answer: (response: ServerResponse, count: number) => void, backoff?: BackoffOptions) {
  let count = 0
  /** The version from which each watch began. */
  const versions: (string | null)[] = []
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://server')
    if (searchParams.has('watch')) {
      versions.push(searchParams.get('resourceVersion'))
      return answer(response, (count += 1))
    }
    response.end(JSON.stringify({ metadata: { resourceVersion: '1' }, items: [] }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const client = await createKubernetesClient({
    endpoint: {
      server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      namespace: 'default',
      credentials: () => Promise.resolve({}),
    },
  })
  ends.push(() => client.close())
  const logged: Record<string, unknown>[] = []
  const write = (line: string): void => void logged.push({ ...(JSON.parse(line) as object), count })
  const watch = watchResource({
    ...{ client, resource: resources.configMaps, pick: () => true },
    logger: createLogger({ level: 'debug', destination: { write } }),
    ...(backoff ? { backoff } : {}),
  })
  ends.push(() => watch.stop())
  await watch.whenSynced()
  return { watch, versions, errors: () => logged.filter((line) => line['level'] === 'error'), count: () => count }
}

function refuse(response: ServerResponse, code: number): void {
  const message = 'configmaps is forbidden: User "x" cannot watch resource "configmaps": RBAC: role "y" not found'
  response.writeHead(code)
  response.end(JSON.stringify({ kind: 'Status', code, reason: 'Forbidden', message }))
}

test.each([401, 403])(
  'a server that has just started and knows no rights yet (%i) is asked again soon',
  async (code) => {
    const added = { type: 'ADDED', object: { metadata: { namespace: 'default', name: 'a', resourceVersion: '2' } } }
    const { watch, errors } = await watched((response, count) => {
      if (count === 1) response.destroy()
      else if (count === 2) refuse(response, code)
      else response.write(`${JSON.stringify(added)}\n`)
    })
    await expect.poll(() => [...watch.items.keys()], { timeout: 10_000 }).toEqual(['default/a'])
    expect(errors()).toEqual([])
  },
)

test('who is refused three times in a row is told once what is missing', async () => {
  const { errors, count } = await watched((response) => refuse(response, 403), { base: 1, max: 5 })
  await expect.poll(count).toBeGreaterThan(6)
  expect(errors()).toMatchObject([{ count: 3, fix: expect.stringContaining('"watch" on configmaps') as string }])
})

test('refusals that something else lies between are not in a row', async () => {
  const bookmark = { type: 'BOOKMARK', object: { metadata: { resourceVersion: '2' } } }
  const { errors, count } = await watched(
    (response, n) => {
      if (n % 3 !== 0) refuse(response, 403)
      else response.end(`${JSON.stringify(bookmark)}\n`)
    },
    { base: 1, max: 5 },
  )
  await expect.poll(count).toBeGreaterThan(9)
  expect(errors()).toEqual([])
})

test('a bookmark is no object, and the next watch begins at its version', async () => {
  const bookmark = { type: 'BOOKMARK', object: { kind: 'ConfigMap', metadata: { resourceVersion: '7' } } }
  const { watch, versions } = await watched(
    (response, count) => {
      if (count > 1) response.flushHeaders()
      else response.end(`${JSON.stringify(bookmark)}\n`)
    },
    { base: 1, max: 5 },
  )
  await expect.poll(() => versions).toEqual(['1', '7'])
  expect([...watch.items.keys()]).toEqual([])
  expect(watch.relists).toBe(0)
})
