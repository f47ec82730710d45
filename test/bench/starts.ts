import { waitFor } from '../lab/wait.ts'
import { nodeLines } from './node-lines.ts'

/** When containers were started, as the containerd of their node says: a kubelet's own status comes up to a second later. */
export interface Starts {
  /** When the last of these containers was started, as `performance.now()` counts. */
  last(containers: readonly string[]): Promise<number>
  stop(): Promise<void>
}

export async function watchStarts(nodes: readonly string[]): Promise<Starts> {
  const at = new Map<string, number>()
  const onLine = (line: string): void => {
    const start = parseStart(line)
    if (start) at.set(start.container, start.at - (Date.now() - performance.now()))
  }
  const events = ['ctr', '-n', 'k8s.io', 'events', 'topic=="/tasks/start"']
  const children = await Promise.all(nodes.map((node) => nodeLines(node, events, onLine)))
  return {
    async last(containers) {
      const all = await waitFor(
        'the containers to be started',
        async () => {
          const known = containers.flatMap((id) => at.get(id) ?? [])
          return known.length === containers.length ? known : undefined
        },
        { timeout: 10_000 },
      )
      return Math.max(...all)
    },
    stop: async () => void (await Promise.all(children.map((child) => child.stop(1000)))),
  }
}

/** A line of `ctr events`: `2026-01-02 03:04:05.678901234 +0000 UTC k8s.io /tasks/start {"container_id":"…"}`. */
function parseStart(line: string): { container: string; at: number } | undefined {
  const match = /^(\S+) (\d\d:\d\d:\d\d(?:\.\d{1,3})?)\d* \+0000 UTC \S+ \/tasks\/start (\{.*\})$/.exec(line)
  if (!match) return undefined
  const { container_id: container } = JSON.parse(match[3] ?? '{}') as { container_id?: string }
  return container === undefined ? undefined : { container, at: Date.parse(`${match[1]}T${match[2]}Z`) }
}
