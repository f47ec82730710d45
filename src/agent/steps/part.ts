import type { Part } from '../part.ts'
import { yieldMemory } from './oom-score.ts'
import { watchSteps } from './watch.ts'

/** RUN steps are the first to go where a node's memory runs out, whatever containerd's own `oom_score_adj`. */
export const stepsPart: Part = {
  name: 'steps',
  start({ containerd, namespace, root, log }) {
    const stop = watchSteps({ ...{ containerd, namespace, root, log }, onProcess: yieldMemory })
    return Promise.resolve({ stop })
  },
}
