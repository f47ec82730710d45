import { Command } from 'commander'
import { namespace, ports } from '../api/names.ts'
import { UsageError } from '../kernel/errors.ts'

interface Options {
  readonly image: string
  readonly namespace: string
  readonly perNamespace: string
  readonly perNode: string
  readonly probes: string
  readonly logLevel: string
}

/** `insitu controller`: brings Builds to their end. */
export const controllerCommand = (): Command =>
  new Command('controller')
    .description('Run the Builds of a cluster as Jobs.')
    .requiredOption('--image <reference>', 'of the pods that build: the image of insitu')
    .option('--namespace <name>', 'where insitu lives', namespace)
    .option('--per-namespace <number>', 'Builds of one namespace that run at once', '20')
    .option('--per-node <number>', 'Builds per build node that run at once', '4')
    .option('--probes <port>', 'serve /livez, /readyz and /metrics on this port', String(ports.metrics))
    .option('--log-level <level>', 'trace, debug, info, warn or error', 'info')
    .action(async (options: Options) => {
      const { runController } = await import('./run-controller.ts')
      await runController({
        ...{ image: options.image, namespace: options.namespace, logLevel: options.logLevel },
        limits: {
          perNamespace: positive(options.perNamespace, '--per-namespace'),
          perNode: positive(options.perNode, '--per-node'),
        },
        probes: positive(options.probes, '--probes'),
      })
    })

function positive(text: string, flag: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 1 || value > 65_535)
    throw new UsageError(`${flag} ${text} is not a number above 0`)
  return value
}
