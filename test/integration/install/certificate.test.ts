import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificatePath, type CertificateResponse, spiffe } from '../../../src/api/certificate.ts'
import { clusterGateway } from '../../../src/api/config.ts'
import { caSecret, configMaps, serviceAccounts, tokenAudience } from '../../../src/api/names.ts'
import { manifests } from '../../../src/cli/manifests/manifests.ts'
import { defaultOptions } from '../../../src/cli/manifests/options.ts'
import { ensureAuthority } from '../../../src/gateway/certificate/authority.ts'
import { certificateHandler } from '../../../src/gateway/certificate/handler.ts'
import { type GatewayIdentity, gatewayIdentity } from '../../../src/gateway/certificate/identity.ts'
import { createFixedDirectory } from '../../../src/gateway/directory/fixed.ts'
import { createGateway, type Gateway } from '../../../src/gateway/gateway.ts'
import { createFixedPlacer } from '../../../src/gateway/placement/fixed.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { createKeyPair } from '../../../src/kernel/tls/key.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { until } from '../fixtures/until.ts'
import { createAuthority, issueLeaf } from '../../../src/kernel/tls/ca.ts'
import type { TlsMaterial } from '../../../src/kernel/tls/material.ts'
import { requestCertificate } from '../../../src/kernel/tls/request.ts'
import { type BoundPod, type Installed, namespace, startInstalled } from './installed.ts'

type Secret = KubernetesObject & { readonly data?: Readonly<Record<string, string>> }
type ConfigMap = KubernetesObject & { readonly data?: Readonly<Record<string, string>> }

const log = createLogger({ level: 'silent' })
const year = 365 * 24 * 3600 * 1000
let installed: Installed
let directory: string
let client: KubernetesClient
beforeAll(async () => {
  installed = await startInstalled()
  directory = await mkdtemp(join(tmpdir(), 'insitu-certificate-'))
  client = await (await installed.pod('gateway-1', serviceAccounts.gateway, 'node-1')).client()
})
afterAll(async () => {
  client?.close()
  installed?.admin.close()
  await installed?.server.close()
  await rm(directory, { recursive: true, force: true })
})

const secret = (): Promise<Secret> => installed.admin.get<Secret>(resources.secrets, { namespace, name: caSecret })
const published = async (): Promise<string | undefined> =>
  (await installed.admin.get<ConfigMap>(resources.configMaps, { namespace, name: configMaps.ca })).data?.['ca.crt']

describe('the CA of the cluster', () => {
  test('is made once by however many gateways start at the same time, with the rights of a gateway', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => ensureAuthority({ client, namespace })))
    expect(new Set(all.map((a) => a.signing.key)).size).toBe(1)
    expect(await published()).toBe(all[0]!.bundle)
    expect(new X509Certificate(all[0]!.bundle).ca).toBe(true)
  })

  test('stays when it is asked for again, and when the installation is applied again', async () => {
    const before = await secret()
    await ensureAuthority({ client, namespace })
    for (const { object } of manifests(defaultOptions())) await installed.admin.apply(object)
    expect((await secret()).data).toEqual(before.data)
  })

  test('is published again when somebody changes the ConfigMap', async () => {
    const good = await published()
    await installed.admin.patch(resources.configMaps, { namespace, name: configMaps.ca }, { data: { 'ca.crt': 'x' } })
    await ensureAuthority({ client, namespace })
    expect(await published()).toBe(good)
  })

  test('is rotated in two steps, each trusted before it signs', async () => {
    const first = await ensureAuthority({ client, namespace })
    const late = new Date(Date.now() + 9.5 * year)
    const added = await ensureAuthority({ client, namespace, now: () => late })
    expect(added.signing).toEqual(first.signing)
    expect(added.bundle.match(/BEGIN CERTIFICATE/g)).toHaveLength(2)
    const later = new Date(late.getTime() + 4 * 24 * 3600 * 1000)
    const taken = await ensureAuthority({ client, namespace, now: () => later })
    expect(taken.signing.key).not.toBe(first.signing.key)
    expect(taken.bundle.match(/BEGIN CERTIFICATE/g)).toHaveLength(2)
    expect(taken.bundle).toContain(first.signing.cert.trim())
    const end = await ensureAuthority({ client, namespace, now: () => new Date(late.getTime() + year) })
    expect(end.bundle).toBe(taken.signing.cert)
    await installed.admin.patch(resources.secrets, { namespace, name: caSecret }, { data: null })
  })

  test('that is damaged is named, and not overwritten', async () => {
    const damaged = { data: { 'tls.crt': 'aGVsbG8=', 'tls.key': 'aGVsbG8=' } }
    await installed.admin.patch(resources.secrets, { namespace, name: caSecret }, damaged)
    await expect(ensureAuthority({ client, namespace })).rejects.toMatchObject({ code: 'CA_DAMAGED' })
    expect((await secret()).data).toEqual(damaged.data)
    await installed.admin.patch(resources.secrets, { namespace, name: caSecret }, { data: null })
  })
})

