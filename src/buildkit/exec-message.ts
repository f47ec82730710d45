import { toBinary } from '@bufbuild/protobuf'
import { decodeBounded } from './decode.ts'
import { ExecMessageSchema } from './gen/gateway_pb.ts'
import { proxyEntries, type ProxyVariables } from './proxy.ts'

/**
 * A message of LLBBridge/ExecProcess whose process gets proxy variables in its environment, the only place a daemon
 * looks at there (BuildKit v0.33.1, frontend/gateway/gateway.go). What the client sets itself wins, in either case.
 * @returns undefined when there is nothing to change, also for what cannot be read: the daemon says what it thinks of it.
 */
export function withProcessProxy(message: Uint8Array, variables: ProxyVariables): Uint8Array | undefined {
  let exec
  try {
    exec = decodeBounded(ExecMessageSchema, message)
  } catch {
    return undefined
  }
  const meta = exec.init?.meta
  if (!meta) return undefined
  const name = (entry: string): string => (entry.split('=', 1)[0] ?? '').toUpperCase()
  const own = new Set(meta.env.map(name))
  const missing = Object.entries(proxyEntries(variables))
    .map(([key, value]) => `${key}=${value}`)
    .filter((entry) => !own.has(name(entry)))
  if (missing.length === 0) return undefined
  meta.env.push(...missing)
  return toBinary(ExecMessageSchema, exec)
}
