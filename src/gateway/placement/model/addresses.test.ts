import { expect, test } from 'vitest'
import { addressKey, addressOf } from './addresses.ts'

test.each([
  '10.0.0.7',
  '255.255.255.255',
  '0.0.0.0',
  'fd00::7',
  '::ffff:10.0.0.1',
  '1.2.3',
  '1.2.3.4.5',
  '300.1.1.1',
  '',
])('%s', (ip) => expect(addressOf(addressKey(ip))).toBe(ip))

test('IPv4 addresses become numbers', () => {
  expect(typeof addressKey('192.168.1.1')).toBe('number')
  expect(addressKey('10.0.0.1')).not.toBe(addressKey('10.0.1.0'))
})
