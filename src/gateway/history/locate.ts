import { partOfRecord, recordOwner } from '../../buildkit/history.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { Call, RelayContext } from '../relay/context.ts'
import type { BuildPart } from '../split/split-build.ts'
import { askNodes, type Missing } from './ask.ts'
import { recordsOf } from './records-of.ts'
import { maySee, type Viewer } from './viewer.ts'

export interface Located {
  /** Nodes with a build of this ref that the viewer may see. */
  readonly nodes: readonly BuildNode[]
  /** The parts of one whose platforms were built on several nodes. */
  readonly parts: readonly Pick<BuildPart, 'node' | 'platforms'>[]
  /** Nodes that could not be asked. */
  readonly missing: readonly Missing[]
}

/** Milliseconds for a node to look into its history. */
export const historyPatience = 5000

/** Finds a build that ended, or that another gateway relays, in the histories of the nodes. */
export async function locate(context: RelayContext, call: Call, ref: string, viewer: Viewer): Promise<Located> {
  const { answers, missing } = await askNodes(
    context,
    call,
    async (upstream, _, signal) => {
      let found: { readonly part: readonly string[] | undefined } | undefined
      for await (const { record } of recordsOf(upstream, ref, signal)) {
        if (maySee(viewer, recordOwner(record))) found = { part: partOfRecord(record) }
      }
      return found
    },
    { patience: context.patience ?? historyPatience },
  )
  const found = answers.flatMap(({ node, value }) => (value ? [{ node, part: value.part }] : []))
  const parts = found.flatMap(({ node, part }) => (part ? [{ node, platforms: part }] : []))
  return { nodes: found.map(({ node }) => node), parts, missing }
}
