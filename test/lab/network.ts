import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { InsituError } from '../../src/kernel/errors.ts'
import { parseMountinfo } from '../../src/kernel/fs/mountinfo.ts'
import { run } from '../../src/kernel/process/run.ts'
import { bridge, controlNetns, net, nodeIP, nodeNetns, podRange, ruleComment } from './layout.ts'
import type { Shape, StateStore } from './state.ts'

export const netnsPath = (name: string): string => `/run/netns/${name}`
/** The bridge's end of a namespace's cable; at most 15 characters. */
const veth = (netns: string): string =>
  netns === controlNetns ? 'insitu-c' : `insitu-n${netns.slice('insitu-node'.length)}`

const comment = ['-m', 'comment', '--comment', ruleComment]
/** Forwarding and the way out. FORWARD is said explicitly because Docker and firewalls set its policy to DROP. */
const rules: readonly { readonly table: string; readonly chain: string; readonly rule: readonly string[] }[] = [
  { table: 'filter', chain: 'FORWARD', rule: ['-i', bridge, ...comment, '-j', 'ACCEPT'] },
  { table: 'filter', chain: 'FORWARD', rule: ['-o', bridge, ...comment, '-j', 'ACCEPT'] },
  ...[net.nodes, net.pods].map((source) => ({
    table: 'nat',
    chain: 'POSTROUTING',
    // Not between nodes: bridged packets pass here too, and a pod's address must stay what it is.
    rule: ['-s', source, '!', '-o', bridge, ...comment, '-j', 'MASQUERADE'],
  })),
]

/** Sets a sysctl of the machine, having written the old value into the state for `down`. */
export function setSysctl(
  state: StateStore,
  key: string,
  value: string,
  when: (now: string) => boolean = (now) => now !== value,
): void {
  const file = `/proc/sys/${key.replaceAll('.', '/')}`
  if (!existsSync(file)) return
  const before = readFileSync(file, 'utf8').trim()
  if (!when(before)) return
  if (state.get().sysctls[key] === undefined) state.update({ sysctls: { ...state.get().sysctls, [key]: before } })
  writeFileSync(file, value)
}

/** The bridge, its address, the firewall rules and forwarding on the machine's way out. */
export async function ensureBridge(state: StateStore, mtu: number): Promise<void> {
  if (!existsSync(`/sys/class/net/${bridge}`)) {
    const taken = (await run('ip', ['-4', 'route', 'show', 'root', net.nodes])).stdout
    if (taken) {
      throw new InsituError('LAB_ADDRESSES', `this machine uses ${net.nodes} already: ${taken}`, {
        fix: 'change the addresses in test/lab/layout.ts',
      })
    }
    await run('ip', ['link', 'add', bridge, 'mtu', String(Math.min(mtu, 1500)), 'type', 'bridge'])
  }
  await run('ip', ['addr', 'replace', `${net.host}/24`, 'dev', bridge])
  await run('ip', ['link', 'set', bridge, 'up'])
  setForwarding(state, bridge)
  const uplink = /\bdev (\S+)/.exec((await run('ip', ['-4', 'route', 'show', 'default'])).stdout)?.[1]
  if (uplink) setForwarding(state, uplink)
  for (const { table, chain, rule } of rules) {
    const there = await run('iptables', ['-w', '-t', table, '-C', chain, ...rule], { allow: [1] })
    if (there.exitCode !== 0) await run('iptables', ['-w', '-t', table, '-I', chain, '1', ...rule])
  }
}

/** Per interface, where packets come in: the machine's other interfaces stay as they are. */
const setForwarding = (state: StateStore, link: string): void =>
  setSysctl(state, `net.ipv4.conf.${link}.forwarding`, '1')

export async function removeBridge(): Promise<void> {
  for (const { table, chain, rule } of rules) {
    // A run that was cut off may have left a rule twice.
    while ((await run('iptables', ['-w', '-t', table, '-D', chain, ...rule], { allow: [1, 2] })).exitCode === 0);
  }
  if (existsSync(`/sys/class/net/${bridge}`)) await run('ip', ['link', 'del', bridge])
}

