import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { waitFor } from './wait.ts'
import { nodeCgroup } from './layout.ts'
import type { MachineFacts, NodeOptions } from './machine.ts'
import type { StateStore } from './state.ts'

const root = '/sys/fs/cgroup'

const groups = (machine: MachineFacts, node: string): string[] =>
  machine.cgroupVersion === 2
    ? [join(root, nodeCgroup(node))]
    : machine.cgroupHierarchies.map((h) => join(root, h, nodeCgroup(node)))

/** Where a node's daemons go; they are put there from outside, before they enter the node. */
export const daemonGroups = (machine: MachineFacts, options: NodeOptions, node: string): string[] =>
  groups(machine, node).map((g) => join(g, options.daemonGroup))

/** Where a node's first process starts: its cgroup namespace has this group as its root. */
export const rootGroups = groups

export async function ensureCgroups(
  machine: MachineFacts,
  options: NodeOptions,
  node: string,
  state: StateStore,
): Promise<void> {
  if (machine.cgroupVersion === 2) {
    if (options.enableControllers.length > 0) {
      state.update({ controllers: [...new Set([...state.get().controllers, ...options.enableControllers])] })
    }
    for (const c of options.enableControllers) await writeFile(join(root, 'cgroup.subtree_control'), `+${c}`)
  }
  for (const group of groups(machine, node)) {
    await mkdir(join(group, options.daemonGroup), { recursive: true })
    // v1: a new cpuset is empty and takes no process.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const parent = join(group, '..', file)
      if (machine.cgroupVersion === 1 && existsSync(parent) && existsSync(join(group, file))) {
        await writeFile(join(group, file), (await readFile(parent, 'utf8')).trim())
      }
    }
  }
}

/** Removes the node's groups with all that kubelet, containerd and BuildKit made below them. Its processes must be gone. */
export async function removeCgroups(machine: MachineFacts, node: string): Promise<void> {
  for (const group of groups(machine, node)) {
    if (!existsSync(group)) continue
    // The kernel frees a group a moment after its last process.
    await waitFor(
      `cgroup ${group} to be free`,
      async () => {
        await removeTree(group)
        return true
      },
      { timeout: 15_000, interval: 100 },
    )
  }
}

/** Removes a group and all below it; fails while a process is in one. */
export async function removeTree(group: string): Promise<void> {
  for (const entry of await readdir(group, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeTree(join(group, entry.name))
  }
  await rmdir(group)
}

export async function restoreControllers(controllers: readonly string[]): Promise<void> {
  // Someone else may use one by now: then it stays.
  for (const c of controllers) await writeFile(join(root, 'cgroup.subtree_control'), `-${c}`).catch(() => undefined)
}
