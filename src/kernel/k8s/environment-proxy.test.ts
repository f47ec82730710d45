import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { forwardProxy } from '../../../test/unit/forward-proxy.ts'
import { createAuthority, issueLeaf } from '../tls/ca.ts'
import { createKeyPair } from '../tls/key.ts'
import { createKubernetesClient } from './client.ts'
import { execInPod } from './exec.ts'
import { loadEndpoint } from './load-endpoint.ts'

/** An API server whose name only a proxy knows. */
async function apiServer() {
  const authority = await createAuthority()
  const { publicKey, privateKey: key } = await createKeyPair()
  const names = { commonName: 'api', dnsNames: ['api.test'], ipAddresses: ['127.0.0.1'] }
  const sockets: string[] = []
  const server = createServer({ key, ...(await issueLeaf({ authority, publicKey, ...names })) }, (_, response) =>
    response.end(JSON.stringify({ gitVersion: 'v1' })),
  )
  server.on('upgrade', (request, socket) => {
    sockets.push(String(request.url).replace(/\?.*/, ''))
    socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const directory = await mkdtemp(join(tmpdir(), 'insitu-environment-proxy-'))
  onTestFinished(async () => {
    server.close().closeAllConnections()
    await rm(directory, { recursive: true })
  })
  const { port } = server.address() as AddressInfo
  return {
    ...{ port, sockets },
    kubeconfig: async (more: object = {}, host = 'api.test:6443'): Promise<string> => {
      const file = join(directory, 'config')
      const cluster = {
        server: `https://${host}`,
        'certificate-authority-data': Buffer.from(authority.cert).toString('base64'),
        ...more,
      }
      const config = {
        'current-context': 'c',
        clusters: [{ name: 'c', cluster }],
        contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
        users: [{ name: 'u', user: { token: 't' } }],
      }
      await writeFile(file, JSON.stringify(config))
      return file
    },
  }
}

async function version(kubeconfig: string, env: Readonly<Record<string, string>>): Promise<unknown> {
  const client = await createKubernetesClient({ kubeconfig, env })
  onTestFinished(() => client.close())
  return client.version({ timeout: 2000 })
}

it('reaches the API server of a kubeconfig through the proxy of the environment, as kubectl', async () => {
  const { port, sockets, kubeconfig } = await apiServer()
  const proxy = await forwardProxy({ ports: { 'api.test': port }, login: 'u:s3cret' })
  const file = await kubeconfig()
  expect(await version(file, { https_proxy: proxy.url })).toEqual({ gitVersion: 'v1' })
  expect(proxy.requests).toEqual(['CONNECT api.test:6443'])
  const endpoint = await loadEndpoint({ kubeconfig: file, env: { HTTPS_PROXY: proxy.url } })
  const place = { namespace: 'n', pod: 'p', container: 'c', command: ['true'], onOutput: () => undefined }
  await expect(execInPod(endpoint, place)).rejects.toMatchObject({ code: 'POD_EXEC' })
  expect(sockets).toEqual(['/api/v1/namespaces/n/pods/p/exec'])
  await expect(version(file, { HTTPS_PROXY: proxy.url, NO_PROXY: '.test' })).rejects.toThrow('ENOTFOUND')
  const wrong = version(file, { HTTPS_PROXY: proxy.url.replace('s3cret', 'wr0ng') })
  await expect(wrong).rejects.toMatchObject({
    code: 'K8S_UNREACHABLE',
    message: expect.stringMatching(/407(?!.*wr0ng)/) as string,
    fix: expect.stringContaining('HTTPS_PROXY') as string,
  })
})

it('uses the proxy of the kubeconfig where it has one, and none for addresses of this machine', async () => {
  const { port, kubeconfig } = await apiServer()
  const [said, other] = [await forwardProxy({ ports: { 'api.test': port } }), await forwardProxy({})]
  const env = { HTTPS_PROXY: other.url }
  expect(await version(await kubeconfig({ 'proxy-url': said.url }), env)).toEqual({ gitVersion: 'v1' })
  expect(await version(await kubeconfig({}, `127.0.0.1:${port}`), env)).toEqual({ gitVersion: 'v1' })
  expect([said.requests, other.requests]).toEqual([['CONNECT api.test:6443'], []])
})

it('reaches the API server of its own pod directly', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-environment-proxy-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  await Promise.all(['token', 'ca.crt'].map((name) => writeFile(join(directory, name), 'x')))
  const pod = { HOME: directory, KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' }
  const endpoint = await loadEndpoint({ env: { ...pod, HTTPS_PROXY: 'http://proxy.test:1' } }, directory)
  expect(await endpoint.credentials()).not.toHaveProperty('agent')
})

it('refuses what is no proxy, without its password, and waits for a silent one no longer than for the server', async () => {
  const { kubeconfig } = await apiServer()
  const broken: unknown = await version(await kubeconfig(), { HTTPS_PROXY: 'http://u:s3cret#' }).catch(
    (e: unknown) => e,
  )
  expect(broken).toMatchObject({ code: 'PROXY_URL', message: expect.not.stringContaining('s3cret') as string })
  const silent = await forwardProxy({ silent: true })
  await expect(version(await kubeconfig(), { HTTPS_PROXY: silent.url })).rejects.toMatchObject({
    code: 'K8S_UNREACHABLE',
    message: expect.stringContaining('no answer within 2 s') as string,
  })
})
