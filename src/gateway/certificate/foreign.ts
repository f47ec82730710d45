import { X509Certificate } from 'node:crypto'
import { InsituError } from '../../kernel/errors.ts'
import type { Authority } from '../../kernel/tls/ca.ts'

/** Certificates of former CAs that stay trusted beside the one that signs. */
const mostFormer = 2

/**
 * A CA that somebody else keeps in our Secret (type kubernetes.io/tls), e.g. cert-manager: it is used and never written.
 * @throws InsituError CA_UNSUITABLE
 */
export function checkForeign({ cert }: Authority, secret: string, now: Date): void {
  const wrong = (why: string): InsituError =>
    new InsituError('CA_UNSUITABLE', `the certificate in Secret ${secret} ${why}`, {
      status: 'FAILED_PRECONDITION',
      fix: 'give a self-signed CA: with cert-manager a Certificate with isCA: true and an issuer of kind selfSigned',
    })
  const certificate = new X509Certificate(cert)
  if (!certificate.ca) throw wrong('is not that of a CA')
  // Clients and agents trust what is in the bundle and nothing above it.
  if (!certificate.checkIssued(certificate)) throw wrong('is signed by another CA')
  if (Date.parse(certificate.validTo) <= now.getTime()) throw wrong(`ended on ${certificate.validTo}`)
}

/**
 * What is to be trusted after somebody else has replaced the CA: the new one, and those of before until they end, so
 * that certificates they signed stay good. They are known from what was published last.
 */
export function foreignBundle({ cert }: Authority, published: string | undefined, now: Date): string {
  const pem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g
  const signing = new X509Certificate(cert)
  const former = [...(published ?? '').matchAll(pem)].flatMap(([text]) => {
    try {
      const certificate = new X509Certificate(text)
      const good = certificate.ca && Date.parse(certificate.validTo) > now.getTime()
      return good && certificate.fingerprint256 !== signing.fingerprint256 ? [text] : []
    } catch {
      return []
    }
  })
  return [cert, ...former.slice(0, mostFormer)].map((text) => `${text.trimEnd()}\n`).join('')
}
