import { checkProxy } from '../../buildkit/proxy-url.ts'
import { mergeProxies, type ProxyVariables, proxyVariables } from '../../buildkit/proxy.ts'
import { processEnv } from '../../kernel/config/env.ts'
import { UsageError } from '../../kernel/errors.ts'
import { createKubernetesClient } from '../../kernel/k8s/client.ts'
import { terminationSignal } from '../../kernel/process/termination.ts'
import { digestSyntax, parseBase } from './base-query.ts'
import { readCredentials } from './credentials.ts'
import { readOrigins } from './read-origins.ts'
import type { RebuildFlags } from './flags.ts'
import type { RebuildOptions } from './run.ts'

/** Reads the command line. @throws UsageError */
export async function rebuildOptions(
  flags: RebuildFlags,
  say: (line: string) => void,
): Promise<{ readonly options: RebuildOptions; readonly close: () => void }> {
  const base = flags.base === undefined ? undefined : parseBase(flags.base)
  if (flags.to !== undefined && (base === undefined || !digestSyntax.test(flags.to))) {
    throw new UsageError(`--to ${flags.to}: the digest (sha256:…) of the one base that --base names`)
  }
  const registries = new Map(flags.registry.map(readRegistry))
  const [parallel, keep] = [wholeNumber('--parallel', flags.parallel, 1), wholeNumber('--keep', flags.keep, 1)]
  const credentials = await readCredentials(processEnv())
  const proxies = registryProxies()
  const { kubeconfig, context } = flags
  const client = await createKubernetesClient({ kubeconfig, context, userAgent: 'insitu-cli' })
  return {
    options: {
      ...{
        client,
        base,
        to: flags.to,
        registries,
        credentials,
        proxies,
        parallel,
        keep,
        say,
        selector: flags.selector,
      },
      namespace: flags.allNamespaces ? undefined : (flags.namespace ?? client.namespace),
      dryRun: flags.dryRun === true,
      failFast: flags.failFast === true,
      origins: () => readOrigins({ kubeconfig, context }, say),
      signal: terminationSignal(),
    },
    close: () => client.close(),
  }
}

/** @throws InsituError PROXY_URL */
function registryProxies(): ProxyVariables {
  const { HTTP_PROXY = '', HTTPS_PROXY = '', NO_PROXY = '' } = mergeProxies(proxyVariables(processEnv()))
  const proxies = { HTTP_PROXY, HTTPS_PROXY, NO_PROXY }
  checkProxy(proxies, 'the environment variable')
  return proxies
}

function readRegistry(text: string): readonly [string, string] {
  const [, host, url] = /^([^=/\s]+)=(https?:\/\/[^\s@]+)$/.exec(text) ?? []
  if (host === undefined || url === undefined || !URL.canParse(url)) {
    throw new UsageError(`--registry ${text}: HOST=URL, such as docker.io=https://mirror.example.com`)
  }
  return [host, url]
}

function wholeNumber(option: string, text: string, least: number): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= least && text.trim() !== '') return number
  throw new UsageError(`${option} ${text}: a whole number from ${least}`)
}
