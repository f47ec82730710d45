import { readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { stateDir } from './layout.ts'
import type { Tracked } from './processes.ts'

export interface Shape {
  /** Milliseconds added to every packet from node to node; 0 for none. */
  readonly delay: number
  /** Megabits a second from each node to the others; 0 for no limit. */
  readonly rate: number
}

/** What the lab has done to the machine, written before it is done, so that `down` can undo it after any crash. */
export interface LabState {
  readonly checkout: string
  readonly nodes: readonly string[]
  /** False from the first change until everything is in place: an `up` that was cut off is not a healthy lab. */
  readonly complete: boolean
  readonly shape: Shape
  /** Nodes that are of another architecture, see foreign.ts. */
  readonly foreign: readonly string[]
  /** Sysctls changed, with the value from before. */
  readonly sysctls: Readonly<Record<string, string>>
  /** cgroup v2 controllers enabled at the root. */
  readonly controllers: readonly string[]
  /** /run/netns was not there: `ip netns` makes it a mount, which `down` takes away again. */
  readonly madeNetnsDir: boolean
  /** By name: `etcd`, `node1/kubelet`, … */
  readonly processes: Readonly<Record<string, Tracked>>
}

const file = join(stateDir, 'state.json')

export const noLab: LabState = {
  checkout: '',
  nodes: [],
  complete: false,
  shape: { delay: 0, rate: 0 },
  foreign: [],
  sysctls: {},
  controllers: [],
  madeNetnsDir: false,
  processes: {},
}

export interface StateStore {
  get(): LabState
  /** Written to disk before it returns: a crash right after must not lose it. */
  update(change: Partial<LabState>): void
}

export function readState(): LabState | undefined {
  try {
    return { ...noLab, ...(JSON.parse(readFileSync(file, 'utf8')) as LabState) }
  } catch {
    // Missing, or cut off by a crash: `down` finds what is left by its names.
    return undefined
  }
}

export async function openState(initial: LabState): Promise<StateStore> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 })
  let state = readState() ?? initial
  const write = (): void => {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 })
    writeFileSync(`${file}.new`, `${JSON.stringify(state, undefined, 1)}\n`, { mode: 0o600 })
    renameSync(`${file}.new`, file)
  }
  write()
  return {
    get: () => state,
    update: (change) => {
      state = { ...state, ...change }
      write()
    },
  }
}
