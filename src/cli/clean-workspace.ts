import { Command } from 'commander'
import { realpath, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { UsageError } from '../kernel/errors.ts'

/** `insitu clean-workspace`: removes the directory of a Build from its claim. */
export const cleanWorkspaceCommand = (): Command =>
  new Command('clean-workspace')
    .description('Remove the directory of a Build from its claim (made by the controller for a Build).')
    .requiredOption('--root <directory>', 'where the claim is mounted')
    .requiredOption('--directory <path>', 'what is removed below it')
    .action(async ({ root, directory }: { readonly root: string; readonly directory: string }) => {
      const parts = directory.split('/').filter((part) => part !== '')
      if (directory.startsWith('/') || parts.length === 0 || parts.some((part) => part === '..' || part === '.')) {
        throw new UsageError(`--directory "${directory}" is no path below the claim`)
      }
      const target = join(root, ...parts)
      // A build may have left a link where a directory was: what it points to belongs to somebody else.
      const above = await realpath(dirname(target)).catch(() => undefined)
      if (above === undefined) return void process.stdout.write(`${directory} is not there\n`)
      if (above !== join(await realpath(root), ...parts.slice(0, -1))) {
        throw new UsageError(`--directory "${directory}" leads through a link: it is left alone`)
      }
      await rm(target, { recursive: true, force: true, maxRetries: 3 })
      process.stdout.write(`${directory} removed\n`)
    })
