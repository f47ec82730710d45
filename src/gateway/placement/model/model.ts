import type { AgentFacts, ClusterView, NodeFacts, PodFacts, WorkloadFacts } from '../cluster.ts'
import type { ImageNames } from '../image-names.ts'
import type { Labels } from '../scheduling/selector.ts'
import { createMasks } from './masks.ts'
import { createNodeTable } from './nodes.ts'
import { createPodIndex, type PodIndex } from './pod-index.ts'
import { createProfiles, type Profiles } from './profiles.ts'
import { drop, put } from './sets.ts'
import { createVolumes, type Volumes } from './volumes.ts'

/** A cluster in memory with all its indexes. Watches and tests write, placement reads. */
export interface Model extends ClusterView {
  readonly profiles: Profiles
  readonly volumes: Volumes
  readonly byIp: PodIndex['byIp']
  setNode(facts: NodeFacts): void
  removeNode(name: string): void
  /** Replaces `previous` by `pod`; either may be undefined. */
  updatePod(pod: PodFacts | undefined, previous: PodFacts | undefined): void
  updateWorkload(workload: WorkloadFacts | undefined, previous: WorkloadFacts | undefined): void
  setNamespace(name: string, labels: Labels | undefined): void
}

export interface ModelOptions {
  readonly images: ImageNames
  readonly agents: () => ReadonlyMap<string, AgentFacts>
  readonly busy: () => ReadonlyMap<string, number>
}

const noWorkloads: ReadonlySet<WorkloadFacts> = new Set()
const noLabels: Labels = {}

export function createModel({ images, agents, busy }: ModelOptions): Model {
  const nodes = new Map<string, NodeFacts>()
  const table = createNodeTable()
  const profiles = createProfiles()
  const volumes = createVolumes()
  const pods = createPodIndex(images)
  const templates = new Map<string, Set<WorkloadFacts>>()
  const namespaces = new Map<string, Labels>()

  const updateWorkload: Model['updateWorkload'] = (workload, previous) => {
    for (const image of previous?.images ?? []) drop(templates, images.repository(image), previous as WorkloadFacts)
    for (const image of workload?.images ?? []) put(templates, images.repository(image), workload as WorkloadFacts)
  }
  return {
    nodes,
    table,
    profiles,
    volumes,
    world: {
      profiles,
      volumes,
      masks: createMasks(table),
      namespaceLabels: (namespace) => namespaces.get(namespace) ?? noLabels,
    },
    get agents() {
      return agents()
    },
    get busy() {
      return busy()
    },
    waitingFor: (image) => pods.waitingFor(image),
    waitingImages: () => pods.waitingImages(),
    rollingOf: (repository) => pods.rollingOf(repository),
    templatesOf: (repository) => templates.get(repository) ?? noWorkloads,
    byIp: (ip) => pods.byIp(ip),
    setNode(facts) {
      nodes.set(facts.name, facts)
      table.set(facts)
    },
    removeNode(name) {
      nodes.delete(name)
      table.remove(name)
    },
    updatePod(pod, previous) {
      // The new one first: what both share must not be forgotten in between.
      if (pod?.slot) {
        table.occupy(pod.slot, pod.profile)
        profiles.add(pod)
      }
      if (previous?.slot) {
        table.vacate(previous.slot, previous.profile)
        profiles.remove(previous)
      }
      pods.update(pod, previous)
      updateWorkload(pod?.homeless, previous?.homeless)
    },
    updateWorkload,
    setNamespace(name, labels) {
      if (labels === undefined) namespaces.delete(name)
      else namespaces.set(name, labels)
    },
  }
}
