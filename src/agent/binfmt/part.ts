import { readFile, rm } from 'node:fs/promises'
import { release } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Finding } from '../../api/node-report.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { Part } from '../part.ts'
import { advertise } from './advertise.ts'
import { architectures, architectureOf, nativeArchitecture } from './architectures.ts'
import { createEmulators, type EmulatorState } from './emulators.ts'
import { findInterpreters } from './interpreters.ts'
import { type BinfmtKernel, openKernel } from './kernel.ts'
import { forgetHandlers, recallHandlers, rememberHandlers } from './memory.ts'
import { handlerNames } from './names.ts'
import { handlerFlags } from './plan.ts'
import { prove } from './prove.ts'
import { isFirstUserNamespace, missingFinding, pageSize, pageSizeFinding, userNamespaceFinding } from './traps.ts'

export interface BinfmtPartOptions {
  /** Directory of interpreters, named as Debian does. Where it does not exist only the host's handlers are used. */
  readonly interpreters: string
  /** Milliseconds between two looks. Default 15,000. */
  readonly interval?: number
}

/** Lets the node run programs of other architectures: the host's handlers, and own ones for what is missing. */
export const binfmtPart = (options: BinfmtPartOptions): Part => ({
  name: 'binfmt',
  async start(context) {
    const { root, log, env } = context
    const config = context.config.emulators
    const links = join(context.runDirectory, 'emulators')
    let state: EmulatorState = { emulated: new Map(), broken: new Set(), findings: [] }
    const still = (findings: readonly Finding[]) => ({ findings: () => findings, stop: () => Promise.resolve() })

    if (!isFirstUserNamespace(await readFile('/proc/self/uid_map', 'utf8'))) return still([userNamespaceFinding])
    let kernel: BinfmtKernel
    try {
      kernel = await openKernel(context.runDirectory)
    } catch (error) {
      if (!(error instanceof InsituError)) throw error
      return still([missingFinding(error)])
    }
    const wanted = new Set(config.platforms.map(architectureOf))
    const emulators = createEmulators({
      kernel,
      foreign: architectures.filter(({ oci }) => oci !== nativeArchitecture(process.arch)),
      interpreters: (await findInterpreters(options.interpreters, links)).filter(({ architecture }) =>
        wanted.has(architecture.oci),
      ),
      names: handlerNames(context.node, root),
      flags: handlerFlags(release(), config.credentials),
      prove: (architecture) => prove(architecture, env['PATH'] ?? ''),
      remember: (names) => rememberHandlers(root, names),
      log,
    })
    // Of an agent of another name that had this root before.
    for (const name of await recallHandlers(root)) {
      if (!handlerNames(context.node, root).isOwn(name)) await kernel.remove(name)
    }
    const page = pageSize(await readFile('/proc/self/auxv'))
    const look = async (): Promise<void> => {
      const next = await emulators.look()
      if (isDeepStrictEqual(next, state)) return
      state = next
      context.changed()
    }
    await look()
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
        await emulators.remove()
        await kernel.close()
        await rm(links, { recursive: true, force: true })
        await forgetHandlers(root)
      },
    }
  },
})
