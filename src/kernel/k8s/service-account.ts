import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Env } from '../config/env.ts'
import type { Endpoint } from './endpoint.ts'

const defaultDirectory = '/var/run/secrets/kubernetes.io/serviceaccount'

/**
 * The API server as a pod sees it, or undefined outside of a pod. Token and CA are read again after at most a
 * minute, because the kubelet replaces both while the pod runs.
 */
export function serviceAccountEndpoint(env: Env, directory = defaultDirectory): Endpoint | undefined {
  const host = env['KUBERNETES_SERVICE_HOST']
  const port = env['KUBERNETES_SERVICE_PORT'] ?? '443'
  const namespace = readOptional(join(directory, 'namespace'))
  if (!host || readOptional(join(directory, 'token')) === undefined) return undefined
  let cached: { token: string; ca: string; until: number } | undefined
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    namespace: namespace ?? 'default',
    async credentials() {
      if (!cached || cached.until < Date.now()) {
        const token = (await readFile(join(directory, 'token'), 'utf8')).trim()
        const ca = await readFile(join(directory, 'ca.crt'), 'utf8')
        cached = { token, ca, until: Date.now() + 60_000 }
      }
      return { ca: cached.ca, headers: { authorization: `Bearer ${cached.token}` } }
    },
  }
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}
