import { Command } from 'commander'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
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
      await rm(join(root, ...parts), { recursive: true, force: true, maxRetries: 3 })
      process.stdout.write(`${directory} removed\n`)
    })
