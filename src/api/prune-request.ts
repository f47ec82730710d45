import { InsituError } from '../kernel/errors.ts'
import { type PruneKind, pruneKinds, type PruneRequest } from './disk.ts'

const fields = ['kinds', 'repositories', 'unusedFor', 'keepBytes', 'all', 'dryRun'] as const

/** Reads the body of a prune request. A field that is not known may mean "less than all": it is refused. @throws InsituError PRUNE_REQUEST */
export function readPruneRequest(value: unknown): PruneRequest {
  const wrong = (what: string): InsituError =>
    new InsituError('PRUNE_REQUEST', `the request for pruning is wrong: ${what}`, { status: 'INVALID_ARGUMENT' })
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('it is no object')
  const raw = value as Record<string, unknown>
  const unknown = Object.keys(raw).find((key) => !fields.some((field) => field === key))
  if (unknown !== undefined) throw wrong(`there is no field ${unknown}`)
  const amount = (key: string): number | undefined => {
    const number = raw[key]
    if (number === undefined) return undefined
    if (typeof number !== 'number' || !Number.isFinite(number) || number < 0) throw wrong(`${key} is no number`)
    return number
  }
  const flag = (key: string): boolean => {
    if (raw[key] !== undefined && typeof raw[key] !== 'boolean') throw wrong(`${key} is not true or false`)
    return raw[key] === true
  }
  const texts = (key: string): readonly string[] | undefined => {
    const list = raw[key]
    if (list === undefined) return undefined
    if (!Array.isArray(list) || !list.every((text) => typeof text === 'string'))
      throw wrong(`${key} is no list of texts`)
    return list
  }
  const kinds = texts('kinds')
  const strange = kinds?.find((kind) => !isKind(kind))
  if (strange !== undefined) throw wrong(`there is no kind ${strange}`)
  const [repositories, unusedFor, keepBytes] = [texts('repositories'), amount('unusedFor'), amount('keepBytes')]
  return {
    ...(kinds === undefined ? {} : { kinds: kinds.filter(isKind) }),
    ...(repositories === undefined ? {} : { repositories }),
    ...(unusedFor === undefined ? {} : { unusedFor }),
    ...(keepBytes === undefined ? {} : { keepBytes }),
    ...(flag('all') ? { all: true } : {}),
    ...(flag('dryRun') ? { dryRun: true } : {}),
  }
}

export const isKind = (text: string): text is PruneKind => pruneKinds.some((kind) => kind === text)
