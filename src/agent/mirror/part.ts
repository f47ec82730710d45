import type { PullRequest } from '../../api/images.ts'
import type { TlsSource } from '../../kernel/tls/material.ts'
import type { Logger } from '../../kernel/log.ts'
import { containerdCall } from '../host/containerd-call.ts'
import { kubeletSettings } from '../host/kubelet.ts'
import type { Part } from '../part.ts'
import { basesHosts, withBases } from './bases/registries.ts'
import type { BuiltRecords } from './built-content.ts'
import type { Delivery } from './deliveries.ts'
import type { Gateways } from './gateways.ts'
import { startMirror } from './mirror.ts'
import { nodeRegistries } from './ordinary/registries.ts'
import { ownDirectoryOf, register, tokenFileOf } from './registration.ts'
import { pullsAreSerial, serialPullsFinding } from './serial-pulls.ts'
import { mirrorToken } from './token.ts'

export interface MirrorSettings {
  /** Where it listens, in the agent's network and by its host port in the node's. */
  readonly port: number
  /** Connects to all gateways. */
  readonly gateways: (log: Logger) => Gateways
}

export interface MirrorPartOptions extends MirrorSettings {
  readonly records: BuiltRecords
  /** The agent's certificate, for other agents. */
  readonly tls: Promise<TlsSource>
  /** Where the node's files can be seen. */
  readonly hostRoot: string
  /** Told when the mirror runs, and with undefined when it does not any more. */
  readonly onAccess?: (access: MirrorAccess | undefined) => void
}

/** What other parts may know of a running mirror. */
export interface MirrorAccess {
  /** A gateway brings this image here: what its pull asks for is taken from the nodes that the gateway names. */
  readonly begin: (request: PullRequest) => Delivery
  /** Bytes of an image, once its manifests came here from another node. */
  readonly sizeOf: (digest: string) => number | undefined
  /** Whether containerd asks the mirror by itself. */
  registered(): boolean
  /** A directory of hosts for pulls that name one. */
  readonly ownDirectory: string
}

/** The part of an agent that makes images of any node pullable on this one. */
export const mirrorPart = ({ port, gateways, records, tls, hostRoot, onAccess }: MirrorPartOptions): Part => ({
  name: 'mirror',
  async start(context) {
    const { root, namespace, containerd, host, env, log } = context
    const token = await mirrorToken(tokenFileOf(root))
    const at = { address: containerd, pid: host.containerdPid, hostRoot, log }
    const registries = context.config.mirror.serve === 'all' ? await nodeRegistries(at) : undefined
    const serial = pullsAreSerial(await kubeletSettings())
    const mirror = await startMirror({
      ...{ containerdRoot: host.distribution.root, containerd: containerdCall(containerd, namespace) },
      ...{ records, gateways: gateways(log), tls, port, token, log, registries },
      ...(context.config.mirror.bases.length === 0 ? {} : { daemon: context.daemonPid }),
      serial,
    })
    const registration = await register({
      ...{
        containerd,
        containerdPid: host.containerdPid,
        hostRoot,
        host: '127.0.0.1',
        port: mirror.server.port,
        token,
      },
      ...{ ownDirectory: ownDirectoryOf(root), otherHost: env['POD_IP'], log, changed: () => context.changed() },
      env: { PATH: env['PATH'] ?? '' },
    })
    onAccess?.({
      begin: mirror.deliveries.begin,
      sizeOf: mirror.sizeOf,
      registered: () => registration.registered,
      ownDirectory: ownDirectoryOf(root),
    })
    return {
      handlers: [mirror.handler],
      findings: () => [...registration.findings(), ...(serial && registration.registered ? [serialPullsFinding] : [])],
      configure(toml) {
        if (!mirror.bases) return toml
        const names = records.list().map(({ name }) => name)
        const hosts = basesHosts(context.config.mirror.bases, names)
        const { toml: configured, left } = withBases(toml, hosts, `127.0.0.1:${mirror.bases.port}`)
        log.info({ registries: hosts.filter((host) => !left.includes(host)) }, 'FROM asks the cluster for these first')
        if (left.length > 0) log.warn({ registries: left }, 'FROM does not: buildkitd.toml has TLS settings for these')
        return configured
      },
      async stop() {
        onAccess?.(undefined)
        // First containerd asks no more, then nobody answers.
        await registration.stop()
        await mirror.close()
        registries?.close()
      },
    }
  },
})
