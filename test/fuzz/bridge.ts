import { decodeBridgeSolve, rewriteBridgeSolve } from '../../src/buildkit/solve.ts'
import type { Caller } from '../../src/gateway/listener/caller.ts'
import { createAdmission } from '../../src/gateway/policy/enforce.ts'
import { readPolicy } from '../../src/gateway/policy/read-policy.ts'
import { InsituError } from '../../src/kernel/errors.ts'
import { createLogger } from '../../src/kernel/log.ts'
import { fieldOf, messages, string, stringMap } from '../../src/kernel/grpc/wire.ts'
import { createRandom, type Random } from '../random.ts'
import { damaged } from './damaged.ts'
import { allowed, anyName } from './solves.ts'

const caller: Caller = { kind: 'person', name: 'ada', groups: ['team'] }
const policy = readPolicy(
  `[[tenant]]
name = "team"
match = { groups = ["team"] }
names = ["docker.io/team/", "reg.test:5000/team/"]
exporters = ["image"]
frontends = ["dockerfile.v0"]
`,
  'fuzz',
)
const admission = createAdmission({ policy: () => policy, logger: createLogger({ level: 'silent' }) })

/** What becomes of a random LLBBridge/Return or LLBBridge/Solve. @throws when something else than a refusal comes of it. */
export function fuzzBridge(seed: number): boolean {
  const random = createRandom(seed)
  const returns = random.chance(0.5)
  const plain = returns ? anyReturn(random) : anyBridgeSolve(random)
  const message = random.chance(0.4) ? damaged(random, plain) : plain
  try {
    if (returns) {
      checkNames(seed, resultNames(admission.bridgeReturn(caller, message)))
    } else {
      const admitted = admission.bridgeSolve(caller, decodeBridgeSolve(message))
      checkBridgeSolve(seed, rewriteBridgeSolve(admitted, { defaults: true, proxy: { HTTP_PROXY: 'x' } }))
    }
    return true
  } catch (error) {
    if (error instanceof InsituError || isUnreadable(error)) return false
    throw error
  }
}

/** Our own decoder, like the daemon's, takes less than the first one. Any other RangeError is a defect. */
const isUnreadable = (error: unknown): boolean =>
  error instanceof RangeError && error.message.startsWith('protobuf message is ')

function checkNames(seed: number, names: readonly string[]): void {
  for (const name of names) {
    // Results are compared as containerd completes them; nothing is written by them, because `name=*` is refused.
    if (!allowed(name.replace(/^index\.docker\.io\//, 'docker.io/')))
      throw new Error(`seed ${seed}: ${JSON.stringify(name)} would be written`)
  }
}

/** BuildKit v0.33.1, frontend/gateway/pb/gateway.proto: ReturnRequest.result = 1, Result.metadata = 10. */
function resultNames(message: Uint8Array): string[] {
  let name: Uint8Array | undefined
  // Parts of one message that comes in pieces are joined, and of equal keys the last one counts.
  for (const entry of messages(message, 1).flatMap((result) => messages(result, 10))) {
    if (string(entry, 1) === 'image.name') name = messages(entry, 2).at(-1) ?? new Uint8Array()
  }
  return name === undefined ? [] : namesIn(Buffer.from(name).toString('utf8'))
}

const namesIn = (text: string): string[] =>
  text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')

/** SolveRequest: frontend = 2, frontend_opt = 3, exporter_attr = 11. */
function checkBridgeSolve(seed: number, message: Uint8Array): void {
  const frontend = string(message, 2)
  if (frontend !== '' && frontend !== 'dockerfile.v0') throw new Error(`seed ${seed}: frontend ${frontend} got through`)
  const options = stringMap(message, 3)
  if ('cgroup-parent' in options) throw new Error(`seed ${seed}: a control group got through`)
  // With one the daemon's own Dockerfile frontend does not follow a `# syntax=`.
  if (frontend !== '' && options['cmdline'] === undefined) throw new Error(`seed ${seed}: a Dockerfile could choose`)
  const [attributes] = messages(message, 11)
  if (attributes === undefined) return
  let parsed: Record<string, unknown>
  try {
    parsed = JSON.parse(Buffer.from(attributes).toString('utf8')) as Record<string, unknown>
  } catch {
    return
  }
  const name = parsed['image.name']
  if (typeof name === 'string') checkNames(seed, namesIn(Buffer.from(name, 'base64').toString('utf8')))
}

const entry = (number: number, key: string, value: string): Uint8Array =>
  fieldOf(number, Buffer.concat([fieldOf(1, key), fieldOf(2, value)]))

function anyReturn(random: Random): Buffer {
  const result = (): Uint8Array => {
    const parts: Uint8Array[] = []
    for (let n = random.int(3); n >= 0; n--)
      parts.push(entry(10, random.pick(['image.name', 'image.name', 'refs.platforms', 'Image.Name']), anyName(random)))
    return fieldOf(1, Buffer.concat(parts))
  }
  const all = [result()]
  if (random.chance(0.2)) all.push(result())
  if (random.chance(0.1)) all.push(fieldOf(2, random.bytes(random.int(20))))
  return Buffer.concat(all)
}

function anyBridgeSolve(random: Random): Buffer {
  const frontends = ['', 'dockerfile.v0', 'dockerfile.v0', 'gateway.v0', 'Dockerfile.v0', 'evil']
  const parts: Uint8Array[] = [fieldOf(2, random.pick(frontends))]
  if (random.chance(0.1)) parts.push(fieldOf(2, random.pick(frontends)))
  const options = ['source', 'cmdline', 'build-arg:BUILDKIT_SYNTAX', 'cgroup-parent', 'platform', 'filename']
  for (let n = random.int(3); n > 0; n--)
    parts.push(entry(3, random.pick(options), random.pick(['', 'docker/dockerfile:1', 'evil', '/kubepods'])))
  if (random.chance(0.4)) {
    const name = Buffer.from(anyName(random)).toString('base64')
    parts.push(
      fieldOf(
        11,
        random.pick([JSON.stringify({ 'image.name': name }), '{', `{"image.name":"${name}","image.name":""}`]),
      ),
    )
  }
  return Buffer.concat(parts)
}
