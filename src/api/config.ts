import { isCidr } from '../kernel/cidr.ts'
import { defaultLimits, type LimitsConfig, readLimits } from './limits.ts'
import { bool, count, duration, roleTable, section, texts, wrong } from './config-values.ts'

/** Which nodes get an image after its build: those that will run it, all, none but the builder, or so many in all. */
export type DeliverTo = 'targets' | 'all' | 'none' | number

/** The `[gateway.delivery]` table: what happens after a build, before its client is told. */
export interface DeliveryConfig {
  /** Where clients do not say `insitu.deliver`. */
  readonly to: DeliverTo
  /** A build fails when a node does not get its image. Clients say `insitu.deliver-required`. */
  readonly required: boolean
  /** Seconds for all of a build's delivery. */
  readonly timeout: number
  /** Most transfers that one node sends at a time. */
  readonly perSource: number
}

const delivery: DeliveryConfig = { to: 'targets', required: false, timeout: 600, perSource: 2 }

/** The `[gateway.push]` table: indexes of images whose platforms several nodes have built. */
export interface PushConfig {
  /** Registries (host, or host:port) that speak plain HTTP. */
  readonly plainHttp: readonly string[]
}

/** The `[gateway]` table of insitu.toml. */
export interface GatewayConfig {
  readonly plaintext: {
    /** `kubectl port-forward` and processes of the gateway's own pod arrive from loopback. */
    readonly loopback: boolean
    /** Namespaces whose pods may build without TLS, besides those labelled insitu.build/plaintext=allow. */
    readonly namespaces: readonly string[]
    readonly cidrs: readonly string[]
  }
  /** Fill in unpack, compression, full image names and image-resolve-mode where the client says nothing. */
  readonly defaults: boolean
  /** Give RUN steps the proxy variables of the node's agent. */
  readonly proxy: boolean
  /** Say in a build's record in the history whose it is: without it only administrators see it there. */
  readonly recordOwner: boolean
  /** Show in the client's progress where a build runs and why. */
  readonly statusVertex: boolean
  readonly delivery: DeliveryConfig
  readonly push: PushConfig
  readonly limits: LimitsConfig
  /** Seconds; how long a stopping gateway waits for running builds. */
  readonly maxBuildDuration: number
}

const plaintext = { loopback: true, namespaces: [], cidrs: [] }

/** In a cluster: made for images that their node runs. */
export const clusterGateway: GatewayConfig = {
  plaintext,
  defaults: true,
  proxy: true,
  recordOwner: true,
  statusVertex: true,
  delivery,
  push: { plainHttp: [] },
  limits: defaultLimits,
  maxBuildDuration: 7200,
}

/** With fixed nodes: a relay that changes nothing but takes out options of our own. */
export const transparentGateway: GatewayConfig = {
  plaintext,
  defaults: false,
  proxy: false,
  recordOwner: false,
  statusVertex: false,
  delivery,
  push: { plainHttp: [] },
  limits: defaultLimits,
  maxBuildDuration: 7200,
}

/**
 * Reads the `gateway` table of a parsed insitu.toml. Tables of other roles are theirs to read.
 * @param table the whole file, parsed.
 * @param base what holds for keys that are not set.
 * @throws InsituError CONFIG_KEY, CONFIG_VALUE with the key's full name.
 */
export function gatewayConfig(table: Readonly<Record<string, unknown>>, base: GatewayConfig): GatewayConfig {
  const gateway = roleTable(table, 'gateway', [
    'plaintext',
    'defaults',
    'proxy',
    'recordOwner',
    'statusVertex',
    'delivery',
    'push',
    'limits',
    'maxBuildDuration',
  ])
  const deliver = section(gateway['delivery'], 'gateway.delivery', ['to', 'required', 'timeout', 'perSource'])
  const plain = section(gateway['plaintext'], 'gateway.plaintext', ['loopback', 'namespaces', 'cidrs'])
  const push = section(gateway['push'], 'gateway.push', ['plainHttp'])
  return {
    plaintext: {
      loopback: bool(plain['loopback'], 'gateway.plaintext.loopback', base.plaintext.loopback),
      namespaces: texts(plain['namespaces'], 'gateway.plaintext.namespaces', base.plaintext.namespaces, namespaceRule),
      cidrs: texts(plain['cidrs'], 'gateway.plaintext.cidrs', base.plaintext.cidrs, cidrRule),
    },
    defaults: bool(gateway['defaults'], 'gateway.defaults', base.defaults),
    proxy: bool(gateway['proxy'], 'gateway.proxy', base.proxy),
    recordOwner: bool(gateway['recordOwner'], 'gateway.recordOwner', base.recordOwner),
    statusVertex: bool(gateway['statusVertex'], 'gateway.statusVertex', base.statusVertex),
    delivery: {
      to: deliverTo(deliver['to'], base.delivery.to),
      required: bool(deliver['required'], 'gateway.delivery.required', base.delivery.required),
      timeout: duration(deliver['timeout'], 'gateway.delivery.timeout', base.delivery.timeout),
      perSource: count(deliver['perSource'], 'gateway.delivery.perSource', base.delivery.perSource),
    },
    push: { plainHttp: texts(push['plainHttp'], 'gateway.push.plainHttp', base.push.plainHttp, hostRule) },
    limits: readLimits(gateway['limits'], base.limits),
    maxBuildDuration: duration(gateway['maxBuildDuration'], 'gateway.maxBuildDuration', base.maxBuildDuration),
  }
}

function deliverTo(value: unknown, fallback: DeliverTo): DeliverTo {
  if (value === undefined || value === 'targets' || value === 'all' || value === 'none') return value ?? fallback
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1) return value
  throw wrong('gateway.delivery.to', '"targets", "all", "none" or a number of nodes')
}

const cidrRule = { what: 'addresses or ranges such as "10.0.0.0/8"', test: isCidr }
const namespaceRule = { what: 'namespace names', test: (t: string) => /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(t) }
const hostRule = {
  what: 'registries such as "registry.example.com:5000"',
  test: (t: string) => /^[a-z0-9.:[\]-]+$/i.test(t),
}
