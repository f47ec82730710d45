import { InsituError } from '../kernel/errors.ts'

/** An image name with everything that is usually left out. */
export interface Reference {
  /** Registry host, with a port if it has one: `docker.io`, `registry.example.com:5000`. */
  readonly domain: string
  /** `library/app` */
  readonly path: string
  readonly tag: string | undefined
  /** `sha256:…` */
  readonly digest: string | undefined
}

const host =
  /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?$/
const ipv6 = /^\[[a-fA-F0-9:]+\](?::[0-9]+)?$/
const pathSyntax = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/
const tagSyntax = /^\w[\w.-]{0,127}$/
const digestSyntax = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/

/**
 * Reads an image name by the rules of github.com/distribution/reference, which containerd, the kubelet and docker use:
 * default registry, `library/`, tag `latest`; of tag and digest together only the digest counts.
 * @throws InsituError IMAGE_NAME
 */
export function parseReference(name: string): Reference {
  const wrong = (why: string): InsituError =>
    new InsituError('IMAGE_NAME', `"${name}" is not an image name: ${why}`, { status: 'INVALID_ARGUMENT' })
  if (/^[a-f0-9]{64}$/.test(name)) throw wrong('64 hexadecimal digits are reserved for image ids')
  const { domain, rest } = splitDomain(name)
  const at = rest.indexOf('@')
  const digest = at < 0 ? undefined : rest.slice(at + 1)
  const named = at < 0 ? rest : rest.slice(0, at)
  const colon = named.indexOf(':')
  const tag = colon < 0 ? undefined : named.slice(colon + 1)
  const path = colon < 0 ? named : named.slice(0, colon)
  if (!host.test(domain) && !ipv6.test(domain)) throw wrong(`"${domain}" is not a registry`)
  if (path !== path.toLowerCase()) throw wrong('the repository must be in lower case')
  if (!pathSyntax.test(path) || domain.length + 1 + path.length > 255) throw wrong(`"${path}" is not a repository`)
  if (tag !== undefined && !tagSyntax.test(tag)) throw wrong(`"${tag}" is not a tag`)
  if (digest !== undefined && !digestSyntax.test(digest)) throw wrong(`"${digest}" is not a digest`)
  return digest === undefined
    ? { domain, path, tag: tag ?? 'latest', digest }
    : { domain, path, tag: undefined, digest }
}

/** `app` → `docker.io/library/app:latest`. @throws InsituError IMAGE_NAME */
export function normalizeReference(name: string): string {
  const { domain, path, tag, digest } = parseReference(name)
  return `${domain}/${path}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
}

/** The name without tag and digest: `docker.io/library/app`. */
export function repositoryOf(name: string): string {
  const { domain, path } = parseReference(name)
  return `${domain}/${path}`
}

/** Whether a name says its tag or its digest. */
export const hasTag = (name: string): boolean => /[:@]/.test(name.slice(name.lastIndexOf('/') + 1))

function splitDomain(name: string): { domain: string; rest: string } {
  const slash = name.indexOf('/')
  if (slash < 0) return { domain: 'docker.io', rest: `library/${name}` }
  const first = name.slice(0, slash)
  const isHost = first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase()
  if (!isHost) return { domain: 'docker.io', rest: name }
  const rest = name.slice(slash + 1)
  if (first !== 'docker.io' && first !== 'index.docker.io') return { domain: first, rest }
  return { domain: 'docker.io', rest: rest.includes('/') ? rest : `library/${rest}` }
}
