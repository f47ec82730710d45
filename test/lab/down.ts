import { existsSync, writeFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { restoreControllers } from './cgroups.ts'
import { stopControlPlane } from './control-plane.ts'
import { removeBootstrap } from './images/bootstrap.ts'
import { removeDisk } from './disk.ts'
import { controlNetns, diskFile, maxNodes, nodeName, stateDir } from './layout.ts'
import { withLock } from './lock.ts'
import { detectMachine, nodeOptions } from './machine.ts'
import { netnsPath, removeBridge, removeNetns, removeNetnsDir } from './network.ts'
import { removeNode } from './node.ts'
import { processesInNetns, stop, track } from './processes.ts'
import type { Progress } from './progress.ts'
import { noLab, readState, type StateStore } from './state.ts'

/** Removes the lab and everything it changed; what is not there is fine. The cache of images stays. */
export async function down(progress: Progress): Promise<void> {
  await withLock('lab', () => destroy(progress))
}

/** `down` for a caller that holds the lock. Works without a state file too, by the names that only the lab uses. */
export async function destroy(progress: Progress): Promise<void> {
  const machine = await detectMachine()
  let current = readState() ?? noLab
  const state: StateStore = {
    get: () => current,
    update: (change) => {
      current = { ...current, ...change }
    },
  }
  const context = { machine, options: nodeOptions(machine), state }
  const nodes = Array.from({ length: maxNodes }, (_, i) => nodeName(i + 1))
  await Promise.all(nodes.map((node) => removeNode(node, context)))
  progress.step('nodes removed')
  await stopControlPlane(state)
  for (const pid of processesInNetns(netnsPath(controlNetns))) await stop(track(pid), 0)
  await removeNetns(controlNetns)
  if (current.madeNetnsDir) await removeNetnsDir()
  await removeBridge()
  progress.step('control plane and network removed')
  for (const [key, value] of Object.entries(current.sysctls)) {
    const file = `/proc/sys/${key.replaceAll('.', '/')}`
    // Those of the bridge went with it.
    if (existsSync(file)) writeFileSync(file, value)
  }
  await restoreControllers(current.controllers)
  await withLock('image', removeBootstrap)
  await removeDisk()
  await rm(stateDir, { recursive: true, force: true })
  progress.step('nothing of the lab is left')
}

/** What of the lab is on the machine, by the names only it uses. Empty after `down`. */
export async function leftovers(): Promise<string[]> {
  const names = async (dir: string, prefix: string): Promise<string[]> =>
    (await readdir(dir).catch(() => [])).filter((n) => n.startsWith(prefix)).map((n) => `${dir}/${n}`)
  const hierarchies = await readdir('/sys/fs/cgroup')
  return [
    ...(await names('/run/netns', 'insitu-')),
    ...(await names('/sys/class/net', 'insitu')),
    ...(await names('/sys/fs/cgroup', 'insitu-')),
    ...(await names('/proc/sys/fs/binfmt_misc', 'insitu-')).filter((name) => /@node\d$/.test(name)),
    ...(await Promise.all(hierarchies.map((h) => names(`/sys/fs/cgroup/${h}`, 'insitu-')))).flat(),
    ...[stateDir, diskFile].filter((path) => existsSync(path)),
  ]
}
