// @peculiar/x509 resolves its algorithms through decorators and wants this before anything else.
import 'reflect-metadata'
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, webcrypto } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { InsituError } from '../errors.ts'
import { createKeyPair } from './key.ts'
import { longestLife, skew } from './lifetimes.ts'

/** A certificate authority's certificate and key, PEM. */
export interface Authority {
  readonly cert: string
  readonly key: string
}

const tenYears = 3650 * 24 * 3600 * 1000
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

export interface AuthorityOptions {
  readonly now?: Date
  /** Milliseconds. Default ten years. */
  readonly lifetime?: number
}

/**
 * A self-signed authority, ECDSA P-256, that may sign leaves but no further authorities. Its name holds a random part:
 * two authorities that are trusted at the same time must not be mistaken for each other.
 */
export async function createAuthority(options: AuthorityOptions = {}): Promise<Authority> {
  const now = options.now ?? new Date()
  const pair = await createKeyPair()
  const publicKey = await importPublic(pair.publicKey)
  const name = `CN=insitu CA ${randomBytes(4).toString('hex')}`
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: name,
    issuer: name,
    notBefore: new Date(now.getTime() - skew),
    notAfter: new Date(now.getTime() + (options.lifetime ?? tenYears)),
    publicKey,
    signingKey: await importPrivate(pair.privateKey),
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(publicKey),
    ],
  })
  return { cert: pem(certificate), key: pair.privateKey }
}

export interface LeafOptions {
  readonly authority: Authority
  /** SubjectPublicKeyInfo, PEM. */
  readonly publicKey: string
  readonly commonName: string
  /** Who the holder is: `spiffe://…`. */
  readonly uris?: readonly string[]
  readonly dnsNames?: readonly string[]
  readonly ipAddresses?: readonly string[]
  readonly now?: Date
  /** Milliseconds, at most a day. Default a day. Never beyond the authority's own end. */
  readonly lifetime?: number
  /** Whether its holder may be a server too. Default true. */
  readonly server?: boolean
}

export interface Leaf {
  readonly cert: string
  readonly notAfter: Date
}

/**
 * A certificate for TLS servers and clients.
 * @throws InsituError BAD_PUBLIC_KEY for a key that is not an EC P-256 public key in PEM.
 */
export async function issueLeaf(options: LeafOptions): Promise<Leaf> {
  const now = options.now ?? new Date()
  const issuer = new X509Certificate(options.authority.cert)
  const publicKey = await importPublic(options.publicKey)
  const end = Math.min(
    now.getTime() + Math.min(options.lifetime ?? longestLife, longestLife),
    issuer.notAfter.getTime(),
  )
  const names: JsonGeneralNames = [
    ...(options.uris ?? []).map((value) => ({ type: 'url' as const, value })),
    ...(options.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(options.ipAddresses ?? []).map((value) => ({ type: 'ip' as const, value })),
  ]
  // Certificates count in whole seconds.
  const notAfter = new Date(Math.floor(end / 1000) * 1000)
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: [{ CN: [options.commonName] }],
    issuer: issuer.subject,
    notBefore: new Date(now.getTime() - skew),
    notAfter,
    publicKey,
    signingKey: await importPrivate(options.authority.key),
    signingAlgorithm: algorithmOf(createPrivateKey(options.authority.key)),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([
        ...(options.server === false ? [] : [ExtendedKeyUsage.serverAuth]),
        ExtendedKeyUsage.clientAuth,
      ]),
      ...(names.length === 0 ? [] : [new SubjectAlternativeNameExtension(names)]),
      await SubjectKeyIdentifierExtension.create(publicKey),
      await keyOf(issuer),
    ],
  })
  return { cert: pem(certificate), notAfter }
}

/**
 * How a leaf names the key of its issuer: as the issuer does (RFC 5280, section 4.2.1.1). Hashes differ, Go's is not SHA-1
 * any more, and OpenSSL does not find an issuer that calls itself otherwise.
 */
async function keyOf(issuer: X509Certificate): Promise<AuthorityKeyIdentifierExtension> {
  const own = issuer.getExtension(SubjectKeyIdentifierExtension)
  return own
    ? new AuthorityKeyIdentifierExtension(own.keyId)
    : await AuthorityKeyIdentifierExtension.create(issuer.publicKey)
}

const pem = (certificate: X509Certificate): string => `${certificate.toString('pem')}\n`

/** 126 random bits, positive and without a leading zero byte, as RFC 5280 section 4.1.2.2 wants. */
function serial(): string {
  const bytes = randomBytes(16)
  bytes[0] = 0x40 | (bytes[0]! & 0x3f)
  return bytes.toString('hex')
}

async function importPublic(text: string): Promise<PublicKey> {
  let key
  try {
    key = createPublicKey(text)
  } catch (cause) {
    throw new InsituError('BAD_PUBLIC_KEY', 'the public key is not PEM', { status: 'INVALID_ARGUMENT', cause })
  }
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new InsituError('BAD_PUBLIC_KEY', 'the public key is not an EC P-256 key', { status: 'INVALID_ARGUMENT' })
  }
  return new PublicKey(key.export({ type: 'spki', format: 'der' }))
}

async function importPrivate(text: string): Promise<webcrypto.CryptoKey> {
  const key = createPrivateKey(text)
  const der = key.export({ type: 'pkcs8', format: 'der' })
  return webcrypto.subtle.importKey('pkcs8', der, algorithmOf(key), false, ['sign'])
}

/** Of a CA that is not our own making: cert-manager's default is RSA. @throws InsituError CA_KEY */
function algorithmOf(key: KeyObject): typeof algorithm | { name: string; namedCurve?: string; hash: string } {
  if (key.asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (curve === 'prime256v1') return algorithm
  if (curve === 'secp384r1') return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }
  throw new InsituError('CA_KEY', `the key of the CA is neither RSA nor ECDSA P-256 or P-384`, {
    status: 'FAILED_PRECONDITION',
    fix: 'make a CA with another algorithm',
  })
}
