import type { Finding } from '../../api/node-report.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { Architecture } from './architectures.ts'
import { matches, smallestProgram } from './elf.ts'
import type { Entry } from './entry.ts'
import type { BinfmtKernel } from './kernel.ts'
import type { HandlerNames } from './names.ts'
import type { Interpreters } from './interpreters.ts'
import { type BinfmtPlan, hostEntry, type Interpreter, planHandlers } from './plan.ts'
import type { Proof } from './prove.ts'
import { disabledFinding, hostBrokenFinding, ownBrokenFinding } from './traps.ts'

export interface EmulatorsOptions {
  readonly kernel: BinfmtKernel
  /** All but the node's own. */
  readonly foreign: readonly Architecture[]
  /** Those that may be registered. Asked only for what has no handler of the host's. */
  readonly interpreters: Interpreters
  readonly names: HandlerNames
  readonly flags: string
  readonly prove: (architecture: Architecture) => Promise<Proof>
  /** Is told the names of handlers before they are registered, so that they can be removed after any end. */
  readonly remember: (names: readonly string[]) => Promise<void>
  readonly log: Logger
}

/** What a node can emulate, by OCI architecture. */
export interface EmulatorState {
  /** Proved; by whose handler. */
  readonly emulated: ReadonlyMap<string, 'host' | 'insitu'>
  /** There is a handler, but it does not work. */
  readonly broken: ReadonlySet<string>
  readonly findings: readonly Finding[]
}

export interface Emulators {
  /** Looks at the kernel's handlers, changes what is to be changed, proves what is new. */
  look(): Promise<EmulatorState>
}

export function createEmulators(options: EmulatorsOptions): Emulators {
  const { kernel, names, flags, log } = options
  /** By OCI architecture: what was tried, and what came of it. */
  const proofs = new Map<string, { readonly of: string; readonly proof: Proof }>()
  /** Own interpreters that failed. Another file is another path. */
  const failed = new Map<string, string>()
  /** By OCI architecture: own interpreters that were needed up to now. */
  const needed = new Map<string, Interpreter | undefined>()
  const interpretersNow = (): Interpreter[] => [...needed.values()].filter((one) => one !== undefined)
  /** Run by the processor itself: 386 on amd64, arm on many arm64. */
  const native = new Set<string>()

  const findNatives = async (entries: readonly Entry[]): Promise<void> => {
    for (const architecture of options.foreign) {
      const { oci } = architecture
      if (!siblings.has(oci) || native.has(oci)) continue
      const program = smallestProgram(architecture)
      if (entries.some((entry) => entry.enabled && matches(entry.pattern, program))) continue
      if (isProved(await options.prove(architecture))) native.add(oci)
    }
  }

  const planNow = async (entries: readonly Entry[]): Promise<BinfmtPlan> => {
    const wanted = options.foreign.filter(({ oci }) => !native.has(oci))
    for (const architecture of wanted) {
      if (needed.has(architecture.oci) || hostEntry(entries, architecture)) continue
      needed.set(architecture.oci, await options.interpreters(architecture))
    }
    const interpreters = interpretersNow().filter(({ path }) => !failed.has(path))
    return planHandlers({ entries, names, flags, wanted, interpreters })
  }

  /** @returns findings about handlers that the kernel did not take. */
  const apply = async ({ remove, register }: BinfmtPlan): Promise<Finding[]> => {
    const findings: Finding[] = []
    for (const name of remove) await kernel.remove(name)
    if (register.length > 0) await options.remember(register.map(({ name }) => name))
    for (const handler of register) {
      try {
        await kernel.register(handler)
      } catch (error) {
        findings.push(ownBrokenFinding(handler.name, describeError(error)))
      }
    }
    if (remove.length + register.length > 0) {
      log.info({ removed: remove, registered: register.map(({ name }) => name) }, 'handlers of emulators changed')
    }
    return findings
  }

  const proveAll = async (plan: BinfmtPlan, entries: readonly Entry[]) => {
    const emulated = new Map<string, 'host' | 'insitu'>()
    const broken = new Set<string>()
    const findings: Finding[] = []
    for (const architecture of options.foreign) {
      const { oci } = architecture
      if (native.has(oci)) continue
      const program = smallestProgram(architecture)
      const own = entries.find((one) => one.name === names.of(architecture.qemu))
      // Without one of the host's or our own: that of another agent on the same kernel.
      const entry = plan.host.get(oci) ?? own ?? entries.find((one) => one.enabled && matches(one.pattern, program))
      if (!entry) continue
      const provider = plan.providers.get(oci) ?? 'insitu'
      const of = `${entry.name} ${entry.interpreter} ${entry.flags}`
      const known = proofs.get(oci)
      const proof = known?.of === of && isProved(known.proof) ? known.proof : await options.prove(architecture)
      proofs.set(oci, { of, proof })
      if (typeof proof === 'string') {
        emulated.set(oci, provider)
        continue
      }
      broken.add(oci)
      if (provider === 'host') findings.push(hostBrokenFinding(oci, entry.name, entry.flags, proof.reason))
      else if (entry === own) {
        await kernel.remove(entry.name)
        failed.set(entry.interpreter, proof.reason)
      }
    }
    return { emulated, broken, findings }
  }

  return {
    async look() {
      if (!(await kernel.enabled())) return { emulated: new Map(), broken: new Set(), findings: [disabledFinding] }
      const before = await kernel.entries()
      await findNatives(before)
      const plan = await planNow(before)
      const refused = await apply(plan)
      const after = plan.remove.length + plan.register.length > 0 ? await kernel.entries() : before
      const { emulated, broken, findings } = await proveAll(plan, after)
      const broke = interpretersNow().filter(({ path }) => failed.has(path))
      // The daemon may go on listing it for a while.
      for (const { oci } of broke.map((one) => one.architecture)) if (!emulated.has(oci)) broken.add(oci)
      const ownBroken = broke.map(({ architecture, path }) =>
        ownBrokenFinding(architecture.oci, failed.get(path) ?? ''),
      )
      return { emulated, broken, findings: [...refused, ...findings, ...ownBroken] }
    },
  }
}

/** Architectures that a processor of another one may run by itself. */
const siblings = new Set(['386', 'arm'])

const isProved = (proof: Proof): boolean => typeof proof === 'string'
