import { messages, string, stringMap } from '../../kernel/grpc/wire.ts'

export interface Container {
  readonly id: string
  readonly labels: Readonly<Record<string, string>>
  readonly image: string
  /** OCI runtime specification, JSON. */
  readonly spec: string
}

/** Reads a container of containerd's api/services/containers/v1. */
export const readContainer = (bytes: Uint8Array): Container => {
  const [spec] = messages(bytes, 5)
  return {
    id: string(bytes, 1),
    labels: stringMap(bytes, 2),
    image: string(bytes, 3),
    spec: spec ? string(spec, 2) : '',
  }
}

/**
 * BuildKit gives its containers neither labels nor an image; what names them is a mount from its root, which every
 * step has (resolv.conf, hosts). Pods and containers of people have labels, an image, or mounts from elsewhere.
 */
export function isStep(container: Container, root: string): boolean {
  if (container.image !== '' || Object.keys(container.labels).length > 0) return false
  try {
    const { mounts } = JSON.parse(container.spec) as { mounts?: readonly { destination?: string; source?: string }[] }
    return (mounts ?? []).some(
      ({ destination, source }) =>
        (destination === '/etc/resolv.conf' || destination === '/etc/hosts') && (source ?? '').startsWith(`${root}/`),
    )
  } catch {
    return false
  }
}
