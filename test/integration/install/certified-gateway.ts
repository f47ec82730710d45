import { serviceAccounts } from '../../../src/api/names.ts'
import {
  type GatewayIdentity,
  gatewayIdentity,
  type IdentityOptions,
} from '../../../src/gateway/certificate/identity.ts'
import { namespaceEndHandlers } from '../../../src/gateway/workspace/namespace-end.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { type Buildkitd, startBuildkitd } from '../fixtures/buildkitd.ts'
import { startGateway, type TestGateway, type TestGatewayOptions } from '../fixtures/gateway.ts'
import { type Installed, namespace } from './installed.ts'

/** A gateway of an installation in front of one daemon, to which nobody comes without a certificate of its CA. */
export interface CertifiedGateway {
  readonly gateway: TestGateway
  readonly identity: GatewayIdentity
  readonly daemon: Buildkitd
  /** Makes service accounts in the namespace default; the first may build. */
  accounts(...names: string[]): Promise<void>
  stop(): Promise<void>
}

export interface CertifiedGatewayOptions extends Pick<IdentityOptions, 'lookAgain' | 'clientLifetime'> {
  /** Of its pod. Default: gateway-1. */
  readonly name?: string
  /** More of the gateway's. */
  readonly config?: TestGatewayOptions['config']
}

export async function startCertifiedGateway(
  { pod, admin }: Installed,
  { config = {}, name = 'gateway-1', ...options }: CertifiedGatewayOptions = {},
): Promise<CertifiedGateway> {
  const daemon = await startBuildkitd()
  const client = await (await pod(name, serviceAccounts.gateway, 'node-1')).client()
  const identity = await gatewayIdentity({ client, namespace, log: createLogger({ level: 'silent' }), ...options })
  const gateway = await startGateway({
    nodes: { one: daemon },
    tls: identity.tls,
    httpHandlers: {
      ...identity.httpHandlers,
      ...namespaceEndHandlers({ client, namespace, logger: createLogger({ level: 'silent' }) }),
    },
    config: { plaintext: { loopback: false, namespaces: [], cidrs: [] }, ...config },
  })
  return {
    ...{ gateway, identity, daemon },
    async accounts(...names) {
      const rbac = 'rbac.authorization.k8s.io'
      for (const name of names) {
        await admin.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'default' } })
      }
      await admin.apply({
        ...{ apiVersion: `${rbac}/v1`, kind: 'RoleBinding', metadata: { name: 'builders', namespace: 'default' } },
        roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'insitu-builder' },
        subjects: [{ kind: 'ServiceAccount', name: names[0], namespace: 'default' }],
      } as KubernetesObject)
    },
    async stop() {
      await gateway.close()
      identity.close()
      client.close()
      await daemon.stop()
    },
  }
}
