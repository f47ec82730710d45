import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseYaml } from '../../../src/kernel/k8s/yaml.ts'
import { files, pages, repository } from './pages.ts'

export interface ExampleContainer {
  readonly name: string
  readonly securityContext?: { readonly readOnlyRootFilesystem?: boolean }
  readonly resources?: {
    readonly requests?: Readonly<Record<string, string>>
    readonly limits?: Readonly<Record<string, string>>
  }
}

export interface ExamplePod {
  /** The file or page that has it. */
  readonly file: string
  readonly spec: {
    readonly serviceAccountName?: string
    readonly initContainers?: readonly ExampleContainer[]
    readonly containers: readonly ExampleContainer[]
  }
}

type Plain = Readonly<Record<string, unknown>>

/** The specs of pods in an object: its own, or those of its template. */
function podSpecs(value: unknown): ExamplePod['spec'][] {
  if (typeof value !== 'object' || value === null) return []
  const { spec, containers } = value as Plain
  // Those of a patch name what they patch; their containers have no image.
  const whole = Array.isArray(containers) && containers.every((c) => typeof (c as Plain)['image'] === 'string')
  if (whole) return [value as ExamplePod['spec']]
  return [spec, (spec as Plain | undefined)?.['template'], (spec as Plain | undefined)?.['jobTemplate']].flatMap(
    podSpecs,
  )
}

const yamlOf = (file: string): string => readFileSync(join(repository, file), 'utf8')
const texts = [
  ...files.filter((file) => /^config\/examples\/.*\.yaml$/.test(file)).map((file) => ({ file, text: yamlOf(file) })),
  ...pages.flatMap(({ file, text }) =>
    [...text.matchAll(/^```yaml\n([\s\S]*?)^```/gm)].map(([, block = '']) => ({ file, text: block })),
  ),
]

/** Every pod that somebody may copy: of config/examples and of the pages, also those that workloads make. */
export const examplePods: readonly ExamplePod[] = texts.flatMap(({ file, text }) =>
  parseYaml(text)
    .flatMap(podSpecs)
    .map((spec) => ({ file, spec })),
)
