import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { BasicAuth, Work } from '../../api/builds/work.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'

interface Auth {
  readonly auth?: string
  readonly [field: string]: unknown
}

/** docker's config.json, as far as it holds credentials. */
export interface DockerConfig {
  readonly auths: Readonly<Record<string, Auth>>
}

/** A mounted Secret of the service account. */
export interface RegistrySecret {
  readonly name: string
  /** Of a Secret of type kubernetes.io/dockerconfigjson. */
  readonly dockerConfigJson?: string | undefined
  /** Of the older kubernetes.io/dockercfg. */
  readonly dockerCfg?: string | undefined
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** Registries that user and password are for. */
  readonly servers: readonly string[]
}

/** One config.json of all Secrets; the first that names a registry wins. */
export function dockerConfig(secrets: readonly RegistrySecret[]): DockerConfig {
  const auths: Record<string, Auth> = {}
  const add = (server: string, auth: Auth): void => void (auths[server] ??= auth)
  for (const { dockerConfigJson, dockerCfg, username, password, servers } of secrets) {
    for (const [server, auth] of entries(dockerConfigJson, 'auths')) add(server, auth)
    for (const [server, auth] of entries(dockerCfg)) add(server, auth)
    if (username === undefined || password === undefined) continue
    const auth = Buffer.from(`${username}:${password}`).toString('base64')
    for (const server of servers) add(serverKey(server), { auth })
  }
  return { auths }
}

/** The Docker Hub has a key of its own; every other registry is known by its host. */
function serverKey(server: string): string {
  const host = server.replace(/^[a-z]+:\/\//, '').split('/')[0] ?? server
  const hub = ['docker.io', 'index.docker.io', 'registry-1.docker.io']
  return hub.includes(host) ? 'https://index.docker.io/v1/' : host
}

function entries(text: string | undefined, field?: string): [string, Auth][] {
  if (text === undefined) return []
  try {
    const value = JSON.parse(text) as Record<string, unknown>
    const auths = field === undefined ? value : value[field]
    return typeof auths === 'object' && auths !== null ? Object.entries(auths as Record<string, Auth>) : []
  } catch {
    // A Secret that is broken is of no use; what it would have been for says so.
    return []
  }
}

/** Reads the directories, one for each Secret. A Secret that is not there is an empty directory. */
export async function readRegistrySecrets(
  directory: string,
  basicAuth: readonly BasicAuth[],
): Promise<RegistrySecret[]> {
  const names = await readdir(directory).catch(() => [])
  return Promise.all(
    names.map(async (name) => {
      const read = (file: string): Promise<string | undefined> => readOptional(join(directory, name, file))
      return {
        name,
        dockerConfigJson: await read('.dockerconfigjson'),
        dockerCfg: await read('.dockercfg'),
        username: await read('username'),
        password: await read('password'),
        servers: basicAuth.find(({ secret }) => secret === name)?.servers ?? [],
      }
    }),
  )
}

/**
 * A sentence about Secrets with user and password of which nobody could tell which registries they are for: that stands
 * in their annotations, and the controller may read those only where it was given the right. Undefined: there are none.
 */
export function unreadNote(secrets: readonly RegistrySecret[], unread: Work['unread']): string | undefined {
  const names = secrets
    .filter(
      ({ name, username, password }) =>
        username !== undefined && password !== undefined && unread?.secrets.includes(name),
    )
    .map(({ name }) => name)
  if (unread === undefined || names.length === 0) return undefined
  const shown = `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}`
  return (
    `not used for registries: Secret ${shown} (user and password): the controller may not read its annotations ` +
    `build.knative.dev/docker-N, which name the registries. Allow it: ${unread.fix}`
  )
}
