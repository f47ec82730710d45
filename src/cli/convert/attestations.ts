import type { Recipe } from '../../api/builds/builds.ts'
import { truthOf } from '../../buildkit/truth.ts'

export type Attestations = NonNullable<NonNullable<Recipe['output']>['attestations']>

/**
 * `--provenance`, `--sbom` and `--attest type=…` of docker's build (buildx v0.37.0, util/buildflags/attests.go), with what
 * BuildKit makes of them: provenance without a mode is max. A kind that is switched off is there and undefined.
 * @param text the option without its dashes, such as `sbom=true`.
 * @returns undefined where it says something that a Build cannot.
 */
export function readAttestation(text: string): Attestations | undefined {
  const [, kind, said = 'true'] = /^(?:attest=type=)?(provenance|sbom)(?:[=,](.*))?$/s.exec(text) ?? []
  const truth = truthOf(said.replace(/^disabled=false$/, 'true').replace(/^disabled=true$/, 'false'))
  if (kind === 'sbom') {
    const generator = /^generator=([^,"]+)$/.exec(said)?.[1]
    if (truth === undefined) return generator === undefined ? undefined : { sbom: { generator } }
    return { sbom: truth ? {} : undefined }
  }
  if (kind !== 'provenance') return undefined
  if (truth !== undefined) return { provenance: truth ? 'Max' : undefined }
  const [, mode] = /^mode=(min|max)$/.exec(said) ?? []
  return mode === undefined ? undefined : { provenance: mode === 'min' ? 'Min' : 'Max' }
}
