import { certificatePath, gatewayServerNames, spiffe } from '../../api/certificate.ts'
import { serviceAccounts } from '../../api/names.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { Logger } from '../../kernel/log.ts'
import { issueLeaf } from '../../kernel/tls/ca.ts'
import { createKeyPair } from '../../kernel/tls/key.ts'
import { type RenewingTls, renewingTls } from '../../kernel/tls/renewing.ts'
import { type ClusterAuthority, ensureAuthority } from './authority.ts'
import { certificateHandler } from './handler.ts'
import { settling } from './settle.ts'

export interface IdentityOptions {
  readonly client: KubernetesClient
  readonly namespace: string
  readonly log: Logger
  /** Further addresses clients may use in the certificate, e.g. the pod's own. */
  readonly ipAddresses?: readonly string[]
  /** Milliseconds between two looks at the CA. Default a minute. */
  readonly lookAgain?: number
  /** Milliseconds that certificates of clients live. Default an hour. */
  readonly clientLifetime?: number | undefined
  /** Ends the wait for the CA. */
  readonly signal?: AbortSignal | undefined
  /** Told when the CA cannot be had, e.g. for /readyz. */
  readonly onFailure?: ((error: unknown) => void) | undefined
}

/** A gateway's own certificate and its office as the cluster's CA. */
export interface GatewayIdentity {
  /** For the listener, and for dialling agents. */
  readonly tls: RenewingTls
  /** To be served by the listener: `POST /v1/certificate`. */
  readonly httpHandlers: Readonly<Record<`POST ${typeof certificatePath}`, ReturnType<typeof certificateHandler>>>
  close(): void
}

/** The CA is read again at most this often, milliseconds: often enough for a rotation, seldom enough for 5,000 agents. */
const fresh = 60_000

/**
 * Looks for which a CA that somebody has replaced is trusted before it signs. Ten minutes, because agents look every five;
 * other gateways know it after two looks at most.
 */
const looks = 10

/** Waits for (or makes) the cluster's CA, and signs for this gateway and for agents from then on. */
export async function gatewayIdentity(options: IdentityOptions): Promise<GatewayIdentity> {
  const { client, namespace, log, clientLifetime } = options
  const every = options.lookAgain ?? fresh
  const settle = settling(looks * every)
  const authority = remembered(async () => settle(await ensureAuthority({ client, namespace, log }), new Date()), every)
  const tls = await renewingTls({
    log,
    signal: options.signal,
    onFailure: options.onFailure,
    trust: { load: async () => (await authority()).bundle, every },
    obtain: async () => {
      const [{ signing, bundle }, pair] = await Promise.all([authority(), createKeyPair()])
      const leaf = await issueLeaf({
        authority: signing,
        publicKey: pair.publicKey,
        commonName: serviceAccounts.gateway,
        uris: [spiffe(namespace, serviceAccounts.gateway)],
        dnsNames: gatewayServerNames(namespace),
        ipAddresses: ['127.0.0.1', '::1', ...(options.ipAddresses ?? [])],
      })
      return { cert: leaf.cert, key: pair.privateKey, ca: bundle }
    },
  })
  return {
    tls,
    httpHandlers: {
      [`POST ${certificatePath}`]: certificateHandler({ client, namespace, authority, log, clientLifetime }),
    } as const,
    close: () => tls.close(),
  }
}

/** Calls at the same time share one answer, which is good for a minute; a failure is not kept. */
function remembered(load: () => Promise<ClusterAuthority>, fresh: number): () => Promise<ClusterAuthority> {
  let last: { at: number; value: Promise<ClusterAuthority> } | undefined
  return () => {
    if (last === undefined || Date.now() - last.at > fresh) {
      const entry = { at: Date.now(), value: load() }
      last = entry
      entry.value.catch(() => {
        if (last === entry) last = undefined
      })
    }
    return last.value
  }
}
