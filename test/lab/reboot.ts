import { detectMachine, nodeOptions } from './machine.ts'
import { withLock } from './lock.ts'
import { applyShape, ensureRoutes } from './network.ts'
import { type NodeContext, powerOff, powerOn } from './node.ts'
import type { Progress } from './progress.ts'
import { noLab, openState } from './state.ts'
import { up } from './up.ts'

/** Switches a node of the running lab off and on again, and waits until its kubelet answers and the lab is whole. */
export async function reboot(node: string, progress: Progress): Promise<void> {
  await switchOff(node)
  await switchOn(node, progress)
  progress.step(`${node} was switched off and on again`)
}

/** Switches a node of the running lab off without warning. Nothing but `switchOn` may be asked of the lab then. */
export const switchOff = (node: string): Promise<void> => withNode((context) => powerOff(node, context))

/** Switches it on, and waits until its kubelet answers and the lab is whole. */
export async function switchOn(node: string, progress: Progress): Promise<void> {
  await withNode(async (context) => {
    await powerOn(node, context)
    const { nodes, shape } = context.state.get()
    await ensureRoutes(nodes)
    await applyShape(nodes, shape)
  })
  await up({ progress })
}

async function withNode(work: (context: NodeContext) => Promise<void>): Promise<void> {
  const machine = await detectMachine()
  await withLock('lab', async () => {
    const state = await openState(noLab)
    await work({ machine, options: nodeOptions(machine), state })
  })
}
