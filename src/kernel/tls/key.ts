import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'

/** PEM: PKCS #8 and SubjectPublicKeyInfo. */
export interface KeyPair {
  readonly privateKey: string
  readonly publicKey: string
}

/** A fresh EC P-256 key. */
export const createKeyPair = (): Promise<KeyPair> =>
  promisify(generateKeyPair)('ec', {
    namedCurve: 'prime256v1',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
