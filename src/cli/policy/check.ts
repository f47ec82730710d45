import { readFile } from 'node:fs/promises'
import type { RequestFacts } from '../../buildkit/request-facts.ts'
import { type Caller, describeCaller } from '../../gateway/listener/caller.ts'
import { decide, decideNode, type Decision } from '../../gateway/policy/decide.ts'
import { defaultPolicy, type Policy } from '../../gateway/policy/policy.ts'
import { readPolicy } from '../../gateway/policy/read-policy.ts'
import { describeError, InsituError, UsageError } from '../../kernel/errors.ts'

/** What is asked for: options of the command, or keys of the file given with --request. */
interface Question {
  readonly name: readonly string[]
  readonly exporter: readonly string[]
  readonly entitlement: readonly string[]
  readonly frontend: readonly string[]
  readonly platform: readonly string[]
  readonly cacheTo: readonly string[]
  readonly cacheFrom: readonly string[]
  readonly node?: string
}

export interface CheckFlags extends Question {
  readonly as?: string
  readonly namespace?: string
  /** Default: default. */
  readonly serviceAccount?: string
  readonly user?: string
  readonly group: readonly string[]
  readonly loopback?: true
  readonly request?: string
  readonly output: 'text' | 'json'
}

/**
 * Reads a policy and prints what it says, and on standard error (or in the JSON) what of it means nothing.
 * @throws InsituError POLICY when the request is refused, others for a bad file; UsageError for a request of nobody.
 */
export async function checkPolicy(file: string, flags: CheckFlags): Promise<void> {
  const caller = callerOf(flags)
  // "valid" would be taken for "allowed".
  if (!caller && asks(flags)) throw nobodyNamed()
  const policy = file === 'default' ? defaultPolicy : policyIn(flags, await read(file), file)
  const { warnings } = policy
  if (flags.output === 'text') for (const warning of warnings) process.stderr.write(`insitu: warning: ${warning}\n`)
  const tenants = policy.tenants.map((t) => t.name)
  if (!caller) return print(flags, { valid: true, tenants, warnings }, validText(policy))
  const question = flags.request === undefined ? flags : { ...flags, ...readRequest(await read(flags.request)) }
  const decision = answer(policy, caller, question)
  const tenant = decision.tenant?.name
  const { allowed } = decision
  const lines = [
    `${describeCaller(caller)}: ${tenant === undefined ? 'no tenant' : `tenant "${tenant}"`}`,
    ...(decision.allowed ? ['allowed'] : [`refused: ${decision.why}`, `  rule: ${decision.rule}`]),
    ...(!decision.allowed && decision.fix !== undefined ? [`  fix: ${decision.fix}`] : []),
  ]
  const { rule, why } = decision.allowed ? { rule: undefined, why: undefined } : decision
  print(flags, { allowed, tenant, rule, why, warnings }, lines.join('\n'))
  if (!allowed) throw new InsituError('POLICY', 'the build would be refused')
}

/** A wrong file ends as a refusal does, with 1: programs tell them apart by what is printed. */
function policyIn(flags: CheckFlags, text: string, file: string): Policy {
  try {
    return readPolicy(text, file)
  } catch (error) {
    if (flags.output === 'json' && error instanceof InsituError) {
      print(flags, { valid: false, error: describeError(error), fix: error.fix }, '')
    }
    throw error
  }
}

/** The decision for options of the command. @throws UsageError when they name no caller. */
export function decideFor(policy: Policy, flags: Partial<CheckFlags>): Decision {
  const all = { ...nothing, ...flags }
  const caller = callerOf(all)
  if (!caller) throw nobodyNamed()
  return answer(policy, caller, all)
}

const nobodyNamed = (): UsageError =>
  new UsageError('no caller is named', { fix: 'use --as, --namespace, --user or --loopback' })

/** Whether options are given that mean something only for a caller. */
const asks = (flags: CheckFlags): boolean =>
  [flags.request, flags.node, flags.serviceAccount].some((value) => value !== undefined) ||
  [flags.group, ...lists.map((key) => flags[key])].some((values) => values.length > 0)

const nothing: CheckFlags = {
  ...{ name: [], exporter: [], entitlement: [], frontend: [], platform: [], cacheTo: [], cacheFrom: [], group: [] },
  output: 'text',
}

function answer(policy: Policy, caller: Caller, question: Question): Decision {
  const decision = decide(policy, caller, factsOf(question))
  if (!decision.allowed || question.node === undefined) return decision
  const refusal = decideNode(decision.tenant, question.node)
  return refusal ? { ...refusal, tenant: decision.tenant } : decision
}

function factsOf(q: Question): RequestFacts {
  const types = q.exporter.length === 0 && q.name.length > 0 ? ['image'] : q.exporter
  return {
    exporters: types.map((type) => ({ type, names: type === 'image' ? q.name : [] })),
    ...{ entitlements: q.entitlement, frontends: q.frontend, platforms: q.platform },
    ...{ cacheTo: q.cacheTo, cacheFrom: q.cacheFrom, sessionExporter: false, resultNames: [] },
    llb: { platforms: [], cgroupParents: [], nested: false },
  }
}

function callerOf(flags: CheckFlags): Caller | undefined {
  if (flags.as !== undefined) {
    const match = /^spiffe:\/\/insitu\.build\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(flags.as)
    if (!match) throw new UsageError(`--as "${flags.as}" is not spiffe://insitu.build/ns/NAMESPACE/sa/NAME`)
    return { kind: 'service-account', namespace: match[1] as string, serviceAccount: match[2] as string }
  }
  const { namespace, serviceAccount = 'default' } = flags
  if (namespace !== undefined) return { kind: 'pod', namespace, serviceAccount, name: 'pod', address: '' }
  if (flags.user !== undefined) return { kind: 'person', name: flags.user, groups: flags.group }
  return flags.loopback ? { kind: 'loopback', address: '127.0.0.1' } : undefined
}

const lists = ['name', 'exporter', 'entitlement', 'frontend', 'platform', 'cacheTo', 'cacheFrom'] as const

function readRequest(text: string): Partial<Question> {
  const wrong = (what: string): UsageError => new UsageError(`--request: ${what}`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new UsageError('--request is not JSON', { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('it must be an object')
  for (const [key, entry] of Object.entries(value)) {
    if (key === 'node' ? typeof entry === 'string' : isTexts(entry) && (lists as readonly string[]).includes(key))
      continue
    throw wrong(`"${key}" must be ${key === 'node' ? 'a text' : `a list of texts under one of ${lists.join(', ')}`}`)
  }
  return value
}

const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every((v) => typeof v === 'string')

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new UsageError(`${file} cannot be read`, { cause })
  }
}

const validText = (policy: Policy): string =>
  [
    `${policy.name} is valid. Tenants, in the order in which they are tried:`,
    ...policy.tenants.map(
      ({ name, rights }) =>
        `  ${name}: names ${rights.names.join(', ') || 'none'}${rights.administrator ? '; administrator' : ''}`,
    ),
  ].join('\n')

const print = ({ output }: CheckFlags, document: object, text: string): void =>
  void process.stdout.write(`${output === 'json' ? JSON.stringify(document, null, 2) : text}\n`)
