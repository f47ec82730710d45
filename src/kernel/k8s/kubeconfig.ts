import type { RequestOptions } from 'node:https'
import { KubeConfig } from '@kubernetes/client-node'
import { type Env, processEnv } from '../config/env.ts'
import { InsituError } from '../errors.ts'
import { proxyFor } from '../http/proxy-for.ts'
import type { Endpoint, EndpointOptions } from './endpoint.ts'
import { type ExecConfig, execPlugin } from './exec-plugin.ts'
import { raceAbort } from './race-abort.ts'

/** Milliseconds for a login: a person may have to open a browser for it. */
const usualLimit = 300_000

/**
 * The API server of a kubeconfig, with every way to authenticate that the library knows (certificates, tokens, OIDC), exec
 * plug-ins and its `proxy-url`; without one the proxy is that of the environment.
 * @throws InsituError KUBECONFIG_BROKEN, PROXY_URL
 */
export function kubeconfigEndpoint(files: readonly string[], options: EndpointOptions): Endpoint {
  const config = loadKubeConfig(files, options.context)
  takeProxy(config, options.env ?? processEnv())
  const cluster = config.getCurrentCluster()
  const context = config.getContextObject(config.getCurrentContext())
  if (!cluster || !context) {
    const known = config.getContexts().map((c) => c.name)
    throw broken(
      `the kubeconfig has no usable context "${config.getCurrentContext()}" (it has: ${known.join(', ') || 'none'})`,
    )
  }
  if (!/^https?:$/.test(URL.parse(cluster.server)?.protocol ?? '')) {
    const says = `says where cluster "${cluster.name}" is with "${cluster.server}", which is no URL of an API server`
    throw broken(`the kubeconfig ${files.join(', ')} ${says}`, undefined, 'write server: https://HOST:PORT')
  }
  const milliseconds = options.credentialsLimit ?? usualLimit
  let limit: AbortSignal
  const plugin = takePlugin(config, () => limit)
  const load = async (): Promise<RequestOptions> => {
    const request: RequestOptions = {}
    limit = AbortSignal.timeout(milliseconds)
    try {
      await raceAbort(config.applyToHTTPSOptions(request), limit)
    } catch (cause) {
      if (limit.aborted) throw late(plugin ?? `the login of user "${context.user}"`, milliseconds)
      throw broken(`the credentials of user "${context.user}" in the kubeconfig cannot be used`, cause)
    }
    // The library's agent opens a connection per request; ours keeps them. Only a proxy needs the library's.
    if (!cluster.proxyUrl) delete request.agent
    return request
  }
  let pending: Promise<RequestOptions> | undefined
  return {
    server: cluster.server.replace(/\/+$/, ''),
    namespace: context.namespace ?? 'default',
    // Calls at the same time wait for one login.
    credentials: () => (pending ??= load().finally(() => (pending = undefined))),
  }
}

/**
 * As kubectl: HTTPS_PROXY, HTTP_PROXY and NO_PROXY hold for a cluster without `proxy-url`. The API server of the own pod is not
 * asked for here: agents have these variables for builds.
 */
function takeProxy(config: KubeConfig, env: Env): void {
  const cluster = config.getCurrentCluster()
  if (!cluster || cluster.proxyUrl || !URL.canParse(cluster.server)) return
  const proxyUrl = proxyFor(new URL(cluster.server), env)
  if (proxyUrl === undefined) return
  if (!/^(https?|socks(4a?|5h?)?):/i.test(proxyUrl) || !URL.canParse(proxyUrl)) {
    throw new InsituError('PROXY_URL', `the proxy for ${cluster.server} in the environment is not a URL of one`, {
      status: 'FAILED_PRECONDITION',
      fix: 'Write http://HOST:PORT into HTTPS_PROXY, special characters of a password as %XX, or the server into NO_PROXY.',
    })
  }
  config.clusters = config.clusters.map((one) => (one === cluster ? { ...one, proxyUrl } : one))
}

/**
 * Runs the exec plug-in of the current user instead of the library, which keeps what the plug-in says to people to itself
 * and lets it wait for input for ever.
 * @returns what to call it; undefined for a user without one.
 */
function takePlugin(config: KubeConfig, limit: () => AbortSignal): string | undefined {
  const user = config.getCurrentUser()
  const exec = user?.exec as ExecConfig | null | undefined
  if (!user || !exec?.command) return undefined
  const ask = execPlugin(exec)
  config.users = config.users.map((one) => (one === user ? { ...user, exec: undefined } : one))
  config.addAuthenticator({
    isAuthProvider: ({ name }) => name === user.name,
    async applyAuthentication(_, request) {
      const { token, clientCertificateData: cert, clientKeyData: key } = await ask(limit())
      if (cert) request.cert = cert
      if (key) request.key = key
      if (token) request.headers = { ...(request.headers as Record<string, string>), Authorization: `Bearer ${token}` }
    },
  })
  return `the plug-in ${exec.command}`
}

/** The files as the library reads them. @throws InsituError KUBECONFIG_BROKEN */
function loadKubeConfig(files: readonly string[], context: string | undefined): KubeConfig {
  const config = new KubeConfig()
  try {
    for (const [index, file] of files.entries()) {
      const next = index === 0 ? config : new KubeConfig()
      next.loadFromFile(file)
      if (next !== config) config.mergeConfig(next, Boolean(config.currentContext))
    }
    if (context !== undefined) config.setCurrentContext(context)
  } catch (cause) {
    throw broken(`the kubeconfig ${files.join(', ')} cannot be read`, cause)
  }
  return config
}

const broken = (
  message: string,
  cause?: unknown,
  fix = 'Check it with `kubectl --kubeconfig FILE version`.',
): InsituError =>
  new InsituError('KUBECONFIG_BROKEN', message, {
    cause,
    status: 'FAILED_PRECONDITION',
    fix,
  })

const late = (what: string, milliseconds: number): InsituError =>
  new InsituError('NO_CREDENTIALS', `${what} gave no credentials within ${milliseconds / 1000} s`, {
    status: 'UNAUTHENTICATED',
    fix: 'Log in once with kubectl, as in `kubectl version`, and try again.',
  })
