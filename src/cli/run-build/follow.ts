/** What is read from buildctl's progress while it passes by. */
export interface Followed {
  line(text: string): void
  readonly node: string | undefined
  readonly commit: string | undefined
  /** The line with which buildctl failed, else ''. */
  readonly error: string
  /** The last lines, at most so many bytes; of a longer one its end. */
  tail(bytes: number): string
}

const most = 60
/** Characters of a line that are kept: BuildKit names a failed RUN by its whole text. */
const width = 16_384

/** Reads the progress of buildctl (`--progress plain`). */
export function followProgress(): Followed {
  const lines: string[] = []
  let node: string | undefined
  let commit: string | undefined
  let error = ''
  return {
    line(whole) {
      const text = whole.length > width ? `${whole.slice(0, width / 2)} … ${whole.slice(-width / 2)}` : whole
      if (text.startsWith('error: ')) error = text
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
    get error() {
      return error
    },
    tail(bytes) {
      const kept: string[] = []
      let size = 0
      for (const text of lines.toReversed()) {
        if (text.trim() === '') continue
        size += Buffer.byteLength(text) + 1
        if (size > bytes) {
          // How it failed stands at the end of the line.
          if (kept.length === 0) kept.push(Buffer.from(text).subarray(-bytes).toString())
          break
        }
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
export function isInfrastructure(error: string): boolean {
  return /code = Unavailable|error reading from server|connection reset by peer|transport is closing|error while dialing|unexpected EOF$/i.test(
    error,
  )
}
