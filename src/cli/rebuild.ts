import { Command, CommanderError, Option } from 'commander'
import { UsageError } from '../kernel/errors.ts'
import { print, say } from './cluster/connect.ts'
import type { RebuildFlags } from './rebuild/flags.ts'

const collect = (value: string, before: readonly string[]): string[] => [...before, value]

/** `insitu rebuild`: exit code 1 when an image failed or what a base is now is not known, 130 after an interruption. */
export const rebuildCommand = (): Command =>
  new Command('rebuild')
    .description(
      'Build again every image of a Build whose base has changed, and what is built on it, in order. Looks at the ' +
        'provenance in the status of Builds, and at Dockerfiles where there is none. Begun again it goes on where it was.',
    )
    .option(
      '--base <name>',
      'the base: NAME[:TAG], those that were built on another digest than it has now; with @DIGEST only those on that one',
    )
    .option('--changed', 'every base of every image')
    .option('--to <digest>', 'what the base is to be (default: what its registry says)')
    .option('-n, --namespace <name>', 'whose Builds (default: the namespace of the context)')
    .option('-A, --all-namespaces', 'the Builds of all namespaces')
    .option('-l, --selector <labels>', 'only Builds with these labels; others still count as bases')
    .option('--dry-run', 'print what would be built, in which order, and build nothing')
    .option('--parallel <number>', 'Builds at a time; the controller has limits of its own', '8')
    .option('--fail-fast', 'begin nothing more after the first failure (default: leave out what is built on it)')
    .option('--keep <number>', 'ended rebuilds of a Build that stay', '2')
    .option(
      '--registry <host=url>',
      'where a registry is reached, e.g. docker.io=https://mirror.example.com (repeatable)',
      collect,
      [],
    )
    .addOption(
      new Option('-o, --output <format>', 'what goes to standard output').choices(['text', 'json']).default('text'),
    )
    .option(
      '--kubeconfig <file>',
      "the cluster and the account (default: $KUBECONFIG, then ~/.kube/config, then the pod's)",
    )
    .option('--context <name>', 'a context of the kubeconfig (default: its current one)')
    .action(async (flags: RebuildFlags) => {
      const [{ rebuildOptions }, { rebuild }, { reportText }] = await Promise.all([
        import('./rebuild/options.ts'),
        import('./rebuild/run.ts'),
        import('./rebuild/report.ts'),
      ])
      if ((flags.base === undefined) === (flags.changed === undefined)) {
        throw new UsageError('either --base NAME or --changed', { fix: 'insitu rebuild --base debian:12 --dry-run' })
      }
      const { options, close } = await rebuildOptions(flags, say)
      try {
        const report = await rebuild(options)
        print(flags.output === 'json' ? JSON.stringify(report, undefined, 2) : reportText(report))
        const code = report.interrupted ? 130 : (report.counts['failed'] ?? 0) > 0 || report.unknown > 0 ? 1 : 0
        if (code !== 0) throw new CommanderError(code, 'insitu.command', '')
      } finally {
        close()
      }
    })
