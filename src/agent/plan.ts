import { join, resolve } from 'node:path'
import type { Finding } from '../api/node-report.ts'
import type { AgentOptions } from './options.ts'
import { defaultAgentConfig } from '../api/agent-config.ts'
import { type Collection, collectionFor } from './buildkitd/collection.ts'
import { render, type Rendered } from './buildkitd/render.ts'
import { kubeletThresholds } from './disk/kubelet.ts'
import { measureFileSystems } from './disk/measure.ts'
import { probeNetworks } from './host/bridge-subnet.ts'
import { checkBridge, checkPrograms, probeBridge } from './host/network.ts'
import { nearestExisting, preflight, type Preflight, sharingFinding } from './host/preflight.ts'
import { clusterHosts } from './proxy/variables.ts'
import { makeRootlessPlan } from './rootless/plan.ts'
import { provePropagation } from './host/propagation.ts'
import { mkdir, rmdir } from 'node:fs/promises'

/** Everything that is known before a daemon is started. With a fatal finding none may be. */
export interface Plan {
  /** The daemon runs without privilege, with a store of its own. */
  readonly rootless: boolean
  readonly host: Preflight
  readonly rendered: Rendered
  readonly root: string
  readonly socket: string
  readonly configFile: string
  /** The user's text that `rendered` comes from. */
  readonly config: string | undefined
  readonly findings: readonly Finding[]
}

/** The paths that an agent uses, from its options. */
export const paths = (options: AgentOptions) => {
  const run = options.runDirectory ?? '/run/buildkit'
  return {
    // Paths are compared with those of the mount table: no trailing slash, no dots.
    root: resolve(options.root ?? '/var/lib/buildkit'),
    run,
    socket: join(run, 'buildkitd.sock'),
    configFile: join(run, 'buildkitd.toml'),
  }
}

/**
 * Looks at the host and renders the configuration for what it finds. Changes nothing.
 * @param ownPids daemons that are no neighbours: those of an agent that runs, for a doctor.
 */
export async function makePlan(options: AgentOptions, ownPids: ReadonlySet<number> = new Set()): Promise<Plan> {
  const { root, socket, configFile } = paths(options)
  if (options.rootless) {
    const plan = await makeRootlessPlan(options, { root, socket })
    return { rootless: true, root, socket, configFile, ...plan }
  }
  const namespace = options.namespace ?? 'k8s.io'
  const host = await preflight({
    root,
    namespace,
    containerdAddress: options.containerdAddress,
    snapshotter: options.snapshotter,
    ownPids,
    ...(options.hostRoot === undefined ? {} : { hostRoot: options.hostRoot }),
  })
  const bridge = await probeBridge(options.env['PATH'] ?? '', options.cniDirectories)
  const config = await options.readConfig?.()
  const rendered = render({
    user: config,
    root,
    socket,
    containerdAddress: host.distribution.address,
    namespace,
    snapshotter: host.snapshotter ?? 'overlayfs',
    collection: await collection(options, host),
    cniBinaryPath: bridge.onPath ? undefined : bridge.cniBinaryPath,
    networks: await probeNetworks(clusterHosts(options.env)),
  })
  const programs = await checkPrograms(options.env['PATH'] ?? '', options.buildkitd ?? 'buildkitd')
  const findings = [...host.findings, ...programs, ...rendered.findings]
  if (rendered.network === 'bridge') findings.push(...checkBridge(bridge))
  if (rendered.tmpdir !== '' && !`${rendered.tmpdir}/`.startsWith(`${root}/`) && host.containerd) {
    findings.push(...(await checkSeparateTmpdir(rendered.tmpdir, host.containerdPid)))
  }
  return { rootless: false, host, rendered, root, socket, configFile, config, findings }
}

/** Limits for buildkitd's own collection that agree with the node's budget. */
async function collection(options: AgentOptions, host: Preflight): Promise<Collection | undefined> {
  const config = (options.config ?? defaultAgentConfig).disk
  const places = [
    { holds: 'containerd', path: host.distribution.root },
    // Before the first start the root is not there; then it comes to be on the file system of its parent.
    { holds: 'buildkit', path: nearestExisting(paths(options).root) },
  ] as const
  return collectionFor(await measureFileSystems(places, await kubeletThresholds(), config), config.maxCacheBytes)
}

/** A `local-mount-source-root` elsewhere needs a shared mount of its own. */
async function checkSeparateTmpdir(tmpdir: string, pid: number | undefined): Promise<Finding[]> {
  const created = await mkdir(tmpdir, { recursive: true })
  try {
    return sharingFinding(tmpdir, await provePropagation(tmpdir, pid))
  } finally {
    if (created !== undefined) await rmdir(tmpdir)
  }
}

export const fatal = (findings: readonly Finding[]): readonly Finding[] =>
  findings.filter((finding) => finding.severity === 'fatal')
