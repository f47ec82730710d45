import { Command } from 'commander'
import { clusterOptions, type ClusterOptions, print, withCluster } from './cluster/connect.ts'

export const nodesCommand = (): Command =>
  clusterOptions(new Command('nodes'))
    .description('List the nodes of the cluster with what their agents report.')
    .action((flags: ClusterOptions) =>
      withCluster(flags, async (client) => {
        const { listNodes, nodesText } = await import('./cluster/nodes-view.ts')
        const nodes = await listNodes(client, flags.namespace)
        print(flags.output === 'json' ? JSON.stringify({ nodes }, null, 2) : nodesText(nodes))
      }),
    )
