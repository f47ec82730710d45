import { resolve } from 'node:path'
import { Command } from 'commander'
import { parseRoot } from './cluster/parse.ts'
import { logLevel } from './log-level.ts'
import type { LocalOptions } from './run-local.ts'

type Flags = Omit<LocalOptions, 'listen'> & { readonly listen?: readonly string[] }

const append = (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value]

/** `insitu local`: agent and gateway in one process on this machine's containerd, without Kubernetes. */
export const localCommand = (): Command =>
  new Command('local')
    .description(
      'Build inside the containerd of this machine, without Kubernetes. Starts a containerd if there is none.',
    )
    .option('--listen <address>', 'unix:///path or tcp://host:port, repeatable (default: tcp://127.0.0.1:2375)', append)
    .option(
      '--root <directory>',
      'where the build cache and, if one is started, containerd keep their data',
      (text) => parseRoot(text === '' ? text : resolve(text)),
      '/var/lib/insitu',
    )
    .option('--own-containerd', 'start a containerd below --root even if this machine has one')
    .option('--containerd-address <socket>', 'socket of the containerd to build in (default: found)')
    .option('--config <file>', 'a buildkitd.toml')
    .addOption(logLevel('warn'))
    .addHelpText(
      'after',
      `
Then, from another terminal:
  buildctl --addr tcp://127.0.0.1:2375 build --frontend dockerfile.v0 --local context=. --local dockerfile=. \\
    --output type=image,name=example.test/app:v1
  ctr -n k8s.io run --rm example.test/app:v1 app`,
    )
    .action(async (flags: Flags) => {
      const { runLocal } = await import('./run-local.ts')
      await runLocal({ ...flags, listen: flags.listen ?? ['tcp://127.0.0.1:2375'] })
    })
