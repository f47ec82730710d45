import { expect, test } from 'vitest'
import { splitLines } from './lines.ts'

async function* bytes(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}

async function lines(...chunks: Uint8Array[]): Promise<string[]> {
  const out: string[] = []
  for await (const line of splitLines(bytes(...chunks))) out.push(line)
  return out
}

test('lines are found wherever the chunks are cut, also inside a character', async () => {
  const text = Buffer.from('{"a":"ü"}\n\n{"b":"日本"}\n')
  for (let cut = 0; cut <= text.length; cut++) {
    expect(await lines(text.subarray(0, cut), text.subarray(cut))).toEqual(['{"a":"ü"}', '', '{"b":"日本"}'])
  }
})

test('an unfinished line is dropped', async () => {
  expect(await lines(Buffer.from('whole\nhal'))).toEqual(['whole'])
})
