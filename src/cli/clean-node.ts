import { Command } from 'commander'
import { parseRoot } from './cluster/parse.ts'

interface Flags {
  readonly root: string
  readonly containerdAddress?: string
  readonly containerdNamespace: string
  readonly keepCache?: true
  readonly resultFile?: string
}

/** Run on each node by `insitu uninstall`; needs root and the node's pid namespace. */
export const cleanNodeCommand = (): Command =>
  new Command('clean-node')
    .description('Take away what the agent left on this node. Run by `insitu uninstall`.')
    .option('--root <directory>', "buildkitd's root", parseRoot, '/var/lib/buildkit')
    .option('--containerd-address <socket>', "containerd's socket (default: where the distribution has it)")
    .option('--containerd-namespace <name>', "containerd's namespace", 'k8s.io')
    .option('--keep-cache', 'leave the build cache')
    .option('--result-file <file>', 'where the result or the reason of a failure is written, for the caller')
    .action(async (flags: Flags) => {
      const [{ cleanNode }, { writeFile }, { describeError }] = await Promise.all([
        import('../agent/clean/clean.ts'),
        import('node:fs/promises'),
        import('../kernel/errors.ts'),
      ])
      const tell = async (text: string): Promise<void> => {
        if (flags.resultFile !== undefined) await writeFile(flags.resultFile, text)
      }
      try {
        const result = await cleanNode({
          root: flags.root,
          containerdAddress: flags.containerdAddress,
          namespace: flags.containerdNamespace,
          keepCache: flags.keepCache === true,
          hostRoot: '/proc/1/root',
        })
        await tell(JSON.stringify(result))
        process.stdout.write(`${JSON.stringify(result)}\n`)
      } catch (error) {
        await tell(describeError(error))
        throw error
      }
    })
