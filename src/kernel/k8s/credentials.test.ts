import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createAuthority, issueLeaf } from '../tls/ca.ts'
import { createKeyPair } from '../tls/key.ts'
import { createKubernetesClient, type KubernetesClient } from './client.ts'
import type { Endpoint } from './endpoint.ts'
import { execInPod } from './exec.ts'
import { loadEndpoint } from './load-endpoint.ts'

let directory: string
let url: string
/** The credentials of the requests that arrived. */
let seen: (string | undefined)[]
const ends: (() => unknown)[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-credentials-'))
  seen = []
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization)
    response.end(JSON.stringify({ gitVersion: 'v1' }))
  })
  server.on('upgrade', (request, socket) => {
    seen.push(request.headers.authorization)
    socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  ends.push(() => (server.closeAllConnections(), server.close()))
})
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
  await rm(directory, { recursive: true })
})

const credential = JSON.stringify({ kind: 'ExecCredential', status: { token: 'of-the-plug-in' } })

/** A kubeconfig whose plug-in is a shell script. */
async function kubeconfig(script: string, cluster: object = { server: url, 'insecure-skip-tls-verify': true }) {
  const name = 'c'
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'sh', args: ['-c', script] }
  const path = join(directory, 'config')
  const config = {
    'current-context': name,
    clusters: [{ name, cluster }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    users: [{ name, user: { exec } }],
  }
  await writeFile(path, JSON.stringify(config))
  return path
}
async function clientWith(script: string, credentialsLimit?: number): Promise<KubernetesClient> {
  const client = await createKubernetesClient({ kubeconfig: await kubeconfig(script), credentialsLimit })
  ends.push(() => client.close())
  return client
}

it('does not count the time of a login as that of the API server, and logs in once for calls at the same time', async () => {
  const client = await clientWith(`echo x >>${directory}/runs; sleep 1; echo '${credential}'`)
  const calls = await Promise.all([1, 2, 3].map(() => client.version({ timeout: 500 })))
  expect(calls).toHaveLength(3)
  expect(await client.version({ timeout: 500 })).toEqual({ gitVersion: 'v1' })
  expect(seen).toEqual(Array(4).fill('Bearer of-the-plug-in'))
  expect(await readFile(`${directory}/runs`, 'utf8')).toBe('x\n')
})

it('names the plug-in that does not end, and ends it', async () => {
  const client = await clientWith(`echo $$ >${directory}/pid; exec sleep 60`, 300)
  await expect(client.version()).rejects.toMatchObject({
    code: 'NO_CREDENTIALS',
    message: expect.stringContaining('plug-in sh') as string,
    fix: expect.stringContaining('kubectl') as string,
  })
  const pid = Number(await readFile(`${directory}/pid`, 'utf8'))
  await expect.poll(() => isAlive(pid)).toBe(false)
})

/** Whether there is still such a process. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

it('is over at once for who does not want to wait any more', async () => {
  const client = await clientWith(`sleep 2; echo '${credential}'`)
  const begun = Date.now()
  await expect(client.version({ signal: AbortSignal.timeout(100) })).rejects.toMatchObject({ name: 'TimeoutError' })
  expect(Date.now() - begun).toBeLessThan(1500)
})

it('does not wait for input that nobody gives, and says how the plug-in failed', async () => {
  const client = await clientWith(`read line; echo secret; exit 3`)
  const error: unknown = await client.version().catch((e: unknown) => e)
  expect(error).toMatchObject({ code: 'KUBECONFIG_BROKEN', cause: { message: 'sh -c failed with exit code 3' } })
})

/** What another process says that asks for the credentials of a kubeconfig. */
async function credentialsOf(
  kubeconfig: string,
  more: object,
): Promise<{ readonly out: string; readonly err: string }> {
  const module = new URL('./load-endpoint.ts', import.meta.url).href
  const program = `
    const { loadEndpoint } = await import(${JSON.stringify(module)})
    const endpoint = await loadEndpoint(${JSON.stringify({ kubeconfig, ...more })})
    await endpoint.credentials().then(
      ({ headers }) => console.log(headers.Authorization),
      ({ code }) => console.log(code)
    )`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { out: '', err: '' }
  child.stdout.on('data', (chunk) => (said.out += String(chunk)))
  child.stderr.on('data', (chunk) => (said.err += String(chunk)))
  // A child of the plug-in keeps standard error: its end is not waited for.
  await new Promise((resolve) => child.stdout.once('end', resolve))
  return said
}

it('lets a process end although a child of the plug-in goes on', async () => {
  const path = await kubeconfig('sleep 15; echo')
  const begun = Date.now()
  expect((await credentialsOf(path, { credentialsLimit: 300 })).out).toBe('NO_CREDENTIALS\n')
  expect(Date.now() - begun).toBeLessThan(12_000)
})

it('gives a plug-in what the protocol promises, and shows what it says to people', async () => {
  const path = await kubeconfig(
    `echo 'enter the code ABCD' >&2; test -n "$KUBERNETES_EXEC_INFO" && echo '${credential}'`,
  )
  const said = await credentialsOf(path, {})
  await expect.poll(() => said.err).toContain('enter the code ABCD')
  expect(said.out).toBe('Bearer of-the-plug-in\n')
})

it('runs programs in pods of the cluster, and with the account, that was chosen', async () => {
  const chosen: Endpoint = {
    ...{ server: url, namespace: 'default' },
    credentials: () => Promise.resolve({ headers: { authorization: 'Bearer chosen' } }),
  }
  const place = { namespace: 'n', pod: 'p', container: 'c', command: ['true'], onOutput: () => undefined }
  await expect(execInPod(chosen, place)).rejects.toMatchObject({ code: 'POD_EXEC' })
  const loaded = await loadEndpoint({ kubeconfig: await kubeconfig(`echo '${credential}'`) })
  await expect(execInPod(loaded, place)).rejects.toMatchObject({ code: 'POD_EXEC' })
  expect(seen).toEqual(['Bearer chosen', 'Bearer of-the-plug-in'])
})

it('opens WebSockets with the CA of the kubeconfig and the certificate of its plug-in', async () => {
  const authority = await createAuthority()
  const issue = async (commonName: string) => {
    const { publicKey, privateKey: key } = await createKeyPair()
    return { key, ...(await issueLeaf({ authority, publicKey, commonName, ipAddresses: ['127.0.0.1'] })) }
  }
  const [own, person] = [await issue('server'), await issue('person')]
  const names: unknown[] = []
  const server = createSecureServer({ ...own, ca: authority.cert, requestCert: true })
  server.on('upgrade', (_, socket: TLSSocket) => {
    names.push(socket.authorized, socket.getPeerCertificate().subject.CN)
    socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => (server.closeAllConnections(), server.close()))
  const status = { clientCertificateData: person.cert, clientKeyData: person.key }
  await writeFile(`${directory}/answer`, JSON.stringify({ kind: 'ExecCredential', status }))
  const path = await kubeconfig(`cat ${directory}/answer`, {
    server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    'certificate-authority-data': Buffer.from(authority.cert).toString('base64'),
  })
  const place = { namespace: 'n', pod: 'p', container: 'c', command: ['true'], onOutput: () => undefined }
  await expect(execInPod(await loadEndpoint({ kubeconfig: path }), place)).rejects.toMatchObject({ code: 'POD_EXEC' })
  expect(names).toEqual([true, 'person'])
})
