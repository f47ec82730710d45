import { readFile } from 'node:fs/promises'
import { Command } from 'commander'
import { InsituError, UsageError } from '../kernel/errors.ts'
import { print, say } from './cluster/connect.ts'
import type { Plain } from './convert/knative.ts'

interface ConvertFlags {
  readonly filename: string
  readonly push?: true
}

/** `insitu convert`: Knative's old Build API as ours. */
export const convertCommand = (): Command =>
  new Command('convert')
    .description(
      'Say Builds and BuildTemplates of build.knative.dev/v1alpha1 as insitu’s. Prints YAML; other objects pass unchanged.',
    )
    .requiredOption('-f, --filename <file>', 'the YAML or JSON; - for standard input')
    .option('--push', 'push what the old steps only built for the daemon of their node')
    .action(async (flags: ConvertFlags) => {
      const [{ convertKnative }, { parseYaml, toYaml }] = await Promise.all([
        import('./convert/knative.ts'),
        import('../kernel/k8s/yaml.ts'),
      ])
      const text = await readFile(flags.filename === '-' ? '/dev/stdin' : flags.filename, 'utf8').catch(
        (cause: unknown) => {
          throw new UsageError(`${flags.filename} cannot be read`, { cause })
        },
      )
      const objects = orNamed(flags.filename, () => parseYaml(text))
      const converted = objects.map((object) => convertKnative(object as Plain, { push: flags.push === true }))
      for (const remark of converted.flatMap(({ remarks }) => remarks)) say(remark)
      print(
        converted
          .map(({ object }) => toYaml(object))
          .join('---\n')
          .trimEnd(),
      )
    })

/** @throws InsituError CONVERT_SYNTAX with the file, which the parser does not know. */
function orNamed<T>(file: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw new InsituError('CONVERT_SYNTAX', `${file} is not YAML`, { status: 'INVALID_ARGUMENT', cause })
  }
}
