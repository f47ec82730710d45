import type { SolveRequest } from '../../buildkit/gen/control_pb.ts'
import { checkProxy } from '../../buildkit/proxy-url.ts'
import { proxyOfOptions, type ProxyVariables } from '../../buildkit/proxy.ts'
import { solveHints } from '../../buildkit/solve.ts'
import { InsituError } from '../../kernel/errors.ts'

/** What the client of a build says of proxies. */
export interface ProxyWish {
  /** `insitu.proxy=off`: none at all. */
  readonly off: boolean
  /** Its own variables, names in upper case; an empty one switches one off. */
  readonly own: ProxyVariables
}

/** @throws InsituError HINT, PROXY_URL (INVALID_ARGUMENT) */
export function readProxyWish(request: SolveRequest): ProxyWish {
  const { proxy } = solveHints(request)
  if (proxy !== undefined && proxy !== 'off' && proxy !== 'on') {
    throw new InsituError('HINT', `insitu.proxy cannot be "${proxy}"`, {
      status: 'INVALID_ARGUMENT',
      fix: 'use off, or leave it out',
    })
  }
  const own = proxyOfOptions(request.frontendAttrs)
  checkProxy(own, 'the build argument')
  return { off: proxy === 'off', own }
}
