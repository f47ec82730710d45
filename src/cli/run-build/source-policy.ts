import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Recipe } from '../../api/builds/builds.ts'
import { normalizeReference } from '../../buildkit/reference.ts'

/** A rule of BuildKit's source policies: v0.33.1, sourcepolicy/pb/policy.proto. */
export interface SourceRule {
  readonly action: 'CONVERT'
  readonly selector: {
    readonly identifier: string
    readonly match_type: 'EXACT' | 'REGEX'
    readonly constraints?: readonly { readonly key: string; readonly value: string; readonly condition: 'MATCHES' }[]
  }
  readonly updates: { readonly identifier: string; readonly attrs?: Readonly<Record<string, string>> }
}

/** Gives names of images the digests that the recipe says. @throws InsituError IMAGE_NAME */
export const baseRules = ({ bases = [] }: Recipe): SourceRule[] =>
  bases.map(({ name, digest }) => {
    const identifier = `docker-image://${normalizeReference(name)}`
    return {
      action: 'CONVERT',
      selector: { identifier, match_type: 'EXACT' },
      updates: { identifier: `${identifier}@${digest}` },
    }
  })

/** @returns the file for buildctl, which takes one; undefined when there are no rules. */
export async function writeSourcePolicy(rules: readonly SourceRule[], directory: string): Promise<string | undefined> {
  if (rules.length === 0) return undefined
  const file = join(directory, 'source-policy.json')
  await writeFile(file, JSON.stringify({ version: 1, rules }))
  return file
}
