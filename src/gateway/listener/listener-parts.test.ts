import { expect, test } from 'vitest'
import { formatAddress, parseAddress } from './address.ts'
import { spiffe } from '../../api/certificate.ts'
import { namespace, serviceAccounts } from '../../api/names.ts'
import { callerOfCertificate, refusedCertificate } from './certificate.ts'
import { looksLike } from './first-bytes.ts'

test.for(['unix:///run/x.sock', 'tcp://127.0.0.1:2375', 'tcp://[::1]:0', 'tcp://build.test:1'])(
  '%s is an address',
  (text) => {
    expect(formatAddress(parseAddress(text))).toBe(text)
  },
)

test('no host is every interface', () => {
  expect(parseAddress('tcp://:2375')).toEqual({ kind: 'tcp', host: '', port: 2375 })
})

test.for([
  '',
  '2375',
  'unix://relative',
  'tcp://x',
  'tcp://x:',
  'tcp://x:70000',
  'http://x:1',
  `unix:///${'a'.repeat(107)}`,
])('%s is not an address', (text) => {
  expect(() => parseAddress(text)).toThrow('is not an address')
})

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

test('the first bytes tell HTTP/2, TLS and everything else apart', () => {
  const kind = (text: string) => looksLike(Buffer.from(text, 'latin1'))
  expect(kind(preface)).toBe('http2')
  expect(kind(`${preface}more`)).toBe('http2')
  for (let n = 0; n < preface.length; n++) expect(kind(preface.slice(0, n))).toBe('more')
  expect(kind('\x16\x03\x01')).toBe('tls')
  for (const text of ['GET / HTTP/1.1', 'PRI * HTTP/1.1', 'PX', '\0']) expect(kind(text)).toBe('other')
})

test('a SPIFFE URI of ours names a service account; other certificates name people', () => {
  const uri = 'DNS:x, URI:spiffe://insitu.build/ns/team/sa/builder'
  expect(callerOfCertificate({ subject: 'CN=ignored', subjectAltName: uri })).toEqual({
    kind: 'service-account',
    namespace: 'team',
    serviceAccount: 'builder',
  })
  expect(callerOfCertificate({ subject: 'CN=ada\nO=ops\nO=dev', subjectAltName: undefined })).toEqual({
    kind: 'person',
    name: 'ada',
    groups: ['ops', 'dev'],
  })
  const foreign = 'URI:spiffe://elsewhere/ns/team/sa/builder'
  expect(callerOfCertificate({ subject: 'O=ops', subjectAltName: foreign })).toBeUndefined()
})

test.for(['agent', 'gateway'] as const)(
  'the certificate of an %s builds nothing: it is for the agents’ port',
  (role) => {
    const caller = (name: string) => {
      const found = callerOfCertificate({ subject: '', subjectAltName: `URI:${spiffe(namespace, name)}` })
      if (!found) throw new Error('nobody')
      return found
    }
    expect(refusedCertificate(caller(serviceAccounts[role]))).toContain(serviceAccounts[role])
    expect(refusedCertificate(caller('builder'))).toBeUndefined()
    expect(refusedCertificate({ kind: 'person', name: serviceAccounts[role], groups: [] })).toBeUndefined()
  },
)
