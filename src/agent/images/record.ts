import type { BuiltImage } from '../../api/images.ts'
import type { Provenance } from './provenance.ts'

/** An image name as containerd has it now. */
export interface NodeImage {
  readonly name: string
  readonly digest: string
  /** The encoded descriptor that the name points to: put back byte for byte. */
  readonly target: Uint8Array
  readonly labels: Readonly<Record<string, string>>
  /** When containerd was last asked to change it: milliseconds since 1970, whole seconds. */
  readonly updated?: number
}

/** Why an image is on this node: built here, or brought here by a delivery or the mirror. */
export type Arrival = 'built' | 'delivered'

/** What the agent remembers about an image that insitu built. */
export interface ImageRecord extends BuiltImage {
  readonly target: Uint8Array
  readonly arrival: Arrival
  /** When this node got it, and when a container last used it; this node's clock, milliseconds since 1970. */
  readonly since: number
  readonly lastUsed: number
  /** Who built it and on what, once that is read. */
  readonly origin?: Provenance | undefined
}

/** A name that insitu did not build, as it was when it was last changed by somebody who may. */
export interface KnownImage {
  readonly name: string
  readonly digest: string
  readonly target: Uint8Array
  /** This node's buildkitd made it, and nobody recorded it: such a name protects nothing. */
  readonly built: boolean
}

/** Everything that outlives the agent. */
export interface Memory {
  readonly records: Map<string, ImageRecord>
  readonly known: Map<string, KnownImage>
  /** Names in templates of workloads that may run here, as gateways said last. */
  wanted: ReadonlySet<string>
}

/** Names that the CRI plug-in makes beside the one that was asked for: `sha256:…` and `name@sha256:…`. */
export const isAlias = (name: string): boolean => name.startsWith('sha256:') || name.includes('@')
