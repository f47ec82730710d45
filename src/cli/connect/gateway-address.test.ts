import { stat } from 'node:fs/promises'
import { beforeEach, expect, it } from 'vitest'
import { createKubernetesClient } from '../../kernel/k8s/client.ts'
import { reachGateway } from './gateway-address.ts'
import type { ConnectFlags } from './options.ts'
import { farCluster } from '../../../test/unit/kubeconfig.ts'

let directory: string
let kubeconfig: string
beforeEach(async () => {
  ;({ directory, kubeconfig } = await farCluster())
})

/** Where the gateway is for a pod: its service, or nothing for a forwarding. @param more variables of the pod. */
async function addressOf(flags: Partial<ConnectFlags>, more: Readonly<Record<string, string>> = {}) {
  const env = { KUBERNETES_SERVICE_HOST: '10.96.0.1', HOME: directory, ...more }
  const asked: string[] = []
  const gateway = await reachGateway(
    { namespace: 'buildkit-system', output: 'shell', ...flags },
    {
      env,
      directory,
      onFailure: () => undefined,
      client: async () => {
        const client = await createKubernetesClient({ kubeconfig: flags.kubeconfig, context: flags.context, env })
        asked.push(client.server)
        return client
      },
    },
  )
  const { address, target } = gateway
  const mode = 'path' in target ? (await stat(target.path)).mode & 0o777 : undefined
  await gateway.close()
  return { address, mode, asked }
}

const service = { address: 'tcp://buildkitd.buildkit-system.svc:2375', mode: undefined, asked: [] }
const forwarded = { address: undefined, mode: 0o600, asked: ['https://far.example:6443'] }

it('is the service in the pod’s own cluster, also for a pod without a token for the API server', async () => {
  expect(await addressOf({})).toEqual(service)
})

it('is behind the API server of a kubeconfig, also in a pod, however that was said', async () => {
  expect(await addressOf({}, { KUBECONFIG: kubeconfig })).toEqual(forwarded)
  expect(await addressOf({ context: 'far' }, { KUBECONFIG: kubeconfig })).toEqual(forwarded)
  expect(await addressOf({ kubeconfig })).toEqual(forwarded)
})

it('is what was said', async () => {
  const said = await addressOf({ address: 'gateway.example:1' }, { KUBECONFIG: kubeconfig })
  expect(said).toEqual({ address: 'tcp://gateway.example:1', mode: undefined, asked: [] })
})
