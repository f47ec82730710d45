/** What a containerd holds in one namespace, for one snapshotter. */
export interface Stored {
  readonly snapshots: ReadonlyMap<string, Snapshot>
  readonly blobs: ReadonlyMap<string, Blob>
  readonly images: readonly StoredImage[]
  readonly leases: readonly StoredLease[]
  readonly containers: readonly StoredContainer[]
}

export interface Snapshot {
  readonly parent: string
  readonly bytes: number
  readonly inodes: number
  readonly labels: Labels
}

export interface Blob {
  readonly bytes: number
  readonly labels: Labels
}

export interface StoredImage {
  readonly name: string
  readonly digest: string
  readonly labels: Labels
  /** Milliseconds since 1970. */
  readonly updatedAt: number
}

export interface StoredLease {
  readonly id: string
  readonly labels: Labels
  readonly createdAt: number
  /** `content` → digest, `snapshots/overlayfs` → key, `ingests` → ref. */
  readonly resources: readonly { readonly type: string; readonly id: string }[]
}

export interface StoredContainer {
  readonly id: string
  readonly image: string
  readonly snapshotter: string
  readonly snapshotKey: string
  readonly labels: Labels
}

export type Labels = Readonly<Record<string, string>>

/** One snapshot (`s:KEY`) or blob (`b:DIGEST`). */
export type Part = `s:${string}` | `b:${string}`

/** Where a walk begins. `flat`: labels are not followed, as under leases with containerd.io/gc.flat. */
export interface Root {
  readonly part: Part
  readonly flat: boolean
}

/**
 * Everything that containerd's collector keeps for these roots: a snapshot keeps its parents, a blob what its labels
 * name. Source: containerd, core/metadata/gc.go.
 */
export function reach(stored: Stored, snapshotter: string, roots: Iterable<Root>): Set<Part> {
  const full = new Set<Part>()
  const flatly = new Set<Part>()
  const todo: Root[] = [...roots]
  for (let root = todo.pop(); root; root = todo.pop()) {
    const { part, flat } = root
    if (full.has(part) || (flat && flatly.has(part))) continue
    const key = part.slice(2)
    const snapshot = part.startsWith('s:') ? stored.snapshots.get(key) : undefined
    const entry = snapshot ?? (part.startsWith('b:') ? stored.blobs.get(key) : undefined)
    if (!entry) continue
    ;(flat ? flatly : full).add(part)
    if (snapshot && snapshot.parent !== '') todo.push({ part: `s:${snapshot.parent}`, flat })
    if (!flat) for (const next of labelled(entry.labels, snapshotter)) todo.push({ part: next, flat: false })
  }
  return new Set([...full, ...flatly])
}

function* labelled(labels: Labels, snapshotter: string): Generator<Part> {
  const snapshots = `containerd.io/gc.ref.snapshot.${snapshotter}`
  for (const [key, value] of Object.entries(labels)) {
    if (/^containerd\.io\/gc\.ref\.content($|[./])/.test(key)) yield `b:${value}`
    else if (key === snapshots || key.startsWith(`${snapshots}/`)) yield `s:${value}`
  }
}

/** The roots of each thing that holds something by itself. */
export const rootOfImage = (image: StoredImage): Root => ({ part: `b:${image.digest}`, flat: false })

export function rootsOfLease(lease: StoredLease, snapshotter: string): Root[] {
  const flat = 'containerd.io/gc.flat' in lease.labels
  return lease.resources.flatMap(({ type, id }): Root[] => {
    if (type === 'content') return [{ part: `b:${id}`, flat }]
    return type === `snapshots/${snapshotter}` ? [{ part: `s:${id}`, flat }] : []
  })
}

export const rootsOfContainer = (container: StoredContainer, snapshotter: string): Root[] => [
  ...(container.snapshotter === snapshotter ? [{ part: `s:${container.snapshotKey}`, flat: false } as const] : []),
  ...[...labelled(container.labels, snapshotter)].map((part) => ({ part, flat: false })),
]

/** Snapshots and blobs that say of themselves that they are kept. */
export function* selfRooted(stored: Stored): Generator<Root> {
  for (const [key, { labels }] of stored.snapshots) {
    if ('containerd.io/gc.root' in labels) yield { part: `s:${key}`, flat: false }
  }
  for (const [digest, { labels }] of stored.blobs) {
    if ('containerd.io/gc.root' in labels) yield { part: `b:${digest}`, flat: false }
  }
}

export interface Amount {
  readonly bytes: number
  readonly inodes: number
}

/** Bytes and inodes of a set of parts. A blob is one file. */
export function amount(stored: Stored, parts: Iterable<Part>): { bytes: number; inodes: number } {
  let [bytes, inodes] = [0, 0]
  for (const part of parts) {
    const snapshot = part.startsWith('s:') ? stored.snapshots.get(part.slice(2)) : undefined
    bytes += snapshot?.bytes ?? stored.blobs.get(part.slice(2))?.bytes ?? 0
    inodes += snapshot ? snapshot.inodes : 1
  }
  return { bytes, inodes }
}
