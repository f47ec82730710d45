import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { parseMountinfo } from '../../src/kernel/fs/mountinfo.ts'
import { run } from '../../src/kernel/process/run.ts'
import { stateDir, toolsBin } from '../lab/layout.ts'
import { leftovers } from '../lab/down.ts'

/** What a lab could leave on a machine, as lists of lines that can be compared. */
export interface MachineSnapshot {
  readonly mounts: readonly string[]
  readonly links: readonly string[]
  readonly routes: readonly string[]
  readonly namespaces: readonly string[]
  readonly firewall: readonly string[]
  readonly cgroups: readonly string[]
  readonly sysctls: readonly string[]
  /** Programs of the lab: from .tools/bin, or with the lab's folder on their command line. */
  readonly processes: readonly string[]
  readonly files: readonly string[]
}

const watchedSysctls = [
  'net.ipv4.ip_forward',
  'vm.overcommit_memory',
  'vm.panic_on_oom',
  'kernel.panic',
  'kernel.panic_on_oops',
  'kernel.keys.root_maxkeys',
  'kernel.keys.root_maxbytes',
  'fs.inotify.max_user_instances',
  'fs.inotify.max_user_watches',
]

/** Folders outside the lab's own that kubelet, containerd or CNI would make if a node were not separate. */
const hostFolders = [
  '/var/lib/kubelet',
  '/var/lib/cni',
  '/var/log/pods',
  '/etc/cni/net.d',
  '/run/containerd',
  '/etc/kubernetes',
]

export async function machineSnapshot(): Promise<MachineSnapshot> {
  const lines = async (file: string, args: readonly string[]): Promise<string[]> =>
    (await run(file, args)).stdout.split('\n').filter(Boolean).sort()
  const read = (path: string): string => readFileSync(path, 'utf8')
  const forwarding = readdirSync('/proc/sys/net/ipv4/conf').map((link) => `net.ipv4.conf.${link}.forwarding`)
  return {
    mounts: parseMountinfo(read('/proc/self/mountinfo'))
      .map((m) => `${m.mountPoint} ${m.type} ${m.propagation.join(' ')}`)
      .sort(),
    links: readdirSync('/sys/class/net').sort(),
    routes: await lines('ip', ['route', 'show', 'table', 'all']),
    namespaces: existsSync('/run/netns') ? readdirSync('/run/netns').sort() : [],
    firewall: (await lines('iptables-save', [])).filter((line) => line.startsWith('-')),
    cgroups: (await lines('find', ['/sys/fs/cgroup', '-type', 'd'])).filter((path) =>
      /insitu|kube|buildkit/.test(path),
    ),
    sysctls: [...watchedSysctls, ...forwarding].map(
      (key) => `${key}=${read(`/proc/sys/${key.replaceAll('.', '/')}`).trim()}`,
    ),
    processes: labProcesses(),
    files: [...hostFolders.filter((path) => existsSync(path)), ...(await leftovers())],
  }
}

function labProcesses(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        const ours = readlinkSync(`/proc/${pid}/exe`).startsWith(toolsBin) || command.includes(stateDir)
        // A dead one that nobody has waited for has no command line.
        return ours && command ? [`${pid} ${command}`] : []
      } catch {
        return []
      }
    })
    .sort()
}
