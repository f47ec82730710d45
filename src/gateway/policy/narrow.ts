import { clone } from '@bufbuild/protobuf'
import { namesInFull } from '../../buildkit/exporters.ts'
import { type SolveRequest, SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { type SolveRequest as BridgeSolveRequest } from '../../buildkit/gen/gateway_pb.ts'

type Options = Readonly<Record<string, string>>

/** The request without what is taken away and not refused, and with names as the policy compared them. */
export function narrowSolve(request: SolveRequest, dockerfilesChoose: boolean): SolveRequest {
  const narrow = clone(SolveRequestSchema, request)
  narrow.frontendAttrs = narrowOptions(request.frontend, request.frontendAttrs, dockerfilesChoose)
  for (const exporter of narrow.exporters) exporter.attrs = withFullNames(exporter.type, exporter.attrs)
  narrow.exporterAttrsDeprecated = withFullNames(request.exporterDeprecated, request.exporterAttrsDeprecated)
  return narrow
}

/** The same for LLBBridge/Solve. Changes the request it is given. */
export function narrowBridgeSolve(request: BridgeSolveRequest, dockerfilesChoose: boolean): BridgeSolveRequest {
  request.frontendOpt = narrowOptions(request.frontend, request.frontendOpt, dockerfilesChoose)
  return request
}

/**
 * The control group is the node's affair. A Dockerfile that may not choose its frontend is read by the one that the
 * request names: with a command line that takes it for handed over already (BuildKit v0.33.1, frontend/dockerfile/builder),
 * the daemon's own as well as an image with the same frontend.
 */
function narrowOptions(frontend: string, options: Options, dockerfilesChoose: boolean): Record<string, string> {
  const { 'cgroup-parent': _, ...rest } = options
  if (dockerfilesChoose || frontend === '' || rest['cmdline'] !== undefined) return rest
  return { ...rest, cmdline: '' }
}

/** containerd keeps names as they are given: what was compared in full must be written in full. */
function withFullNames(type: string, attrs: Options): Record<string, string> {
  const { name } = attrs
  if (type !== 'image' || name === undefined || name === '') return { ...attrs }
  const names = name.split(',').map((n) => n.trim())
  return { ...attrs, name: namesInFull(names, attrs) }
}
