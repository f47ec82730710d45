import { existsSync } from 'node:fs'
import { mkdir, readdir, rmdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { labels } from '../../api/names.ts'
import { describeError } from '../../kernel/errors.ts'
import type { Finding } from '../../api/node-report.ts'
import { askContainerd, type ContainerdFacts } from './containerd.ts'
import { asAnswered, detect, type Distribution } from './distribution.ts'
import { findNeighbours, type Neighbour } from './neighbours.ts'
import { provePropagation, sameForContainerd, type Sharing } from './propagation.ts'
import { isForeign } from './root-directory.ts'
import { lookAtSpace } from './space.ts'
import { checkContainerdVersion } from './versions.ts'

export interface PreflightOptions {
  /** buildkitd's root. */
  readonly root: string
  /** containerd's namespace. */
  readonly namespace: string
  /** Overrides what the distribution's name implies. */
  readonly containerdAddress?: string | undefined
  /** Overrides containerd's own answer, for a containerd whose CRI plug-in does not tell. */
  readonly snapshotter?: string | undefined
  /** Our own processes, which are no neighbours. */
  readonly ownPids?: ReadonlySet<number>
  /** Where the host's files can be seen: `/proc/1/root` in a pod with hostPID. */
  readonly hostRoot?: string
}

export interface Preflight {
  readonly distribution: Distribution
  readonly containerd: ContainerdFacts | undefined
  /** containerd's process id as this process sees it. */
  readonly containerdPid: number | undefined
  readonly snapshotter: string | undefined
  readonly findings: readonly Finding[]
}

/** Looks at the host. Writes nothing but a probe below the root, which is gone when this returns. */
export async function preflight(options: PreflightOptions): Promise<Preflight> {
  const hostRoot = options.hostRoot ?? '/proc/1/root'
  const detected = detect((path) => existsSync(path) || existsSync(join(hostRoot, path)))
  const address = options.containerdAddress ?? detected.address
  const findings: Finding[] = []
  let containerd: ContainerdFacts | undefined
  try {
    containerd = await askContainerd(address)
  } catch (error) {
    findings.push(await containerdAbsent(address, hostRoot, error))
  }
  const distribution = asAnswered(detected, address, containerd)
  if (!containerd) return { distribution, containerd, containerdPid: undefined, snapshotter: undefined, findings }

  const ownNamespace = (await stat('/proc/self/ns/pid')).ino
  const containerdPid = containerd.pid > 0 && containerd.pidNamespace === ownNamespace ? containerd.pid : undefined
  findings.push(...checkContainerdVersion(containerd.version), ...checkCri(containerd, options.namespace))
  const snapshotter = options.snapshotter ?? containerd.kubeletSnapshotter ?? (containerd.cri ? undefined : 'overlayfs')
  findings.push(...checkSnapshotter(snapshotter, containerd))
  if (options.snapshotter && containerd.kubeletSnapshotter && options.snapshotter !== containerd.kubeletSnapshotter) {
    findings.push(mismatch(options.snapshotter, containerd.kubeletSnapshotter))
  }
  if (isForeign(await readdir(options.root).catch(() => []))) findings.push(rootForeign(options.root))
  findings.push(...(await checkSharing(options.root, distribution.root, containerdPid)))
  const { root, namespace, ownPids: own = new Set<number>() } = options
  findings.push(...(await findNeighbours({ address, namespace, root, own })).map((n) => neighbourFinding(n, options)))
  findings.push(...(await lookAtSpace([options.root, distribution.root])))
  return { distribution, containerd, containerdPid, snapshotter, findings: unique(findings) }
}

const rootForeign = (root: string): Finding => ({
  code: 'ROOT_FOREIGN',
  severity: 'fatal',
  message: `${root} holds files that are no buildkitd’s, and the root is deleted when insitu is uninstalled`,
  fix: 'give the agent a directory of its own (insitu install --buildkit-root)',
})

const neighbourFinding = ({ pid, shares }: Neighbour, { root, namespace }: PreflightOptions): Finding =>
  shares === 'namespace'
    ? {
        code: 'NAMESPACE_IN_USE',
        severity: 'fatal',
        message: `another buildkitd (process ${pid}) uses containerd’s namespace ${namespace}; two of them delete each other’s leases`,
        fix: 'stop the other buildkitd, or give it a containerd namespace of its own',
      }
    : {
        code: 'ROOT_IN_USE',
        severity: 'fatal',
        message: `another buildkitd (process ${pid}) keeps its data in ${root}`,
        fix: 'stop the other buildkitd, or give one of the two another root (insitu install --buildkit-root)',
      }

/** Sockets of the runtimes that are no containerd, as their documentation says. */
const otherRuntimes = [
  { name: 'CRI-O', socket: '/run/crio/crio.sock' },
  { name: 'dockerd', socket: '/run/cri-dockerd.sock' },
] as const

async function containerdAbsent(address: string, hostRoot: string, error: unknown): Promise<Finding> {
  const there = await stat(address).catch(() => undefined)
  if (!there) {
    const other = otherRuntimes.find(({ socket }) => existsSync(join(hostRoot, socket)))
    return {
      code: 'CONTAINERD_MISSING',
      severity: 'fatal',
      message: `there is no containerd socket at ${address}${other ? `: this node runs ${other.name}` : ''}`,
      fix: other
        ? `build rootless here: kubectl label node NAME ${labels.mode}=rootless, with insitu install --mode mixed`
        : `say where it is: insitu install --distribution, or --containerd-root and --containerd-state; without Kubernetes insitu local --containerd-address; a node with another runtime builds rootless (label ${labels.mode}=rootless, insitu install --mode mixed)`,
    }
  }
  return {
    code: 'CONTAINERD_SILENT',
    severity: 'fatal',
    message: `containerd does not answer: ${describeError(error)}`,
    fix: 'start containerd on the node, or look at its log; a socket file that was mounted alone goes stale when it restarts',
  }
}

function checkCri(containerd: ContainerdFacts, namespace: string): Finding[] {
  const findings: Finding[] = []
  if (!containerd.cri && namespace === 'k8s.io') {
    findings.push({
      code: 'CRI_ABSENT',
      severity: 'info',
      message: 'this containerd has no CRI plug-in, so no kubelet starts what is built here',
    })
  }
  if (containerd.discardsLayers) {
    findings.push({
      code: 'LAYERS_DISCARDED',
      severity: 'warning',
      message:
        'containerd drops layers after unpacking (discard_unpacked_layers): a build cannot always push layers of bases that the kubelet pulled; those of built images are kept',
      fix: 'set discard_unpacked_layers = false in containerd’s configuration',
    })
  }
  return findings
}

/** What speaks against building with this snapshotter. */
export function checkSnapshotter(
  snapshotter: string | undefined,
  containerd: Pick<ContainerdFacts, 'snapshotters'>,
): Finding[] {
  if (snapshotter === undefined) {
    return [
      {
        code: 'SNAPSHOTTER_UNKNOWN',
        severity: 'fatal',
        message: 'the snapshotter that the kubelet uses cannot be told from containerd',
        fix: 'name it with --snapshotter among the arguments of DaemonSet insitu-agent; insitu install takes it out again',
      },
    ]
  }
  if (containerd.snapshotters.includes(snapshotter)) return []
  return [
    {
      code: 'SNAPSHOTTER_BROKEN',
      severity: 'fatal',
      message: `containerd has no working snapshotter ${snapshotter}; it has ${containerd.snapshotters.join(', ')}`,
      fix: 'look at `ctr plugins ls` on the node for the reason',
    },
  ]
}

const mismatch = (asked: string, used: string): Finding => ({
  code: 'SNAPSHOTTER_MISMATCH',
  severity: 'fatal',
  message: `the snapshotter ${asked} was asked for, but the kubelet starts containers from ${used}`,
  fix: `leave --snapshotter away, or set it to ${used}`,
})

/** containerd's client puts the pipes of containers here, wherever containerd's state is (containerd defaults). */
const fifoDirectory = '/run/containerd/fifo'

async function checkSharing(root: string, containerdRoot: string, pid: number | undefined): Promise<Finding[]> {
  const created = await mkdir(root, { recursive: true })
  let findings: Finding[]
  try {
    findings = [
      ...sharingFinding(root, await provePropagation(root, pid)),
      ...sharingFinding(containerdRoot, await sameForContainerd(nearestExisting(containerdRoot), pid)),
      ...sharingFinding(fifoDirectory, await sameForContainerd(nearestExisting(fifoDirectory), pid)),
    ]
  } finally {
    if (created !== undefined) await removeEmpty(root, dirname(created))
  }
  return findings
}

/** Findings for one directory that containerd has to see as we do. */
export function sharingFinding(directory: string, sharing: Sharing): Finding[] {
  switch (sharing) {
    case 'shared':
      return []
    case 'not-propagated':
      return [
        {
          code: 'MOUNT_NOT_PROPAGATED',
          severity: 'fatal',
          message: `mounts made below ${directory} do not reach containerd, so secrets and contexts would be missing in RUN steps`,
          fix: 'mount it with mountPropagation: Bidirectional; the host’s mount must be shared (mount --make-rshared /)',
        },
      ]
    case 'different':
      return [
        {
          code: 'PATH_NOT_SHARED',
          severity: 'fatal',
          message: `${directory} is not the same directory here and for containerd`,
          fix: `mount the host’s ${directory} at the same path`,
        },
      ]
    case 'no-room':
      return [
        {
          code: 'SHARING_UNPROVEN',
          severity: 'warning',
          message: `it cannot be tried whether mounts made below ${directory} reach containerd: the disk has no room for a directory`,
          fix: 'free space on the node; it is tried again when buildkitd starts the next time',
        },
      ]
    case 'unproven':
      return [
        {
          code: 'SHARING_UNPROVEN',
          severity: 'warning',
          message:
            'it cannot be checked whether containerd sees the directories of this process: its process is not visible',
          fix: 'set hostPID: true for the agent',
        },
      ]
  }
}

/** The path, or the nearest of its parents that is there. */
export function nearestExisting(path: string): string {
  let at = path
  while (at !== '/' && !existsSync(at)) at = dirname(at)
  return at
}

/** Removes a directory and its parents up to, not including, `stop`, as long as they are empty. */
async function removeEmpty(path: string, stop: string): Promise<void> {
  for (let at = path; at !== stop && at !== '/'; at = dirname(at)) {
    try {
      await rmdir(at)
    } catch {
      return
    }
  }
}

const unique = (findings: readonly Finding[]): Finding[] => [
  ...new Map(findings.map((finding) => [`${finding.code} ${finding.message}`, finding])).values(),
]
