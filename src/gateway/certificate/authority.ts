import { createPrivateKey, X509Certificate } from 'node:crypto'
import { caSecret, configMaps, tlsSecret } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { isAlreadyExists, isConflict } from '../../kernel/k8s/failure.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { Logger } from '../../kernel/log.ts'
import { type Authority, createAuthority } from '../../kernel/tls/ca.ts'
import { checkForeign, foreignBundle } from './foreign.ts'
import { type AuthorityState, bundle, planAuthority } from './plan.ts'

/** The cluster's CA, as this gateway last saw it. */
export interface ClusterAuthority {
  readonly signing: Authority
  /** All certificates that are to be trusted, PEM. */
  readonly bundle: string
}

export interface AuthorityOptions {
  readonly client: KubernetesClient
  readonly namespace: string
  readonly log?: Logger | undefined
  readonly now?: () => Date
}

interface SecretObject extends KubernetesObject {
  /** base64. */
  readonly data?: Readonly<Record<string, string>>
  readonly type?: string
}

interface ConfigMapObject extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>
}

const keys = { cert: 'tls.crt', key: 'tls.key', nextCert: 'next.crt', nextKey: 'next.key', previous: 'previous.crt' }

/**
 * Reads the cluster's CA from its Secret, makes or rotates it where needed, and publishes the public half in a
 * ConfigMap. Several gateways may do this at once: the API server lets one of them win, the others read again.
 * @throws InsituError CA_DAMAGED when the Secret holds something else; KubernetesError for a refusal.
 */
export async function ensureAuthority(options: AuthorityOptions): Promise<ClusterAuthority> {
  const now = (options.now ?? (() => new Date()))()
  // Each round is lost only to another gateway's success, so a few of them always end.
  for (let round = 0; round < 10; round++) {
    const secret = await options.client.find<SecretObject>(resources.secrets, ref(options, caSecret))
    const found = read(secret)
    if (found && secret?.type === tlsSecret) {
      checkForeign(found.signing, caSecret, now)
      return await publish(options, found.signing, (before) => foreignBundle(found.signing, before, now))
    }
    if (secret?.type === tlsSecret) {
      throw new InsituError(
        'CA_MISSING',
        `Secret ${options.namespace}/${caSecret} is empty: nobody has filled it yet`,
        {
          status: 'UNAVAILABLE',
        },
      )
    }
    const plan = planAuthority(found, now)
    const own = (state: AuthorityState) => publish(options, state.signing, () => bundle(state))
    if (plan.action === 'keep') return await own(plan.state)
    const state: AuthorityState =
      plan.action === 'write'
        ? plan.state
        : plan.action === 'create'
          ? { signing: await createAuthority({ now }) }
          : { ...plan.state, next: await createAuthority({ now }) }
    if (await write(options, secret, state)) {
      options.log?.info({ action: plan.action }, 'the CA of this cluster was written')
      return await own(state)
    }
  }
  throw new InsituError('CA_CONTENDED', `Secret ${options.namespace}/${caSecret} changes all the time`, {
    status: 'UNAVAILABLE',
  })
}

const ref = ({ namespace }: AuthorityOptions, name: string): { namespace: string; name: string } => ({
  namespace,
  name,
})

/** @returns false when somebody else was faster. */
async function write(
  options: AuthorityOptions,
  old: SecretObject | undefined,
  state: AuthorityState,
): Promise<boolean> {
  const text: Record<string, string | undefined> = {
    [keys.cert]: state.signing.cert,
    [keys.key]: state.signing.key,
    [keys.nextCert]: state.next?.cert,
    [keys.nextKey]: state.next?.key,
    [keys.previous]: state.previous,
  }
  const data = Object.fromEntries(
    Object.entries(text).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, Buffer.from(value).toString('base64')]],
    ),
  )
  try {
    if (old === undefined) {
      const body = { apiVersion: 'v1', kind: 'Secret', metadata: { name: caSecret }, type: 'Opaque', data }
      await options.client.create(resources.secrets, { namespace: options.namespace }, body)
    } else {
      // The resource version of what we read goes along: the server refuses if it has changed since.
      await options.client.replace<SecretObject>(resources.secrets, ref(options, caSecret), { ...old, data })
    }
    return true
  } catch (error) {
    if (isConflict(error) || isAlreadyExists(error)) return false
    throw error
  }
}

/** Writes the bundle where agents and clients read it, if it is not there yet. */
async function publish(
  options: AuthorityOptions,
  signing: Authority,
  bundleOf: (published: string | undefined) => string,
): Promise<ClusterAuthority> {
  const { client, namespace } = options
  const existing = await client.find<ConfigMapObject>(resources.configMaps, ref(options, configMaps.ca))
  const text = bundleOf(existing?.data?.['ca.crt'])
  if (existing === undefined) {
    const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: configMaps.ca }, data: { 'ca.crt': text } }
    await client.create(resources.configMaps, { namespace }, body).catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error
    })
  } else if (existing.data?.['ca.crt'] !== text) {
    await client.patch(resources.configMaps, ref(options, configMaps.ca), { data: { 'ca.crt': text } })
  }
  return { signing, bundle: text }
}

function read(secret: SecretObject | undefined): AuthorityState | undefined {
  const text = (key: string): string | undefined => {
    const value = secret?.data?.[key]
    return value === undefined || value === '' ? undefined : Buffer.from(value, 'base64').toString('utf8')
  }
  const authority = (certKey: string, keyKey: string): Authority | undefined => {
    const [cert, key] = [text(certKey), text(keyKey)]
    if (cert === undefined && key === undefined) return undefined
    try {
      if (cert && key && new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) return { cert, key }
    } catch {
      // Said below.
    }
    throw new InsituError(
      'CA_DAMAGED',
      `Secret ${caSecret}: ${certKey} and ${keyKey} are not a certificate and its key`,
      {
        status: 'FAILED_PRECONDITION',
        fix: `Empty it, and a new CA is made: kubectl -n ${secret?.metadata?.namespace ?? ''} patch secret ${caSecret} --type=json -p '[{"op":"remove","path":"/data"}]'`,
      },
    )
  }
  const signing = authority(keys.cert, keys.key)
  if (!signing) return undefined
  const next = authority(keys.nextCert, keys.nextKey)
  const previous = text(keys.previous)
  return { signing, ...(next ? { next } : {}), ...(previous === undefined ? {} : { previous }) }
}
