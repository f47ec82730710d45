import { Command, Option } from 'commander'
import { clusterOptions, print } from './cluster/connect.ts'
import type { InstallFlags } from './cluster/flags.ts'
import { distributions } from './manifests/options.ts'

const append = (value: string, before: readonly string[]): readonly string[] => [...before, value]

export const installCommand = (): Command =>
  clusterOptions(new Command('install'))
    .description('Install insitu in a Kubernetes cluster, or change an installation, and wait until it is ready.')
    .option('--image <reference>', 'instead of the released image')
    .option('--buildkitd-toml <file>', 'configuration of the build daemons, checked before it is sent')
    .addOption(
      new Option('--distribution <name>', 'where the nodes keep their containerd')
        .choices(['auto', ...distributions])
        .default('auto'),
    )
    .option('--containerd-root <dir>', "containerd's root on the nodes, where the distribution's is not it")
    .option('--containerd-state <dir>', "containerd's state directory on the nodes, with its socket")
    .option('--buildkit-root <dir>', 'what insitu keeps on the nodes, default /var/lib/buildkit')
    .option('--replicas <number>', 'gateways', '2')
    .option('--allow-plaintext <cidr>', 'clients that may use port 2375 without TLS, repeatable', append, [])
    .option('--http-proxy <url>', 'HTTP_PROXY of the agents, given to RUN steps')
    .option('--https-proxy <url>', 'HTTPS_PROXY of the agents')
    .option('--no-proxy <list>', 'NO_PROXY of the agents')
    .option('--node-selector <key=value>', 'only nodes with this label build, repeatable', append, [])
    .option('--toleration <taint>', 'KEY[=VALUE][:EFFECT] that agents tolerate, repeatable, * for all', append, [])
    .option('--agent-priority-class <name>', 'default system-node-critical')
    .option('--print', 'print the YAML and change nothing')
    .option('--no-wait', 'do not wait until it is ready')
    .option('--timeout <duration>', 'how long to wait', '5m')
    .action(async (flags: InstallFlags) => {
      const { optionsFrom } = await import('./cluster/install-options.ts')
      if (flags.print) {
        const { manifests } = await import('./manifests/manifests.ts')
        const { render } = await import('./manifests/render.ts')
        const distribution = flags.distribution === 'auto' ? 'kubeadm' : flags.distribution
        print(render(manifests(await optionsFrom(flags, distribution))))
        return
      }
      const { install } = await import('./cluster/install.ts')
      await install(flags)
    })
