import { rm } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Finding } from '../../api/node-report.ts'
import { describeError } from '../../kernel/errors.ts'
import type { AgentOptions } from '../options.ts'
import type { Part } from '../part.ts'
import { checkProxies, type CheckOptions } from './check.ts'
import { noProxyHandler } from './handlers.ts'
import { daemonProxies, rememberedFile } from './variables.ts'

export interface ProxyPartOptions extends CheckOptions {
  /** Milliseconds between two looks. Default 60,000. */
  readonly interval?: number
}

/** Looks whether the proxies of this node can be used, and keeps what gateways say of the cluster's network. */
export function proxyPart(
  options: Pick<AgentOptions, 'env' | 'readConfig' | 'readProxy'>,
  { interval = 60_000, ...check }: ProxyPartOptions = {},
): Part {
  return {
    name: 'proxy',
    async start(context) {
      const { runDirectory, log } = context
      // About what buildkitd started with; entries for NO_PROXY that come later change nothing of proxies.
      const atStart = await daemonProxies(options, [])
      let findings: readonly Finding[] = []
      const look = async (): Promise<void> => {
        try {
          const now = await daemonProxies(options, [])
          const found = [...(await checkProxies(now, check)), ...pending(atStart, now)]
          if (isDeepStrictEqual(found, findings)) return
          findings = found
          context.changed()
        } catch (error) {
          log.warn({ err: describeError(error) }, 'the proxy variables cannot be checked')
        }
      }
      let running = look()
      const timer = setInterval(() => void (running = running.then(look)), interval).unref()
      return {
        handlers: [noProxyHandler(runDirectory)],
        findings: () => findings,
        async stop() {
          clearInterval(timer)
          await running
          await rm(rememberedFile(runDirectory), { force: true })
        },
      }
    },
  }
}

const pending = (before: Readonly<Record<string, string>>, now: Readonly<Record<string, string>>): Finding[] =>
  isDeepStrictEqual(before, now)
    ? []
    : [
        {
          code: 'PROXY_PENDING',
          severity: 'info',
          message:
            'the proxy variables have changed; steps have the new ones, buildkitd itself still uses the old ones',
          fix: 'restart the agent when its builds have ended',
        },
      ]