describe('an agent that asks a gateway for its certificate', () => {
  let identity: GatewayIdentity
  let gateway: Gateway
  let agent: BoundPod
  beforeAll(async () => {
    identity = await gatewayIdentity({ client, namespace, log })
    const nodes = createFixedDirectory([])
    gateway = await createGateway({
      listen: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
      directory: nodes,
      placer: createFixedPlacer({ directory: nodes, running: () => 0 }),
      tls: identity.tls,
      httpHandlers: identity.httpHandlers,
      config: clusterGateway,
      logger: log,
    })
    agent = await installed.pod('agent-1', serviceAccounts.agent, 'node-1')
  })
  afterAll(async () => {
    identity?.close()
    await gateway?.close()
  })

  async function ask(token: string, ca?: string): Promise<TlsMaterial> {
    const tokenFile = join(directory, 'token')
    await writeFile(tokenFile, `${token}\n`)
    const address = gateway.addresses[0]
    if (address?.kind !== 'tcp') throw new Error('no address')
    return requestCertificate(
      {
        host: '127.0.0.1',
        port: address.port,
        serverName: `buildkitd.${namespace}.svc`,
        path: certificatePath,
        tokenFile,
        loadCa: async () => ca ?? (await published()) ?? '',
      },
      AbortSignal.timeout(30_000),
    )
  }

  test('gets one for its node, signed by the published CA, for a key that never left it', async () => {
    const material = await ask(await agent.token(tokenAudience))
    const leaf = new X509Certificate(material.cert)
    expect(leaf.subjectAltName).toBe(
      `URI:spiffe://insitu.build/ns/${namespace}/sa/${serviceAccounts.agent}, DNS:node-1.node.insitu.build`,
    )
    expect(leaf.checkIssued(new X509Certificate(material.ca))).toBe(true)
    expect(material.ca).toBe(await published())
    expect(material.key).toContain('PRIVATE KEY')
  })

  test('does not send its token to a server that the CA does not know', async () => {
    await expect(ask(await agent.token(tokenAudience), (await createAuthority()).cert)).rejects.toMatchObject({
      code: 'HTTP_FAILED',
    })
  })

  test.each([
    ['a token for the API server', () => agent.token(), /the token is not valid here/],
    ['nonsense', () => Promise.resolve('nonsense'), /the token is not valid here/],
    [
      'the token of another service account',
      async () => (await installed.pod('other', serviceAccounts.gateway, 'node-1')).token(tokenAudience),
      /insitu-gateway is not an agent/,
    ],
    [
      'the same name in another namespace',
      async () => {
        const metadata = { name: serviceAccounts.agent, namespace: 'default' }
        await installed.admin.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata })
        return (await installed.pod('fake', serviceAccounts.agent, 'node-1', 'default')).token(tokenAudience)
      },
      /default:insitu-agent is not an agent/,
    ],
    [
      'the token of a pod that is gone',
      async () => {
        const pod = await installed.pod('gone', serviceAccounts.agent, 'node-1')
        const token = await pod.token(tokenAudience)
        await installed.admin.delete(resources.pods, { namespace, name: 'gone' }, { gracePeriodSeconds: 0 })
        return token
      },
      /the token is not valid here/,
    ],
  ])('is refused with %s', async (_, token, reason) => {
    await expect(ask(await token())).rejects.toThrow(reason)
  })

  test('a token that is bound to no pod gets none', async () => {
    const answer = await installed.admin.create<KubernetesObject & { status: { token: string } }>(
      resources.serviceAccounts,
      { namespace, name: serviceAccounts.agent, subresource: 'token' },
      {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { audiences: [tokenAudience], expirationSeconds: 3600 },
      },
    )
    await expect(ask(answer.status.token)).rejects.toThrow('not bound to a pod')
  })
})

