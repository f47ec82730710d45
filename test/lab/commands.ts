import { spawn } from 'node:child_process'
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { describeError, exitCode, InsituError, UsageError } from '../../src/kernel/errors.ts'
import { controlComponents } from './control-plane.ts'
import { down } from './down.ts'
import { labBuildkitdToml } from './buildkitd-toml.ts'
import { foreignArchitecture } from './foreign.ts'
import { buildInsituImage } from './images/insitu.ts'
import { makeImages } from './images/make.ts'
import { current, nodeCommand, openLab } from './lab.ts'
import { kubeconfigPath, logFile, maxNodes, nodeIndex, toolsBin } from './layout.ts'
import { nodeDaemons } from './node.ts'
import { terminalProgress } from './progress.ts'
import { reboot } from './reboot.ts'
import type { Shape } from './state.ts'
import { renderStatus, status } from './status.ts'
import { up, type NodeSetting } from './up.ts'

interface UpFlags extends Partial<Shape> {
  readonly nodes?: number
  readonly label: NodeSetting[]
  readonly taint: NodeSetting[]
  readonly foreign: readonly string[]
}

/** Runs one command line of the lab. Returns the exit code: 0, 1 for a failure, 2 for a wrong command line. */
export async function runLab(argv: readonly string[]): Promise<number> {
  let code = 0
  const program = new Command('lab')
    .description('A real Kubernetes cluster on this machine: every node in namespaces of its own. See docs/lab.md.')
    .exitOverride()
    .showHelpAfterError('(run with --help for the options)')
    .enablePositionalOptions()

  program
    .command('up')
    .description('start the lab, repair it, or change its size; nothing happens when it is as asked')
    .option('--nodes <n>', `number of nodes, 1 to ${maxNodes} (default: as it is, or 1)`, count)
    .option('--label <node=key=value>', 'label on a node (repeatable)', setting, [])
    .option('--taint <node=key=value:Effect>', 'taint on a node (repeatable)', setting, [])
    .option('--foreign <node>', `node of another architecture, ${foreignArchitecture} (repeatable)`, foreignNode, [])
    .option('--delay <ms>', 'added to each packet from node to node', amount)
    .option('--rate <mbit>', 'limit from each node to the others, in Mbit/s', amount)
    .action(async (o: UpFlags) => {
      const shape = {
        ...(o.delay === undefined ? {} : { delay: o.delay }),
        ...(o.rate === undefined ? {} : { rate: o.rate }),
      }
      const foreign = o.foreign.length === 0 ? undefined : o.foreign.filter((node) => node !== 'none')
      await up({ nodes: o.nodes, labels: o.label, taints: o.taint, foreign, shape, progress: terminalProgress() })
    })

  program
    .command('down')
    .description('remove the lab and everything it changed on this machine (made images stay in .lab)')
    .action(() => down(terminalProgress()))

  program
    .command('status')
    .description('what runs and what does not; exit code 1 unless everything is healthy')
    .option('--output <format>', 'text or json', 'text')
    .action(async (o: { output: string }) => {
      const report = await status()
      console.log(o.output === 'json' ? JSON.stringify(report, undefined, 2) : renderStatus(report))
      code = report.healthy ? 0 : 1
    })

  program
    .command('exec')
    .description('run a command on a node, e.g. exec node1 -- ctr -n k8s.io images ls')
    .argument('<node>')
    .argument('<command...>')
    .passThroughOptions()
    .action(async (node: string, command: string[]) => {
      known(node)
      // The shell's `--` arrives here: the command's own options are not read by the lab.
      code = await passThrough(await nodeCommand(node, command[0] === '--' ? command.slice(1) : command))
    })

  program
    .command('reboot')
    .description('switch a node off without warning, and on again: disks and /etc stay')
    .argument('<node>')
    .action(async (node: string) => {
      known(node)
      await reboot(node, terminalProgress())
    })

  program
    .command('kubeconfig')
    .description("print the path of the administrator's kubeconfig")
    .action(() => {
      current()
      console.log(kubeconfigPath)
    })

  program
    .command('env')
    .description('print shell exports: eval "$(npm run -s lab -- env)"')
    .action(() => {
      current()
      console.log(`export KUBECONFIG=${kubeconfigPath}\nexport PATH=${toolsBin}:$PATH`)
    })

  program
    .command('logs')
    .description(`the log of a component: ${[...controlComponents, ...nodeDaemons].join(', ')}`)
    .argument('<words...>', '[node] component')
    .option('-f, --follow', 'go on as the log grows')
    .action(async (words: string[], o: { follow?: boolean }) => {
      const [component = '', node] = words.toReversed()
      if (node !== undefined) known(node)
      const names: readonly string[] = node === undefined ? controlComponents : [...nodeDaemons, 'init']
      if (words.length > 2 || !names.includes(component)) {
        throw new UsageError(`${node ? 'a node' : 'the control plane'} has the components ${names.join(', ')}`)
      }
      code = await passThrough(['tail', ...(o.follow ? ['-n', '100', '-F'] : ['-n', '+1']), logFile(component, node)])
    })

  program
    .command('load')
    .description("import an OCI or docker tar into the nodes' containerd (namespace k8s.io)")
    .argument('<tar>')
    .argument('[nodes...]', 'default: all')
    .action(async (tar: string, nodes: string[]) => {
      const progress = terminalProgress()
      nodes.forEach(known)
      await openLab().load(tar, nodes.length > 0 ? nodes : undefined)
      progress.step(`${tar} loaded`)
    })

  program
    .command('images')
    .description('make the base images and put them into the stand-in registry')
    .action(() => makeImages(terminalProgress()))

  program
    .command('image')
    .description(
      "build the repository's own image into .lab/cache/insitu.tar and load it into the nodes of a running lab",
    )
    .action(async () => {
      const { name, tar } = await buildInsituImage(terminalProgress())
      console.log(`${name} ${tar}`)
    })

  program
    .command('buildkitd-toml')
    .description('print install/buildkitd.toml with the registries of the lab, for `insitu install --buildkitd-toml`')
    .action(async () => void process.stdout.write(await labBuildkitdToml()))

  try {
    await program.parseAsync([...argv], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    process.stderr.write(`lab: ${describeError(error)}\n`)
    if (error instanceof InsituError && error.fix) process.stderr.write(`  fix: ${error.fix}\n`)
    return exitCode(error)
  }
}

function known(node: string): void {
  const { nodes } = current()
  if (!nodes.includes(node)) throw new UsageError(`there is no ${node}; the lab has ${nodes.join(', ')}`)
}

function count(text: string): number {
  const n = Number(text)
  if (!Number.isInteger(n) || n < 1 || n > maxNodes) throw new InvalidArgumentError(`1 to ${maxNodes}`)
  return n
}

function amount(text: string): number {
  const n = Number(text)
  if (!Number.isFinite(n) || n < 0) throw new InvalidArgumentError('a number, 0 for none')
  return n
}

function foreignNode(text: string, before: readonly string[]): string[] {
  if (text !== 'none' && Number.isNaN(nodeIndex(text))) throw new InvalidArgumentError('node3, or none')
  return [...before, text]
}

function setting(text: string, before: readonly NodeSetting[]): NodeSetting[] {
  const [, node, value] = /^([^=]+)=(.+)$/.exec(text) ?? []
  if (!node || !value || Number.isNaN(nodeIndex(node))) throw new InvalidArgumentError('node1=key=value')
  return [...before, { node, value }]
}

/** Runs a command on this terminal and returns its exit code; 128 + N when signal N ended it, as shells do. */
async function passThrough([file = '', ...args]: readonly string[]): Promise<number> {
  const child = spawn(file, args, { stdio: 'inherit' })
  // The terminal sends ^C to the child as well: it decides.
  const wait = (): void => undefined
  process.on('SIGINT', wait)
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (exit, signal) => resolve(exit ?? (signal === 'SIGINT' ? 130 : 143)))
    })
  } finally {
    process.off('SIGINT', wait)
  }
}
