export interface FleetWorkload {
  readonly kind: 'Deployment' | 'StatefulSet' | 'DaemonSet'
  readonly namespace: string
  readonly name: string
  /** What its template asks for beside requests. */
  readonly shape: 'plain' | 'apart' | 'spread' | 'together'
  readonly spec: Readonly<Record<string, unknown>> & { readonly containers: readonly { name: string; image: string }[] }
  /** One for each pod. */
  readonly nodes: readonly string[]
  /** The pod that waits for the image `…:new`, if one does. */
  readonly waiting: number | undefined
}

export interface Fleet {
  readonly nodes: readonly string[]
  readonly workloads: readonly FleetWorkload[]
}

export const workloadName = (i: number): string => `app-${i}`
export const imageOf = ({ namespace, name }: Pick<FleetWorkload, 'namespace' | 'name'>, tag: string): string =>
  `registry.example.test/${namespace}/${name}:${tag}`

const shapes = ['plain', 'apart', 'spread', 'together'] as const

/**
 * A cluster of so many nodes and pods, the same one for the same numbers: an agent and two DaemonSets on every node, a
 * tenth of the rest in StatefulSets, Deployments of 40 pods; every second Deployment with rules about other pods.
 */
export function makeFleet(nodeCount: number, podCount: number): Fleet {
  const nodes = Array.from({ length: nodeCount }, (_, i) => `node-${String(i).padStart(5, '0')}`)
  const workloads: FleetWorkload[] = []
  const add = (kind: FleetWorkload['kind'], shape: FleetWorkload['shape'], on: readonly string[]): void => {
    const name = workloadName(workloads.length)
    const namespace = `ns-${workloads.length >> 3}`
    const waiting = kind === 'Deployment' && workloads.length % 5 === 0 ? 0 : undefined
    workloads.push({ kind, namespace, name, shape, spec: makeSpec(namespace, name, shape), nodes: on, waiting })
  }
  let left = podCount - 3 * nodeCount
  for (let i = 0; i < 2; i++) add('DaemonSet', 'plain', nodes)
  const place = (count: number): string[] => {
    const first = Math.imul(workloads.length, 7919) >>> 0
    return Array.from({ length: count }, (_, i) => nodes[(first + i * 13) % nodeCount] as string)
  }
  for (let i = 0; left > 0; i++) {
    const stateful = i % 10 === 0
    const count = Math.min(left, 40)
    add(stateful ? 'StatefulSet' : 'Deployment', stateful ? 'plain' : (shapes[(i >> 1) % 4] as 'plain'), place(count))
    left -= count
  }
  return { nodes, workloads }
}

function makeSpec(namespace: string, name: string, shape: FleetWorkload['shape']): FleetWorkload['spec'] {
  const own = { matchLabels: { app: name } }
  const required = (topologyKey: string, labelSelector: object) => ({
    requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey, labelSelector }],
  })
  const rules = {
    plain: {},
    apart: { affinity: { podAntiAffinity: required('kubernetes.io/hostname', own) } },
    together: {
      affinity: { podAffinity: required('topology.kubernetes.io/zone', own) },
      nodeSelector: { disk: 'ssd' },
    },
    spread: {
      topologySpreadConstraints: ['topology.kubernetes.io/zone', 'kubernetes.io/hostname'].map((topologyKey) => ({
        ...{ topologyKey, maxSkew: topologyKey.endsWith('zone') ? 10 : 1 },
        ...{ whenUnsatisfiable: 'DoNotSchedule', labelSelector: own },
      })),
    },
  }[shape]
  const container = (of: string, image: string) => ({
    ...{ name: of, image, imagePullPolicy: 'IfNotPresent' },
    resources: { requests: { cpu: '250m', memory: '512Mi' }, limits: { memory: '1Gi' } },
    env: ['A', 'B', 'C', 'D'].map((n) => ({ name: `SETTING_${n}`, value: `the value of setting ${n} of ${name}` })),
    ports: [{ name: 'http', containerPort: 8080 }],
    readinessProbe: { httpGet: { path: '/healthz', port: 8080 } },
    volumeMounts: [{ name: 'config', mountPath: '/etc/app' }],
  })
  return {
    ...rules,
    containers: [
      container('app', imageOf({ namespace, name }, 'v1')),
      container('proxy', 'registry.example.test/mesh/proxy:v9'),
    ],
    volumes: [{ name: 'config', configMap: { name: 'config' } }],
  }
}
