import { detectMachine, nodeOptions } from './machine.ts'
import { withLock } from './lock.ts'
import { applyShape, ensureRoutes } from './network.ts'
import { rebootNode } from './node.ts'
import type { Progress } from './progress.ts'
import { noLab, openState } from './state.ts'
import { up } from './up.ts'

/** Switches a node of the running lab off and on again, and waits until its kubelet answers and the lab is whole. */
export async function reboot(node: string, progress: Progress): Promise<void> {
  const machine = await detectMachine()
  await withLock('lab', async () => {
    const state = await openState(noLab)
    await rebootNode(node, { machine, options: nodeOptions(machine), state })
    const { nodes, shape } = state.get()
    await ensureRoutes(nodes)
    await applyShape(nodes, shape)
  })
  progress.step(`${node} was switched off and on again`)
  await up({ progress })
}
