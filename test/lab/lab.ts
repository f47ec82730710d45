import { createReadStream } from 'node:fs'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { InsituError } from '../../src/kernel/errors.ts'
import { run, type RunOptions, type RunResult } from '../../src/kernel/process/run.ts'
import { daemonGroups } from './cgroups.ts'
import { detectMachine, nodeOptions } from './machine.ts'
import { kubectl } from './control-plane.ts'
import { kubeconfigPath, nodeIP, toolsBin } from './layout.ts'
import { enterNode } from './node.ts'
import { silent, type Progress } from './progress.ts'
import { readState, type LabState } from './state.ts'
import { up, type UpOptions } from './up.ts'

export { net, pushRegistry, standInRegistry, stoodInFor, toolsBin } from './layout.ts'

/** The running lab, for tests. */
export interface Lab {
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string
  readonly nodes: readonly string[]
  /** Those of another architecture, see foreign.ts. */
  readonly foreign: readonly string[]
  kubectl(args: readonly string[], options?: { input?: string; timeout?: number }): Promise<RunResult>
  /** Runs a command inside a node's namespaces; .tools/bin is on its PATH. `options` as for `run`. */
  exec(node: string, command: readonly string[], options?: RunOptions): Promise<RunResult>
  /** The node's address on the lab's bridge. */
  nodeIP(node: string): string
  /** Imports an OCI or docker tar into containerd's namespace k8s.io, on all nodes unless said otherwise. */
  load(tar: string, nodes?: readonly string[]): Promise<void>
}

/**
 * The lab with at least this many nodes; started, repaired or extended when needed.
 * @throws InsituError LAB_* with what is missing on this machine.
 */
export async function ensureLab(
  options: Omit<UpOptions, 'progress' | 'atLeast'> & { progress?: Progress } = {},
): Promise<Lab> {
  await up({ atLeast: true, progress: silent, ...options })
  return openLab()
}

/** The lab that runs. @throws InsituError LAB_DOWN */
export function openLab(): Lab {
  const state = current()
  return {
    kubeconfig: kubeconfigPath,
    nodes: state.nodes,
    foreign: state.foreign,
    kubectl,
    exec,
    nodeIP,
    load: async (tar, nodes = state.nodes) => void (await Promise.all(nodes.map((node) => loadInto(node, tar)))),
  }
}

export function current(): LabState {
  const state = readState()
  if (state) return state
  throw new InsituError('LAB_DOWN', 'there is no lab', { fix: 'run: npm run lab -- up' })
}

export const nodePath = `${toolsBin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`

/** The argument array that runs a command inside a node. */
export async function nodeCommand(node: string, command: readonly string[]): Promise<string[]> {
  const state = current()
  const machine = await detectMachine()
  return [
    'sh',
    join(import.meta.dirname, 'join-cgroups.sh'),
    ...daemonGroups(machine, nodeOptions(machine), node),
    '--',
    ...enterNode(node, { get: () => state }),
    'env',
    `PATH=${nodePath}`,
    ...command,
  ]
}

async function exec(node: string, command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [file = '', ...args] = await nodeCommand(node, command)
  return run(file, args, options)
}

async function loadInto(node: string, tar: string): Promise<void> {
  // Through stdin: a node has its own /tmp.
  const [file = '', ...args] = await nodeCommand(node, [
    join(toolsBin, 'ctr'),
    '-n',
    'k8s.io',
    'images',
    'import',
    '--local',
    // ctr is of the machine's architecture and would leave out what a foreign node is given.
    ...(current().foreign.includes(node) ? ['--all-platforms'] : []),
    '-',
  ])
  const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'pipe'] })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const source = createReadStream(tar)
  source.once('error', (error) => {
    errors += error.message
    child.stdin.destroy()
  })
  // ctr may end first; its exit code says why.
  child.stdin.on('error', () => source.destroy())
  source.pipe(child.stdin)
  const code = await new Promise<number | null>((resolve, reject) => child.once('close', resolve).once('error', reject))
  if (code !== 0) throw new InsituError('LAB_LOAD', `${node} could not import ${tar}: ${errors.trim()}`)
}
