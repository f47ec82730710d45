import { existsSync } from 'node:fs'
import { access, constants, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { describeError, InsituError } from '../../src/kernel/errors.ts'
import { applyAddons, waitForDns } from './addons.ts'
import { controlComponents, ensureControlPlane, kubectl } from './control-plane.ts'
import { ensureDisk } from './disk.ts'
import { destroy } from './down.ts'
import { allRecipes } from './images/all.ts'
import { ensureImages, systemRecipes } from './images/base.ts'
import { checkout, controlNetns, net, nodeIndex, nodeName, podRange, standInRegistry, toolsBin } from './layout.ts'
import { withLock } from './lock.ts'
import { detectMachine, nodeOptions } from './machine.ts'
import { applyShape, checkShape, ensureBridge, ensureNetns, ensureRoutes, hasNetnsDir, setSysctl } from './network.ts'
import { ensureNode, forgetNode, mustRun, nodeHealthy, removeNode, type NodeContext } from './node.ts'
import { ensurePki } from './pki.ts'
import { alive } from './processes.ts'
import type { Progress } from './progress.ts'
import { noLab, openState, readState, type LabState, type Shape, type StateStore } from './state.ts'
import { waitFor } from './wait.ts'

export interface UpOptions {
  /** Default: as many as there are, or one. */
  readonly nodes?: number | undefined
  /** More nodes than asked for are fine. */
  readonly atLeast?: boolean
  /** Default: as it is, or none. */
  readonly shape?: Partial<Shape>
  /** Nodes of another architecture, see foreign.ts. Default: as it is, or none. */
  readonly foreign?: readonly string[] | undefined
  /** By node: `key=value`, and `key=value:Effect`. */
  readonly labels?: readonly NodeSetting[]
  readonly taints?: readonly NodeSetting[]
  readonly progress: Progress
}

export interface NodeSetting {
  readonly node: string
  readonly value: string
}

/** Makes the lab as asked: a no-op when it is, a repair of what is broken, a fresh one when it cannot be repaired. */
export async function up(options: UpOptions): Promise<void> {
  await checkPrerequisites()
  await withLock('lab', async () => {
    const { progress } = options
    const before = readState()
    if (before && before.checkout !== checkout) {
      progress.step(`replacing the lab of ${before.checkout}`)
      await destroy(progress)
    }
    const wanted = await plan(options, readState())
    const labelled = async (): Promise<void> => applySettings(options)
    if (await healthy(wanted)) {
      await labelled()
      progress.step(`the lab is up with ${wanted.nodes.length} node(s)`)
      return
    }
    try {
      await build(wanted, progress)
    } catch (error) {
      if (!before) throw error
      progress.step(`cannot repair it (${describeError(error)}), making a new one`)
      await destroy(progress)
      await build(wanted, progress)
    }
    await labelled()
  })
}

interface Wanted {
  readonly nodes: readonly string[]
  readonly foreign: readonly string[]
  readonly shape: Shape
}

async function plan(options: UpOptions, state: LabState | undefined): Promise<Wanted> {
  const there = state?.nodes.length ?? 0
  const asked = options.nodes ?? (there || 1)
  const count = options.atLeast ? Math.max(asked, there) : asked
  const settings = [...(options.labels ?? []), ...(options.taints ?? [])].map(({ node }) => node)
  const named = [...settings, ...(options.foreign ?? [])].find((node) => !(nodeIndex(node) <= count))
  if (named) throw new InsituError('LAB_NO_NODE', `there is no ${named} in a lab of ${count} node(s)`)
  const nodes = Array.from({ length: count }, (_, i) => nodeName(i + 1))
  const foreign = nodes.filter((node) => (options.foreign ?? state?.foreign ?? []).includes(node))
  const shape = { delay: 0, rate: 0, ...state?.shape, ...options.shape }
  await checkShape(shape)
  return { nodes, foreign, shape }
}

async function healthy({ nodes, foreign, shape }: Wanted): Promise<boolean> {
  const state = readState()
  if (state?.foreign.join() !== foreign.join()) return false
  if (!state || state.nodes.join() !== nodes.join() || JSON.stringify(state.shape) !== JSON.stringify(shape))
    return false
  if (!state.complete || !controlComponents.every((name) => alive(state.processes[name]))) return false
  const store = { get: () => state, update: () => undefined }
  const [ready, answers] = await Promise.all([
    readyNodes().catch((): string[] => []),
    Promise.all(nodes.map((node) => nodeHealthy(node, store))),
  ])
  return answers.every(Boolean) && nodes.every((node) => ready.includes(node))
}

async function build({ nodes, foreign, shape }: Wanted, progress: Progress): Promise<void> {
  const machine = await detectMachine()
  const options = nodeOptions(machine)
  await ensureDisk(progress)
  const state = await openState({ ...noLab, checkout, madeNetnsDir: !hasNetnsDir() })
  const context: NodeContext = { machine, options, state }
  state.update({ complete: false })
  keepSysctls(state)
  await ensurePki()
  await ensureBridge(state, machine.mtu)
  await ensureNetns(controlNetns, net.control, machine.mtu)
  await ensureControlPlane(state)
  progress.step('control plane answers')
  await ensureImages(systemRecipes, standInRegistry, progress)

  const changed = (node: string): boolean => state.get().foreign.includes(node) !== foreign.includes(node)
  for (const surplus of state.get().nodes.filter((node) => !nodes.includes(node) || changed(node))) {
    await removeNode(surplus, context)
    await forgetNode(surplus)
    state.update({ nodes: state.get().nodes.filter((node) => node !== surplus) })
    progress.step(`${surplus} removed`)
  }
  state.update({ foreign })
  // Written first: `down` must know of a node that is half made.
  state.update({ nodes: [...new Set([...state.get().nodes, ...nodes])].sort(), shape })
  await Promise.all([
    applyAddons(machine.nameservers, foreign),
    ...nodes.map(async (node) => {
      if (!alive(state.get().processes[`${node}/init`])) await forgetNode(node)
      await ensureNode(node, context)
    }),
  ])
  await ensureRoutes(nodes)
  await applyShape(nodes, shape)
  progress.step(`containerd runs on ${nodes.join(', ')}`)
  for (const node of nodes) await waitReady(node, context, progress)
  progress.step(`${nodes.length} node(s) ready`)
  await waitForDns()
  progress.step('service names resolve')
  await ensureImages(allRecipes, standInRegistry, progress)
  state.update({ complete: true })
}

/**
 * The kubelet sets these for the whole machine. Recording them first is what lets `down` put them back; inotify
 * instances run out with several kubelets and containerds on one kernel.
 */
function keepSysctls(state: StateStore): void {
  const kubelet = {
    'vm.overcommit_memory': '1',
    'vm.panic_on_oom': '0',
    'kernel.panic': '10',
    'kernel.panic_on_oops': '1',
    'kernel.keys.root_maxkeys': '1000000',
    'kernel.keys.root_maxbytes': '25000000',
  }
  for (const [key, value] of Object.entries(kubelet)) setSysctl(state, key, value)
  raise('fs.inotify.max_user_instances', 1024)
  raise('fs.inotify.max_user_watches', 262_144)

  function raise(key: string, least: number): void {
    setSysctl(state, key, String(least), (now) => Number(now) < least)
  }
}

async function waitReady(node: string, context: NodeContext, progress: Progress): Promise<void> {
  const ready = async (): Promise<true | undefined> => {
    mustRun(node, 'kubelet', context.state)
    if (!(await readyNodes()).includes(node)) return undefined
    // For programs that ask the node for its range; the CNI configuration has it already.
    const range = podRange(node)
    await kubectl(['patch', 'node', node, '-p', JSON.stringify({ spec: { podCIDR: range, podCIDRs: [range] } })])
    return true
  }
  try {
    await waitFor(`${node} to be ready`, ready, { timeout: 60_000, interval: 300 })
  } catch (error) {
    progress.step(`${node} does not become ready (${describeError(error)}), making it anew`)
    await removeNode(node, context)
    await forgetNode(node)
    await ensureNode(node, context)
    await ensureRoutes(context.state.get().nodes)
    await applyShape(context.state.get().nodes, context.state.get().shape)
    await waitFor(`${node} to be ready`, ready, { timeout: 60_000, interval: 300 })
  }
}

async function readyNodes(): Promise<string[]> {
  const { stdout } = await kubectl(['get', 'nodes', '-o', 'json', '--request-timeout=5s'])
  const list = JSON.parse(stdout) as {
    items: { metadata: { name: string }; status: { conditions?: { type: string; status: string }[] } }[]
  }
  return list.items
    .filter((node) => node.status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'))
    .map((node) => node.metadata.name)
}

async function applySettings({ labels = [], taints = [] }: UpOptions): Promise<void> {
  for (const { node, value } of labels) await kubectl(['label', 'node', node, value, '--overwrite'])
  for (const { node, value } of taints) await kubectl(['taint', 'node', node, value, '--overwrite'])
}

const tools = [
  'containerd',
  'containerd-foreign',
  'buildkitd-foreign',
  'containerd-shim-runc-v2',
  'ctr',
  'runc',
  'coredns',
  'kubectl',
  'kubelet',
  'kube-proxy',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
]
const programs: Record<string, string> = {
  etcd: 'etcd-server',
  'docker-registry': 'docker-registry',
  busybox: 'busybox-static',
  ip: 'iproute2',
  tc: 'iproute2',
  iptables: 'iptables',
  nsenter: 'util-linux',
  cc: 'gcc',
  debootstrap: 'debootstrap',
}

async function checkPrerequisites(): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new InsituError('LAB_ROOT', 'the lab needs root: it makes namespaces and mounts', { fix: 'run it with sudo' })
  const missingTools = tools.filter((name) => !existsSync(join(toolsBin, name)))
  if (missingTools.length > 0) {
    throw new InsituError('LAB_TOOLS', `not built: ${missingTools.join(', ')}`, { fix: 'run: tools/build.sh' })
  }
  const packages = new Set<string>()
  for (const [program, name] of Object.entries(programs)) if (!(await onPath(program))) packages.add(name)
  if (!existsSync('/usr/lib/cni/bridge')) packages.add('containernetworking-plugins')
  if (packages.size > 0) {
    const list = [...packages].join(' ')
    throw new InsituError('LAB_PACKAGES', `not installed: ${list}`, { fix: `run: apt-get install -y ${list}` })
  }
  if (!(await readFile('/proc/filesystems', 'utf8')).includes('overlay')) {
    throw new InsituError('LAB_KERNEL', 'the kernel has no overlay filesystem', { fix: 'run: modprobe overlay' })
  }
}

async function onPath(program: string): Promise<boolean> {
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    if (
      await access(join(dir, program), constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return true
  }
  return false
}
