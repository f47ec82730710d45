import { expect, test } from 'vitest'
import { ListItems } from './list-items.ts'

function read(text: string, size: number): { items: unknown[]; rest: unknown } {
  const items: unknown[] = []
  const reader = new ListItems((item) => items.push(item))
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += size) reader.read(bytes.subarray(at, at + size))
  return { items, rest: JSON.parse(reader.end()) }
}

const list = {
  kind: 'items',
  apiVersion: 'v1',
  metadata: { continue: 'a"b\\', items: [{ not: 'one' }], resourceVersion: '7' },
  items: [
    { metadata: { name: 'a', labels: { 'x"]}': '\\' } }, items: [{ inner: [1, [2]] }] },
    { metadata: { name: 'ü€😀' }, text: '[{"items":[' },
    {},
  ],
  extra: ['items', { items: [{}] }],
}

test.each([1, 2, 3, 7, 16, 100_000])('items come one by one, whatever the chunks (%i bytes)', (size) => {
  for (const indent of [undefined, 2]) {
    const { items, rest } = read(JSON.stringify(list, undefined, indent), size)
    expect(items).toEqual(list.items)
    expect(rest).toEqual({ ...list, items: [] })
  }
})

test('lists without items, and answers that are no lists', () => {
  for (const document of [{ items: [] }, { items: null, metadata: {} }, { kind: 'Status', code: 410 }]) {
    expect(read(JSON.stringify(document), 5)).toEqual({ items: [], rest: document })
  }
})

test('a broken item is an error, and so is a document that ends early', () => {
  expect(() => read('{"items":[{"a":}]}', 4)).toThrow(SyntaxError)
  expect(() => read('{"items":[{"a":1},{"b":', 4)).toThrow(SyntaxError)
})
