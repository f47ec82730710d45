import { create } from '@bufbuild/protobuf'
import { type SolveRequest, SolveRequestSchema } from '../../src/buildkit/gen/control_pb.ts'
import { decodeSolve, encodeSolve, rewriteSolve, solveFacts } from '../../src/buildkit/solve.ts'
import type { Caller } from '../../src/gateway/listener/caller.ts'
import { createAdmission } from '../../src/gateway/policy/enforce.ts'
import { readPolicy } from '../../src/gateway/policy/read-policy.ts'
import { InsituError } from '../../src/kernel/errors.ts'
import { unframe } from '../../src/kernel/grpc/framing.ts'
import { createLogger } from '../../src/kernel/log.ts'
import { messages, string, stringMap } from '../../src/kernel/grpc/wire.ts'
import { createRandom, type Random } from '../random.ts'
import { damaged } from './damaged.ts'

const caller: Caller = { kind: 'person', name: 'ada', groups: ['team'] }
const policy = readPolicy(
  `[[tenant]]
name = "team"
match = { groups = ["team"] }
names = ["docker.io/team/", "reg.test:5000/team/"]
exporters = ["image", "local", "tar", "oci", "docker"]
frontends = ["*"]
solvesPerMinute = 0
`,
  'fuzz',
)
const admission = createAdmission({
  policy: () => policy,
  logger: createLogger({ level: 'silent' }),
})
/** In full: what a node has there and insitu did not build. */
const held = new Set(
  ['docker.io/team/', 'reg.test:5000/team/'].flatMap((prefix) =>
    ['app:latest', 'app:v1', 'pause:latest', 'pause:3.10'].map((name) => `${prefix}${name}`),
  ),
)
const holding = createAdmission({
  policy: () => policy,
  logger: createLogger({ level: 'silent' }),
  protectedNames: {
    find: (images) => {
      const name = images.find((image) => held.has(image))
      return Promise.resolve(name === undefined ? undefined : { name, node: 'n1' })
    },
  },
})

/**
 * One Solve of a caller who may name little, built at random and damaged on its way: what the daemon would get names
 * nothing else. The names are read with another decoder, and as BuildKit's image exporter reads them.
 * @returns whether it was let through. @throws when something else than a refusal comes of it, or a name gets through.
 */
export function fuzzSolve(seed: number): boolean {
  const random = createRandom(seed)
  const plain = Buffer.from(encodeSolve(anySolve(random)))
  const message = random.chance(0.4) ? damaged(random, plain) : plain
  try {
    if (random.chance(0.2)) unframe(damaged(random, Buffer.concat([Buffer.from([0, 0, 0, 0, plain.length]), plain])))
    const { request } = admission.solve(caller, decodeSolve(message))
    const relayed = rewriteSolve(request, { defaults: true, proxy: {} }) ?? encodeSolve(request)
    for (const name of writtenNames(relayed)) {
      if (!allowed(name)) throw new Error(`seed ${seed}: ${JSON.stringify(name)} would be written`)
    }
    return true
  } catch (error) {
    if (error instanceof InsituError) return false
    throw error
  }
}

/**
 * The same with names that a node holds: if the daemon would get one of them, the gateway has asked about it and refuses.
 * @returns whether a held name was asked for. @throws when one gets through.
 */
export async function fuzzHeld(seed: number): Promise<boolean> {
  const random = createRandom(seed)
  const plain = Buffer.from(encodeSolve(anySolve(random)))
  const message = random.chance(0.3) ? damaged(random, plain) : plain
  try {
    const asked = decodeSolve(message)
    const { request } = holding.solve(caller, asked)
    const relayed = rewriteSolve(request, { defaults: true, proxy: {} }) ?? encodeSolve(request)
    const names = effectiveNames(relayed).filter((name) => held.has(name))
    const refused = await holding.names(caller, solveFacts(asked).images, ['n1'], new AbortController().signal).then(
      () => false,
      () => true,
    )
    if (names.length > 0 && !refused) throw new Error(`seed ${seed}: ${JSON.stringify(names)} would be overwritten`)
    return names.length > 0
  } catch (error) {
    if (error instanceof InsituError) return false
    throw error
  }
}

