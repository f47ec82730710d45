import { createHash } from 'node:crypto'
import { clone, create, toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from './decode.ts'
import { type FieldBudget, fieldBudget } from './field-budget.ts'
import { type Definition, DefinitionSchema, type Op, OpSchema, ProxyEnvSchema } from './gen/ops_pb.ts'
import { InsituError } from '../kernel/errors.ts'

type Variables = Readonly<Record<string, string>>

/**
 * A graph whose RUN steps get proxy variables, each in its `proxy_env`, which the solver leaves out of cache keys
 * (solver/llbsolver/ops/exec.go). Ops name each other by digest, so every op after a changed one gets a new digest, and
 * metadata and source locations move along. Fields that insitu does not know stay.
 * @param proxy by name, either case; lower case wins, as in curl. What a step sets itself, in `env` or `proxy_env`, wins.
 * @returns the definition itself when there is nothing to change.
 * @throws InsituError LLB_MALFORMED for an op that cannot be read; MESSAGE_FIELDS.
 */
export function withProxyEnv(definition: Definition, proxy: Variables): Definition {
  const wanted = fields.flatMap(([field, name]) => {
    const value = proxy[name.toLowerCase()] ?? proxy[name]
    return value === undefined || value === '' ? [] : [{ field, name, value }]
  })
  return wanted.length === 0 ? definition : rewrite(definition, wanted, 0, fieldBudget())
}

const fields = [
  ['httpProxy', 'HTTP_PROXY'],
  ['httpsProxy', 'HTTPS_PROXY'],
  ['ftpProxy', 'FTP_PROXY'],
  ['noProxy', 'NO_PROXY'],
  ['allProxy', 'ALL_PROXY'],
] as const

interface Wanted {
  readonly field: (typeof fields)[number][0]
  readonly name: string
  readonly value: string
}

/** Builds within builds. Each level is read anew, so a made-up tower of them would cost its square. */
const deepest = 8

function rewrite(definition: Definition, wanted: readonly Wanted[], depth: number, budget: FieldBudget): Definition {
  if (depth > deepest) {
    throw new InsituError('LLB_MALFORMED', `the build definition nests builds more than ${deepest} deep`, {
      status: 'INVALID_ARGUMENT',
    })
  }
  const digests = definition.def.map(digestOf)
  const ops = new Map(definition.def.map((bytes, i) => [digests[i], { bytes, op: decode(bytes, budget) }]))
  const renamed = new Map<string, { digest: string; bytes: Uint8Array }>()
  // Not recursive: a graph may be as deep as a message is long.
  const stack = [...digests]
  for (let digest = stack.at(-1); digest !== undefined; digest = stack.at(-1)) {
    const known = ops.get(digest)
    if (!known || renamed.has(digest)) {
      stack.pop()
      continue
    }
    const { op, bytes } = known
    const open = op.inputs.filter((input) => ops.has(input.digest) && !renamed.has(input.digest))
    if (open.length > 0) {
      stack.push(...open.map((input) => input.digest))
      continue
    }
    const followed = followInputs(op, renamed)
    const given = giveProxy(op, wanted, depth, budget)
    const changed = followed || given ? toBinary(OpSchema, op) : bytes
    renamed.set(digest, { digest: followed || given ? digestOf(changed) : digest, bytes: changed })
  }
  if ([...renamed].every(([before, after]) => before === after.digest)) return definition
  const result = clone(DefinitionSchema, definition)
  result.def = definition.def.map((bytes, i) => renamed.get(digests[i] ?? '')?.bytes ?? bytes)
  const moved = <T>(entries: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(Object.entries(entries).map(([digest, value]) => [renamed.get(digest)?.digest ?? digest, value]))
  result.metadata = moved(result.metadata)
  if (result.source) result.source.locations = moved(result.source.locations)
  return result
}

function followInputs(op: Op, renamed: ReadonlyMap<string, { readonly digest: string }>): boolean {
  let changed = false
  for (const input of op.inputs) {
    const now = renamed.get(input.digest)?.digest ?? input.digest
    changed ||= now !== input.digest
    input.digest = now
  }
  return changed
}

function giveProxy({ op }: Op, wanted: readonly Wanted[], depth: number, budget: FieldBudget): boolean {
  if (op.case === 'build' && op.value.def) {
    const inner = rewrite(op.value.def, wanted, depth + 1, budget)
    const changed = inner !== op.value.def
    op.value.def = inner
    return changed
  }
  if (op.case !== 'exec' || !op.value.meta) return false
  const { meta } = op.value
  const own = new Set(meta.env.map((entry) => entry.split('=', 1)[0]?.toUpperCase()))
  const missing = wanted.filter(({ field, name }) => !own.has(name) && !meta.proxyEnv?.[field])
  if (missing.length === 0) return false
  meta.proxyEnv ??= create(ProxyEnvSchema)
  for (const { field, value } of missing) meta.proxyEnv[field] = value
  return true
}

function decode(bytes: Uint8Array, budget: FieldBudget): Op {
  try {
    return decodeBounded(OpSchema, bytes, budget)
  } catch (cause) {
    if (cause instanceof InsituError) throw cause
    throw new InsituError('LLB_MALFORMED', 'a step of the build definition cannot be read', {
      status: 'INVALID_ARGUMENT',
      cause,
    })
  }
}

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
