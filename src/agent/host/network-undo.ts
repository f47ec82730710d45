import { existsSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { run } from '../../kernel/process/run.ts'

const forwarding = '/proc/sys/net/ipv4/ip_forward'
/** Where the plug-in host-local keeps the addresses of BuildKit's network, which is named `buildkit`. */
const addresses = '/var/lib/cni/networks/buildkit'
const tables = ['filter', 'nat'] as const

export interface NetworkMemory {
  /** Takes back what bridge mode did to this network namespace and was not there before. */
  undo(): Promise<void>
}

/**
 * Remembers the network namespace before the daemon touches it. In a pod all of it goes with the pod; on a machine
 * without Kubernetes (`insitu local`) it is the host's. The daemon removes its bridge when it ends well; forwarding,
 * the firewall plug-in's chains and everything a killed daemon left stay without this.
 */
export async function rememberNetwork(bridge: string, log: Logger): Promise<NetworkMemory> {
  const hadBridge = existsSync(join('/sys/class/net', bridge))
  const hadAddresses = existsSync(addresses)
  const forwarded = await readFile(forwarding, 'utf8').catch(() => undefined)
  const before = new Map<string, string>()
  for (const table of tables) before.set(table, await rules(table))
  const attempt = async (what: string, action: () => Promise<unknown>): Promise<void> => {
    await action().catch((error: unknown) => log.warn({ err: describeError(error) }, `${what} could not be undone`))
  }
  return {
    async undo() {
      if (!hadBridge && existsSync(join('/sys/class/net', bridge))) {
        await attempt('the bridge', () => run('ip', ['link', 'delete', bridge]))
      }
      for (const table of tables) {
        for (const args of undoRules(before.get(table) ?? '', await rules(table))) {
          await attempt(`a rule of ${table}`, () => run('iptables', ['-w', '-t', table, ...args]))
        }
      }
      if (!hadAddresses) await rm(addresses, { recursive: true, force: true })
      if (forwarded?.trim() === '0') await attempt('ip_forward', () => writeFile(forwarding, '0\n'))
    },
  }
}

const rules = async (table: string): Promise<string> => {
  try {
    return (await run('iptables', ['-w', '-t', table, '-S'])).stdout
  } catch {
    return ''
  }
}

/**
 * What takes the CNI plug-ins' rules back: arguments for iptables, in order. Both texts are `iptables -S` of one
 * table. Only chains named CNI-… that were not there before are touched, and rules that jump into them.
 */
export function undoRules(before: string, after: string): string[][] {
  const chains = (text: string): string[] => [...text.matchAll(/^-N (CNI-\S+)$/gm)].map((match) => match[1] ?? '')
  const fresh = new Set(chains(after))
  for (const chain of chains(before)) fresh.delete(chain)
  const jumps = after
    .split('\n')
    .map(splitRule)
    .filter(([verb, chain]) => verb === '-A' && chain !== undefined && !fresh.has(chain))
    .filter((words) => fresh.has(words[words.indexOf('-j') + 1] ?? ''))
  return [
    ...jumps.map(([, ...words]) => ['-D', ...words]),
    ...[...fresh].map((chain) => ['-F', chain]),
    ...[...fresh].map((chain) => ['-X', chain]),
  ]
}

/** Splits a line of `iptables -S`, whose comments are in double quotes with backslash escapes. */
const splitRule = (line: string): string[] =>
  [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map((match) => match[1]?.replace(/\\(.)/g, '$1') ?? match[2] ?? '')
