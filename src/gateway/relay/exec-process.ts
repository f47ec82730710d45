import { withProcessProxy } from '../../buildkit/exec-message.ts'
import { messageRewriter } from '../../kernel/grpc/rewrite.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { effectiveProxyOf } from './proxy.ts'
import { pump } from './pump.ts'

/** LLBBridge/ExecProcess: processes that a client starts in containers of its own get the variables of a RUN step. */
export async function relayExec(context: RelayContext, call: Call, build: Build): Promise<void> {
  const proxy = await effectiveProxyOf(context, build)
  const upstream = await call.upstreams.to(build.node)
  await pump(call.stream, upstream.request(call.raw), {
    ...(Object.keys(proxy).length === 0
      ? {}
      : { asked: messageRewriter((m) => withProcessProxy(m, proxy), call.messages.each) }),
    lost: () => upstream.whyLost(),
  })
}
