import { expect, test } from 'vitest'
import { downstreamHeaders, header, headerObject, upstreamHeaders } from './headers.ts'

test('lines of one name stay lines, in their order', () => {
  const raw = [':authority', 'door:2375', ':scheme', 'https', 'x-method', 'a', 'x-method', 'b', 'te', 'trailers']
  expect(upstreamHeaders(raw)).toEqual([
    ':authority',
    'localhost',
    ':scheme',
    'http',
    'x-method',
    'a',
    'x-method',
    'b',
    'te',
    'trailers',
  ])
  expect(headerObject(['a', '1', 'b', '2', 'a', '3'])).toEqual({ a: '1', b: '2' })
})

test('what belongs to one hop is not passed on', () => {
  expect(upstreamHeaders(['host', 'x', 'connection', 'close', 'k', 'v'])).toEqual(['k', 'v'])
  expect(downstreamHeaders([':status', '200', 'content-length', '3', 'k', 'v'])).toEqual([':status', '200', 'k', 'v'])
})

test('a value that is also a name is not taken for it', () => {
  expect(header(['a', 'b', 'b', 'c'], 'b')).toBe('c')
  expect(header([], 'b')).toBeUndefined()
})
