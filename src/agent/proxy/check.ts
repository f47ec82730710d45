import { connect } from 'node:net'
import type { Finding } from '../../api/node-report.ts'
import { proxyAddress, proxyUrlTrouble, shownProxy } from '../../buildkit/proxy-url.ts'
import type { ProxyVariables } from '../../buildkit/proxy.ts'

export interface CheckOptions {
  /** Whether somebody listens there. For tests. */
  readonly reach?: (host: string, port: number) => Promise<string | undefined>
}

/**
 * What is wrong with proxy variables, without a word of their passwords.
 * @param variables names in upper case.
 */
export async function checkProxies(variables: ProxyVariables, { reach = dial }: CheckOptions = {}): Promise<Finding[]> {
  const findings: Finding[] = []
  const asked = new Map<string, Promise<string | undefined>>()
  for (const [name, value] of Object.entries(variables)) {
    if (name === 'NO_PROXY') continue
    const trouble = proxyUrlTrouble(value)
    const address = trouble === undefined ? proxyAddress(value) : undefined
    if (!address) {
      findings.push({
        code: 'PROXY_URL',
        severity: 'warning',
        message: `${name} ${trouble}: builds are refused while it is so`,
        fix: 'write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with special characters as %XX',
      })
      continue
    }
    const shown = shownProxy(name, value)
    if (asked.has(shown)) continue
    asked.set(shown, reach(address.host, address.port))
    const why = await asked.get(shown)
    if (why === undefined) continue
    findings.push({
      code: 'PROXY_UNREACHABLE',
      severity: 'warning',
      message: `the proxy ${shown} cannot be reached from this node: ${why}`,
      fix: 'correct the variable or start the proxy; steps and pulls that need it fail until then',
    })
  }
  return findings
}

/** @returns why nobody answers within three seconds. */
function dial(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 3000 })
    const end = (why: string | undefined): void => {
      socket.destroy()
      resolve(why)
    }
    socket.once('connect', () => end(undefined))
    socket.once('timeout', () => end('no answer within 3 s'))
    socket.once('error', (error) => end(error.message))
  })
}
