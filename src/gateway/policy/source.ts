import { existsSync, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { defaultPolicy, type Policy } from './policy.ts'
import { readPolicy } from './read-policy.ts'

/** A policy that follows its file. */
export interface PolicySource {
  current(): Policy
  /** Why the file as it is now is not in force; undefined while it is. */
  problem(): string | undefined
  /** When what is in force was read. */
  readonly loadedAt: Date
  /** Files that were not taken over, since the start. */
  readonly rejected: number
  close(): void
}

export interface PolicySourceOptions {
  readonly file: string
  /** In force until there is a file. */
  readonly fallback?: Policy
  readonly logger: Logger
  /** Told when another policy is in force, or is not taken over. */
  readonly onChange?: (() => void) | undefined
}

/**
 * Reads a policy file and follows it. Its directory is watched, since Kubernetes replaces files of ConfigMaps by
 * renaming. A file that cannot be read, or that went away, leaves the policy that is in force: a slip of an editor, or
 * of whoever deletes a ConfigMap, must not open anything.
 * @throws InsituError when the file is there at the start and is wrong: a gateway that guesses is worse than none.
 */
export async function policyFromFile(options: PolicySourceOptions): Promise<PolicySource> {
  const { file, logger, fallback = defaultPolicy } = options
  const load = async (): Promise<{ text: string; policy: Policy } | undefined> => {
    const text = existsSync(file) ? await readFile(file, 'utf8') : undefined
    return text === undefined ? undefined : { text, policy: readPolicy(text, file) }
  }
  let held = await load()
  let problem: string | undefined
  let loadedAt = new Date()
  let rejected = 0
  logger.info(
    { policy: held?.policy.name ?? fallback.name, tenants: (held?.policy ?? fallback).tenants.length },
    'policy',
  )
  const warn = (policy: Policy): void => policy.warnings.forEach((warning) => logger.warn(warning))
  if (held) warn(held.policy)

  const reload = async (): Promise<void> => {
    const before = problem
    try {
      const next = await load()
      if (!next && held) throw new Error(`${file} is gone`)
      problem = undefined
      if (!next || next.text === held?.text) return
      held = next
      loadedAt = new Date()
      logger.info({ policy: file, tenants: next.policy.tenants.length }, 'the policy was read again')
      warn(next.policy)
    } catch (error) {
      problem = `the policy of before stays in force: ${describeError(error)}`
      if (problem === before) return
      rejected += 1
      logger.error(problem)
    }
    options.onChange?.()
  }
  let timer: NodeJS.Timeout | undefined
  let last = Promise.resolve()
  const directory = dirname(file)
  const watcher = existsSync(directory)
    ? watch(directory, { persistent: false }, () => {
        clearTimeout(timer)
        timer = setTimeout(() => void (last = last.then(reload)), 100)
      })
    : undefined
  return {
    current: () => held?.policy ?? fallback,
    problem: () => problem,
    get loadedAt() {
      return loadedAt
    },
    get rejected() {
      return rejected
    },
    close() {
      clearTimeout(timer)
      watcher?.close()
    },
  }
}
