import type { SolveRequest as BridgeSolveRequest } from '../../buildkit/gen/gateway_pb.ts'
import { runsPrograms } from '../../buildkit/llb.ts'
import { paths } from '../../buildkit/methods.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { Build } from './context.ts'

/**
 * A Solve that is a question (see `SolveFacts.probe`) takes no turn and is in no log, so it may not become a build by what
 * its client asks for while it is open. Sources are fetched: buildx reads Dockerfiles and bake files from URLs so.
 * @param asked the request of an LLBBridge/Solve.
 * @throws InsituError NO_BUILD (PERMISSION_DENIED)
 */
export function checkQuestion(build: Build | undefined, path: string, asked?: BridgeSolveRequest): void {
  if (!build || build.placement) return
  const inContainer = path === paths.bridgeNewContainer || path === paths.bridgeExec
  const builds = asked !== undefined && (asked.frontend !== '' || runsPrograms(asked.definition?.def ?? []))
  if (!inContainer && !builds) return
  throw new InsituError('NO_BUILD', 'a Solve that is internal can ask for sources, and cannot run anything', {
    status: 'PERMISSION_DENIED',
    fix: 'start a build that is not internal',
  })
}
