import type { AgentConfig } from '../api/agent-config.ts'
import type { NodeReport } from '../api/node-report.ts'
import type { Env } from '../kernel/config/env.ts'
import type { Logger } from '../kernel/log.ts'
import type { MirrorSettings } from './mirror/part.ts'
import type { TlsSource } from '../kernel/tls/material.ts'

/** What an agent needs to know. Kubernetes is not among it: reports and certificates come in as functions. */
export interface AgentOptions {
  /** Name of the node, as the report gives it. */
  readonly node: string
  /** Runs the daemon without privilege and with a store of its own; nothing of the node is touched. Default false. */
  readonly rootless?: boolean
  /** PATH, proxies and other variables for buildkitd; proxies are also what gateways are told. */
  readonly env: Env
  readonly log: Logger
  /** The user's buildkitd.toml, read anew before each start of the daemon; undefined: the defaults hold. */
  readonly readConfig?: () => Promise<string | undefined>
  /** Proxy variables of the install, for buildkitd when it starts; they win over those of `env`. */
  readonly readProxy?: () => Promise<Readonly<Record<string, string>>>
  /** The `[agent]` table of insitu.toml. Default: its defaults. */
  readonly config?: AgentConfig
  /** Receives every change of the report. A failed delivery is tried again. */
  readonly report?: (report: NodeReport) => Promise<void> | void
  /** The mTLS port for gateways. Without it only the unix socket is served. */
  readonly front?: FrontSettings
  /** The registry for this node's containerd. Without it, or without `front`, there is none. */
  readonly mirror?: MirrorSettings
  /** buildkitd's root, at the same path on the host. Default /var/lib/buildkit. */
  readonly root?: string
  /** Where the socket and the rendered configuration go. Default /run/buildkit. */
  readonly runDirectory?: string
  /** containerd's namespace. Default k8s.io. */
  readonly namespace?: string
  /** Default: found by the distribution's habits. */
  readonly containerdAddress?: string | undefined
  /** Default: the kubelet's, asked from containerd. */
  readonly snapshotter?: string | undefined
  /** More directories to look for CNI plug-ins in, first ones first. */
  readonly cniDirectories?: readonly string[]
  /** Directory of emulators, `qemu-aarch64-static` and so on. Default /usr/libexec/insitu, where the image has them. */
  readonly emulators?: string
  /** Default `buildkitd`, found on the PATH. */
  readonly buildkitd?: string
  /** Where the host's files can be seen. Default /proc/1/root. */
  readonly hostRoot?: string
  readonly intervals?: Partial<Intervals>
  /** Aborts when running builds are not waited for any longer. */
  readonly now?: AbortSignal
}

export interface FrontSettings {
  readonly host?: string
  readonly port: number
  /** May take long: the certificate comes from a gateway. Until then the node is not ready. */
  readonly tls: TlsSource | Promise<TlsSource>
  /** URI that a gateway's certificate carries. */
  readonly client: string
  /** URI that other agents' certificates carry. */
  readonly peer?: string
}

/** All in milliseconds. */
export interface Intervals {
  /** Between two looks at a host with a fatal finding. Default 10,000. */
  readonly recheck: number
  /** Between two looks at platforms, disk and configuration while the daemon runs. Default 60,000. */
  readonly watch: number
  /** What the daemon gets to end when it is told to stop. Default 20,000. */
  readonly grace: number
  /** Running builds are waited for so long before the daemon is told to stop. Default 0. */
  readonly drain: number
  /** Without a build for so long the node counts as drained. Default 3,000. */
  readonly settle: number
  /** Between two looks whether the daemon still answers. Default 5,000. */
  readonly pulse: number
}

export const defaultIntervals: Intervals = {
  recheck: 10_000,
  watch: 60_000,
  grace: 20_000,
  drain: 0,
  settle: 3000,
  pulse: 5000,
}
