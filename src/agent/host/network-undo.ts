import { existsSync } from 'node:fs'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { describeError } from '../../kernel/errors.ts'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import type { Logger } from '../../kernel/log.ts'
import { run } from '../../kernel/process/run.ts'
import { isNoRoom } from './space.ts'

const forwarding = '/proc/sys/net/ipv4/ip_forward'
/** Where the plug-in host-local keeps the addresses of BuildKit's network, which is named `buildkit`. */
const addresses = '/var/lib/cni/networks/buildkit'
const tables = ['filter', 'nat'] as const

export interface NetworkMemory {
  /** Takes back what bridge mode did to this network namespace and was not there before. */
  undo(): Promise<void>
}

export interface NetworkOptions {
  /** Name of the daemon's bridge. */
  readonly bridge: string
  /** Where to keep the memory while the daemon runs. It outlives an agent that is killed. */
  readonly file: string
  readonly log: Logger
}

/** What was there before a daemon of ours. */
interface Before {
  /** Inode of the network namespace: the memory of another one is of no use. */
  readonly namespace: number
  readonly bridge: boolean
  readonly addresses: boolean
  readonly forwarding: boolean
  /** `iptables -S` by table. */
  readonly rules: Readonly<Record<string, string>>
}

/**
 * Remembers the network namespace before the daemon touches it. In a pod all of it goes with the pod; on a machine
 * without Kubernetes (`insitu local`) it is the host's. The daemon removes its bridge when it ends well; forwarding,
 * the firewall plug-in's chains and everything a killed daemon left stay without this.
 */
export async function rememberNetwork(options: NetworkOptions): Promise<NetworkMemory> {
  const { file, log } = options
  const namespace = (await stat('/proc/self/ns/net')).ino
  let before = await recall(file)
  if (before?.namespace !== namespace) {
    before = {
      namespace,
      bridge: await hasDevice(options.bridge),
      addresses: existsSync(addresses),
      forwarding: (await readFile(forwarding, 'utf8').catch(() => '')).trim() === '1',
      rules: Object.fromEntries(await Promise.all(tables.map(async (table) => [table, await rules(table)] as const))),
    }
    await writeFileAtomic(file, JSON.stringify(before), 0o600).catch((error: unknown) => {
      // It serves after a kill only, and the daemon that frees the disk is not to wait for it.
      if (!isNoRoom(error)) throw error
      log.warn({ err: describeError(error) }, 'the state of the network could not be written down')
    })
  }
  const was = before
  const attempt = async (what: string, action: () => Promise<unknown>): Promise<void> => {
    await action().catch((error: unknown) => log.warn({ err: describeError(error) }, `${what} could not be undone`))
  }
  return {
    async undo() {
      if (!was.bridge && (await hasDevice(options.bridge))) {
        await attempt('the bridge', () => run('ip', ['link', 'delete', options.bridge]))
      }
      for (const table of tables) {
        for (const args of undoRules(was.rules[table] ?? '', await rules(table))) {
          await attempt(`a rule of ${table}`, () => run('iptables', ['-w', '-t', table, ...args]))
        }
      }
      if (!was.addresses) await rm(addresses, { recursive: true, force: true })
      if (!was.forwarding) await attempt('ip_forward', () => writeFile(forwarding, '0\n'))
      await rm(file, { force: true })
    },
  }
}

/** /proc/self/net is that of this process's network; /sys/class/net that of whoever mounted /sys. */
async function hasDevice(name: string): Promise<boolean> {
  const devices = await readFile('/proc/self/net/dev', 'utf8')
  return devices.split('\n').some((line) => line.trim().startsWith(`${name}:`))
}

async function recall(file: string): Promise<Before | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Before
  } catch {
    return undefined
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
