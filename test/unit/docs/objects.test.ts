import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ports } from '../../../src/api/names.ts'
import { manifests } from '../../../src/cli/manifests/manifests.ts'
import { defaultOptions } from '../../../src/cli/manifests/options.ts'
import { freshnessMetrics } from '../../../src/gateway/placement/metrics.ts'
import type { Outcome } from '../../../src/gateway/telemetry/build-record.ts'
import { parseYaml } from '../../../src/kernel/k8s/yaml.ts'
import { files, pages, repository } from './pages.ts'

interface PodMonitor {
  readonly metadata: { readonly namespace: string }
  readonly spec: {
    readonly selector: { readonly matchExpressions: [{ readonly key: string; readonly operator: string }] }
    readonly podTargetLabels: readonly string[]
    readonly podMetricsEndpoints: [{ readonly port: string }]
  }
}

interface PrometheusRule {
  readonly spec: { readonly groups: readonly [{ readonly rules: readonly { alert: string; expr: string }[] }] }
}

interface PodTemplate {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> }
  readonly spec: { readonly containers: readonly { readonly ports: readonly unknown[] }[] }
}

const blocks = (page: string): unknown[] =>
  [...(pages.find(({ file }) => file === page)?.text ?? '').matchAll(/^```yaml\n([\s\S]*?)^```/gm)].flatMap(
    ([, text]) => parseYaml(text ?? ''),
  )

test('the example of a PodMonitor finds every pod of insitu, and its port', () => {
  const [monitor] = parseYaml(readFileSync(join(repository, 'config/examples/podmonitor.yaml'), 'utf8')) as [PodMonitor]
  const [{ key, operator }] = monitor.spec.selector.matchExpressions
  const [{ port }] = monitor.spec.podMetricsEndpoints
  const pods = manifests({ ...defaultOptions(), mode: 'mixed' }).flatMap(({ object }) => {
    const { template } = (object['spec'] ?? {}) as { template?: PodTemplate }
    return template && object.metadata.namespace === monitor.metadata.namespace ? [template] : []
  })
  expect([operator, monitor.spec.podTargetLabels]).toEqual(['Exists', [key]])
  expect(pods.map(({ metadata }) => metadata.labels[key])).toEqual(['gateway', 'agent', 'agent', 'controller'])
  for (const { spec } of pods) {
    expect(spec.containers[0]?.ports).toContainEqual({ name: port, containerPort: ports.metrics, protocol: 'TCP' })
  }
})

test('the alerts of the example ask for metrics, labels and objects that there are', () => {
  const file = join(repository, 'config/examples/prometheusrule.yaml')
  const [{ spec }] = parseYaml(readFileSync(file, 'utf8')) as [PrometheusRule]
  const { rules } = spec.groups[0]
  const source = files
    .filter((name) => /^src\/.*(?<!\.test)\.ts$/.test(name))
    .map((name) => readFileSync(join(repository, name), 'utf8'))
    .join('\n')
  const said = rules.flatMap(({ expr }) => expr.match(/\binsitu_[a-z_]+/g) ?? [])
  expect(new Set(said).size).toBe(4)
  expect(said.filter((name) => !source.includes(name))).toEqual([])
  expect(freshnessMetrics([{ resource: 'pods', age: 1, reconnects: 0, relists: 0 }])).toContain(
    'insitu_view_age_seconds{resource="pods"}',
  )
  const lost: Outcome['outcome'] = 'lost'
  expect(rules.map(({ expr }) => expr).join('\n')).toContain(`insitu_builds_total{outcome="${lost}"}`)
  const [, pattern = ''] = /daemonset=~"([^"]+)"/.exec(rules.map(({ expr }) => expr).join('\n')) ?? []
  const agents = manifests({ ...defaultOptions(), mode: 'mixed' }).flatMap(({ object: { kind, metadata } }) =>
    kind === 'DaemonSet' ? [metadata.name] : [],
  )
  expect(agents.filter((name) => new RegExp(`^(?:${pattern})$`).test(name))).toHaveLength(2)
})

test('the YAML about templates is a part of the example that the cluster tests apply', () => {
  const example = parseYaml(readFileSync(join(repository, 'config/examples/builds/template.yaml'), 'utf8'))
  const [block] = blocks('docs/templates.md')
  const build = example.find((object) => (object as { kind?: string }).kind === 'Build')
  expect(build).toMatchObject(block as object)
})
