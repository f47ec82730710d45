import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import type { VolumeFacts } from './facts.ts'
import { readZones } from './model/volumes.ts'
import type { NodeTerm } from './scheduling/pod-spec.ts'

/** core/v1 PersistentVolumeClaim, as far as it is read. */
export interface RawClaim extends KubernetesObject {
  readonly spec?: { readonly volumeName?: string }
}

/** core/v1 PersistentVolume, as far as it is read. */
export interface RawVolume extends KubernetesObject {
  readonly spec?: {
    readonly nodeAffinity?: { readonly required?: { readonly nodeSelectorTerms?: readonly NodeTerm[] } }
  }
}

/** The volume a claim is bound to. */
export const readClaim = (claim: RawClaim): string | undefined => claim.spec?.volumeName || undefined

/** Where a volume can be used; undefined for one that every node can use. */
export function readVolume({ metadata, spec }: RawVolume): VolumeFacts | undefined {
  const terms = spec?.nodeAffinity?.required?.nodeSelectorTerms
  const zones = readZones(metadata?.labels ?? {})
  return terms === undefined && zones.size === 0 ? undefined : { terms, zones }
}
