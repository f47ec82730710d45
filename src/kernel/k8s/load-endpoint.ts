import { existsSync } from 'node:fs'
import { delimiter } from 'node:path'
import { processEnv } from '../config/env.ts'
import { InsituError } from '../errors.ts'
import type { Endpoint, EndpointOptions } from './endpoint.ts'

/**
 * Finds the API server: that of the kubeconfig, and where there is none that of the own pod, as kubectl does. The kubeconfig
 * library, which costs 85 MB of resident memory, is loaded only where there is a kubeconfig.
 * @param mounted where a pod has its token.
 * @throws InsituError NO_CLUSTER when there is neither, KUBECONFIG_BROKEN when the file cannot be used.
 */
export async function loadEndpoint(options: EndpointOptions = {}, mounted?: string): Promise<Endpoint> {
  const files = kubeconfigFiles(options)
  if (files !== undefined) {
    const { kubeconfigEndpoint } = await import('./kubeconfig.ts')
    return kubeconfigEndpoint(files, options)
  }
  const { serviceAccountEndpoint } = await import('./service-account.ts')
  const endpoint = serviceAccountEndpoint(options.env ?? processEnv(), mounted)
  if (endpoint) return endpoint
  throw new InsituError('NO_CLUSTER', 'no Kubernetes cluster is known: there is no kubeconfig', {
    fix: 'Set KUBECONFIG or pass --kubeconfig FILE.',
    status: 'FAILED_PRECONDITION',
  })
}

/**
 * The kubeconfig's files, of which earlier ones win.
 * @returns undefined where there is no kubeconfig and nobody asks for one: then it is the cluster of the own pod.
 */
export function kubeconfigFiles(options: EndpointOptions): readonly string[] | undefined {
  const env = options.env ?? processEnv()
  if (options.kubeconfig !== undefined) return [options.kubeconfig]
  const said = (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '')
  if (said.length > 0) return said
  const home = `${env['HOME'] ?? '/root'}/.kube/config`
  return options.context !== undefined || existsSync(home) ? [home] : undefined
}
