import { Command, Option } from 'commander'
import { InsituError, UsageError } from '../kernel/errors.ts'
import { say } from './cluster/connect.ts'

interface Options {
  readonly namespace?: string
  readonly follow?: boolean
  readonly container?: string
  readonly previous?: boolean
  readonly tail?: string
  readonly timestamps?: boolean
  readonly output: 'text' | 'json'
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
    .option('-c, --container <name>', 'of this container only: build, or a step')
    .option('-p, --previous', 'the last lines of attempts that were lost')
    .option('--tail <lines>', 'so many lines from the end of each container')
    .option('--timestamps', 'begin each line with its time')
    .addOption(
      new Option('-o, --output <format>', 'json: an object for each line, with its pod and container')
        .choices(['text', 'json'])
        .default('text'),
    )
    .option(
      '--kubeconfig <file>',
      "the cluster and the account (default: $KUBECONFIG, then ~/.kube/config, then the pod's)",
    )
    .option('--context <name>', 'a context of the kubeconfig (default: its current one)')
    .action(async (name: string, { namespace, follow = false, previous, kubeconfig, context, ...options }: Options) => {
      const tail = lines(options.tail)
      const { createKubernetesClient } = await import('../kernel/k8s/client.ts')
      const { writeBuildLogs, writeFormerAttempts } = await import('./cluster/build-logs.ts')
      const { jsonWriter, textWriter } = await import('./cluster/log-writer.ts')
      const client = await createKubernetesClient({ kubeconfig, context, userAgent: 'insitu-cli' })
      try {
        const where = { client, namespace: namespace ?? client.namespace, name }
        const { container, timestamps } = options
        const out = (options.output === 'json' ? jsonWriter : textWriter)(process.stdout)
        const what = { ...where, follow, container, timestamps, tail, out, say }
        if (previous === true) return void (await writeFormerAttempts(what))
        const { status } = await writeBuildLogs(what)
        if (!follow || status?.phase === 'Succeeded') return
        throw new InsituError('BUILD_NOT_SUCCEEDED', `Build ${where.namespace}/${name}: ${status?.phase}`)
      } finally {
        client.close()
      }
    })

function lines(text: string | undefined): number | undefined {
  if (text === undefined || text === '-1') return undefined
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new UsageError(`--tail ${text} is no number of lines`)
}
