import { access, constants } from 'node:fs/promises'
import { join } from 'node:path'
import { findProgram, isExecutable } from '../../kernel/process/find-program.ts'
import type { Finding } from '../../api/node-report.ts'

const plugins = ['bridge', 'loopback', 'host-local', 'firewall'] as const

/** Where the image and the distributions keep CNI plug-ins. */
export const cniDirectories = ['/usr/libexec/insitu/cni', '/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'] as const

export interface BridgeFacts {
  /** buildkitd finds `buildkit-cni-*` on its PATH by itself. */
  readonly onPath: boolean
  /** The first directory that holds all plug-ins. */
  readonly cniBinaryPath: string | undefined
  readonly iptables: boolean
  /** The plug-in turns forwarding on; it can unless /proc/sys is read-only. */
  readonly forwarding: boolean
}

/** Looks for what bridge mode needs: the plug-ins, iptables for masquerading, a way to forward packets. */
export async function probeBridge(path: string, extra: readonly string[] = []): Promise<BridgeFacts> {
  const holdsAll = (directory: string): Promise<boolean> =>
    all(plugins.map((name) => isExecutable(join(directory, name))))
  const anywhere = async (name: string): Promise<boolean> => (await findProgram(name, path)) !== undefined
  let cniBinaryPath: string | undefined
  for (const directory of [...extra, ...cniDirectories]) {
    cniBinaryPath ??= (await holdsAll(directory)) ? directory : undefined
  }
  return {
    onPath: await all(plugins.map((name) => anywhere(`buildkit-cni-${name}`))),
    cniBinaryPath,
    iptables: await anywhere('iptables'),
    forwarding: await can('/proc/sys/net/ipv4/ip_forward', constants.W_OK),
  }
}

/** A finding where bridge mode cannot work; none of them when RUN steps use the node's network anyway. */
export function checkBridge(facts: BridgeFacts): Finding[] {
  const missing = [
    ...(facts.onPath || facts.cniBinaryPath ? [] : [`the CNI plug-ins ${plugins.join(', ')}`]),
    ...(facts.iptables ? [] : ['the program iptables']),
    ...(facts.forwarding ? [] : ['the right to write /proc/sys/net/ipv4/ip_forward']),
  ]
  if (missing.length === 0) return []
  return [
    {
      code: 'BRIDGE_UNAVAILABLE',
      severity: 'fatal',
      message: `RUN steps cannot have a network of their own: ${missing.join(' and ')} is missing`,
      fix: 'use insitu’s image and a privileged pod, or set networkMode = "host" under [worker.containerd] to use the node’s network',
    },
  ]
}

const can = (file: string, mode: number): Promise<boolean> =>
  access(file, mode).then(
    () => true,
    () => false,
  )

const all = async (answers: readonly Promise<boolean>[]): Promise<boolean> =>
  (await Promise.all(answers)).every(Boolean)

/** What the agent itself starts. */
const programs = ['mount', 'umount', 'flock'] as const

/** A finding for each program that is not on the PATH. */
export async function checkPrograms(path: string, buildkitd: string): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const name of [buildkitd, ...programs]) {
    if ((await findProgram(name, path)) !== undefined) continue
    findings.push({
      code: 'PROGRAM_MISSING',
      severity: 'fatal',
      message: `the program ${name} is not on the PATH`,
      fix: 'use insitu’s image, or install it',
    })
  }
  return findings
}
