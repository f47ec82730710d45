import type { Architecture } from './architectures.ts'
import { matches, patternOf, smallestProgram } from './elf.ts'
import { type Entry, type Handler, isAs } from './entry.ts'
import { type HandlerNames, isOurs } from './names.ts'

/** An emulator that could be registered. */
export interface Interpreter {
  readonly architecture: Architecture
  /** A path with the file's digest in it: another file is another path. */
  readonly path: string
}

export interface PlanInput {
  /** What the kernel has now. */
  readonly entries: readonly Entry[]
  /** Architectures that the node cannot run by itself and that are wanted. */
  readonly wanted: readonly Architecture[]
  readonly interpreters: readonly Interpreter[]
  readonly names: HandlerNames
  readonly flags: string
}

export interface BinfmtPlan {
  /** Names of own handlers that are to go. What has changed is in both lists. */
  readonly remove: readonly string[]
  readonly register: readonly Handler[]
  /** By OCI architecture: whose handler runs its programs, once the plan is done. */
  readonly providers: ReadonlyMap<string, 'host' | 'insitu'>
  /** By OCI architecture: the host's handler. */
  readonly host: ReadonlyMap<string, Entry>
}

/** The handler of somebody else that runs programs of an architecture. */
export function hostEntry(entries: readonly Entry[], architecture: Architecture): Entry | undefined {
  const program = smallestProgram(architecture)
  return entries.find((entry) => entry.enabled && !isOurs(entry.name) && matches(entry.pattern, program))
}

/** What to change so that every wanted architecture has a handler: the host's where there is one, else our own. */
export function planHandlers({ entries, wanted, interpreters, names, flags }: PlanInput): BinfmtPlan {
  const own = new Map(entries.filter((entry) => names.isOwn(entry.name)).map((entry) => [entry.name, entry]))
  const providers = new Map<string, 'host' | 'insitu'>()
  const host = new Map<string, Entry>()
  const register: Handler[] = []
  const keep = new Set<string>()
  for (const architecture of wanted) {
    const found = hostEntry(entries, architecture)
    if (found) {
      host.set(architecture.oci, found)
      providers.set(architecture.oci, 'host')
      continue
    }
    const interpreter = interpreters.find((one) => one.architecture === architecture)
    if (!interpreter) continue
    providers.set(architecture.oci, 'insitu')
    const handler: Handler = {
      name: names.of(architecture.qemu),
      interpreter: interpreter.path,
      flags,
      pattern: patternOf(architecture),
    }
    const there = own.get(handler.name)
    if (there && isAs(there, handler)) keep.add(handler.name)
    else register.push(handler)
  }
  return { remove: [...own.keys()].filter((name) => !keep.has(name)), register, providers, host }
}

/**
 * The flags of our handlers. F: the interpreter is opened at once, so that it works in containers. P: programs learn the
 * name they were called by, which qemu can tell from Linux 5.12 on. C gives setuid programs their rights, and qemu with
 * them: only where it is asked for.
 * @param kernel `uname -r`
 */
export function handlerFlags(kernel: string, credentials: boolean): string {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number)
  const tells = major > 5 || (major === 5 && minor >= 12)
  return `${tells ? 'P' : ''}${credentials ? 'OC' : ''}F`
}
