import { Option, type Command } from 'commander'
import { namespace } from '../../api/names.ts'
import { createKubernetesClient, type KubernetesClient } from '../../kernel/k8s/client.ts'

export interface ClusterOptions {
  readonly kubeconfig?: string
  readonly context?: string
  readonly namespace: string
  readonly output: 'text' | 'json'
}

/** The options of every command that talks to a cluster. */
export const clusterOptions = (command: Command): Command =>
  command
    .option('--namespace <name>', 'where insitu lives', namespace)
    .option(
      '--kubeconfig <file>',
      "the cluster and the account (default: $KUBECONFIG, then ~/.kube/config, then the pod's)",
    )
    .option('--context <name>', 'a context of the kubeconfig (default: its current one)')
    .addOption(
      new Option('-o, --output <format>', 'what goes to standard output').choices(['text', 'json']).default('text'),
    )

/** Runs something with a client and closes it. */
export async function withCluster<T>(
  options: ClusterOptions,
  work: (client: KubernetesClient) => Promise<T>,
): Promise<T> {
  const client = await createKubernetesClient({
    kubeconfig: options.kubeconfig,
    context: options.context,
    userAgent: 'insitu-cli',
  })
  try {
    return await work(client)
  } finally {
    client.close()
  }
}

/** Progress is for people and goes to standard error; the result goes to standard output. */
export const say = (line: string): void => void process.stderr.write(`${line}\n`)
export const print = (text: string): void => void process.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
