import { Command } from 'commander'
import type { PruneFlags } from './disk/filter.ts'
import type { NodeOptions } from './disk/reach-nodes.ts'
import { nodeOptions } from './du.ts'

const append = (value: string, before: readonly string[]): readonly string[] => [...before, value]

export const pruneCommand = (): Command =>
  nodeOptions(new Command('prune'))
    .description(
      'Remove unused build cache, old temporary files and what leaked; images only where a filter names them.',
    )
    .option(
      '--filter <terms>',
      'kind=KIND, until=AGE (not used for so long), repository=NAME; separated by commas or repeated',
      append,
      [],
    )
    .option('--keep-storage <size>', 'so much build cache that no image shares stays on each node, e.g. 10GB')
    .option('--all', 'also cache that images share, frontends and what BuildKit keeps for itself')
    .option('--dry-run', 'only tell what would go and what that would free')
    .action(async (flags: NodeOptions & PruneFlags) => {
      const { runPrune } = await import('./disk/run-prune.ts')
      await runPrune(flags)
    })
