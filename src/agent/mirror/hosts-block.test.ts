import { describe, expect, it } from 'vitest'
import { type BlockMemory, readBlock, renderBlock, withBlock, withoutBlock } from './hosts-block.ts'

const host = { url: 'http://127.0.0.1:2378', token: 'secret' }
const memory: BlockMemory = { mode: 0o644, fresh: false, directories: 0 }

const files: readonly (readonly [string, string])[] = [
  ['an empty file', ''],
  ['a server alone', 'server = "https://registry-1.docker.io"\n'],
  ['a host', 'server = "https://docker.io"\n\n[host."http://10.0.0.1:5000"]\n  capabilities = ["pull"]\n'],
  [
    'hosts with comments, headers, no end of the last line',
    '# ours\n[host."https://a"]\nca = "/x"\n[host."https://a".header]\nx = ["1"]',
  ],
  ['settings of the server', 'server = "https://a"\nca = ["/a.crt", "/b.crt"]\n\n[header]\n  x = "y"\n'],
  ['lists over several lines', 'server = "https://a"\nclient = [\n  ["/a", "/b"],\n]\n[host."https://b"]\n'],
]

describe('our host in a hosts.toml', () => {
  it.each(files)('comes first in %s, and goes without a trace', (_, text) => {
    const changed = withBlock(text, host, memory)
    expect(changed).toContain('[host."http://127.0.0.1:2378"]')
    expect(changed?.match(/\[host\.[^\]]+\]/)?.[0]).toBe('[host."http://127.0.0.1:2378"]')
    expect(withoutBlock(changed ?? '')).toBe(text)
    expect(withBlock(changed ?? '', host, memory)).toBe(changed)
  })

  it('takes the place of an older one of ours', () => {
    const old = withBlock('server = "https://a"\n', { ...host, token: 'old' }, memory)
    const changed = withBlock(old ?? '', host, memory)
    expect(changed).not.toContain('old')
    expect(changed?.match(/insitu: begin/g)).toHaveLength(1)
  })

  it.each([
    ['is no TOML', 'server = https://a\n'],
    ['has hosts in a way nothing can be put in front of', 'host = { "https://a" = { capabilities = ["pull"] } }\n'],
    ['ends in the middle of a line before any table', 'server = "https://a"'],
  ])('is not added to a file that %s', (_, text) => {
    expect(withBlock(text, host, memory)).toBeUndefined()
  })

  it('remembers what the file was like', () => {
    const said: BlockMemory = { mode: 0o640, fresh: true, directories: 2 }
    expect(readBlock(renderBlock(host, said))).toEqual(said)
    expect(readBlock('server = "https://a"\n')).toBeUndefined()
  })
})
