/** Who is at the other end of a connection, as far as it can be known without trusting the client's word. */
export type Caller =
  /** A process of this machine that may open our unix socket: trusted like root. */
  | { readonly kind: 'local'; readonly path: string }
  | { readonly kind: 'loopback'; readonly address: string }
  | {
      readonly kind: 'pod'
      readonly namespace: string
      readonly name: string
      readonly address: string
      /** That of the pod. */
      readonly serviceAccount?: string | undefined
    }
  | { readonly kind: 'cidr'; readonly address: string; readonly cidr: string }
  /** A certificate with a SPIFFE URI of ours. */
  | { readonly kind: 'service-account'; readonly namespace: string; readonly serviceAccount: string }
  /** A certificate of a person or machine: common name and organisations. */
  | { readonly kind: 'person'; readonly name: string; readonly groups: readonly string[] }

/** The namespace a caller's builds belong to, where there is one. */
export function callerNamespace(caller: Caller): string | undefined {
  return caller.kind === 'pod' || caller.kind === 'service-account' ? caller.namespace : undefined
}

/** For logs: `pod default/ci-7`, `service account team/builder`, `loopback`. */
export function describeCaller(caller: Caller): string {
  switch (caller.kind) {
    case 'local':
      return 'local'
    case 'loopback':
      return 'loopback'
    case 'pod':
      return `pod ${caller.namespace}/${caller.name}`
    case 'cidr':
      return `address ${caller.address}`
    case 'service-account':
      return `service account ${caller.namespace}/${caller.serviceAccount}`
    case 'person':
      return caller.name
  }
}

/** Whether two connections come from the same one, as far as builds have owners: all addresses of this machine are one. */
export const sameIdentity = (a: Caller, b: Caller): boolean => identityOf(a) === identityOf(b)

/** A text that tells identities apart, for tables: `service-account team/builder`. */
export function identityOf(caller: Caller): string {
  switch (caller.kind) {
    case 'local':
    case 'loopback':
      return caller.kind
    case 'pod':
      return caller.serviceAccount === undefined
        ? `pod ${caller.namespace}/${caller.name}`
        : `service-account ${caller.namespace}/${caller.serviceAccount}`
    case 'cidr':
      return `address ${caller.address}`
    case 'service-account':
      return `service-account ${caller.namespace}/${caller.serviceAccount}`
    case 'person':
      return `person ${caller.name}`
  }
}
