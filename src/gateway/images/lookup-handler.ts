import type { Lookup } from '../../api/images.ts'
import { normalizeReference } from '../../buildkit/reference.ts'
import type { HttpHandler } from '../relay/http.ts'
import { json } from '../relay/json.ts'
import type { Lookups, Wanted } from './lookup.ts'

/** Milliseconds. containerd gives a mirror 30 s to answer. */
const longestWait = 25_000

/** `GET /v1/lookup`: for the agents of this cluster, and nobody else. */
export function lookupHandler(lookups: Lookups, namespace: string): HttpHandler {
  return async ({ agent, query, signal }) => {
    if (agent?.namespace !== namespace) return { status: 403, body: 'only agents may ask\n' }
    const wanted = parse(query)
    if (!wanted) return { status: 400, body: 'name= or repository= and digest= must be valid\n' }
    const wait = Number(query.get('wait') ?? '0')
    const limit = Number.isFinite(wait) ? Math.min(Math.max(wait, 0), longestWait) : 0
    const how = { demand: query.get('demand') === '1', serial: query.get('serial') === '1' }
    const found: Lookup = await lookups.lookup(wanted, agent.node, limit, signal, how)
    return json(200, found)
  }
}

function parse(query: URLSearchParams): Wanted | undefined {
  const [name, repository, digest] = ['name', 'repository', 'digest'].map((key) => query.get(key))
  try {
    if (name) return { name: normalizeReference(name), finished: query.get('finished') === '1' }
    if (repository && digest && /^[a-z0-9]+:[a-f0-9]{32,}$/.test(digest))
      return { repository, digest, ordinary: query.get('ordinary') === '1' }
  } catch {
    // Not a name: nothing can be found by it.
  }
  return undefined
}
