import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as x509 from '@peculiar/x509'
import { apiServer, kubeconfigPath, maxNodes, net, nodeIP, nodeName, stateDir } from './layout.ts'

export const pkiDir = join(stateDir, 'pki')
export const pkiFile = (name: string): string => join(pkiDir, name)

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const day = 86_400_000

interface Issuer {
  readonly certificate: x509.X509Certificate
  readonly key: webcrypto.CryptoKey
}

/**
 * Makes a certificate authority, the certificates of every component and the kubeconfigs that carry them, unless they
 * are there. The nodes' kubeconfigs are made for all possible nodes, so that a node can be added at any time.
 */
export async function ensurePki(): Promise<void> {
  if (existsSync(pkiFile('complete'))) return
  await mkdir(pkiDir, { recursive: true, mode: 0o700 })
  x509.cryptoProvider.set(webcrypto)
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=insitu-lab',
    keys: keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(Date.now() - day),
    notAfter: new Date(Date.now() + 30 * day),
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  const ca: Issuer = { certificate, key: keys.privateKey }
  await save('ca.crt', certificate.toString('pem'))
  await save('ca.key', await pem(keys.privateKey))

  const tokens = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  await save('sa.key', await pem(tokens.privateKey))
  await save(
    'sa.pub',
    x509.PemConverter.encode(await webcrypto.subtle.exportKey('spki', tokens.publicKey), 'PUBLIC KEY'),
  )

  await issue(ca, 'apiserver', 'CN=kube-apiserver', [
    ...['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'localhost'].map(dns),
    ...['127.0.0.1', net.apiService, net.control].map(ip),
  ])
  for (const [name, subject] of [
    ['admin', 'O=system:masters,CN=admin'],
    ['scheduler', 'CN=system:kube-scheduler'],
    ['controller-manager', 'CN=system:kube-controller-manager'],
    ['proxy', 'CN=system:kube-proxy'],
  ] as const) {
    await kubeconfig(name, await issue(ca, name, subject))
  }
  for (let i = 1; i <= maxNodes; i++) {
    const node = nodeName(i)
    await kubeconfig(
      node,
      await issue(ca, node, `O=system:nodes,CN=system:node:${node}`, [dns(node), ip(nodeIP(node))]),
    )
  }
  await save('complete', '')

  async function kubeconfig(name: string, own: { key: string; certificate: string }): Promise<void> {
    const base64 = (text: string): string => Buffer.from(text).toString('base64')
    const content = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'insitu-lab',
      clusters: [
        {
          name: 'insitu-lab',
          cluster: { server: apiServer, 'certificate-authority-data': base64(certificate.toString('pem')) },
        },
      ],
      users: [
        {
          name,
          user: { 'client-certificate-data': base64(own.certificate), 'client-key-data': base64(own.key) },
        },
      ],
      contexts: [{ name: 'insitu-lab', context: { cluster: 'insitu-lab', user: name } }],
    }
    const text = `${JSON.stringify(content, undefined, 1)}\n`
    await save(`${name}.kubeconfig`, text)
    if (name === 'admin') await writeFile(kubeconfigPath, text, { mode: 0o600 })
  }
}

const dns = (value: string): x509.JsonGeneralName => ({ type: 'dns', value })
const ip = (value: string): x509.JsonGeneralName => ({ type: 'ip', value })

async function issue(
  ca: Issuer,
  name: string,
  subject: string,
  names: readonly x509.JsonGeneralName[] = [],
): Promise<{ key: string; certificate: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer: ca.certificate.subject,
    signingKey: ca.key,
    publicKey: keys.publicKey,
    signingAlgorithm: algorithm,
    notBefore: new Date(Date.now() - day),
    notAfter: new Date(Date.now() + 30 * day),
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension([...names])] : []),
    ],
  })
  const key = await pem(keys.privateKey)
  await save(`${name}.crt`, certificate.toString('pem'))
  await save(`${name}.key`, key)
  return { key, certificate: certificate.toString('pem') }
}

const pem = async (key: webcrypto.CryptoKey): Promise<string> =>
  x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')

const save = (name: string, text: string): Promise<void> => writeFile(pkiFile(name), text, { mode: 0o600 })
