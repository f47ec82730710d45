import { Command, Option } from 'commander'
import { UsageError } from '../kernel/errors.ts'
import type { CheckFlags } from './policy/check.ts'

const append = (value: string, before: readonly string[]): readonly string[] => [...before, value]

/** `insitu policy check`: what a policy file says to a request, without a cluster. */
export const policyCommand = (): Command =>
  new Command('policy').description('Look at a policy.toml before a gateway does.').addCommand(
    new Command('check')
      .description('Read a policy file and say what it decides. Exit code 0: valid, and allowed if a request is given.')
      .argument('<file>', 'policy.toml')
      .option('--as <uri>', 'a caller by certificate: spiffe://insitu.build/ns/NAMESPACE/sa/NAME')
      .option('--namespace <name>', 'a pod of this namespace that builds in plaintext')
      .option('--service-account <name>', 'its service account, with --namespace (default: "default")')
      .option('--user <name>', 'a person: CN of the certificate')
      .option('--group <name>', 'O of the certificate, repeatable', append, [])
      .option('--loopback', 'a build through kubectl port-forward')
      .option('--name <image>', 'a name the build gives its image, repeatable', append, [])
      .option('--exporter <type>', 'repeatable; image if there is a name', append, [])
      .option('--entitlement <name>', 'repeatable', append, [])
      .option('--frontend <name>', 'dockerfile.v0, gateway.v0:IMAGE or llb, repeatable', append, [])
      .option('--platform <name>', 'repeatable', append, [])
      .option('--cache-to <type>', 'repeatable', append, [])
      .option('--cache-from <type>', 'repeatable', append, [])
      .option('--node <name>', 'where it would build')
      .option('--request <file>', 'a JSON object with these options as keys, e.g. {"name": ["team/app"]}')
      .addOption(
        new Option('-o, --output <format>', 'what goes to standard output').choices(['text', 'json']).default('text'),
      )
      .action(async (file: string, flags: CheckFlags) => {
        const callers = [flags.as, flags.namespace, flags.user, flags.loopback].filter((c) => c !== undefined)
        if (callers.length > 1) throw new UsageError('only one of --as, --namespace, --user and --loopback')
        const { checkPolicy } = await import('./policy/check.ts')
        await checkPolicy(file, flags)
      }),
  )
