import { Command, InvalidArgumentError } from 'commander'
import { ports } from '../api/names.ts'
import { parseRoot } from './cluster/parse.ts'
import { logLevel } from './log-level.ts'
import type { AgentFlags } from './run-agent.ts'

/** `insitu agent`: the role that runs on each node. */
export function agentCommand(): Command {
  return new Command('agent')
    .description('Run the node agent: check the host, supervise buildkitd, serve gateways.')
    .option('--config <file>', "the user's buildkitd.toml; absent means the defaults", '/etc/buildkit/buildkitd.toml')
    .option('--rootless', 'without privilege, with a store of its own instead of the containerd of the node')
    .option('--insitu-config <file>', 'insitu.toml; absent means the defaults', '/etc/insitu/insitu.toml')
    .option('--root <directory>', "buildkitd's root, the same path on the host", parseRoot, '/var/lib/buildkit')
    .option('--run-directory <directory>', 'place of the socket and the rendered configuration', '/run/buildkit')
    .option('--containerd-address <socket>', "containerd's socket (default: where the distribution has it)")
    .option('--containerd-namespace <name>', "containerd's namespace", 'k8s.io')
    .option('--snapshotter <name>', "the kubelet's snapshotter (default: asked from containerd)")
    .option('--node <name>', 'name of the node (default: $NODE_NAME, else the host name)')
    .option('--listen <port>', 'port of the mTLS front for gateways, in a cluster; 0: none', port, ports.agent)
    .option(
      '--mirror <port>',
      'port of the registry for the containerd of this node, in a cluster; 0: none',
      port,
      ports.mirror,
    )
    .option('--probes <port>', 'port of /livez and /readyz; 0: none', port, ports.metrics)
    .option(
      '--drain <seconds>',
      'how long running builds may go on after SIGTERM (default: 7200 in a cluster, else 0)',
      seconds,
    )
    .option('--emulators <directory>', 'qemu-…-static for other platforms (default: those of the image)')
    .addOption(logLevel('info'))
    .action(async (flags: AgentFlags) => {
      const { runAgentCommand } = await import('./run-agent.ts')
      await runAgentCommand(flags)
    })
}

function seconds(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('It is not a number of seconds.')
  return value
}

function port(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0 || value > 65_535) throw new InvalidArgumentError('It is not a port.')
  return value
}
