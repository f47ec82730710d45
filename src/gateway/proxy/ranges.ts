import { isIP } from 'node:net'

/** A block of addresses: the first `prefix` bits of `value` are given. */
interface Block {
  readonly bits: 32 | 128
  readonly prefix: number
  readonly value: bigint
}

/**
 * Addresses and ranges (`10.0.0.1`, `10.244.1.0/24`, IPv6 too) as few ranges: neighbours are joined as long as that adds
 * no address; when there are still more than `most`, ranges are widened, the smallest first, until there are not.
 */
export function fewRanges(texts: Iterable<string>, most: number): string[] {
  const blocks = [...texts].map(parse).filter((block) => block !== undefined)
  let joined = join(blocks)
  while (joined.length > most) {
    const longest = Math.max(...joined.map(({ bits, prefix }) => (prefix * 128) / bits))
    if (longest <= 32) break
    joined = join(joined.map((block) => ((block.prefix * 128) / block.bits === longest ? widened(block) : block)))
  }
  return joined.map(write)
}

const widened = ({ bits, prefix, value }: Block): Block => block(bits, prefix - 1, value)

function block(bits: 32 | 128, prefix: number, value: bigint): Block {
  const rest = BigInt(bits - prefix)
  return { bits, prefix, value: (value >> rest) << rest }
}

/** Without blocks that lie in others, and with halves of one block made one. */
function join(blocks: readonly Block[]): Block[] {
  const key = ({ bits, prefix, value }: Block): string => `${bits}/${prefix}/${value}`
  const kept = new Map(blocks.map((one) => [key(one), one]))
  for (const one of blocks.toSorted((a, b) => b.prefix - a.prefix)) {
    let last = one
    while (last.prefix > 0 && kept.has(key(last))) {
      const half = 1n << BigInt(last.bits - last.prefix)
      const other = { ...last, value: last.value ^ half }
      if (!kept.has(key(other))) break
      kept.delete(key(last))
      kept.delete(key(other))
      last = widened(last)
      kept.set(key(last), last)
    }
  }
  const lies = (one: Block): boolean => {
    for (let prefix = one.prefix - 1; prefix >= 0; prefix--) {
      if (kept.has(key(block(one.bits, prefix, one.value)))) return true
    }
    return false
  }
  return [...kept.values()].filter((one) => !lies(one))
}

function parse(text: string): Block | undefined {
  const [address = '', prefix] = text.split('/')
  const family = isIP(address)
  if (family === 0) return undefined
  const bits = family === 4 ? 32 : 128
  const length = prefix === undefined ? bits : Number(prefix)
  if (!Number.isInteger(length) || length < 0 || length > bits) return undefined
  return block(bits, length, family === 4 ? number4(address) : number6(address))
}

const number4 = (text: string): bigint => text.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n)

function number6(text: string): bigint {
  const [head = '', tail] = text.split('::')
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'))
  const [first, last] = [groups(head), groups(tail ?? '')]
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - first.length - last.length)).fill('0')
  return [...first, ...zeros, ...last].reduce((sum, part) => sum * 65536n + BigInt(`0x${part}`), 0n)
}

function write({ bits, prefix, value }: Block): string {
  const parts = bits === 32 ? 4 : 8
  const width = BigInt(bits / parts)
  const mask = (1n << width) - 1n
  const numbers = Array.from({ length: parts }, (_, i) => (value >> (width * BigInt(parts - 1 - i))) & mask)
  // The URL parser writes IPv6 in its short form: https://url.spec.whatwg.org/#concept-ipv6-serializer
  const address =
    bits === 32
      ? numbers.join('.')
      : new URL(`http://[${numbers.map((n) => n.toString(16)).join(':')}]`).hostname.slice(1, -1)
  return prefix === bits ? address : `${address}/${prefix}`
}
