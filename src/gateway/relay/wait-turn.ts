import { InsituError } from '../../kernel/errors.ts'
import type { Step } from '../progress/progress.ts'
import type { Build, Call, RelayContext } from './context.ts'

/**
 * Waits until a placed build may start, and shows its place in the client's progress meanwhile.
 * @returns a function that gives the turn back.
 * @throws InsituError CANCELLED when the client is gone, NODE_DRAINING when the node is.
 */
export async function waitForTurn(context: RelayContext, call: Call, build: Build): Promise<() => void> {
  const { caller, signal, upstreams: group, stream } = call
  const node = build.node.name
  let step: Step | undefined
  const onPosition = (position: number): void => {
    step ??= build.progress.step(`[insitu] waiting for a turn on node ${node}`)
    step.log(`place ${position} in the queue`)
  }
  try {
    const { perNode } = build
    const release = await context.turns.wait({ caller, node, group, build: stream, perNode, signal, onPosition })
    step?.done()
    return release
  } catch (error) {
    step?.done('the build did not start')
    if (!signal.aborted) throw error
    throw new InsituError('CANCELLED', 'the client gave the build up', { status: 'CANCELLED', cause: error })
  }
}
