import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { InsituError } from '../../src/kernel/errors.ts'
import { run } from '../../src/kernel/process/run.ts'
import { daemonGroups, ensureCgroups, removeCgroups, rootGroups } from './cgroups.ts'
import { kubectl } from './control-plane.ts'
import { foreignProgram, nodeHandler, putHandler, removeHandler } from './foreign.ts'
import { removeHandlers } from './handlers.ts'
import { ensureInit } from './init.ts'
import { checkout, logFile, net, nodeDir, nodeIP, nodeNetns, toolsBin } from './layout.ts'
import type { MachineFacts, NodeOptions } from './machine.ts'
import { ensureNetns, netnsPath, removeNetns } from './network.ts'
import { nodeEtc } from './node-config.ts'
import { pkiFile } from './pki.ts'
import {
  alive,
  childrenOf,
  killAll,
  lastLines,
  parentOf,
  processesInNetns,
  startDetached,
  stop,
  strays,
  track,
  type Tracked,
} from './processes.ts'
import type { StateStore } from './state.ts'
import { waitFor } from './wait.ts'

export const nodeDaemons = ['containerd', 'kubelet', 'kube-proxy'] as const
type Daemon = (typeof nodeDaemons)[number]

export interface NodeContext {
  readonly machine: MachineFacts
  readonly options: NodeOptions
  readonly state: StateStore
}

const key = (node: string, name: string): string => `${node}/${name}`
const tool = (name: string): string => join(toolsBin, name)

const daemons: Record<Daemon, (node: string, foreign: boolean) => string[]> = {
  containerd: (_, foreign) => [
    tool(foreign ? foreignProgram('containerd') : 'containerd'),
    '--config',
    '/etc/containerd/config.toml',
  ],
  'kube-proxy': (node) => [
    tool('kube-proxy'),
    '--kubeconfig=/etc/kubernetes/proxy.kubeconfig',
    `--hostname-override=${node}`,
    '--proxy-mode=iptables',
    `--cluster-cidr=${net.pods}`,
    // The connection table is the machine's, not the node's.
    '--conntrack-max-per-core=0',
    '--conntrack-tcp-timeout-established=0',
    '--conntrack-tcp-timeout-close-wait=0',
  ],
  kubelet: (node) => [
    tool('kubelet'),
    '--config=/etc/kubernetes/kubelet.json',
    '--kubeconfig=/etc/kubernetes/kubelet.kubeconfig',
    `--hostname-override=${node}`,
    `--node-ip=${nodeIP(node)}`,
    '--root-dir=/var/lib/kubelet',
  ],
}

/**
 * Makes a node whole: starts what does not run or does not answer; a node whose first process is gone is made anew.
 * The kubelet may still be registering when this returns.
 */
export async function ensureNode(node: string, context: NodeContext): Promise<void> {
  const { machine, state } = context
  if (!alive(state.get().processes[key(node, 'init')])) {
    await removeNode(node, context)
    await ensureNetns(nodeNetns(node), nodeIP(node), machine.mtu)
    await writeNodeEtc(node, context)
    await startInit(node, context)
  }
  await ensureNetns(nodeNetns(node), nodeIP(node), machine.mtu)
  const init = state.get().processes[key(node, 'init')]
  if (init && isForeign(node, state)) await putHandler(nodeHandler(node), init.pid)
  if (!(await containerdAnswers(node, state))) {
    await stopDaemon(node, 'containerd', state)
    await startDaemon(node, 'containerd', context)
    await waitFor(
      `containerd of ${node}`,
      async () => {
        mustRun(node, 'containerd', state)
        return (await containerdAnswers(node, state)) || undefined
      },
      { timeout: 30_000 },
    )
  }
  if (!alive(state.get().processes[key(node, 'kube-proxy')])) await startDaemon(node, 'kube-proxy', context)
  if (!(await kubeletAnswers(node, state))) {
    await stopDaemon(node, 'kubelet', state)
    await startDaemon(node, 'kubelet', context)
  }
}

/** True when every daemon of the node runs and answers. */
export async function nodeHealthy(node: string, state: StateStore): Promise<boolean> {
  if (!alive(state.get().processes[key(node, 'kube-proxy')])) return false
  const answers = await Promise.all([containerdAnswers(node, state), kubeletAnswers(node, state)])
  return answers.every(Boolean)
}

/** @throws InsituError LAB_PROCESS with the log's end when the daemon is not running. */
export function mustRun(node: string, daemon: Daemon, state: StateStore): void {
  if (alive(state.get().processes[key(node, daemon)])) return
  throw new InsituError('LAB_PROCESS', `${daemon} of ${node} ended: ${lastLines(logFile(daemon, node))}`)
}

