/** Names that buildkitd and the agent give to what they keep in the root. */
export const isMark = (name: string): boolean =>
  /^(buildkitd\.lock|insitu\.lock|insitu-network\.json|insitu-since|insitu-images\.json|insitu-binfmt|otel-grpc\.sock|local-mnt-src|cache\.db|history\.db|containerd-.+|\.insitu-probe-.+)$/.test(
    name,
  )

/** What mkfs leaves on a disk of its own. */
const ofDisk = 'lost+found'

/**
 * Whether a directory with these entries belongs to somebody else: a mistyped path. Everything in a root is deleted in
 * the end, so the agent takes none that holds other things already.
 */
export const isForeign = (entries: readonly string[]): boolean =>
  entries.some((entry) => entry !== ofDisk) && !entries.some(isMark)

/** What of a root can be deleted, in an order that lets an interrupted clean-up be repeated: what marks it goes last. */
export const deletable = (entries: readonly string[]): string[] => [
  ...entries.filter((entry) => entry !== ofDisk && !isMark(entry)),
  ...entries.filter(isMark),
]
