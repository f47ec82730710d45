import { repositoryOf, normalizeReference } from '../../buildkit/reference.ts'

/** What BuildKit's Dockerfile frontend says of a base that no registry gives (source/containerimage, v0.33.1). */
const unresolved = /failed to resolve source metadata for (\S+): /

/**
 * Says what to do when a build has failed for want of a base that was built in place on other nodes.
 * @param message with which the build failed.
 * @param holders the nodes that have the newest image of a normalised name.
 */
export function baseHint(
  message: string,
  node: string,
  holders: (name: string) => readonly string[],
): string | undefined {
  const said = unresolved.exec(message)?.[1]
  if (said === undefined) return undefined
  let name: string
  try {
    name = normalizeReference(said)
  } catch {
    return undefined
  }
  const [other] = holders(name).filter((holder) => holder !== node)
  if (other === undefined) return undefined
  const registry = repositoryOf(name).split('/')[0]
  return (
    `[insitu] ${name} was built on node ${other}, and node ${node} did not get it from there: ` +
    `is ${registry} among the bases of [agent.mirror] in insitu.toml?`
  )
}