/**
 * Switches a node off, as a power cut does: disks and /etc stay; processes, namespaces, mounts, /run, /tmp and the rest of
 * what was in memory are gone.
 */
export async function powerOff(node: string, context: NodeContext): Promise<void> {
  const init = context.state.get().processes[key(node, 'init')]
  if (init && alive(init)) await run('cp', ['-a', `/proc/${init.pid}/root/etc/.`, join(nodeDir(node), 'etc')])
  await switchOff(node, context)
}

/** Switches a node on again. */
export async function powerOn(node: string, context: NodeContext): Promise<void> {
  const { machine } = context
  await ensureNetns(nodeNetns(node), nodeIP(node), machine.mtu)
  await startInit(node, context)
  await ensureNode(node, context)
}

async function writeNodeEtc(node: string, { machine, options }: NodeContext): Promise<void> {
  const dir = nodeDir(node)
  for (const [path, text] of Object.entries(nodeEtc(node, { machine, options }))) {
    await writeFile(await parent(join(dir, 'etc', path)), text)
  }
  const pki: Record<string, string> = {
    'ca.crt': 'ca.crt',
    'kubelet.crt': `${node}.crt`,
    'kubelet.key': `${node}.key`,
    'kubelet.kubeconfig': `${node}.kubeconfig`,
    'proxy.kubeconfig': 'proxy.kubeconfig',
  }
  for (const [to, from] of Object.entries(pki)) {
    await writeFile(await parent(join(dir, 'etc/kubernetes', to)), await readFile(pkiFile(from)), { mode: 0o600 })
  }
}

async function startInit(node: string, { machine, options, state }: NodeContext): Promise<void> {
  const dir = nodeDir(node)
  const init = await ensureInit()
  for (const sub of ['root', 'etc', 'var-lib/containerd', 'var-lib/kubelet', 'var-log/pods', 'var-log/containers']) {
    await mkdir(join(dir, sub), { recursive: true })
  }
  await ensureCgroups(machine, options, node, state)
  const log = logFile('init', node)
  const script = (name: string): string => join(import.meta.dirname, name)
  const setUp = ['sh', script('node-root.sh'), node, dir, checkout, init, String(machine.cgroupVersion)]
  const namespaces = ['unshare', '--mount', '--pid', '--fork', '--uts', '--cgroup']
  const inNetns = ['nsenter', `--net=${netnsPath(nodeNetns(node))}`]
  const command = [...inNetns, ...namespaces, ...setUp, ...machine.cgroupHierarchies]
  const unshare = await startDetached(
    'sh',
    [script('join-cgroups.sh'), ...rootGroups(machine, node), '--', ...command],
    { log },
  )
  record(node, 'unshare', unshare, state)
  const first = await waitFor(
    `the first process of ${node}`,
    () => {
      if (!alive(unshare)) throw new InsituError('LAB_PROCESS', `${node} did not start: ${lastLines(log)}`)
      const child = childrenOf(unshare.pid)[0]
      return child === undefined ? undefined : track(child)
    },
    { timeout: 15_000, interval: 20 },
  )
  record(node, 'init', first, state)
  // Its root is set up when the script has become the init program.
  await waitFor(
    `the root of ${node}`,
    async () => {
      if (!alive(first)) throw new InsituError('LAB_PROCESS', `${node} did not start: ${lastLines(log)}`)
      const command = await readFile(`/proc/${first.pid}/cmdline`, 'utf8')
      return command.startsWith(init) || undefined
    },
    { timeout: 15_000, interval: 20 },
  )
  if (options.daemonGroup !== '') {
    for (const group of daemonGroups(machine, options, node)) {
      for (const process of [unshare, first]) await writeFile(join(group, 'cgroup.procs'), String(process.pid))
    }
  }
}

async function parent(file: string): Promise<string> {
  await mkdir(join(file, '..'), { recursive: true })
  return file
}

async function startDaemon(node: string, daemon: Daemon, { machine, options, state }: NodeContext): Promise<void> {
  const log = logFile(daemon, node)
  const command = daemons[daemon](node, isForeign(node, state))
  for (const stray of strays(netnsPath(nodeNetns(node)), command)) await stop(stray)
  const enter = await startDetached(
    'sh',
    [
      join(import.meta.dirname, 'join-cgroups.sh'),
      ...daemonGroups(machine, options, node),
      '--',
      ...enterNode(node, state),
      ...command,
    ],
    { log, env: { PATH: `${toolsBin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin` } },
  )
  // nsenter waits for its child: the daemon is the child.
  const child = await waitFor(
    `${daemon} of ${node}`,
    () => {
      if (!alive(enter)) throw new InsituError('LAB_PROCESS', `${daemon} of ${node} ended: ${lastLines(log)}`)
      const pid = childrenOf(enter.pid)[0]
      return pid === undefined ? undefined : track(pid)
    },
    { timeout: 10_000, interval: 20 },
  )
  record(node, daemon, child, state)
}