/**
 * What a daemon of today writes: the old fields count only where there is no list; a prefix makes names with digests. What
 * is pushed by digest has no tag there, and is no name that runs.
 */
function effectiveNames(message: Uint8Array): string[] {
  const exporters = messages(message, 13).map((e) => ({ type: string(e, 1), attrs: stringMap(e, 2) }))
  const legacy = { type: string(message, 3), attrs: stringMap(message, 4) }
  return (exporters.length > 0 ? exporters : [legacy])
    .filter(({ type }) => type === 'image')
    .flatMap(({ attrs }) => {
      const names = (attrs['name'] ?? '').split(',').filter((name) => name !== '')
      return /^(|1|t|T|TRUE|true|True)$/.test(attrs['push-by-digest'] ?? 'no') ? names : names.map(fullName)
    })
}

/** As containerd and BuildKit complete a name: registry, `library/`, tag. */
function fullName(name: string): string {
  const [first = '', ...rest] = name.trim().split('/')
  const registry = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost')
  const path = (
    registry ? name.trim() : rest.length > 0 ? `docker.io/${name.trim()}` : `docker.io/library/${name.trim()}`
  ).replace(/^index\.docker\.io\//, 'docker.io/')
  return /:[^/]*$/.test(path) || path.includes('@') ? path : `${path}:latest`
}

/** Field numbers of SolveRequest in moby/buildkit api/services/control/control.proto. */
function writtenNames(message: Uint8Array): string[] {
  const exporters = messages(message, 13).map((e) => ({ type: string(e, 1), attrs: stringMap(e, 2) }))
  const legacy = { type: string(message, 3), attrs: stringMap(message, 4) }
  return [...exporters, legacy]
    .filter(({ type }) => type === 'image')
    .flatMap(({ attrs }) => [...(attrs['name'] ?? '').split(','), attrs['dangling-name-prefix'] ?? ''])
    .filter((name) => name !== '')
}

/** A name without a registry is docker.io's; one whose first part has no dot, no colon and is not localhost too. */
export function allowed(name: string): boolean {
  const [first = '', ...rest] = name.split('/')
  const registry = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase())
  const full = registry ? name : rest.length > 0 ? `docker.io/${name}` : `docker.io/library/${name}`
  return full.startsWith('docker.io/team/') || full.startsWith('reg.test:5000/team/')
}

const pieces = [
  'team/',
  'docker.io/',
  'index.docker.io/',
  'reg.test:5000/',
  'library/',
  'evil/',
  'TEAM/',
  '../',
  '/',
  '//',
]
const tails = [
  'app',
  'app:v1',
  'pause',
  'pause:3.10',
  '*',
  '',
  ' ',
  'app,evil/x',
  ',',
  'app:latest,',
  'x@sha256:0',
  '\u0000',
  'é',
  'registry.k8s.io/pause:3.10',
]

export const anyName = (random: Random): string => {
  let name = random.chance(0.6) ? random.pick(['team/', 'reg.test:5000/team/']) : ''
  for (let n = random.int(3); n > 0; n--) name += random.pick(pieces)
  name += random.pick(tails)
  return random.chance(0.2) ? `${name},${random.pick(pieces)}${random.pick(tails)}` : name
}

function anySolve(random: Random): SolveRequest {
  const attrs = (): Record<string, string> => {
    const all: Record<string, string> = { name: anyName(random) }
    if (random.chance(0.1)) all['dangling-name-prefix'] = anyName(random)
    if (random.chance(0.1)) all['name-canonical'] = 'true'
    if (random.chance(0.2)) all['push-by-digest'] = random.pick(['true', '', '1', 'false', 'maybe'])
    if (random.chance(0.1)) all['Name'] = anyName(random)
    if (random.chance(0.1)) delete all['name']
    return all
  }
  const type = (): string => random.pick(['image', 'image', 'image', 'oci', 'docker', 'local', 'moby', 'Image', ''])
  const exporters = Array.from({ length: random.int(3) }, () => ({ type: type(), attrs: attrs() }))
  return create(SolveRequestSchema, {
    ...{ ref: 'r', session: 's', frontend: random.pick(['', 'dockerfile.v0']) },
    exporters,
    ...(random.chance(0.4) ? { exporterDeprecated: type(), exporterAttrsDeprecated: attrs() } : {}),
  })
}
