import { expect, test } from 'vitest'
import { admitPlaintext, type Source } from './admit.ts'

const closed = { loopback: false, namespaces: [], cidrs: [] }
const from = (address: string, pod?: Source['pod']): Source => ({ address, unix: false, pod })
const pod = (plaintext: boolean) => ({ namespace: 'ci', name: 'runner-1', plaintext })

test('a unix socket is this machine itself', () => {
  expect(admitPlaintext({ address: '/run/x.sock', unix: true, pod: undefined }, closed)).toEqual({
    kind: 'local',
    path: '/run/x.sock',
  })
})

test.for(['127.0.0.1', '::1', '::ffff:127.0.0.1'])('%s is loopback', (address) => {
  expect(admitPlaintext(from(address), { ...closed, loopback: true }).kind).toBe('loopback')
  expect(() => admitPlaintext(from(address), closed)).toThrow('without a client certificate')
})

// Sidecars of service meshes hand on what comes from elsewhere: Istio's does so from 127.0.0.6.
test.for(['127.0.0.6', '::ffff:127.0.0.6', '127.8.8.8', '::2'])('%s is not', (address) => {
  expect(() => admitPlaintext(from(address), { ...closed, loopback: true })).toThrow('without a client certificate')
  expect(admitPlaintext(from(address), { ...closed, loopback: true, cidrs: ['127.0.0.0/8', '::/64'] }).kind).toBe(
    'cidr',
  )
})

test('a pod may when its namespace is labelled or configured', () => {
  const who = { kind: 'pod', namespace: 'ci', name: 'runner-1', address: '10.1.2.3' }
  expect(admitPlaintext(from('::ffff:10.1.2.3', pod(true)), closed)).toEqual(who)
  expect(admitPlaintext(from('10.1.2.3', pod(false)), { ...closed, namespaces: ['ci'] })).toEqual(who)
  expect(() => admitPlaintext(from('10.1.2.3', pod(false)), closed)).toThrow('pod ci/runner-1 may not build here')
})

test('ranges of both families', () => {
  const rule = { ...closed, cidrs: ['10.0.0.0/8', 'fd00::/8', '192.0.2.7'] }
  expect(admitPlaintext(from('10.9.9.9'), rule)).toMatchObject({ kind: 'cidr', cidr: '10.0.0.0/8' })
  expect(admitPlaintext(from('fd12::1'), rule)).toMatchObject({ cidr: 'fd00::/8' })
  expect(admitPlaintext(from('192.0.2.7'), rule)).toMatchObject({ cidr: '192.0.2.7' })
  for (const address of ['11.0.0.1', '192.0.2.8', 'fe80::1', '', 'nonsense']) {
    expect(() => admitPlaintext(from(address), rule)).toThrow('without a client certificate')
  }
})
