import { Command, Option } from 'commander'
import { clusterOptions, print } from './cluster/connect.ts'
import type { InstallFlags } from './cluster/flags.ts'
import type { Manifest } from './manifests/object.ts'
import { distributions, logLevels, modes } from './manifests/options.ts'

const repeatable = (flags: string, description: string): Option =>
  new Option(flags, description)
    .argParser((value: string, before: readonly string[]) => [...before, value])
    .default([], 'none')

async function manifestsToPrint(flags: InstallFlags): Promise<readonly Manifest[]> {
  if (flags.printKinds) return (await import('./manifests/build-objects.ts')).kinds()
  const { optionsToPrint } = await import('./cluster/install-options.ts')
  const { manifests } = await import('./manifests/manifests.ts')
  return manifests(await optionsToPrint(flags))
}

export const installCommand = (): Command =>
  clusterOptions(new Command('install'))
    .description('Install insitu in a Kubernetes cluster, or change an installation, and wait until it is ready.')
    .option('--image <reference>', 'of gateways and agents (default: the release of this version)')
    .addOption(repeatable('--image-pull-secret <name>', 'a Secret of the namespace to pull it with, repeatable'))
    .addOption(
      new Option(
        '--mode <mode>',
        'node: builds go into the containerd of the nodes; rootless: without privilege, images are pushed; mixed: rootless on nodes labelled insitu.build/mode=rootless, and on those without containerd',
      )
        .choices([...modes])
        .default('node'),
    )
    .option('--buildkitd-toml <file>', 'configuration of the build daemons, checked before it is sent')
    .addOption(
      new Option('--distribution <name>', 'where the nodes keep their containerd')
        .choices(['auto', ...distributions])
        .default('auto'),
    )
    .option('--containerd-root <directory>', "containerd's root on the nodes, where the distribution's is not it")
    .option('--containerd-state <directory>', "containerd's state directory on the nodes, with its socket")
    .option('--buildkit-root <directory>', 'what insitu keeps on the nodes (default: /var/lib/buildkit)')
    .option('--replicas <number>', 'gateways', '2')
    .addOption(repeatable('--allow-plaintext <cidr>', 'clients that may use port 2375 without TLS, repeatable'))
    .option('--http-proxy <url>', 'HTTP_PROXY of the agents, given to RUN steps')
    .option('--https-proxy <url>', 'HTTPS_PROXY of the agents')
    .option('--no-proxy <list>', 'NO_PROXY of the agents')
    .addOption(repeatable('--node-selector <key=value>', 'only nodes with this label build, repeatable'))
    .addOption(repeatable('--toleration <taint>', 'KEY[=VALUE][:EFFECT] that agents tolerate, repeatable, * for all'))
    .option('--agent-priority-class <name>', "of the agents' pods (default: system-node-critical)")
    .addOption(
      new Option('--log-level <level>', 'of gateways, agents and controllers').choices([...logLevels]).default('info'),
    )
    .addOption(
      new Option(
        '--reuse-options',
        'of an installation that is there, keep the options that this command line does not repeat',
      ).conflicts(['resetOptions', 'print', 'printKinds']),
    )
    .option('--reset-options', 'drop them instead')
    .option('--print', 'print the YAML (--output json: a List) and change nothing')
    .addOption(
      new Option('--print-kinds', 'print only the CustomResourceDefinitions of Builds, and change nothing').conflicts(
        'print',
      ),
    )
    .option('--no-wait', 'do not wait until it is ready')
    .option('--timeout <duration>', 'how long to wait', '5m')
    .action(async (flags: InstallFlags, command: Command) => {
      if (flags.printKinds || flags.print) {
        const { render, renderJson } = await import('./manifests/render.ts')
        print((flags.output === 'json' ? renderJson : render)(await manifestsToPrint(flags)))
        return
      }
      const { install } = await import('./cluster/install.ts')
      const { asArguments, saidOptions } = await import('./cluster/said-options.ts')
      await install(flags, {
        said: saidOptions(command),
        with(more) {
          command.parseOptions(asArguments(more))
          return command.opts<InstallFlags>()
        },
      })
    })