describe('a service account that asks for a certificate to build with', () => {
  let identity: GatewayIdentity
  beforeAll(async () => {
    identity = await gatewayIdentity({ client, namespace, log })
    for (const name of ['builder', 'other']) {
      await installed.admin.apply({
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name, namespace: 'default' },
      })
    }
    const rbac = 'rbac.authorization.k8s.io'
    await installed.admin.apply({
      ...{ apiVersion: `${rbac}/v1`, kind: 'RoleBinding', metadata: { name: 'builders', namespace: 'default' } },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'insitu-builder' },
      subjects: [{ kind: 'ServiceAccount', name: 'builder', namespace: 'default' }],
    } as KubernetesObject)
  })
  afterAll(() => identity?.close())

  const token = async (name: string, audience = tokenAudience): Promise<string> => {
    const answer = await installed.admin.create<KubernetesObject & { status: { token: string } }>(
      resources.serviceAccounts,
      { namespace: 'default', name, subresource: 'token' },
      {
        ...{ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest' },
        spec: { audiences: [audience], expirationSeconds: 600 },
      },
    )
    return answer.status.token
  }
  const ask = async (bearer: string): Promise<{ status: number; body: Record<string, string> }> => {
    const { publicKey } = await createKeyPair()
    const call = { headers: { authorization: `Bearer ${bearer}` }, body: Buffer.from(JSON.stringify({ publicKey })) }
    const { status, body } = await identity.httpHandlers['POST /v1/certificate'](call)
    return { status, body: JSON.parse(body) as Record<string, string> }
  }

  test('gets one for an hour that names it, and that is good for clients only', async () => {
    const { status, body } = await ask(await token('builder'))
    expect(status).toBe(200)
    const leaf = new X509Certificate(body['certificate'] ?? '')
    expect(leaf.subjectAltName).toBe('URI:spiffe://insitu.build/ns/default/sa/builder')
    expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2'])
    const life = Date.parse(leaf.validTo) - Date.now()
    expect(life).toBeGreaterThan(3500_000)
    expect(life).toBeLessThanOrEqual(3600_000)
  })
  test('gets none without the right to create builds, and is told how to get it', async () => {
    const { status, body } = await ask(await token('other'))
    expect(status).toBe(403)
    expect(body['message']).toContain('create rolebinding insitu-other --clusterrole=insitu-builder')
  })
  test('gets none for a token that is meant for somebody else', async () => {
    expect((await ask(await token('builder', 'vault'))).status).toBe(401)
  })
})

