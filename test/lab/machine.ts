import { access, readFile } from 'node:fs/promises'
import { isIPv4 } from 'node:net'

/** What the lab must know about the machine it runs on. */
export interface MachineFacts {
  /** `hybrid` (v1 with an empty v2 beside it) counts as v1: the controllers are there. */
  readonly cgroupVersion: 1 | 2
  /** v1: folders under /sys/fs/cgroup that are hierarchies, each once (`cpu` and `cpu,cpuacct` are one). */
  readonly cgroupHierarchies: readonly string[]
  /** v2: controllers of the root that the kernel offers, and those already handed down. */
  readonly cgroupControllers: readonly string[]
  readonly cgroupEnabled: readonly string[]
  readonly systemd: boolean
  /** CAP_SYS_RESOURCE, without which nobody may lower an oom_score_adj. */
  readonly mayLowerOomScore: boolean
  readonly swap: boolean
  /** DNS servers that a node can reach: not on loopback, and IPv4 as the lab's network is. */
  readonly nameservers: readonly string[]
  /** The greatest packet the machine's way out takes. */
  readonly mtu: number
}

/** The settings that follow from the machine; the only place where they are decided. */
export interface NodeOptions {
  readonly kubelet: {
    readonly failCgroupV1: boolean
    readonly cgroupDriver: 'cgroupfs'
    readonly failSwapOn: boolean
    readonly cgroupRoot: string
  }
  readonly containerd: { readonly restrictOomScoreAdj: boolean; readonly systemdCgroup: boolean }
  /** Folders under /sys/fs/cgroup into which a node's own daemons go, relative to the node's group. */
  readonly daemonGroup: string
  /** v2 controllers the lab must hand down from the root, to be taken back by `down`. */
  readonly enableControllers: readonly string[]
}

const wantedControllers = ['cpu', 'cpuset', 'hugetlb', 'io', 'memory', 'pids']

/**
 * A node has a cgroup namespace of its own and sees its group as the root, so the driver is cgroupfs even where
 * systemd runs the machine: systemd inside the node does not exist. With v2 a group that hands controllers down must
 * hold no process itself, hence a leaf for the daemons.
 */
export function nodeOptions(machine: MachineFacts): NodeOptions {
  return {
    kubelet: {
      failCgroupV1: machine.cgroupVersion === 2,
      cgroupDriver: 'cgroupfs',
      failSwapOn: false,
      cgroupRoot: '/',
    },
    containerd: { restrictOomScoreAdj: !machine.mayLowerOomScore, systemdCgroup: false },
    daemonGroup: machine.cgroupVersion === 2 ? 'daemons' : '',
    enableControllers:
      machine.cgroupVersion === 2
        ? wantedControllers.filter((c) => machine.cgroupControllers.includes(c) && !machine.cgroupEnabled.includes(c))
        : [],
  }
}

export interface MachineFiles {
  /** /proc/self/mountinfo */
  readonly mountinfo: string
  /** /proc/self/status */
  readonly status: string
  /** Candidates for the machine's resolv.conf, best first. */
  readonly resolvConfs: readonly string[]
  readonly swaps: string
  readonly controllers: string
  readonly subtreeControl: string
  readonly systemd: boolean
  readonly mtu: number
}

const capSysResource = 24n

/** Reads the facts out of the kernel's files. Pure. */
export function parseMachine(files: MachineFiles): MachineFacts {
  const cgroups = files.mountinfo.split('\n').flatMap((line) => {
    const [before, after] = line.split(' - ')
    const point = before?.split(' ')[4]
    const type = after?.split(' ')[0]
    return point && (type === 'cgroup' || type === 'cgroup2') ? [{ point, type }] : []
  })
  const hierarchies = new Set(
    cgroups
      .filter((c) => c.type === 'cgroup' && /^\/sys\/fs\/cgroup\/[^/]+$/.test(c.point))
      .map((c) => c.point.slice('/sys/fs/cgroup/'.length)),
  )
  const version = cgroups.some((c) => c.type === 'cgroup2' && c.point === '/sys/fs/cgroup') ? 2 : 1
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(files.status)?.[1] ?? '0'
  const reachable = files.resolvConfs
    .map((text) => [...text.matchAll(/^nameserver\s+(\S+)/gm)].map((m) => m[1] ?? ''))
    .map((servers) => servers.filter((s) => isIPv4(s) && !s.startsWith('127.')))
    .find((servers) => servers.length > 0)
  return {
    cgroupVersion: version,
    cgroupHierarchies: version === 1 ? [...hierarchies] : [],
    cgroupControllers: words(files.controllers),
    cgroupEnabled: words(files.subtreeControl),
    systemd: files.systemd,
    mayLowerOomScore: ((BigInt(`0x${effective}`) >> capSysResource) & 1n) === 1n,
    swap: files.swaps.trim().split('\n').length > 1,
    nameservers: reachable ?? [],
    mtu: files.mtu,
  }
}

const words = (text: string): string[] => text.split(/\s+/).filter(Boolean)

export async function detectMachine(): Promise<MachineFacts> {
  const text = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '')
  const [mountinfo, status, swaps, controllers, subtreeControl, routes] = await Promise.all([
    text('/proc/self/mountinfo'),
    text('/proc/self/status'),
    text('/proc/swaps'),
    text('/sys/fs/cgroup/cgroup.controllers'),
    text('/sys/fs/cgroup/cgroup.subtree_control'),
    text('/proc/net/route'),
  ])
  const uplink = routes
    .split('\n')
    .map((line) => line.split('\t'))
    .find((f) => f[1] === '00000000')?.[0]
  const systemd = await access('/run/systemd/system').then(
    () => true,
    () => false,
  )
  return parseMachine({
    mountinfo,
    status,
    swaps,
    controllers,
    subtreeControl,
    systemd,
    // systemd-resolved's stub is on loopback; the second file names the real servers.
    resolvConfs: await Promise.all([text('/etc/resolv.conf'), text('/run/systemd/resolve/resolv.conf')]),
    mtu: uplink ? Number(await text(`/sys/class/net/${uplink}/mtu`)) || 1500 : 1500,
  })
}
