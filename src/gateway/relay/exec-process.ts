import { withProcessProxy } from '../../buildkit/exec-message.ts'
import type { ProxyVariables } from '../../buildkit/proxy.ts'
import { messageRewriter } from '../../kernel/grpc/rewrite.ts'
import { statusOf } from '../../kernel/grpc/status.ts'
import type { Build, Call, RelayContext } from './context.ts'
import { endCall } from './end-call.ts'
import { effectiveProxyOf } from './proxy.ts'
import { pump } from './pump.ts'

/**
 * Most bytes of a message that is looked into. Those that begin a process, which alone are changed, have a command and
 * its environment; input may come in larger ones, which pass.
 */
const mostHeld = 1 << 20

/** LLBBridge/ExecProcess: processes that a client starts in containers of its own get the variables of a RUN step. */
export async function relayExec(context: RelayContext, call: Call, build: Build): Promise<void> {
  const proxy = await effectiveProxyOf(context, build)
  const upstream = await call.upstreams.to(build.node)
  await pump(call.stream, upstream.request(call.raw), {
    ...(Object.keys(proxy).length === 0 ? {} : { asked: processesWith(call, proxy) }),
    lost: () => upstream.whyLost(),
  })
}

/** The client's messages on their way. What is held of them is part of what its identity may have open. */
export function processesWith(
  { stream, messages }: Pick<Call, 'stream' | 'messages'>,
  proxy: ProxyVariables,
): (chunk: Buffer) => Buffer {
  let taken = 0
  const hold = (bytes: number): void => {
    if (bytes > taken) messages.take(bytes - taken)
    else messages.give(taken - bytes)
    taken = bytes
  }
  let rewrite: ((chunk: Buffer) => Buffer) | undefined = messageRewriter(
    (message) => withProcessProxy(message, proxy),
    Math.min(mostHeld, messages.each),
    hold,
  )
  const drop = (): void => {
    rewrite = undefined
    hold(0)
  }
  stream.once('close', drop)
  return (chunk) => {
    try {
      return rewrite?.(chunk) ?? nothing
    } catch (error) {
      // Nobody would catch it where data comes in.
      drop()
      endCall(stream, statusOf(error))
      return nothing
    }
  }
}

const nothing = Buffer.alloc(0)
