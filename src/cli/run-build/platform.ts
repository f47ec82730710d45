import { run } from '../../kernel/process/run.ts'
import type { Work } from '../../api/builds/work.ts'
import { type Files, workerArguments } from './arguments.ts'

interface Worker {
  readonly platforms?: readonly { readonly os: string; readonly architecture: string; readonly variant?: string }[]
}

/**
 * The platform of a build that asks for none: what its node runs by itself, which a worker lists first. Undefined when
 * nobody tells.
 */
export async function nativePlatform(
  work: Work,
  files: Pick<Files, 'tls'>,
  node: string | undefined,
  env: Record<string, string>,
): Promise<string | undefined> {
  if (node === undefined) return undefined
  const ask = async (only: string | undefined): Promise<readonly Worker[]> => {
    const { stdout } = await run('buildctl', workerArguments(work, files, only), { env, timeout: 20_000 })
    return workersIn(stdout)
  }
  try {
    const named = await ask(node)
    if (named.length > 0) return platformOf(named[0])
    // A gateway with a single daemon passes the question on, and that one does not know its name.
    const all = await ask(undefined)
    return all.length === 1 ? platformOf(all[0]) : undefined
  } catch {
    return undefined
  }
}

/** What buildctl prints of `[]*client.WorkerInfo`: `null` for none. */
const workersIn = (text: string): readonly Worker[] => (JSON.parse(text) as readonly Worker[] | null) ?? []

/** `linux/arm/v7`; BuildKit leaves out the variants that go without saying. */
function platformOf(worker: Worker | undefined): string | undefined {
  const first = worker?.platforms?.[0]
  return first && [first.os, first.architecture, first.variant].filter(Boolean).join('/')
}
