import { writeFile } from 'node:fs/promises'
import { childrenOf } from '../../kernel/process/children.ts'

/** As the processes of a BestEffort pod: a build can be done again, a workload that was ended cannot. */
export const stepScore = 1000

/**
 * Lets the kernel end a RUN step before all else when memory runs out. A container that asks for nothing gets the
 * `oom_score_adj` of its shim, one above containerd's (-999 in containerd's own unit file), and BuildKit's containerd
 * worker asks for nothing: the kernel would end every pod of the node before it.
 * Children that are there already follow; later ones have it from their parent. proc_pid_oom_score_adj(5).
 * @param pid as this process sees it. One that is gone is nobody's failure.
 */
export async function yieldMemory(pid: number): Promise<void> {
  const changed = await writeFile(`/proc/${pid}/oom_score_adj`, String(stepScore)).then(
    () => true,
    () => false,
  )
  if (!changed) return
  for (const child of await childrenOf(pid)) await yieldMemory(child)
}
