import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { annotations } from '../../api/names.ts'
import type { NodeReport } from '../../api/node-report.ts'
import { inClusterClient } from '../../kernel/k8s/in-cluster.ts'
import { createLogger } from '../../kernel/log.ts'
import { createAuthority, issueLeaf } from '../../kernel/tls/ca.ts'
import { createKeyPair } from '../../kernel/tls/key.ts'
import { annotatePod } from './annotate.ts'
import { createReporter } from './reporter.ts'

const report = (change: Partial<NodeReport> = {}): NodeReport => ({
  version: 1,
  node: 'node1',
  ready: true,
  state: 'ready',
  platforms: ['linux/amd64'],
  buildkit: '0.33.1',
  containerd: '2.4.2',
  snapshotter: 'overlayfs',
  distribution: 'kubeadm',
  network: 'bridge',
  findings: [],
  ...change,
})
const log = createLogger({ level: 'silent' })

describe('delivering reports', () => {
  it('gathers changes, sends the newest once, and nothing when nothing changed', async () => {
    const sent: string[] = []
    const reporter = createReporter({ send: (r) => void sent.push(r.state), log, gather: 5 })
    reporter.update(report({ state: 'starting' }))
    reporter.update(report())
    await expect.poll(() => sent).toEqual(['ready'])
    reporter.update(report())
    reporter.update(report({ state: 'draining' }))
    await reporter.close()
    expect(sent).toEqual(['ready', 'draining'])
  })

  it('tries again until it has arrived', async () => {
    let tries = 0
    const send = (): void => {
      if (++tries < 3) throw new Error('away')
    }
    const reporter = createReporter({ send, log, gather: 1, retry: 1 })
    reporter.update(report())
    await expect.poll(() => tries).toBe(3)
    await reporter.close()
    expect(tries).toBe(3)
  })
})

describe('the annotation on the pod', () => {
  let directory: string
  let server: Server
  let answer: { code: number; body: string }
  const seen: { request: IncomingMessage; body: string }[] = []

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'insitu-account-'))
    const authority = await createAuthority()
    const pair = await createKeyPair()
    const leaf = await issueLeaf({
      authority,
      publicKey: pair.publicKey,
      commonName: 'api',
      ipAddresses: ['127.0.0.1'],
    })
    await writeFile(join(directory, 'ca.crt'), authority.cert)
    server = createServer({ cert: leaf.cert, key: pair.privateKey }, (request, response) => {
      let body = ''
      request.on('data', (chunk) => (body += String(chunk)))
      request.on('end', () => {
        seen.push({ request, body })
        response.writeHead(answer.code).end(answer.body)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  })
  afterAll(async () => {
    server.close()
    await rm(directory, { recursive: true })
  })

  const client = () => {
    const port = String((server.address() as AddressInfo).port)
    const found = inClusterClient({ KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: port }, directory)
    if (!found) throw new Error('there is a cluster')
    return found
  }

  it('is a merge patch with the token of the moment', async () => {
    answer = { code: 200, body: '{}' }
    for (const token of ['first', 'second']) {
      await writeFile(join(directory, 'token'), `${token}\n`)
      await annotatePod(client(), { namespace: 'buildkit-system', name: 'agent-x' }, report())
      const last = seen.at(-1)
      expect(last?.request.headers).toMatchObject({
        authorization: `Bearer ${token}`,
        'content-type': 'application/merge-patch+json',
      })
      expect(last?.request.url).toBe('/api/v1/namespaces/buildkit-system/pods/agent-x?fieldManager=insitu')
      const body = JSON.parse(last?.body ?? '') as { metadata: { annotations: Record<string, string> } }
      expect(JSON.parse(body.metadata.annotations[annotations.nodeReport] ?? '')).toEqual(report())
    }
  })

  it('fails with the server’s sentence, and without the token', async () => {
    answer = { code: 403, body: '{"kind":"Status","message":"pods \\"agent-x\\" is forbidden"}' }
    const call = annotatePod(client(), { namespace: 'n', name: 'agent-x' }, report())
    await expect(call).rejects.toMatchObject({
      code: 'KUBERNETES_API',
      message: expect.stringContaining('is forbidden'),
    })
    await expect(call).rejects.not.toMatchObject({ message: expect.stringContaining('second') })
  })

  it('is no business of a process outside a cluster', () => {
    expect(inClusterClient({}, directory)).toBeUndefined()
  })
})
