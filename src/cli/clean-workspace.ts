import { Command, Option } from 'commander'
import { realpath, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { paths } from '../api/builds/work.ts'
import { UsageError } from '../kernel/errors.ts'
import { projectedToken } from './connect/token.ts'

interface Options {
  readonly root: string
  readonly directory: string
  readonly ifNamespaceEnds?: boolean
  readonly work: string
  readonly tokenFile: string
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** `insitu clean-workspace`: removes the directory of a Build from its claim. */
export const cleanWorkspaceCommand = (): Command =>
  new Command('clean-workspace')
    .description('Remove the directory of a Build from its claim (made by the controller for a Build).')
    .requiredOption('--root <directory>', 'where the claim is mounted')
    .requiredOption('--directory <path>', 'what is removed below it')
    .option('--if-namespace-ends', 'wait to be told to end, and remove it only if the namespace is deleted then')
    .addOption(new Option('--work <file>').default(paths.work).hideHelp())
    .addOption(new Option('--token-file <file>').default(projectedToken).hideHelp())
    .action(async ({ root, directory, ifNamespaceEnds, ...question }: Options) => {
      const parts = directory.split('/').filter((part) => part !== '')
      if (directory.startsWith('/') || parts.length === 0 || parts.some((part) => part === '..' || part === '.')) {
        throw new UsageError(`--directory "${directory}" is no path below the claim`)
      }
      if (ifNamespaceEnds === true) {
        const { endsWithNamespace } = await import('./namespace-end.ts')
        if (!(await endsWithNamespace({ ...question, say }))) return say(`${directory} is left to others`)
      }
      await remove(root, parts)
    })

async function remove(root: string, parts: readonly string[]): Promise<void> {
  const directory = parts.join('/')
  const target = join(root, ...parts)
  // A build may have left a link where a directory was: what it points to belongs to somebody else.
  const above = await realpath(dirname(target)).catch(() => undefined)
  if (above === undefined) return say(`${directory} is not there`)
  if (above !== join(await realpath(root), ...parts.slice(0, -1))) {
    throw new UsageError(`--directory "${directory}" leads through a link: it is left alone`)
  }
  await rm(target, { recursive: true, force: true, maxRetries: 3 })
  say(`${directory} removed`)
}
