import { existsSync } from 'node:fs'
import { processEnv } from '../config/env.ts'
import { InsituError } from '../errors.ts'
import type { Endpoint, EndpointOptions } from './endpoint.ts'

/**
 * Finds the API server. Inside a pod nothing but the service account is read: the kubeconfig library, which costs
 * 85 MB of resident memory, is loaded only where there is a kubeconfig.
 * @throws InsituError NO_CLUSTER when there is neither, KUBECONFIG_BROKEN when the file cannot be used.
 */
export async function loadEndpoint(options: EndpointOptions = {}): Promise<Endpoint> {
  const env = options.env ?? processEnv()
  if (options.kubeconfig === undefined && options.context === undefined && !env['KUBECONFIG']) {
    const { serviceAccountEndpoint } = await import('./service-account.ts')
    const endpoint = serviceAccountEndpoint(env)
    if (endpoint) return endpoint
    if (!existsSync(`${env['HOME'] ?? '/root'}/.kube/config`)) {
      throw new InsituError('NO_CLUSTER', 'no Kubernetes cluster is known: there is no kubeconfig', {
        fix: 'Set KUBECONFIG or pass --kubeconfig FILE.',
        status: 'FAILED_PRECONDITION',
      })
    }
  }
  const { kubeconfigEndpoint } = await import('./kubeconfig.ts')
  return kubeconfigEndpoint(options)
}
