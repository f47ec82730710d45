/** What is read from buildctl's progress while it passes by. */
export interface Followed {
  line(text: string): void
  readonly node: string | undefined
  readonly commit: string | undefined
  /** The last lines, at most so many bytes. */
  tail(bytes: number): string
}

const most = 60

/** Reads the progress of buildctl (`--progress plain`). */
export function followProgress(): Followed {
  const lines: string[] = []
  let node: string | undefined
  let commit: string | undefined
  return {
    line(text) {
      lines.push(text)
      if (lines.length > most) lines.shift()
      // The gateway's own vertex says where it builds, BuildKit's git source what a name stands for.
      node ??= /^#\d+ \[insitu\] node ([^\s:]+):/.exec(text)?.[1]
      const [, found, peeled] = /^#\d+ [\d.]+ ([0-9a-f]{40})\s+(?:refs\/\S+?|HEAD)(\^\{\})?$/.exec(text) ?? []
      // An annotated tag is an object of its own; the line with ^{} says which commit it is about.
      if (commit === undefined || peeled !== undefined) commit = found ?? commit
    },
    get node() {
      return node
    },
    get commit() {
      return commit
    },
    tail(bytes) {
      const kept: string[] = []
      let size = 0
      for (const text of lines.toReversed()) {
        if (text.trim() === '') continue
        size += Buffer.byteLength(text) + 1
        if (size > bytes) break
        kept.unshift(text)
      }
      return kept.join('\n')
    },
  }
}

/**
 * Whether a failed buildctl failed because a gateway, a daemon or a node went away: gRPC's UNAVAILABLE, which gateways
 * answer then, and connections that broke. What registries and Dockerfiles do wrong is a failed build.
 */
export function isInfrastructure(tail: string): boolean {
  const error = tail.split('\n').findLast((line) => line.startsWith('error: ')) ?? ''
  return /code = Unavailable|error reading from server|connection reset by peer|transport is closing|error while dialing|unexpected EOF$/i.test(
    error,
  )
}
