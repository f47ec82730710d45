import { parseReference } from '../../buildkit/reference.ts'

/**
 * Where the manifest behind a name comes from: `pulled` from the registry and repository that the name says, `built` by
 * a BuildKit on this node, or `other`, which is an import or another image's.
 */
export type Origin = 'pulled' | 'built' | 'other'

/**
 * @param content labels of the manifest's or index's content.
 * @param names whether containerd has a name: the CRI plug-in adds `repository@digest` to each of its pulls.
 */
export function originOf(
  image: { readonly name: string; readonly digest: string },
  content: Readonly<Record<string, string>>,
  names: (name: string) => boolean,
): Origin {
  const { domain, path } = parse(image.name)
  // Every fetch of containerd's notes the repository: core/remotes/docker/handler.go.
  const sources = content[`containerd.io/distribution.source.${domain}`]?.split(',') ?? []
  if (sources.includes(path) || names(`${domain}/${path}@${image.digest}`)) return 'pulled'
  // BuildKit's exporter numbers the references of what it writes (exporter/containerimage/writer.go); containerd's own
  // import and pull call them `config`, `l.0`, `m.0` (core/images/handlers.go), also on content that is here already.
  const references = Object.keys(content).flatMap(
    (key) => key.match(/^containerd\.io\/gc\.ref\.content\.(.+)$/)?.[1] ?? [],
  )
  return references.length > 0 && references.every((key) => /^\d+$/.test(key)) ? 'built' : 'other'
}

/** Names that are no references, as the CRI plug-in's `sha256:…`, come from no registry. */
function parse(name: string): { domain: string; path: string } {
  try {
    return parseReference(name)
  } catch {
    return { domain: '', path: '' }
  }
}

export interface Change {
  /** What the name pointed to: as insitu built it, as it was remembered, or `undefined` for a new name. */
  readonly before: { readonly digest: string; readonly as: 'record' | 'protected' | 'unrecorded' } | undefined
  readonly after: { readonly digest: string; readonly origin: Origin }
  /** A gateway, a delivery or the mirror has said that the name gets this digest. */
  readonly announced: boolean
  /** The digest was on this node under another name before: the name was moved, nothing came in. */
  readonly moved: boolean
}

/**
 * accept: remember it. restore: put the name back at once. wait: a build through the door says so within a moment, or
 * the name is put back.
 */
export type Judgement = 'accept' | 'restore' | 'wait'

/** Reasoning and measurements: docs/decisions/0030-protected-names.md. */
export function judge({ before, after, announced, moved }: Change): Judgement {
  if (!before || before.digest === after.digest || announced) return 'accept'
  // A tag that moved in its registry, and the kubelet pulled it again.
  if (after.origin === 'pulled') return 'accept'
  if (before.as === 'unrecorded') return 'accept'
  // An administrator has loaded an archive with new content: `ctr images import`, `kind load`.
  if (after.origin === 'other' && !moved) return 'accept'
  return before.as === 'record' ? 'wait' : 'restore'
}
