import { Command, CommanderError, Option } from 'commander'
import { namespace } from '../api/names.ts'
import type { ConnectFlags } from './connect/options.ts'

/** `insitu connect`: a certificate for builds, kept fresh, and what buildctl and buildx need to use it. */
export const connectCommand = (): Command =>
  new Command('connect')
    .description('Get a certificate for builds with a service account, and say how buildctl and buildx use it.')
    .option('--namespace <name>', 'where insitu lives', namespace)
    .option(
      '--kubeconfig <file>',
      "the cluster and the account (default: $KUBECONFIG, then ~/.kube/config, then the pod's)",
    )
    .option('--context <name>', 'a context of the kubeconfig (default: its current one)')
    .option('--service-account <[namespace/]name>', 'whose token is asked for with the kubeconfig', undefined)
    .option(
      '--token-file <file>',
      "a token for the audience insitu.build (default in a pod without a kubeconfig: the projected volume's)",
    )
    .option(
      '--address <host:port>',
      'the gateway (default: its service in a pod without a kubeconfig, elsewhere through the API server)',
    )
    .option('--server-name <name>', "the name in the gateway's certificate (default: that of its service)")
    .option('--ca-file <file>', 'the CA of the gateway (default: from the cluster)')
    .option(
      '--directory <path>',
      'for ca.pem, cert.pem and key.pem, not writable by others (default: $XDG_RUNTIME_DIR/insitu, else ~/.insitu/connect)',
    )
    .option('--watch', 'stay, renew the files, and serve a socket that needs no certificate')
    .addOption(new Option('-o, --output <format>', 'what is printed').choices(['shell', 'json']).default('shell'))
    .argument('[command...]', 'runs with BUILDKIT_HOST set, after --')
    .addHelpText(
      'after',
      `
  insitu connect -- buildctl build …          one build, nothing to clean up
  eval "$(insitu connect --address HOST:2375)"   files for buildctl --tlsdir and buildx`,
    )
    .action(async (command: string[], flags: ConnectFlags) => {
      const { runConnect } = await import('./connect/run.ts')
      const code = await runConnect(flags, command)
      if (code !== 0) throw new CommanderError(code, 'insitu.command', '')
    })
