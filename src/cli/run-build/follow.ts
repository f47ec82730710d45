/** What is read from buildctl's progress while it passes by. */
export interface Followed {
  line(text: string): void
  readonly node: string | undefined
  readonly commit: string | undefined
  /** Names that registries have, and what they stand for there. */
  readonly pushed: ReadonlyMap<string, string>
  /** The line with which buildctl failed, else ''. */
  readonly error: string
  /** The last lines, at most so many bytes; of a longer one its end. */
  tail(bytes: number): string
}

const most = 60
/** Characters of a line that are kept: BuildKit names a failed RUN by its whole text. */
const width = 16_384

const pushedLine = /^#\d+ pushing manifest for (\S+)@(sha256:[0-9a-f]{64})(?: [\d.]+s)? done$/

/** Reads the progress of buildctl (`--progress plain`). */
export function followProgress(): Followed {
  const lines: string[] = []
  let node: string | undefined
  let commit: string | undefined
  let error = ''
  const pushed = new Map<string, string>()
  return {
    line(whole) {
      const text = whole.length > width ? `${whole.slice(0, width / 2)} … ${whole.slice(-width / 2)}` : whole
      if (text.startsWith('error: ')) error = text
      lines.push(text)
      if (lines.length > most) lines.shift()
      // The gateway's own vertex says where it builds, BuildKit's git source what a name stands for.
      node ??= /^#\d+ \[insitu\] node ([^\s:]+):/.exec(text)?.[1]
      const [, found, peeled] = /^#\d+ [\d.]+ ([0-9a-f]{40})\s+(?:refs\/\S+?|HEAD)(\^\{\})?$/.exec(text) ?? []
      // Without a time where it took less than 10 ms.
      const [, name, digest] = pushedLine.exec(text) ?? []
      if (name !== undefined && digest !== undefined) pushed.set(name, digest)
      // An annotated tag is an object of its own; the line with ^{} says which commit it is about.
      if (commit === undefined || peeled !== undefined) commit = found ?? commit
    },
    get node() {
      return node
    },
    get commit() {
      return commit
    },
    pushed,
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
 * Whether a failed buildctl failed because a gateway, a daemon or a node went away: gRPC's UNAVAILABLE as the status of
 * the call itself, which gateways answer then, and connections that broke. Where it stands further inside, a registry, a
 * git server or the text of a RUN step said so: that is a failed build, as is everything else.
 */
export const isInfrastructure = (error: string): boolean =>
  /^error: (?:failed to (?:solve|receive status|get status|list workers|call info): )*(?:rpc error: code = Unavailable desc = |Unavailable: )/.test(
    error,
  )
