import { existsSync } from 'node:fs'
import { readFile, rm, stat } from 'node:fs/promises'
import { describeError } from '../../kernel/errors.ts'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import type { Logger } from '../../kernel/log.ts'
import { run } from '../../kernel/process/run.ts'
import { chainsOf, type OwnNetwork, undoRules } from './cni-rules.ts'
import { type Forwarding, readForwarding, stopForwarding } from './forwarding.ts'
import { unclampSegments } from './segment-size.ts'
import { isNoRoom } from './space.ts'

/** Where the plug-in host-local keeps the addresses of BuildKit's network, which is named `buildkit`. */
const addresses = '/var/lib/cni/networks/buildkit'
const tables = ['filter', 'nat'] as const

export interface NetworkMemory {
  /** What it is the memory for. */
  readonly own: OwnNetwork
  /** Takes back what bridge mode and we did to this network namespace and was not there before. */
  undo(): Promise<void>
}

export interface NetworkOptions {
  /** What the daemon is going to make; undefined: RUN steps use the network that is there, and nothing is changed. */
  readonly own: OwnNetwork | undefined
  /** Where to keep the memory while the daemon runs. It outlives an agent that is killed. */
  readonly file: string
  readonly log: Logger
}

/** Which network it is. The memory of another one is of no use: a boot may give the same inode to its namespace. */
interface Here {
  /** The kernel's identifier of this boot. */
  readonly boot: string
  /** Inode of the network namespace. */
  readonly namespace: number
}

/** What was there before a daemon of ours. */
interface Before extends Here, Forwarding {
  /** What that daemon makes: an agent that finds the memory of a killed one may have to make another. */
  readonly own: OwnNetwork
  readonly bridge: boolean
  readonly addresses: boolean
  /** `iptables -S` by table. */
  readonly rules: Readonly<Record<string, string>>
}

/**
 * Remembers the network namespace before the daemon touches it. In a pod all of it goes with the pod; on a machine
 * without Kubernetes (`insitu local`) it is the host's. The daemon removes its bridge when it ends well; forwarding,
 * the firewall plug-in's chains and everything a killed daemon left stay without this.
 * What an agent left that was killed is put back first, unless the network is to be the same again.
 * @returns undefined where nothing is changed.
 */
export async function rememberNetwork({ own, file, log }: NetworkOptions): Promise<NetworkMemory | undefined> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  const here: Here = { boot, namespace: (await stat('/proc/self/ns/net')).ino }
  const left = await recall(file, here)
  const again = isSameNetwork(left?.own, own)
  if (left && !again) await putBack(left, file, log)
  if (!own) return undefined
  const before = left && again ? left : await remember({ own, file, log }, here)
  return { own, undo: () => putBack(before, file, log) }
}

export const isSameNetwork = (one: OwnNetwork | undefined, other: OwnNetwork | undefined): boolean =>
  one?.bridge === other?.bridge && one?.subnet === other?.subnet

async function remember({ own, file, log }: NetworkOptions & { own: OwnNetwork }, here: Here): Promise<Before> {
  const before: Before = {
    ...here,
    own,
    bridge: await hasDevice(own.bridge),
    addresses: existsSync(addresses),
    ...(await readForwarding()),
    rules: Object.fromEntries(await Promise.all(tables.map(async (table) => [table, await rules(table)] as const))),
  }
  await writeFileAtomic(file, JSON.stringify(before), 0o600).catch((error: unknown) => {
    // It serves after a kill only, and the daemon that frees the disk is not to wait for it.
    if (!isNoRoom(error)) throw error
    log.warn({ err: describeError(error) }, 'the state of the network could not be written down')
  })
  return before
}

async function putBack(was: Before, file: string, log: Logger): Promise<void> {
  const attempt = async (what: string, action: () => Promise<unknown>): Promise<void> => {
    await action().catch((error: unknown) => log.warn({ err: describeError(error) }, `${what} could not be undone`))
  }
  if (!was.bridge && (await hasDevice(was.own.bridge))) {
    await attempt('the bridge', () => run('ip', ['link', 'delete', was.own.bridge]))
  }
  await attempt('a rule of mangle', () => unclampSegments(was.own.bridge))
  for (const table of tables) {
    for (const args of undoRules(was.rules[table] ?? '', await rules(table), was.own)) {
      await attempt(`a rule of ${table}`, () => run('iptables', ['-w', '-t', table, ...args]))
    }
  }
  if (!was.addresses) await rm(addresses, { recursive: true, force: true })
  if (!was.forwarding && !(await othersForward())) {
    await attempt('ip_forward', () => stopForwarding(was))
  }
  await rm(file, { force: true })
}

/** /proc/self/net is that of this process's network; /sys/class/net that of whoever mounted /sys. */
async function hasDevice(name: string): Promise<boolean> {
  const devices = await readFile('/proc/self/net/dev', 'utf8')
  return devices.split('\n').some((line) => line.trim().startsWith(`${name}:`))
}

/** Whether there are networks left that may need forwarding, which somebody has turned on for them meanwhile. */
async function othersForward(): Promise<boolean> {
  for (const table of tables) if (chainsOf(await rules(table)).length > 0) return true
  const bridges = await run('ip', ['-o', 'link', 'show', 'type', 'bridge']).catch(() => undefined)
  return bridges === undefined || bridges.stdout !== ''
}

/** What an agent that was killed has remembered of this network. */
export async function recall(file: string, here: Here): Promise<Before | undefined> {
  try {
    const before = JSON.parse(await readFile(file, 'utf8')) as Before
    const known = before.boot === here.boot && before.namespace === here.namespace && 'own' in before
    return known ? before : undefined
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
