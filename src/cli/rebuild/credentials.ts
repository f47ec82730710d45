import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Env } from '../../kernel/config/env.ts'
import { readOptional } from '../../kernel/fs/read-optional.ts'

export interface Credentials {
  /** The header for a registry, by its host or host:port; undefined when there are none. */
  basic(domain: string): string | undefined
}

/**
 * User and password for registries from docker's config.json, where `docker login` without a helper and a mounted
 * Secret of type kubernetes.io/dockerconfigjson put them: `$DOCKER_CONFIG/config.json` or `.dockerconfigjson`, else
 * `~/.docker/config.json`. A file that is broken holds none.
 */
export async function readCredentials(env: Env): Promise<Credentials> {
  const directory = env['DOCKER_CONFIG'] ?? join(env['HOME'] ?? homedir(), '.docker')
  const files = await Promise.all(
    ['config.json', '.dockerconfigjson'].map((name) => readOptional(join(directory, name))),
  )
  return credentialsIn(files.flatMap((text) => text ?? []))
}

export function credentialsIn(files: readonly string[]): Credentials {
  const known = new Map<string, string>()
  for (const [server, auth] of files.flatMap(authsOf)) {
    const key = hostOf(server)
    if (!known.has(key)) known.set(key, auth)
  }
  return { basic: (domain) => known.get(domain) }
}

function authsOf(text: string): [string, string][] {
  try {
    const { auths = {} } = JSON.parse(text) as { readonly auths?: Readonly<Record<string, Auth | null>> }
    return Object.entries(auths).flatMap(([server, auth]): [string, string][] => {
      const { auth: encoded, username, password } = auth ?? {}
      if (encoded) return [[server, `Basic ${encoded}`]]
      if (!username || password === undefined) return []
      return [[server, `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`]]
    })
  } catch {
    return []
  }
}

interface Auth {
  readonly auth?: string
  readonly username?: string
  readonly password?: string
}

/** The Docker Hub has a key of its own: https://index.docker.io/v1/. */
function hostOf(server: string): string {
  const host = server.replace(/^[a-z]+:\/\//, '').split('/')[0] ?? server
  return ['index.docker.io', 'registry-1.docker.io'].includes(host) ? 'docker.io' : host
}
