import { Command, Option } from 'commander'
import { clusterOptions } from './cluster/connect.ts'
import type { UninstallFlags } from './cluster/flags.ts'

export const uninstallCommand = (): Command =>
  clusterOptions(new Command('uninstall'))
    .description('Remove insitu from a cluster and everything it left on the nodes. Images that were built stay.')
    .option('--keep-cache', 'leave the build cache on the nodes for a later installation')
    .addOption(
      new Option('--keep-builds', 'leave Builds, templates and their kinds in the cluster').conflicts('deleteBuilds'),
    )
    .option('--delete-builds', 'delete the Builds and templates of all namespaces with their kinds')
    .option('--delete-namespace', 'delete the namespace although `insitu install` did not make it')
    .option('--grace <duration>', 'how long running builds may go on', '30s')
    .option('--timeout <duration>', 'how long to wait for each step', '5m')
    .action(async (flags: UninstallFlags) => {
      const { uninstall } = await import('./cluster/uninstall.ts')
      await uninstall(flags)
    })
