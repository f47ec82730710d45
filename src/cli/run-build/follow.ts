import type { GitSource } from './arguments.ts'

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

/** The vertex that loads a git context. Where several nodes build, each has its own, which says for what platforms. */
const contextLine = /^#(\d+) \[(?:\S+ )?internal\] load git source /
const refLine = /^#(\d+) [\d.]+ ([0-9a-f]{40}|[0-9a-f]{64})\s+(refs\/\S+|HEAD)$/

/**
 * Reads the progress of buildctl (`--progress plain`).
 * @param git the context, if it is one.
 */
export function followProgress(git?: Pick<GitSource, 'revision'>): Followed {
  const lines: string[] = []
  let node: string | undefined
  const contexts = new Set<string>()
  const refs = new Map<string, string>()
  let error = ''
  const pushed = new Map<string, string>()
  return {
    line(whole) {
      const text = whole.length > width ? `${whole.slice(0, width / 2)} … ${whole.slice(-width / 2)}` : whole
      if (text.startsWith('error: ')) error = text
      lines.push(text)
      if (lines.length > most) lines.shift()
      // The gateway's own vertex says where it builds.
      node ??= /^#\d+ \[insitu\] node ([^\s:]+):/.exec(text)?.[1]
      // BuildKit's git source says what names stand for, as other steps may of other repositories.
      const [, context] = contextLine.exec(text) ?? []
      if (context !== undefined) contexts.add(context)
      const [, vertex = '', found, ref] = refLine.exec(text) ?? []
      if (contexts.has(vertex) && found !== undefined && ref !== undefined) refs.set(ref, found)
      // Without a time where it took less than 10 ms.
      const [, name, digest] = pushedLine.exec(text) ?? []
      if (name !== undefined && digest !== undefined) pushed.set(name, digest)
    },
    get node() {
      return node
    },
    get commit() {
      return git && commitAmong(refs, git)
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
 * The commit that BuildKit takes for a revision. What it asks a server for are all names that end in it: of `v1` also the
 * branch `old/v1`.
 */
function commitAmong(refs: ReadonlyMap<string, string>, { revision }: Pick<GitSource, 'revision'>): string | undefined {
  // BuildKit asks for no name then, and servers say none.
  if (revision !== undefined && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(revision)) return revision
  const under = (prefix: string): string => `${prefix}${revision?.replace(new RegExp(`^${prefix}`), '')}`
  const names = revision === undefined ? ['HEAD'] : ['refs/', 'refs/heads/', 'refs/tags/'].map(under)
  // An annotated tag is an object of its own; the line with ^{} says which commit it is about.
  return names.map((name) => refs.get(`${name}^{}`) ?? refs.get(name)).find((commit) => commit !== undefined)
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
