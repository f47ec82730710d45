import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { conditionTypes, reasons } from '../../../src/api/builds/status.ts'
import { projectedToken } from '../../../src/cli/connect/token.ts'
import { createProgram } from '../../../src/cli/cli.ts'
import { tokenAudience } from '../../../src/api/names.ts'
import { parseToml } from '../../../src/kernel/config/toml.ts'
import { parseYaml } from '../../../src/kernel/k8s/yaml.ts'
import { complaints } from './command-line.ts'
import { pages, repository } from './pages.ts'

interface Mount {
  readonly name: string
  readonly mountPath: string
}
interface Container {
  readonly args?: readonly string[]
  readonly startupProbe?: { readonly exec: { readonly command: readonly string[] } }
  readonly volumeMounts: readonly Mount[]
}
interface Volume {
  readonly name: string
  readonly projected?: { readonly sources: readonly [{ readonly serviceAccountToken: { readonly audience: string } }] }
}
interface Spec {
  readonly initContainers: readonly [Container]
  readonly containers: readonly [Container]
  readonly volumes: readonly Volume[]
}

const example = (name: string): unknown =>
  parseYaml(readFileSync(join(repository, 'config/examples/ci', name), 'utf8'))[0]
const page = pages.find(({ file }) => file === 'docs/ci.md')?.text ?? ''
const block = (kind: string, mark: string): string =>
  [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```/gm)].find(([, k, text]) => k === kind && text?.includes(mark))?.[2] ?? ''

const { spec: pod } = example('pod.yaml') as { spec: Spec }
const program = createProgram()

describe('the CI examples', () => {
  it('have the same sidecar for every system, on the same volumes', () => {
    const { template } = example('arc-values.yaml') as { template: { spec: Spec } }
    const { runners } = parseToml(block('toml', 'runners'), 'config.toml') as unknown as {
      runners: [{ kubernetes: { pod_spec: [{ patch: string }] } }]
    }
    const [gitlab] = parseYaml(runners[0].kubernetes.pod_spec[0].patch) as [Spec]
    for (const { initContainers, volumes, containers } of [template.spec, gitlab]) {
      expect(initContainers).toEqual(pod.initContainers)
      for (const volume of volumes) expect(pod.volumes).toContainEqual(volume)
      expect(volumes.length).toBe(2)
      expect(containers[0].volumeMounts).toEqual([{ name: 'insitu', mountPath: '/insitu' }])
    }
  })

  it('run commands that exist, wait for the socket that is served, and mount the token where it is looked for', () => {
    const [{ args = [], startupProbe, volumeMounts }] = pod.initContainers
    expect(complaints(program, args)).toEqual([])
    expect(startupProbe?.exec.command).toEqual(['test', '-S', `${args.at(-1)}/buildkitd.sock`])
    const [task] = parseYaml(block('yaml', 'kind: Task')) as [{ spec: { steps: [Container]; volumes: Volume[] } }]
    const [step] = task.spec.steps
    const said = step.args ?? []
    expect(complaints(program, said.slice(0, said.indexOf('--')))).toEqual([])
    for (const [mounts, volumes] of [
      [volumeMounts, pod.volumes],
      [step.volumeMounts, task.spec.volumes],
    ] as const) {
      const mount = mounts.find(({ mountPath }) => projectedToken.startsWith(`${mountPath}/`))
      const volume = volumes.find(({ name }) => name === mount?.name)
      expect(volume?.projected?.sources[0].serviceAccountToken.audience).toBe(tokenAudience)
    }
  })

  it('ask for a condition and a reason that Builds have', () => {
    const rules = [block('yaml', 'argocd-cm'), block('yaml', 'healthCheckExprs')]
    const types = rules.flatMap((text) => [...text.matchAll(/c\.type == ["'](\w+)["']/g)].map(([, type]) => type))
    expect([...new Set(types)]).toEqual(['Succeeded'])
    expect(conditionTypes).toContain('Succeeded')
    expect(rules[0]).toContain(`c.reason == "${reasons.waitingForPull}"`)
  })
})
