import { KubeConfig } from '@kubernetes/client-node'
import type { Endpoint } from './endpoint.ts'

/** An endpoint as the library's WebSockets take it: left to itself the library would choose a cluster of its own. */
export function socketConfig(endpoint: Endpoint): KubeConfig {
  const config = new KubeConfig()
  config.loadFromClusterAndUser({ name: 'it', server: endpoint.server, skipTLSVerify: false }, { name: 'it' })
  config.applyToHTTPSOptions = async (request) => void Object.assign(request, await endpoint.credentials())
  return config
}
