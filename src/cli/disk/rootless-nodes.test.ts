import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { labels, namespace } from '../../api/names.ts'
import { UsageError } from '../../kernel/errors.ts'
import { createProgram } from '../cli.ts'

const agent = (node: string, mode: object): object => ({
  metadata: { name: `agent-${node}`, namespace, labels: { [labels.role]: 'agent', ...mode } },
  spec: { nodeName: node },
})
const rootless = (node: string): object => agent(node, { [labels.mode]: 'rootless' })

let directory: string
let server: Server
let pods: readonly object[]
let asked: string[]
let written: Record<'stdout' | 'stderr', string>

/** An API server with an installation of these agents. Nobody may exec in their pods. */
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootless-nodes-'))
  asked = []
  server = createServer((request, response) => {
    const list = request.url?.includes('/pods?') === true ? pods : []
    const one = request.url?.includes('?') !== true
    response.writeHead(one ? 404 : 200, { 'content-type': 'application/json' })
    response.end(
      JSON.stringify(one ? { kind: 'Status', code: 404, reason: 'NotFound' } : { metadata: {}, items: list }),
    )
  })
  server.on('upgrade', (request, socket) => {
    asked.push(request.url ?? '')
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  const cluster = { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true }
  const config = {
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'a', users: [{ name: 'a', user: {} }] },
    ...{ clusters: [{ name: 'a', cluster }], contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }] },
  }
  await writeFile(join(directory, 'config'), JSON.stringify(config))
  written = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) {
    vi.spyOn(process[stream], 'write').mockImplementation((text) => {
      written[stream] += String(text)
      return true
    })
  }
})
afterEach(async () => {
  vi.restoreAllMocks()
  server.closeAllConnections()
  await new Promise((closed) => server.close(closed))
  await rm(directory, { recursive: true })
})

const run = (line: string): Promise<unknown> =>
  createProgram().parseAsync([...line.split(' '), '--kubeconfig', join(directory, 'config')], { from: 'user' })

it.each(['du', 'prune'])('insitu %s leaves rootless nodes out and says so', async (command) => {
  pods = [rootless('r2'), rootless('r1')]
  await run(`${command} -o json`)
  expect(asked).toEqual([])
  expect(written.stderr).toMatch(/^left out: r1, r2 .*rootless.*\n$/)
  expect(JSON.parse(written.stdout)).toMatchObject({ nodes: [], rootless: ['r1', 'r2'], failed: [] })
})

it('the other nodes of a cluster with both modes are asked, and what they need is said', async () => {
  pods = [rootless('r1'), agent('n1', {})]
  const failed = run('du')
  await expect(failed).rejects.toThrow(/^n1: /)
  await expect(failed).rejects.toMatchObject({
    fix: expect.stringContaining('to get and to create pods/exec') as string,
  })
  expect(asked).toHaveLength(1)
  expect(written.stderr).toContain('left out: r1 ')
})

it('other nodes than the one that was named are not spoken of', async () => {
  pods = [rootless('r1'), agent('n1', {})]
  await expect(run('du --node n1')).rejects.toThrow(/^n1: /)
  expect(written.stderr).toBe('')
})

it.each(['du', 'prune'])('insitu %s --node of a rootless one is refused with the reason', async (command) => {
  pods = [rootless('r1'), agent('n1', {})]
  const refused = run(`${command} --node n1 --node r1`)
  await expect(refused).rejects.toThrow(/node r1 builds rootless/)
  await expect(refused).rejects.toThrow(UsageError)
  expect(asked).toEqual([])
})
