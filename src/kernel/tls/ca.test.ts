// @peculiar/x509 wants it before anything else.
import 'reflect-metadata'
import { createPrivateKey, createPublicKey, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PublicKey,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { describe, expect, it } from 'vitest'
import { type Authority, createAuthority, issueLeaf } from './ca.ts'
import { createKeyPair } from './key.ts'

const hour = 3600 * 1000

const day = 24 * 3600 * 1000

async function leaf(authority: Authority, extra: Partial<Parameters<typeof issueLeaf>[0]> = {}) {
  const pair = await createKeyPair()
  const issued = await issueLeaf({ authority, publicKey: pair.publicKey, commonName: 'leaf', ...extra })
  return { ...issued, key: pair.privateKey, publicKey: pair.publicKey, parsed: new X509Certificate(issued.cert) }
}

describe('createAuthority', () => {
  it('makes a self-signed CA for ten years whose key belongs to it', async () => {
    const now = new Date('2026-01-01T00:00:00Z')
    const authority = await createAuthority({ now })
    const parsed = new X509Certificate(authority.cert)
    expect(parsed.ca).toBe(true)
    expect(parsed.verify(parsed.publicKey)).toBe(true)
    expect(createPublicKey(authority.key).export({ type: 'spki', format: 'pem' })).toBe(
      parsed.publicKey.export({ type: 'spki', format: 'pem' }),
    )
    expect(new Date(parsed.validTo).getUTCFullYear()).toBe(2035)
    // Nodes whose clocks are behind take it too.
    expect(Date.parse(parsed.validFrom)).toBe(now.getTime() - day)
  })

  it('gives each CA another name, so that two can be trusted at once', async () => {
    const [a, b] = await Promise.all([createAuthority(), createAuthority()])
    expect(new X509Certificate(a.cert).subject).not.toBe(new X509Certificate(b.cert).subject)
  })
})

describe('issueLeaf', () => {
  it('signs the names, a fresh serial and the key it was given', async () => {
    const authority = await createAuthority()
    const options = {
      uris: ['spiffe://insitu.build/ns/a/sa/b'],
      dnsNames: ['n1.node.insitu.build'],
      ipAddresses: ['10.0.0.1'],
    }
    const [a, b] = await Promise.all([leaf(authority, options), leaf(authority, options)])
    expect(a.parsed.checkIssued(new X509Certificate(authority.cert))).toBe(true)
    expect(a.parsed.verify(new X509Certificate(authority.cert).publicKey)).toBe(true)
    expect(a.parsed.subjectAltName).toBe(
      'URI:spiffe://insitu.build/ns/a/sa/b, DNS:n1.node.insitu.build, IP Address:10.0.0.1',
    )
    expect(a.parsed.ca).toBe(false)
    expect(a.parsed.publicKey.export({ type: 'spki', format: 'pem' })).toBe(a.publicKey)
    expect(a.parsed.serialNumber).not.toBe(b.parsed.serialNumber)
  })

  it('lasts a day at most, and never longer than its CA', async () => {
    const now = new Date('2026-01-01T00:00:00Z')
    const authority = await createAuthority({ now, lifetime: 10 * hour })
    expect((await leaf(authority, { now, lifetime: 9 * hour })).notAfter).toEqual(new Date(now.getTime() + 9 * hour))
    expect((await leaf(authority, { now })).notAfter).toEqual(new Date(now.getTime() + 10 * hour))
    const longer = await createAuthority({ now })
    expect((await leaf(longer, { now, lifetime: 100 * hour })).notAfter).toEqual(new Date(now.getTime() + 24 * hour))
  })

  it('does not let a name break out of the common name', async () => {
    const issued = await leaf(await createAuthority(), { commonName: 'a, CN=admin\nO=system:masters' })
    expect(issued.parsed.toLegacyObject().subject).not.toHaveProperty('O')
  })

  it.each([
    ['no PEM', 'hello'],
    ['a certificate authority’s other curve', other('secp384r1')],
  ])('refuses %s', async (_, publicKey) => {
    const authority = await createAuthority()
    await expect(issueLeaf({ authority, publicKey, commonName: 'x' })).rejects.toMatchObject({ code: 'BAD_PUBLIC_KEY' })
  })
})

/** One that somebody else made: always the same name, and a key identifier that is not the SHA-1 of its key. */
async function foreign(keyId: string): Promise<Authority> {
  const pair = await createKeyPair()
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const der = createPrivateKey(pair.privateKey).export({ type: 'pkcs8', format: 'der' })
  const certificate = await X509CertificateGenerator.create({
    ...{ subject: 'CN=insitu CA', issuer: 'CN=insitu CA', signingAlgorithm: algorithm },
    publicKey: new PublicKey(pair.publicKey),
    signingKey: await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']),
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
      new SubjectKeyIdentifierExtension(keyId),
    ],
  })
  return { cert: `${certificate.toString('pem')}\n`, key: pair.privateKey }
}

function other(namedCurve: string): string {
  return generateKeyPairSync('ec', { namedCurve }).publicKey.export({ type: 'spki', format: 'pem' }).toString()
}

describe('a real TLS connection', () => {
  async function handshake(server: Authority, trusted: string, clientAuthority: Authority): Promise<string> {
    const own = await leaf(server, { dnsNames: ['n1.node.insitu.build'] })
    const client = await leaf(clientAuthority, { uris: ['spiffe://x'] })
    const listener = createServer({
      cert: own.cert,
      key: own.key,
      ca: trusted,
      requestCert: true,
      rejectUnauthorized: false,
    })
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    try {
      const verdict = once(listener, 'secureConnection').then(([socket]) => {
        const s = socket as TLSSocket
        s.on('error', () => {})
        s.end()
        return s.authorized ? 'trusted' : String(s.authorizationError)
      })
      const socket = connect({
        host: '127.0.0.1',
        port: (listener.address() as AddressInfo).port,
        servername: 'n1.node.insitu.build',
        ca: trusted,
        cert: client.cert,
        key: client.key,
      })
      const failed = once(socket, 'error').then(([error]) => `client: ${(error as Error & { code: string }).code}`)
      const result = await Promise.race([verdict, failed])
      socket.destroy()
      return result
    } finally {
      listener.close()
    }
  }

  it('is trusted both ways, also when client and server come from the two CAs of a rotation', async () => {
    const [old, next] = await Promise.all([createAuthority(), createAuthority()])
    expect(await handshake(old, old.cert, old)).toBe('trusted')
    expect(await handshake(old, old.cert + next.cert, next)).toBe('trusted')
    expect(await handshake(next, old.cert + next.cert, old)).toBe('trusted')
  })

  it('is trusted with a CA of cert-manager’s, which names its key by another hash, before and after its renewal', async () => {
    const [old, next] = await Promise.all([foreign('aa'.repeat(20)), foreign('bb'.repeat(20))])
    expect(await handshake(old, old.cert, old)).toBe('trusted')
    for (const trusted of [old.cert + next.cert, next.cert + old.cert]) {
      expect(await handshake(old, trusted, next)).toBe('trusted')
      expect(await handshake(next, trusted, old)).toBe('trusted')
    }
  })

  it('is not trusted with a stranger’s CA', async () => {
    const [ours, stranger] = await Promise.all([createAuthority(), createAuthority()])
    expect(await handshake(ours, ours.cert, stranger)).not.toBe('trusted')
    expect(await handshake(stranger, ours.cert, ours)).toMatch(/^client: /)
  })
})
