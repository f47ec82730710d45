import { X509Certificate } from 'node:crypto'
import { expect, test } from 'vitest'
import { formatAddress, parseAddress } from './address.ts'
import { spiffe } from '../../api/certificate.ts'
import { namespace, serviceAccounts } from '../../api/names.ts'
import { run } from '../../kernel/process/run.ts'
import { tenantOf } from '../policy/match.ts'
import { readPolicy } from '../policy/read-policy.ts'
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

/** A certificate as openssl makes it. @param subject `/CN=…/O=…`, where `+` joins two and a backslash escapes. */
async function certificate(subject: string, uri?: string): Promise<X509Certificate> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null']
  const names = uri === undefined ? [] : ['-addext', `subjectAltName=DNS:x,URI:${uri}`]
  return new X509Certificate(
    (await run('openssl', ['req', '-x509', ...key, '-utf8', '-subj', subject, ...names])).stdout,
  )
}

test('a SPIFFE URI of ours names a service account; other certificates name people', async () => {
  const uri = 'spiffe://insitu.build/ns/team/sa/builder'
  expect(callerOfCertificate(await certificate('/CN=ignored', uri))).toEqual({
    kind: 'service-account',
    namespace: 'team',
    serviceAccount: 'builder',
  })
  const foreign = 'spiffe://elsewhere/ns/team/sa/builder'
  expect(callerOfCertificate(await certificate('/O=ops', foreign))).toBeUndefined()
})

test.for([
  { subject: '/CN=ada/O=ops/O=dev', name: 'ada', groups: ['ops', 'dev'] },
  { subject: '/CN=ada', name: 'ada', groups: [] },
  { subject: '/CN=alice\\+ci@example.com/O=Example, Inc.', name: 'alice+ci@example.com', groups: ['Example, Inc.'] },
  { subject: '/CN= #1 "<a>;\\\\=/O=#ops/O=Zoë', name: ' #1 "<a>;\\=', groups: ['#ops', 'Zoë'] },
  // Go, and so cert-manager, writes several organisations as one relative name of several values.
  { subject: '/O=dev+O=ops/CN=ada', name: 'ada', groups: ['dev', 'ops'] },
  { subject: '/CN=ada+O=ops', name: 'ada', groups: ['ops'] },
  // Go overwrites the name with each that follows.
  { subject: '/CN=first/CN=second', name: 'second', groups: [] },
  // Not a second name, whatever it looks like.
  { subject: '/CN=eve\nO=admins', name: 'eve\nO=admins', groups: [] },
  { subject: '/OU=x\nCN=ada\nO=admins/CN=eve', name: 'eve', groups: [] },
  { subject: '/CN=eve \\+ O=admins', name: 'eve + O=admins', groups: [] },
])('the CN and O of $subject are read as Kubernetes reads them', async ({ subject, name, groups }) => {
  expect(callerOfCertificate(await certificate(subject))).toEqual({ kind: 'person', name, groups })
})

test.for(['/', '/O=ops', '/CN=/O=ops', '/OU=x\nCN=ada'])('nobody is named by %j', async (subject) => {
  expect(callerOfCertificate(await certificate(subject))).toBeUndefined()
})

test('the policy knows a person by name and organisation, whatever characters are in them', async () => {
  const policy = readPolicy(
    `[[tenant]]\nname = "ci"\nmatch = { users = ["alice+ci@example.com"] }\nnames = ["ci/"]\n` +
      `[[tenant]]\nname = "inc"\nmatch = { groups = ["Example, Inc."] }\nnames = ["inc/"]\n` +
      `[[tenant]]\nname = "rest"\nmatch = { anybody = true }\nnames = ["rest/"]\n`,
    'policy.toml',
  )
  const tenant = async (subject: string) => {
    const caller = callerOfCertificate(await certificate(subject))
    return caller && tenantOf(policy, caller)?.name
  }
  expect(await tenant('/CN=alice\\+ci@example.com')).toBe('ci')
  expect(await tenant('/CN=bob/O=Example, Inc.')).toBe('inc')
  expect(await tenant('/CN=bob\nO=Example, Inc.')).toBe('rest')
})

test.for(['agent', 'gateway'] as const)(
  'the certificate of an %s builds nothing: it is for the agents’ port',
  async (role) => {
    const caller = async (name: string) => {
      const found = callerOfCertificate(await certificate('/CN=x', spiffe(namespace, name)))
      if (!found) throw new Error('nobody')
      return found
    }
    expect(refusedCertificate(await caller(serviceAccounts[role]))).toContain(serviceAccounts[role])
    expect(refusedCertificate(await caller('builder'))).toBeUndefined()
    expect(refusedCertificate({ kind: 'person', name: serviceAccounts[role], groups: [] })).toBeUndefined()
  },
)
