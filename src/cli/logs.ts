import { Command } from 'commander'
import { InsituError } from '../kernel/errors.ts'
import { say } from './cluster/connect.ts'

interface Options {
  readonly namespace?: string
  readonly follow?: boolean
  readonly kubeconfig?: string
  readonly context?: string
}

export const logsCommand = (): Command =>
  new Command('logs')
    .description(
      'Print what the containers of a Build say, in their order. With -f until it has ended; exit code 1 then: it did not succeed.',
    )
    .argument('<build>', 'its name')
    .option('-n, --namespace <name>', 'of the Build (default: the one of the context)')
    .option('-f, --follow', 'wait for the Build and print until it has ended')
    .option('--kubeconfig <file>', 'the cluster and the account (default: $KUBECONFIG, then ~/.kube/config)')
    .option('--context <name>', 'a context of the kubeconfig (default: its current one)')
    .action(async (name: string, { namespace, follow = false, kubeconfig, context }: Options) => {
      const { createKubernetesClient } = await import('../kernel/k8s/client.ts')
      const { writeBuildLogs } = await import('./cluster/build-logs.ts')
      const client = await createKubernetesClient({ kubeconfig, context, userAgent: 'insitu-cli' })
      try {
        const where = { client, namespace: namespace ?? client.namespace, name }
        const { status } = await writeBuildLogs({ ...where, follow, out: process.stdout, say })
        if (!follow || status?.phase === 'Succeeded') return
        throw new InsituError('BUILD_NOT_SUCCEEDED', `Build ${where.namespace}/${name}: ${status?.phase}`)
      } finally {
        client.close()
      }
    })
