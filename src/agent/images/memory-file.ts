import { rename } from 'node:fs/promises'
import type { Finding } from '../../api/node-report.ts'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'
import type { ImageRecord, KnownImage, Memory } from './record.ts'

/** The file below buildkitd's root. */
export const memoryFile = 'insitu-images.json'
const format = 1

/**
 * Reads what an earlier agent remembered. A file that cannot be understood is renamed to `….broken-TIME`: nothing is
 * pinned because of it, and names are protected as they are now.
 * @throws InsituError FILE_UNREADABLE
 */
export async function readMemory(path: string, now: Date): Promise<{ memory: Memory; findings: readonly Finding[] }> {
  const text = await readOptional(path)
  if (text === undefined) return { memory: emptyMemory(), findings: [] }
  try {
    return { memory: parse(text), findings: [] }
  } catch (error) {
    const aside = `${path}.broken-${now.toISOString().replaceAll(':', '')}`
    await rename(path, aside)
    const reason = error instanceof Error ? error.message : String(error)
    const message = `the records of built images could not be read (${reason}) and were set aside as ${aside}`
    const fix = 'build the images again that other nodes should get from here, then delete the file'
    return { memory: emptyMemory(), findings: [{ code: 'IMAGE_RECORDS_SET_ASIDE', severity: 'warning', message, fix }] }
  }
}

export async function writeMemory(path: string, memory: Memory): Promise<void> {
  const plain = (entry: ImageRecord | KnownImage): unknown => ({
    ...entry,
    target: Buffer.from(entry.target).toString('base64'),
  })
  const records = [...memory.records.values()].map(plain)
  const known = [...memory.known.values()].map(plain)
  await writeFileAtomic(path, `${JSON.stringify({ format, records, known, wanted: [...memory.wanted] })}\n`, 0o600)
}

const emptyMemory = (): Memory => ({ records: new Map(), known: new Map(), wanted: new Set() })

function parse(text: string): Memory {
  const data = object(JSON.parse(text))
  if (data['format'] !== format) throw new TypeError(`its format is ${String(data['format'])}`)
  const records = list(data['records']).map((entry): ImageRecord => ({
    ...base(entry),
    version: number(entry['version']),
    arrival: entry['arrival'] === 'delivered' ? 'delivered' : 'built',
    since: number(entry['since']),
    lastUsed: number(entry['lastUsed']),
    ...readOrigin(entry['origin']),
  }))
  const known = list(data['known']).map((entry): KnownImage => ({ ...base(entry), built: entry['built'] === true }))
  const wanted = data['wanted']
  if (!Array.isArray(wanted)) throw new TypeError('a list is missing')
  return {
    wanted: new Set(wanted.map((name) => readText(name))),
    records: new Map(records.map((record) => [record.name, record])),
    known: new Map(known.map((image) => [image.name, image])),
  }
}

type Plain = Readonly<Record<string, unknown>>

const base = (entry: Plain): { name: string; digest: string; target: Uint8Array } => ({
  name: readText(entry['name']),
  digest: readText(entry['digest']),
  target: Buffer.from(readText(entry['target']), 'base64'),
})

/** What an agent before this one did not write, or wrote otherwise, is not known. */
function readOrigin(value: unknown): Pick<ImageRecord, 'origin'> {
  if (value === undefined) return {}
  const { owner, bases } = object(value)
  return {
    origin: {
      owner: typeof owner === 'string' ? owner : undefined,
      bases: list(bases).map(({ name, digest, pinned }) => ({
        ...{ name: readText(name), digest: readText(digest), pinned: pinned === true },
      })),
    },
  }
}

function object(value: unknown): Plain {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TypeError('an object is missing')
  return value as Plain
}

function list(value: unknown): Plain[] {
  if (!Array.isArray(value)) throw new TypeError('a list is missing')
  return value.map(object)
}

function readText(value: unknown): string {
  if (typeof value !== 'string' || value === '') throw new TypeError('a text is missing')
  return value
}

function number(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new TypeError('a number is missing')
  return value
}
