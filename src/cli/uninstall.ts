import { Command } from 'commander'
import { clusterOptions } from './cluster/connect.ts'
import type { UninstallFlags } from './cluster/flags.ts'

export const uninstallCommand = (): Command =>
  clusterOptions(new Command('uninstall'))
    .description('Remove insitu from a cluster and everything it left on the nodes. Images that were built stay.')
    .option('--keep-cache', 'leave the build cache on the nodes for a later installation')
    .option('--delete-namespace', 'delete the namespace although `insitu install` did not make it')
    .option('--grace <duration>', 'how long running builds may go on', '30s')
    .option('--timeout <duration>', 'how long to wait for each step', '5m')
    .action(async (flags: UninstallFlags) => {
      const { uninstall } = await import('./cluster/uninstall.ts')
      await uninstall(flags)
    })
