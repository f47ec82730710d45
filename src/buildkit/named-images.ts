import { effectiveExporters, exportedImages, frontendNames, isImage, normalized } from './exporters.ts'
import type { BuildHistoryRecord, SolveRequest, SolveResponse } from './gen/control_pb.ts'

/** Normalised names that a build gave on its node, with the digests that they point to, as far as the daemon says it. */
export type NamedImages = ReadonlyMap<string, string | undefined>

/**
 * Whether only the daemon's record tells what the names of a build point to: the daemon puts the answers of all exporters
 * into one, in which the last image counts (BuildKit v0.33.1, solver/llbsolver/export.go).
 */
export const needsRecord = (request: SolveRequest): boolean =>
  makesSeveral(request) && exportedImages(effectiveExporters(request)).length > 0

const makesSeveral = (request: SolveRequest): boolean =>
  request.enableSessionExporter || effectiveExporters(request).filter(isImage).length > 1

/**
 * What the names were really given to: those of the request, and what a frontend chose for `name=*`, unless the answer
 * may say the name of another image instead.
 * @param record of the build, where the answer alone does not say it.
 */
export function namedImages(
  request: SolveRequest,
  { exporterResponse }: Pick<SolveResponse, 'exporterResponse'>,
  record?: Pick<BuildHistoryRecord, 'result'>,
): NamedImages {
  const several = makesSeveral(request)
  const named = new Map<string, string | undefined>()
  for (const [i, exporter] of effectiveExporters(request).entries()) {
    const digest = several ? record?.result?.results[i]?.digest : exporterResponse['containerimage.digest']
    const chosen = several || !frontendNames([exporter]) ? '' : (exporterResponse['image.name'] ?? '')
    for (const name of [...exportedImages([exporter]), ...normalized(chosen.split(','))]) named.set(name, digest)
  }
  return named
}
