import { Command } from 'commander'
import { namespace, ports } from '../api/names.ts'
import { UsageError } from '../kernel/errors.ts'
import { logLevel } from './log-level.ts'

interface Options {
  readonly image: string
  readonly namespace: string
  readonly config: string
  readonly probes: string
  readonly logLevel: string
}

/** `insitu controller`: brings Builds to their end. */
export const controllerCommand = (): Command =>
  new Command('controller')
    .description('Run the Builds of a cluster as Jobs.')
    .requiredOption('--image <reference>', 'of the pods that build: the image of insitu')
    .option('--namespace <name>', 'where insitu lives', namespace)
    .option('--config <file>', 'insitu.toml; absent means the defaults', '/etc/insitu/insitu.toml')
    .option('--probes <port>', 'serve /livez, /readyz and /metrics on this port', String(ports.metrics))
    .addOption(logLevel('info'))
    .action(async (options: Options) => {
      const { runController } = await import('./run-controller.ts')
      await runController({
        ...{ image: options.image, namespace: options.namespace, config: options.config, logLevel: options.logLevel },
        probes: portOf(options.probes),
      })
    })

function portOf(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 1 || value > 65_535) throw new UsageError(`--probes ${text} is no port`)
  return value
}
