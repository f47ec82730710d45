import { Command } from 'commander'
import { InsituError } from '../kernel/errors.ts'
import { clusterOptions, type ClusterOptions, print, withCluster } from './cluster/connect.ts'

export const statusCommand = (): Command =>
  clusterOptions(new Command('status'))
    .description('Show gateways, agents, controllers and what is wrong with them. Exit code 0: ready; 1: not.')
    .action((flags: ClusterOptions) =>
      withCluster(flags, async (client) => {
        const { readInstallation } = await import('./cluster/installation.ts')
        const { isInstalled, statusDocument, statusText } = await import('./cluster/status-view.ts')
        const { progressOf } = await import('./cluster/rollout.ts')
        const installation = await readInstallation(client, flags.namespace)
        print(
          flags.output === 'json' ? JSON.stringify(statusDocument(installation), null, 2) : statusText(installation),
        )
        const progress = progressOf(installation)
        if (progress.done) return
        throw isInstalled(installation)
          ? new InsituError('NOT_READY', `not ready: ${progress.summary}`, { status: 'UNAVAILABLE' })
          : new InsituError('NOT_INSTALLED', 'insitu is not installed there', { status: 'NOT_FOUND' })
      }),
    )
