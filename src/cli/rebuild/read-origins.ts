import type { NodeOrigins } from '../../api/built-on.ts'
import { namespace } from '../../api/names.ts'
import { describeError } from '../../kernel/errors.ts'
import { isForbidden } from '../../kernel/k8s/failure.ts'
import { askAll, reachNodes } from '../disk/reach-nodes.ts'

/**
 * Asks the agents what the images on their nodes were built on. That needs the right to exec in their pods, which an
 * account that rebuilds every night does not have: then nothing is known, and said.
 */
export async function readOrigins(
  cluster: { readonly kubeconfig: string | undefined; readonly context: string | undefined },
  say: (line: string) => void,
): Promise<readonly NodeOrigins[]> {
  const { kubeconfig, context } = cluster
  try {
    // On a rootless node no image stays.
    const { nodes } = await reachNodes({
      ...{ namespace, node: [], output: 'json' },
      ...(kubeconfig === undefined ? {} : { kubeconfig }),
      ...(context === undefined ? {} : { context }),
    })
    const { answers, failed } = await askAll(nodes, async (node) => {
      let text = ''
      await node.ask('origins', undefined, (line) => (text += line))
      return JSON.parse(text) as NodeOrigins
    })
    for (const { node, error } of failed) say(`${unknown} on node ${node}: ${error}`)
    return answers
  } catch (error) {
    const right = `this account may not look into pods of namespace ${namespace}`
    say(`${unknown}: ${isForbidden(error) ? right : describeError(error)}`)
    return []
  }
}

const unknown = 'images that were built by hand are not in the report'
