import type { RequestOptions } from 'node:https'
import { KubeConfig } from '@kubernetes/client-node'
import { InsituError } from '../errors.ts'
import type { Endpoint, EndpointOptions } from './endpoint.ts'

/**
 * The API server of a kubeconfig, with every way to authenticate that the library knows (certificates, tokens, exec
 * plug-ins, OIDC) and its `proxy-url`.
 * @throws InsituError KUBECONFIG_BROKEN
 */
export function kubeconfigEndpoint(files: readonly string[], options: EndpointOptions): Endpoint {
  const config = loadKubeConfig(files, options.context)
  const cluster = config.getCurrentCluster()
  const context = config.getContextObject(config.getCurrentContext())
  if (!cluster || !context) {
    const known = config.getContexts().map((c) => c.name)
    throw broken(
      `the kubeconfig has no usable context "${config.getCurrentContext()}" (it has: ${known.join(', ') || 'none'})`,
    )
  }
  return {
    server: cluster.server.replace(/\/+$/, ''),
    namespace: context.namespace ?? 'default',
    async credentials() {
      const request: RequestOptions = {}
      try {
        await config.applyToHTTPSOptions(request)
      } catch (cause) {
        throw broken(`the credentials of user "${context.user}" in the kubeconfig cannot be used`, cause)
      }
      // The library's agent opens a connection per request; ours keeps them. Only a proxy needs the library's.
      if (!cluster.proxyUrl) delete request.agent
      return request
    },
  }
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

const broken = (message: string, cause?: unknown): InsituError =>
  new InsituError('KUBECONFIG_BROKEN', message, {
    cause,
    status: 'FAILED_PRECONDITION',
    fix: 'Check it with `kubectl --kubeconfig FILE version`.',
  })
