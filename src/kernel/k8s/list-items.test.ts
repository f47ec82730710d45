import { expect, test } from 'vitest'
import { createRandom, type Random } from '../../../test/random.ts'
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

const pieces = [
  'items',
  '"',
  '\\',
  '\\"',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  'ü',
  '€',
  '😀',
  '\u0000',
  '\n',
  '\ud800',
  ' ',
  'null',
]

const text = (random: Random, most: number): string =>
  Array.from({ length: random.int(most) }, () => random.pick(pieces)).join('')

function value(random: Random, depth: number): unknown {
  const kind = random.int(depth > 4 ? 4 : 6)
  if (kind === 0) return random.pick([true, false, null, 0, -0.5, 1.25e-7, 12_345_678_901_234, -3e20])
  if (kind <= 3) return text(random, 8)
  const inner = Array.from({ length: random.int(4) }, () => value(random, depth + 1))
  return kind === 4 ? inner : Object.fromEntries(inner.map((one) => [text(random, 3), one]))
}

test('random documents in random chunks are read as JSON.parse reads them', () => {
  const random = createRandom(7)
  for (let round = 0; round < 500; round++) {
    const items = Array.from({ length: random.int(5) }, () => ({ [text(random, 3)]: value(random, 0) }))
    // Now and then a text longer than a chunk of the network.
    if (round % 100 === 0) items.push({ long: text(random, 100_000) })
    const around = (): Record<string, unknown> =>
      // Before and after the items; with a letter, since integer keys would move.
      Object.fromEntries(Array.from({ length: random.int(3) }, (_, i) => [`x${i}${text(random, 2)}`, value(random, 0)]))
    const document = JSON.stringify({ ...around(), items, ...around() }, undefined, random.int(3))
    const bytes = Buffer.from(document)
    const got: unknown[] = []
    const reader = new ListItems((item) => got.push(item))
    const most = random.pick([1, 2, 5, 30, 65_536])
    for (let at = 0; at < bytes.length;) {
      const end = at + 1 + random.int(most)
      reader.read(bytes.subarray(at, end))
      at = end
    }
    const whole = JSON.parse(document) as { readonly items: unknown[] }
    expect(got).toEqual(whole.items)
    expect(JSON.parse(reader.end())).toEqual({ ...whole, items: [] })
  }
})
