import { Command } from 'commander'
import { InsituError, UsageError } from '../kernel/errors.ts'
import { clusterOptions, type ClusterOptions, print, say, withCluster } from './cluster/connect.ts'
import { parseImageName } from './cluster/parse.ts'

interface Options extends ClusterOptions {
  readonly for?: string
  readonly node?: string
  readonly platform?: string
  readonly push?: boolean
}

export const explainCommand = (): Command =>
  clusterOptions(new Command('explain'))
    .description(
      'Show on which node an image would be built now, and why not on the others. Builds nothing. Exit code 1: it would be refused.',
    )
    .argument('[image]', 'the name the build would give its image')
    .option('--for <kind/name>', 'as insitu.for: [namespace/]deploy/web, sts/db, pod/x, …')
    .option('--node <name>', 'as insitu.node')
    .option('--platform <list>', 'OCI platforms, separated by commas: linux/arm64')
    .option('--push', 'the build pushes its image, which then need not stay on the node')
    .action(async (image: string | undefined, flags: Options) => {
      if (image === undefined && flags.for === undefined && flags.node === undefined) {
        throw new UsageError('nothing to explain', { fix: 'name an image, or --for KIND/NAME' })
      }
      if (image !== undefined) parseImageName(image)
      await withCluster(flags, async (client) => {
        const { explainNow, explanationText } = await import('./cluster/explain-view.ts')
        const explanation = await explainNow({
          client,
          namespace: flags.namespace,
          image,
          workload: flags.for,
          node: flags.node,
          platforms: (flags.platform ?? '').split(',').filter((p) => p !== ''),
          push: flags.push === true,
          say,
        })
        print(flags.output === 'json' ? JSON.stringify(explanation, null, 2) : explanationText(explanation))
        const { refusal } = explanation
        if (refusal) throw new InsituError(refusal.code, 'the build would be refused')
      })
    })
