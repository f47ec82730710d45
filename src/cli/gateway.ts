import { Command } from 'commander'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { ports } from '../api/names.ts'
import { UsageError } from '../kernel/errors.ts'
import { logLevel } from './log-level.ts'

const mountedConfig = '/etc/insitu/insitu.toml'

interface Options {
  readonly listen: readonly string[]
  readonly node: readonly string[]
  readonly config?: string
  readonly policy?: string
  readonly probes?: string
  readonly logLevel: string
}

const append = (value: string, before: readonly string[]): readonly string[] => [...before, value]

export const gatewayCommand = (): Command =>
  new Command('gateway')
    .description('Serve buildctl and docker buildx on one address and relay each build to the node that should do it.')
    .option(
      '--listen <address>',
      'unix:///path or tcp://host:port, repeatable (default in a cluster: tcp port 2375)',
      append,
      [],
    )
    .option('--node <name=address>', 'a fixed build daemon instead of those in Kubernetes, repeatable', append, [])
    .option('--config <file>', `insitu.toml (in a cluster: ${mountedConfig}, if it is there)`)
    .option('--policy <file>', 'policy.toml (in a cluster: /etc/insitu-policy/policy.toml, if it is there)')
    .option(
      '--probes <port>',
      'serve /livez and /readyz on this port, 0: any that is free (default in a cluster: 9375)',
    )
    .addOption(logLevel('info'))
    .action(async (options: Options) => {
      const { parseAddress } = await import('../gateway/listener/address.ts')
      const inCluster = options.node.length === 0
      const listen = options.listen.length === 0 && inCluster ? [`tcp://:${ports.clients}`] : options.listen
      const addresses = listen.map(parseAddress)
      if (addresses.length === 0) {
        throw new UsageError('no address to listen on', {
          fix: 'add --listen unix:///path or --listen tcp://HOST:PORT',
        })
      }
      const probes = options.probes ?? (inCluster ? String(ports.metrics) : undefined)
      const config = options.config ?? (inCluster && existsSync(mountedConfig) ? mountedConfig : undefined)
      if (options.policy !== undefined && !existsSync(options.policy)) {
        throw new UsageError(`--policy ${options.policy} is not there`)
      }
      const { runGateway } = await import('./run-gateway.ts')
      await runGateway({
        addresses,
        nodes: options.node,
        config: config === undefined ? undefined : { name: config, text: await readConfig(config) },
        policy: options.policy,
        probes: probes === undefined ? undefined : { port: port(probes) },
        logLevel: options.logLevel,
      })
    })

function port(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value > 65_535) throw new UsageError(`"${text}" is not a port`, { fix: 'use 0 to 65535' })
  return value
}

async function readConfig(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new UsageError(`--config ${file} cannot be read`, { cause: error })
  }
}