const isForeign = (node: string, state: StateStore): boolean => state.get().foreign.includes(node)

async function stopDaemon(node: string, daemon: Daemon, state: StateStore): Promise<void> {
  const process = state.get().processes[key(node, daemon)]
  if (!process || !alive(process)) return
  const enter = parentOf(process)
  await stop(process, 2000)
  // Its nsenter ends by itself, unless it was stopped together with the daemon.
  if (enter && processesInNetns(netnsPath(nodeNetns(node))).includes(enter.pid)) await stop(enter, 0)
}

function record(node: string, name: string, process: Tracked, state: StateStore): void {
  state.update({ processes: { ...state.get().processes, [key(node, name)]: process } })
}

/** The command that runs what follows it inside the node's namespaces. */
export function enterNode(node: string, state: { get(): { processes: Readonly<Record<string, Tracked>> } }): string[] {
  const init = state.get().processes[key(node, 'init')]
  if (!init || !alive(init)) {
    throw new InsituError('LAB_NODE_DOWN', `${node} is not running`, { fix: 'run: npm run lab -- up' })
  }
  return ['nsenter', '-t', String(init.pid), '-m', '-u', '-n', '-p', '-C', '--']
}

async function containerdAnswers(node: string, state: StateStore): Promise<boolean> {
  const { processes } = state.get()
  if (!alive(processes[key(node, 'containerd')])) return false
  const init = processes[key(node, 'init')]
  if (!init || !existsSync(`/proc/${init.pid}/root/run/containerd/containerd.sock`)) return false
  const [file = '', ...enter] = enterNode(node, state)
  return run(file, [...enter, tool('ctr'), '--timeout', '3s', 'version'], { timeout: 5000 }).then(
    () => true,
    () => false,
  )
}

async function kubeletAnswers(node: string, state: StateStore): Promise<boolean> {
  if (!alive(state.get().processes[key(node, 'kubelet')])) return false
  const [ca, cert, keyFile] = await Promise.all(['ca.crt', 'admin.crt', 'admin.key'].map((f) => readFile(pkiFile(f))))
  return new Promise((resolve) => {
    const call = request(
      {
        ...{ host: nodeIP(node), port: 10_250, path: '/healthz', ca, cert, key: keyFile, agent: false },
        // Of all of it: a `timeout` begins anew with each step, and one that is stopped still gets its connection.
        signal: AbortSignal.timeout(3000),
      },
      (answer) => {
        answer.resume()
        resolve(answer.statusCode === 200)
      },
    )
    call.once('error', () => resolve(false))
    call.end()
  })
}

/** Removes a node with everything in it; what is not there is fine. */
export async function removeNode(node: string, context: NodeContext): Promise<void> {
  await switchOff(node, context)
  await rm(nodeDir(node), { recursive: true, force: true })
}

/** What is left of a node are its disks. */
async function switchOff(node: string, { machine, state }: NodeContext): Promise<void> {
  const { processes } = state.get()
  const mine = Object.keys(processes).filter((name) => name.startsWith(`${node}/`))
  await removeHandler(nodeHandler(node), processes[key(node, 'init')]?.pid)
  // The first process takes all others of its namespace with it.
  await killAll([
    ...mine.map((name) => processes[name]),
    ...processesInNetns(netnsPath(nodeNetns(node))).map((pid) => track(pid)),
  ])
  const others = Object.entries(processes).filter(([name]) => name.endsWith('/init') && !mine.includes(name))
  await removeHandlers(
    node,
    others.filter(([, one]) => alive(one)).map(([, { pid }]) => pid),
  )
  await removeNetns(nodeNetns(node))
  await removeCgroups(machine, node)
  state.update({ processes: Object.fromEntries(Object.entries(processes).filter(([name]) => !mine.includes(name))) })
}

/** Takes the node out of Kubernetes too, so that a new one of its name does not inherit its pods. */
export async function forgetNode(node: string): Promise<void> {
  await kubectl(['delete', 'node', node, '--ignore-not-found', '--wait=false'], { timeout: 20_000 })
  await kubectl(
    ['delete', 'pods', '-A', `--field-selector=spec.nodeName=${node}`, '--force', '--grace-period=0', '--wait=false'],
    { timeout: 30_000 },
  )
}
