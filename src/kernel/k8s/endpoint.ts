import type { RequestOptions } from 'node:https'
import { existsSync } from 'node:fs'
import { processEnv, type Env } from '../config/env.ts'
import { InsituError } from '../errors.ts'

/** Where an API server is and how to prove who we are to it. */
export interface Endpoint {
  /** `https://10.96.0.1:443`, without a slash at the end. May carry a path prefix. */
  readonly server: string
  /** The namespace of the kubeconfig's context or of our own pod; `default` where neither says one. */
  readonly namespace: string
  /** Credentials for one request: TLS options and headers. Called for each one, since tokens rotate. */
  credentials(): Promise<RequestOptions>
}

export interface EndpointOptions {
  /** A kubeconfig file. Default: `$KUBECONFIG`, the pod's service account, `~/.kube/config`, in this order. */
  readonly kubeconfig?: string | undefined
  /** A context of the kubeconfig other than its current one. */
  readonly context?: string | undefined
  readonly env?: Env
}

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
