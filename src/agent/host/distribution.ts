import { dirname } from 'node:path'

/** Where the parts of a node's containerd lie. All paths are those of the host. */
export interface ContainerdPaths {
  readonly address: string
  readonly root: string
  readonly state: string
  /** Directory of registry host configurations (`certs.d`). */
  readonly certsDir: string
}

export interface Distribution extends ContainerdPaths {
  /** kubeadm, k3s, rke2, microk8s, kind, minikube, eks, gke, aks or unknown. */
  readonly name: string
}

interface Candidate extends Distribution {
  /** Paths of which each must exist on the host. */
  readonly marks: readonly string[]
}

const standard: ContainerdPaths = {
  address: '/run/containerd/containerd.sock',
  root: '/var/lib/containerd',
  state: '/run/containerd',
  certsDir: '/etc/containerd/certs.d',
}

const k3s = (name: 'k3s' | 'rke2'): Candidate => ({
  name,
  marks: ['/run/k3s/containerd/containerd.sock', `/var/lib/rancher/${name}`],
  address: '/run/k3s/containerd/containerd.sock',
  root: `/var/lib/rancher/${name}/agent/containerd`,
  state: '/run/k3s/containerd',
  certsDir: `/var/lib/rancher/${name}/agent/etc/containerd/certs.d`,
})

/** In the order of asking: the special ones first, since a mark of kubeadm may lie on any of them. */
const candidates: readonly Candidate[] = [
  // rke2 keeps its files beside k3s's name: its own directory tells it apart.
  k3s('rke2'),
  k3s('k3s'),
  {
    name: 'microk8s',
    marks: ['/var/snap/microk8s/common/run/containerd.sock'],
    address: '/var/snap/microk8s/common/run/containerd.sock',
    root: '/var/snap/microk8s/common/var/lib/containerd',
    state: '/var/snap/microk8s/common/run/containerd',
    certsDir: '/var/snap/microk8s/current/args/certs.d',
  },
  { name: 'kind', marks: ['/kind/version'], ...standard },
  { name: 'minikube', marks: ['/var/lib/minikube'], ...standard },
  { name: 'eks', marks: ['/etc/eks'], ...standard },
  { name: 'gke', marks: ['/home/kubernetes/bin'], ...standard },
  { name: 'aks', marks: ['/etc/kubernetes/azure.json'], ...standard },
  { name: 'kubeadm', marks: ['/var/lib/kubelet/kubeadm-flags.env'], ...standard },
  { name: 'kubeadm', marks: ['/etc/kubernetes/kubelet.conf'], ...standard },
]

/** All places where a distribution keeps hosts of registries. */
export const everyCertsDirectory: readonly string[] = [
  ...new Set([...candidates.map((candidate) => candidate.certsDir), standard.certsDir, '/etc/docker/certs.d']),
]

/**
 * The distribution with what the containerd at an address says of itself. While no CRI plug-in answers it does not tell
 * its state. The distribution's own has it where it always has: the lock that lies there must be found with and without
 * an answer. That of any other is beside its socket then, and not where the distribution's may have its own.
 */
export function asAnswered(
  detected: Distribution,
  address: string,
  answer: { readonly root: string | undefined; readonly state: string | undefined } | undefined,
): Distribution {
  if (!answer) return { ...detected, address }
  const usual = address === detected.address ? detected.state : dirname(address)
  return { ...detected, address, root: answer.root ?? detected.root, state: answer.state ?? usual }
}

/** Every path that `detect` may ask for, so that a probe can look at all of them at once. */
export const marks: readonly string[] = [...new Set(candidates.flatMap((c) => c.marks))]

/**
 * Tells the distribution from the paths that exist on a host. A machine with containerd at its usual place and
 * nothing else known is `unknown` with the usual paths.
 * @param exists answers for a path of the host.
 */
export function detect(exists: (path: string) => boolean): Distribution {
  const found = candidates.find((candidate) => candidate.marks.every(exists))
  if (!found) return { name: 'unknown', ...standard }
  const { marks: _, ...distribution } = found
  return distribution
}
