import type { Container, PodSpec, PodTemplate } from '../../api/builds/pod-template.ts'

/**
 * A pod template of the user put over ours, as a strategic merge of Kubernetes would: maps key by key, containers,
 * environment, mounts and volumes by name, other lists as a whole. What makes it a build stays: the program of our
 * container, our labels, and that it runs once.
 */
export function mergePodTemplate(ours: PodTemplate, theirs: PodTemplate | undefined): PodTemplate {
  if (theirs === undefined) return ours
  const merged = merge(ours, theirs, '') as PodTemplate
  const spec = merged.spec ?? {}
  // Where there are steps after it, the build is an init container, wherever the template writes it.
  const init = (ours.spec?.initContainers ?? []).map(({ name }) => name)
  const all = [...(spec.initContainers ?? []), ...(spec.containers ?? [])]
  const combined = new Map<string, Container>()
  for (const one of all) {
    combined.set(one.name, merge(combined.get(one.name), one, 'containers') as Container)
  }
  const last = (ours.spec?.containers ?? []).map(({ name }) => name)
  const ordered = [...init, ...last].flatMap((name) => combined.get(name) ?? [])
  const extra = (list: readonly Container[] | undefined) =>
    (list ?? []).filter(({ name }) => !init.includes(name) && !last.includes(name))
  const keep = (container: Container): Container => {
    const own = [...(ours.spec?.initContainers ?? []), ...(ours.spec?.containers ?? [])].find(
      ({ name }) => name === container.name,
    )
    return own?.['args'] === undefined ? container : { ...container, args: own['args'], ...withoutCommand(own) }
  }
  const complete = ordered.map(keep)
  return {
    metadata: { ...merged.metadata, annotations: { ...merged.metadata?.annotations, ...ours.metadata?.annotations } },
    spec: {
      ...spec,
      restartPolicy: 'Never',
      initContainers: [...extra(spec.initContainers), ...complete.slice(0, init.length)],
      containers: [...complete.slice(init.length), ...extra(spec.containers)],
    } satisfies PodSpec,
  }
}

const withoutCommand = (own: Container): object => (own['command'] === undefined ? { command: undefined } : {})

const byName = new Set(['containers', 'initContainers', 'env', 'volumes'])
const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function merge(under: unknown, over: unknown, field: string): unknown {
  if (over === undefined) return under
  if (isMap(under) && isMap(over)) {
    const keys = new Set([...Object.keys(under), ...Object.keys(over)])
    return Object.fromEntries([...keys].map((key) => [key, merge(under[key], over[key], key)]))
  }
  const key = byName.has(field) ? 'name' : field === 'volumeMounts' ? 'mountPath' : undefined
  if (Array.isArray(under) && Array.isArray(over) && key !== undefined) return mergeLists(under, over, key)
  return over
}

function mergeLists(under: readonly unknown[], over: readonly unknown[], key: string): unknown[] {
  const result = new Map<unknown, unknown>()
  for (const item of [...under, ...over]) {
    const id = isMap(item) ? item[key] : item
    result.set(id, result.has(id) ? merge(result.get(id), item, '') : item)
  }
  return [...result.values()]
}
