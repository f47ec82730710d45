import { controlComponents, kubectl } from './control-plane.ts'
import { nodeIP, podRange, pushRegistry, standInRegistry } from './layout.ts'
import { nodeDaemons, nodeHealthy } from './node.ts'
import { alive } from './processes.ts'
import { readState, type Shape } from './state.ts'

export interface Status {
  readonly up: boolean
  readonly healthy: boolean
  readonly checkout?: string
  readonly shape?: Shape
  readonly registries?: { readonly standIn: string; readonly push: string }
  readonly components: readonly { readonly name: string; readonly pid: number | undefined; readonly running: boolean }[]
  readonly nodes: readonly {
    readonly name: string
    readonly ip: string
    readonly pods: string
    readonly ready: boolean
    readonly answers: boolean
    readonly daemons: Readonly<Record<string, number | null>>
  }[]
}

export async function status(): Promise<Status> {
  const state = readState()
  if (!state) return { up: false, healthy: false, components: [], nodes: [] }
  const components = controlComponents.map((name) => {
    const process = state.processes[name]
    return { name, pid: process?.pid, running: alive(process) }
  })
  const ready = await kubectl([
    'get',
    'nodes',
    '--request-timeout=3s',
    '-o',
    'jsonpath={range .items[?(@.status.conditions[-1].status=="True")]}{.metadata.name}{"\\n"}{end}',
  ]).then(
    (answer) => answer.stdout.split('\n'),
    (): string[] => [],
  )
  const store = { get: () => state, update: () => undefined }
  const nodes = await Promise.all(
    state.nodes.map(async (name) => ({
      name,
      ip: nodeIP(name),
      pods: podRange(name),
      ready: ready.includes(name),
      answers: await nodeHealthy(name, store),
      daemons: Object.fromEntries(
        nodeDaemons.map((daemon) => {
          const process = state.processes[`${name}/${daemon}`]
          return [daemon, process && alive(process) ? process.pid : null]
        }),
      ),
    })),
  )
  return {
    up: true,
    healthy: components.every((c) => c.running) && nodes.length > 0 && nodes.every((n) => n.ready && n.answers),
    checkout: state.checkout,
    shape: state.shape,
    registries: { standIn: standInRegistry, push: pushRegistry },
    components,
    nodes,
  }
}

export function renderStatus(report: Status): string {
  if (!report.up) return 'there is no lab (npm run lab -- up)'
  const { shape } = report
  return [
    ...report.components.map((c) => `${c.name.padEnd(26)}${c.running ? `running, pid ${c.pid}` : 'NOT RUNNING'}`),
    ...report.nodes.map((n) => {
      const daemons = Object.entries(n.daemons).map(([name, pid]) => `${name} ${pid ?? 'NOT RUNNING'}`)
      const state = n.ready ? (n.answers ? 'ready' : 'NOT ANSWERING') : 'NOT READY'
      return `${n.name.padEnd(26)}${state}, ${n.ip}, pods ${n.pods}, ${daemons.join(', ')}`
    }),
    `registries                stand-in ${report.registries?.standIn}, pushes ${report.registries?.push}`,
    `between nodes             ${shape?.delay || 'no'} ms delay, ${shape?.rate || 'no'} Mbit/s limit`,
    report.healthy ? 'healthy' : 'NOT HEALTHY: npm run lab -- up repairs it',
  ].join('\n')
}
