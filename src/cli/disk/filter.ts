import { type PruneKind, pruneKinds, type PruneRequest } from '../../api/disk.ts'
import { isKind } from '../../api/prune-request.ts'
import { UsageError } from '../../kernel/errors.ts'
import { parseAge, parseBytes } from './quantity.ts'

export interface PruneFlags {
  /** `kind=…`, `until=…`, `repository=…`; several in one, separated by commas, or the option repeated. */
  readonly filter: readonly string[]
  readonly keepStorage?: string
  readonly all?: true
  readonly dryRun?: true
}

/** What the options of `insitu prune` ask for. @throws UsageError */
export function pruneRequest(flags: PruneFlags): PruneRequest {
  const kinds: PruneKind[] = []
  const repositories: string[] = []
  let unusedFor: number | undefined
  for (const term of flags.filter.flatMap((text) => text.split(','))) {
    const [key = '', value = ''] = /^([^=]+)=(.+)$/.exec(term.trim())?.slice(1) ?? []
    if (key === 'kind') {
      if (!isKind(value))
        throw new UsageError(`there is no kind ${value}`, { fix: `use one of ${pruneKinds.join(', ')}` })
      kinds.push(value)
    } else if (key === 'until') unusedFor = parseAge(value)
    else if (key === 'repository') repositories.push(repositoryName(value))
    else throw new UsageError(`--filter "${term}" is not understood`, { fix: 'use kind=, until= or repository=' })
  }
  return {
    ...(kinds.length === 0 ? {} : { kinds }),
    ...(repositories.length === 0 ? {} : { repositories }),
    ...(unusedFor === undefined ? {} : { unusedFor }),
    ...(flags.keepStorage === undefined ? {} : { keepBytes: parseBytes(flags.keepStorage) }),
    ...(flags.all === undefined ? {} : { all: true }),
    ...(flags.dryRun === undefined ? {} : { dryRun: true }),
  }
}

/** As containerd names it: `team/app` → `docker.io/team/app`. @throws UsageError for a name with a tag or digest. */
function repositoryName(text: string): string {
  if (/@|:[^/]*$/.test(text)) throw new UsageError(`repository=${text} must be without tag and digest`)
  const [first = '', ...rest] = text.split('/')
  if (rest.length === 0) return `docker.io/library/${text}`
  return /[.:]|^localhost$/.test(first) ? text : `docker.io/${text}`
}