describe('a CA that somebody else keeps in the Secret, as cert-manager does', () => {
  const put = async (cert: string, key: string): Promise<void> => {
    const data = { 'tls.crt': btoa(cert), 'tls.key': btoa(key), 'ca.crt': btoa(cert) }
    const body = { apiVersion: 'v1', kind: 'Secret', metadata: { name: caSecret }, type: 'kubernetes.io/tls', data }
    await installed.admin.delete(resources.secrets, { namespace, name: caSecret })
    await installed.admin.create(resources.secrets, { namespace }, body)
  }
  /** RSA, which is cert-manager's default. */
  const rsa = async (): Promise<{ cert: string; key: string }> => {
    const [cert, key] = [join(directory, 'ca.crt'), join(directory, 'ca.key')]
    const curve = ['-newkey', 'rsa:2048', '-nodes', '-days', '90', '-subj', '/CN=company CA']
    await run('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert])
    return { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') }
  }

  test('is used as it is, is never written, and when it is replaced the old one stays trusted', async () => {
    const first = await rsa()
    await put(first.cert, first.key)
    const before = await secret()
    const identity = await gatewayIdentity({ client, namespace, log, lookAgain: 50 })
    try {
      const old = identity.tls.current()
      expect(new X509Certificate(old.cert).checkIssued(new X509Certificate(first.cert))).toBe(true)
      expect(await published()).toContain(first.cert.trim())
      expect((await secret()).metadata?.resourceVersion).toBe(before.metadata?.resourceVersion)
      // The installation can be applied again although the Secret has a type of its own.
      for (const { object } of manifests(defaultOptions())) await installed.admin.apply(object)

      const second = await createAuthority()
      await put(second.cert, second.key)
      await until('the new CA to be trusted', () => identity.tls.current().ca.includes(second.cert.trim()))
      expect(identity.tls.current()).toMatchObject({ cert: old.cert, key: old.key })
      for (const ca of [first, second]) {
        expect(identity.tls.current().ca).toContain(ca.cert.trim())
        expect(await published()).toContain(ca.cert.trim())
      }
      expect((await ensureAuthority({ client, namespace })).signing.cert).toBe(second.cert)
    } finally {
      identity.close()
    }
  })
  test('signs once every gateway trusts it, and until then the former one does', async () => {
    const [first, second] = [await createAuthority(), await createAuthority()]
    await put(first.cert, first.key)
    const start = () => gatewayIdentity({ client, namespace, log, lookAgain: 400 })
    const [early, late] = [await start(), await start()]
    try {
      const { publicKey } = await createKeyPair()
      const agent = await installed.pod('agent-replaced', serviceAccounts.agent, 'node-1')
      const headers = { authorization: `Bearer ${await agent.token(tokenAudience)}` }
      const trusts = (gateway: GatewayIdentity): boolean => gateway.tls.current().ca.includes(second.cert.trim())
      /** Whether a certificate that the first gateway gives now is of this CA. */
      const signs = async (ca: typeof first): Promise<boolean> => {
        const body = Buffer.from(JSON.stringify({ publicKey }))
        const answer = await early.httpHandlers[`POST ${certificatePath}`]({ headers, body })
        const { certificate } = JSON.parse(answer.body) as CertificateResponse
        return new X509Certificate(certificate).verify(new X509Certificate(ca.cert).publicKey)
      }
      const data = { 'tls.crt': btoa(second.cert), 'tls.key': btoa(second.key), 'ca.crt': btoa(second.cert) }
      await installed.admin.patch(resources.secrets, { namespace, name: caSecret }, { data })
      await until('the first gateway to trust the new CA', () => trusts(early))
      expect(await signs(first)).toBe(true)
      await until('the new CA to sign', () => signs(second))
      expect(trusts(late)).toBe(true)
    } finally {
      early.close()
      late.close()
    }
  })
  test('is replaced under open connections: they go on, and so do clients of either CA', async () => {
    const [first, second] = [await createAuthority(), await createAuthority()]
    await put(first.cert, first.key)
    const identity = await gatewayIdentity({ client, namespace, log, lookAgain: 50 })
    const directory = createFixedDirectory([{ name: 'n1', address: { path: '/nowhere' } }])
    const gateway = await createGateway({
      ...{
        listen: [{ kind: 'tcp' as const, host: '127.0.0.1', port: 0 }],
        directory,
        logger: log,
        config: clusterGateway,
      },
      placer: createFixedPlacer({ directory, running: () => 0 }),
      tls: identity.tls,
    })
    const [address] = gateway.addresses
    const sessions: ClientHttp2Session[] = []
    const connectWith = async (authority: typeof first): Promise<ClientHttp2Session> => {
      const { publicKey, privateKey } = await createKeyPair()
      const leaf = await issueLeaf({ authority, publicKey, commonName: 'ci', uris: [spiffe('default', 'ci')] })
      const port = address?.kind === 'tcp' ? address.port : 0
      const ca = [first.cert, second.cert]
      const session = connectHttp2('https://gateway', {
        createConnection: () =>
          connectTls({ host: '127.0.0.1', port, ca, cert: leaf.cert, key: privateKey, ALPNProtocols: ['h2'] }),
      })
      session.on('error', () => undefined)
      sessions.push(session)
      return session
    }
    /** gRPC's status of a question: 0 is an answer. */
    const ask = (session: ClientHttp2Session): Promise<unknown> =>
      new Promise((resolve) => {
        const stream = session.request({
          ...{
            ':method': 'POST',
            ':path': '/grpc.health.v1.Health/Check',
            'content-type': 'application/grpc',
          },
          te: 'trailers',
        })
        let status: unknown
        stream.on('response', (headers) => (status ??= headers['grpc-status']))
        stream.on('trailers', (headers) => (status ??= headers['grpc-status']))
        stream.on('error', () => undefined)
        stream.on('close', () => resolve(status))
        stream.resume()
        stream.end(Buffer.alloc(5))
      })
    try {
      const open = await connectWith(first)
      expect(await ask(open)).toBe('0')
      await put(second.cert, second.key)
      await until('the new CA to be trusted', () => identity.tls.current().ca.includes(second.cert.trim()))
      expect(await ask(open)).toBe('0')
      expect(await ask(await connectWith(first))).toBe('0')
      expect(await ask(await connectWith(second))).toBe('0')
      expect(await ask(await connectWith(await createAuthority()))).not.toBe('0')
    } finally {
      for (const session of sessions) session.destroy()
      await gateway.close()
      identity.close()
    }
  })
  test('that has ended, or is not there yet, is named', async () => {
    const ended = await createAuthority({ now: new Date(Date.now() - 10 * year), lifetime: year })
    await put(ended.cert, ended.key)
    await expect(ensureAuthority({ client, namespace })).rejects.toMatchObject({ code: 'CA_UNSUITABLE' })
    await put('', '')
    await expect(ensureAuthority({ client, namespace })).rejects.toMatchObject({ code: 'CA_MISSING' })
    await installed.admin.delete(resources.secrets, { namespace, name: caSecret })
    for (const { object } of manifests(defaultOptions())) await installed.admin.apply(object)
  })
})

test('a crowd that asks for certificates is put off before it reaches the API server', async () => {
  const handler = certificateHandler({
    client,
    namespace,
    authority: () => ensureAuthority({ client, namespace }),
    log,
  })
  const ask = () =>
    handler({ headers: { authorization: 'Bearer nonsense' }, body: Buffer.from(JSON.stringify({ publicKey: 'x' })) })
  const crowd = await Promise.all(Array.from({ length: 100 }, ask))
  const count = (status: number) => crowd.filter((answer) => answer.status === status).length
  expect([count(401), count(503)]).toEqual([32, 68])
  expect((await ask()).status).toBe(401)
})