/** A network namespace with a cable to the bridge and the way out through the host. */
export async function ensureNetns(netns: string, address: string, mtu: number): Promise<void> {
  const inside = netnsRun(netns)
  if (!existsSync(netnsPath(netns))) await run('ip', ['netns', 'add', netns])
  const link = veth(netns)
  if (!existsSync(`/sys/class/net/${link}`)) {
    const size = ['mtu', String(Math.min(mtu, 1500))]
    await run('ip', ['link', 'add', link, ...size, 'type', 'veth', 'peer', 'name', 'eth0', ...size, 'netns', netns])
  }
  await run('ip', ['link', 'set', link, 'master', bridge, 'up'])
  await inside('ip', ['addr', 'replace', `${address}/24`, 'dev', 'eth0'])
  await inside('ip', ['link', 'set', 'lo', 'up'])
  await inside('ip', ['link', 'set', 'eth0', 'up'])
  await inside('ip', ['route', 'replace', 'default', 'via', net.host])
  await inside('sysctl', ['-qw', 'net.ipv4.ip_forward=1'])
}

export async function removeNetns(netns: string): Promise<void> {
  if (existsSync(`/sys/class/net/${veth(netns)}`)) await run('ip', ['link', 'del', veth(netns)], { allow: [1] })
  if (existsSync(netnsPath(netns))) await run('ip', ['netns', 'del', netns])
}

const netnsDir = '/run/netns'

export const hasNetnsDir = (): boolean =>
  parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')).some((mount) => mount.mountPoint === netnsDir)

/** `ip netns add` makes /run/netns a shared mount and leaves it; removed unless somebody else has a namespace there. */
export async function removeNetnsDir(): Promise<void> {
  if (!existsSync(netnsDir) || readdirSync(netnsDir).length > 0) return
  if (hasNetnsDir()) await run('umount', [netnsDir])
  rmdirSync(netnsDir)
}

export function netnsRun(netns: string) {
  // Not `ip netns exec`: that one mounts a new /sys, without the cgroups.
  return (file: string, args: readonly string[]) => run('nsenter', [`--net=${netnsPath(netns)}`, file, ...args])
}

/** Everybody's way to everybody's pods: host, control plane and each node. */
export async function ensureRoutes(nodes: readonly string[]): Promise<void> {
  for (const target of nodes) {
    const route = ['route', 'replace', podRange(target), 'via', nodeIP(target)]
    await run('ip', route)
    await netnsRun(controlNetns)('ip', route)
    for (const from of nodes) if (from !== target) await netnsRun(nodeNetns(from))('ip', route)
  }
}

/** Throws before anything is changed when the kernel cannot do it. */
export async function checkShape(shape: Shape): Promise<void> {
  if (shape.delay === 0) return
  const probe = 'insitu-probe'
  await run('ip', ['netns', 'add', probe])
  try {
    await netnsRun(probe)('tc', ['qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '1ms'])
  } catch (cause) {
    throw new InsituError(
      'LAB_NO_NETEM',
      'this kernel cannot delay packets (no netem), so --delay is not possible here',
      {
        cause,
        fix: 'leave --delay out, or use a kernel with CONFIG_NET_SCH_NETEM',
      },
    )
  } finally {
    await run('ip', ['netns', 'del', probe])
  }
}

/**
 * Delay and rate from each node to the other nodes and their pods; the way to the control plane, the registries and
 * out of the lab stays fast. Class 1:1 takes the shaped packets, everything unclassified passes directly.
 */
export async function applyShape(nodes: readonly string[], shape: Shape): Promise<void> {
  for (const node of nodes) {
    const tc = (...args: string[]) => netnsRun(nodeNetns(node))('tc', args)
    const now = (await tc('qdisc', 'show', 'dev', 'eth0', 'root')).stdout
    if (/htb/.test(now)) await tc('qdisc', 'del', 'dev', 'eth0', 'root')
    if (shape.delay === 0 && shape.rate === 0) continue
    await tc('qdisc', 'add', 'dev', 'eth0', 'root', 'handle', '1:', 'htb')
    const rate = `${shape.rate || 100_000}mbit`
    await tc('class', 'add', 'dev', 'eth0', 'parent', '1:', 'classid', '1:1', 'htb', 'rate', rate, 'quantum', '60000')
    if (shape.delay > 0) {
      // The queue must hold what is under way, or the delay turns into loss.
      await tc('qdisc', 'add', 'dev', 'eth0', 'parent', '1:1', 'netem', 'delay', `${shape.delay}ms`, 'limit', '100000')
    }
    for (const other of nodes.filter((n) => n !== node)) {
      for (const destination of [`${nodeIP(other)}/32`, podRange(other)]) {
        const match = ['u32', 'match', 'ip', 'dst', destination, 'flowid', '1:1']
        await tc('filter', 'add', 'dev', 'eth0', 'parent', '1:', 'protocol', 'ip', 'prio', '1', ...match)
      }
    }
  }
}
