import { readFile, rm } from 'node:fs/promises'
import { release } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Finding } from '../../api/node-report.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Part, PartContext, RunningPart } from '../part.ts'
import { advertise } from './advertise.ts'
import { architectures, architectureOf, nativeArchitecture } from './architectures.ts'
import { createEmulators, type EmulatorState } from './emulators.ts'
import { findInterpreters } from './interpreters.ts'
import { type BinfmtKernel, openKernel } from './kernel.ts'
import { forgetHandlers, recallHandlers, rememberHandlers } from './memory.ts'
import { handlerNames } from './names.ts'
import { handlerFlags } from './plan.ts'
import { prove } from './prove.ts'
import {
  auxiliaryVector,
  isFirstUserNamespace,
  missingFinding,
  pageSize,
  pageSizeFinding,
  userNamespaceFinding,
} from './traps.ts'

export interface BinfmtPartOptions {
  /** Directory of interpreters, named as Debian does. Where it does not exist only the host's handlers are used. */
  readonly interpreters: string
  /** Milliseconds between two looks. Default 15,000. */
  readonly interval?: number
  /** File with the auxiliary vector of a process of this machine. Default: of this one. */
  readonly auxv?: string
}

/** Lets the node run programs of other architectures: the host's handlers, and own ones for what is missing. */
export const binfmtPart = (options: BinfmtPartOptions): Part => ({
  name: 'binfmt',
  async start(context) {
    const still = (findings: readonly Finding[]) => ({ findings: () => findings, stop: () => Promise.resolve() })
    if (!isFirstUserNamespace(await readFile('/proc/self/uid_map', 'utf8'))) return still([userNamespaceFinding])
    let kernel: BinfmtKernel
    try {
      kernel = await openKernel(context.runDirectory)
    } catch (error) {
      if (!(error instanceof InsituError)) throw error
      return still([missingFinding(error)])
    }
    return keepHandlers(kernel, options, context)
  },
})

/** @throws anything; then nothing of it is left, and the kernel is closed. */
export async function keepHandlers(
  kernel: BinfmtKernel,
  options: BinfmtPartOptions,
  context: PartContext,
): Promise<RunningPart> {
  const { root, log, env } = context
  const config = context.config.emulators
  const links = join(context.runDirectory, 'emulators')
  const names = handlerNames(context.node, root)
  let state: EmulatorState = { emulated: new Map(), broken: new Set(), findings: [] }

  const end = async (): Promise<void> => {
    try {
      for (const { name } of await kernel.entries()) if (names.isOwn(name)) await kernel.remove(name)
      await rm(links, { recursive: true, force: true })
      await forgetHandlers(root)
    } finally {
      await kernel.close()
    }
  }
  const begin = async (): Promise<() => Promise<void>> => {
    const wanted = new Set(config.platforms.map(architectureOf))
    const interpreters = await findInterpreters(options.interpreters, links)
    const emulators = createEmulators({
      ...{ kernel, names, log },
      foreign: architectures.filter(({ oci }) => oci !== nativeArchitecture(process.arch)),
      interpreters: async (architecture) => (wanted.has(architecture.oci) ? interpreters(architecture) : undefined),
      flags: handlerFlags(release(), config.credentials),
      prove: (architecture) => prove(architecture, env['PATH'] ?? ''),
      remember: (added) => rememberHandlers(root, added),
    })
    // Of an agent of another name that had this root before.
    for (const name of await recallHandlers(root)) if (!names.isOwn(name)) await kernel.remove(name)
    const look = async (): Promise<void> => {
      const next = await emulators.look()
      if (isDeepStrictEqual(next, state)) return
      state = next
      context.changed()
    }
    await look()
    return look
  }

  const page = pageSize(await readFile(options.auxv ?? auxiliaryVector))
  const look = await begin().catch(async (error: unknown) => {
    await end().catch((left: unknown) => log.error({ err: describeError(left) }, 'handlers of emulators stay'))
    throw error
  })
  let running = Promise.resolve()
  const timer = setInterval(() => {
    running = running.then(look).catch((error: unknown) => {
      log.warn({ err: describeError(error) }, 'the handlers of emulators could not be looked at')
    })
  }, options.interval ?? 15_000)
  timer.unref()

  return {
    findings: () => [...state.findings, ...pageSizeFinding(page, [...state.emulated.keys()])],
    report: ({ platforms }) => advertise(platforms, state),
    async stop() {
      clearInterval(timer)
      await running
      await end()
    },
  }
}
