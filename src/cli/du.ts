import { Command, Option } from 'commander'
import type { NodeUsage } from '../api/disk.ts'
import { clusterOptions, print } from './cluster/connect.ts'
import type { NodeOptions } from './disk/reach-nodes.ts'
import { type Grouping, groupings } from './disk/usage-view.ts'

interface Flags extends NodeOptions {
  readonly by: Grouping
}

const append = (value: string, before: readonly string[]): readonly string[] => [...before, value]

/** The options by which `du` and `prune` say whose disk they mean. */
export const nodeOptions = (command: Command): Command =>
  clusterOptions(command)
    .option('--node <name>', 'only this node, repeatable (default: all)', append, [])
    .addOption(
      new Option(
        '--socket <path>',
        'ask the agent of this machine, e.g. of insitu local (/var/lib/insitu/run/insitu.sock)',
      ).conflicts('node'),
    )

export const duCommand = (): Command =>
  nodeOptions(new Command('du'))
    .description('Show who holds the disks of the nodes: build cache, images, temporary files, what leaked.')
    .addOption(new Option('--by <what>', 'one line for each').choices([...groupings]).default('node'))
    .action(async (flags: Flags) => {
      const [{ askAll, reachNodes, sayLeftOut, throwFailed }, { usageText }] = await Promise.all([
        import('./disk/reach-nodes.ts'),
        import('./disk/usage-view.ts'),
      ])
      const reached = await reachNodes(flags)
      sayLeftOut(reached)
      const { answers, failed } = await askAll(reached.nodes, async (node) => {
        let text = ''
        await node.ask('usage', undefined, (line) => (text += line))
        return JSON.parse(text) as NodeUsage
      })
      const nodes = answers.toSorted((a, b) => a.node.localeCompare(b.node))
      const { rootless } = reached
      if (flags.output === 'json') print(JSON.stringify({ nodes, rootless, failed }, null, 2))
      else if (nodes.length > 0) print(usageText(nodes, flags.by))
      throwFailed(failed)
    })
