import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Finding } from '../../api/node-report.ts'
import { InsituError } from '../../kernel/errors.ts'
import { architectures, nativeArchitecture } from './architectures.ts'
import { matches, smallestProgram } from './elf.ts'
import type { Entry } from './entry.ts'
import { type BinfmtKernel, mountedAt, openKernel } from './kernel.ts'
import { isOurs } from './names.ts'
import { hostEntry } from './plan.ts'
import { prove } from './prove.ts'
import {
  auxiliaryVector,
  disabledFinding,
  hostBrokenFinding,
  isFirstUserNamespace,
  missingFinding,
  ownBrokenFinding,
  pageSize,
  pageSizeFinding,
  userNamespaceFinding,
} from './traps.ts'

/** What a machine can emulate now. */
export interface Examination {
  /** OCI architectures whose handler was proved, whoever registered it. */
  readonly emulated: readonly string[]
  readonly findings: readonly Finding[]
}

/**
 * Looks at the kernel's handlers and tries them, for a doctor. Registers and removes none.
 * @param runDirectory of the agent, which may have mounted binfmt_misc there.
 * @param path PATH of this process
 */
export async function examineEmulators(runDirectory: string, path: string): Promise<Examination> {
  const only = (finding: Finding): Examination => ({ emulated: [], findings: [finding] })
  if (!isFirstUserNamespace(await readFile('/proc/self/uid_map', 'utf8'))) return only(userNamespaceFinding)
  const scratch = await mkdtemp(join(tmpdir(), 'insitu-binfmt-'))
  try {
    const kernel = await openKernel(scratch, mountedAt(runDirectory))
    try {
      return (await kernel.enabled()) ? await tryAll(kernel, path) : only(disabledFinding)
    } finally {
      await kernel.close()
    }
  } catch (error) {
    if (error instanceof InsituError && error.code === 'BINFMT_MISSING') return only(missingFinding(error))
    throw error
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

async function tryAll(kernel: BinfmtKernel, path: string): Promise<Examination> {
  const entries = await kernel.entries()
  const emulated: string[] = []
  const findings: Finding[] = []
  for (const architecture of architectures) {
    const { oci } = architecture
    if (oci === nativeArchitecture(process.arch)) continue
    const program = smallestProgram(architecture)
    const ofAgent = ({ enabled, name, pattern }: Entry): boolean => enabled && isOurs(name) && matches(pattern, program)
    const entry = hostEntry(entries, architecture) ?? entries.find(ofAgent)
    if (!entry) continue
    const proof = await prove(architecture, path)
    if (typeof proof === 'string') emulated.push(oci)
    else if (isOurs(entry.name)) findings.push(ownBrokenFinding(oci, proof.reason))
    else findings.push(hostBrokenFinding(oci, entry.name, entry.flags, proof.reason))
  }
  const page = pageSize(await readFile(auxiliaryVector))
  return { emulated, findings: [...findings, ...pageSizeFinding(page, emulated)] }
}
