import type { IncomingMessage } from 'node:http'
import { InsituError } from '../errors.ts'
import type { CallOptions } from './call-options.ts'
import { createDiscovery } from './discovery.ts'
import type { Endpoint, EndpointOptions } from './endpoint.ts'
import { isNotFound, type Attempt } from './failure.ts'
import { loadEndpoint } from './load-endpoint.ts'
import type { KubernetesObject, ObjectList } from './objects.ts'
import { describeRef, resourcePath, resources, type ObjectRef, type Resource } from './resources.ts'
import { createTransport } from './transport.ts'

export type { CallOptions } from './call-options.ts'

export interface ListOptions extends CallOptions {
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
  /** Objects per page. Default 500, as kubectl. */
  readonly limit?: number | undefined
}

export interface PatchOptions extends CallOptions {
  /** `merge`: RFC 7386. `json`: RFC 6902. `strategic`: Kubernetes' own for built-in kinds. Default merge. */
  readonly type?: 'merge' | 'json' | 'strategic'
}

export interface ApplyOptions extends CallOptions {
  /** Who owns the fields. Default `insitu`. */
  readonly fieldManager?: string
  /** Take over fields that another manager owns. Default true. */
  readonly force?: boolean
}

export interface DeleteOptions extends CallOptions {
  readonly propagation?: 'Foreground' | 'Background' | 'Orphan'
  /** Seconds for a pod to end; 0 removes the object at once. */
  readonly gracePeriodSeconds?: number
  /** Only the object with this UID, not one that came under its name since: a conflict otherwise. */
  readonly uid?: string | undefined
  /** An object that is not there is no error. Default true. */
  readonly ignoreMissing?: boolean
}

/** What the API server said about a bearer token. */
export interface TokenReview {
  readonly authenticated: boolean
  readonly username: string
  readonly groups: readonly string[]
  /** `authentication.kubernetes.io/pod-name`, `…/node-name`, … : what the token is bound to. */
  readonly extra: Readonly<Record<string, readonly string[]>>
  readonly error: string | undefined
}

export interface AccessQuery {
  readonly verb: string
  readonly resource: Resource
  readonly namespace?: string
  readonly name?: string
  readonly subresource?: string
  /** Whose right; absent: our own. */
  readonly user?: string
  readonly groups?: readonly string[]
}

/**
 * The Kubernetes API as far as insitu uses it. All objects are plain JSON; `T` says which part of them the caller
 * reads. Every method throws KubernetesError (an InsituError) that names verb, object and fix; see failure.ts for
 * `isNotFound`, `isConflict` and so on.
 */
export interface KubernetesClient {
  /** What was chosen, for what is no call, as a WebSocket: it must not look for a cluster again. */
  readonly endpoint: Endpoint
  readonly server: string
  /** Namespace of the context, or of our own pod. */
  readonly namespace: string
  /** `{ gitVersion: 'v1.35.4', … }` */
  version(options?: CallOptions): Promise<{ readonly gitVersion: string }>
  get<T extends KubernetesObject>(resource: Resource, ref: ObjectRef, options?: CallOptions): Promise<T>
  /** As `get`, but undefined for an object that is not there. */
  find<T extends KubernetesObject>(resource: Resource, ref: ObjectRef, options?: CallOptions): Promise<T | undefined>
  /** All objects, page by page, so that no answer gets large. */
  list<T extends KubernetesObject>(resource: Resource, options?: ListOptions): Promise<T[]>
  /**
   * One page. `continue` from the page before; a page may fail with `isExpired` when it comes too late.
   * @param onItem gets the items one by one while they arrive, also those of a page that fails then; the list has none.
   */
  page<T extends KubernetesObject>(
    resource: Resource,
    options: ListOptions & { readonly continue?: string | undefined },
    onItem?: (item: T) => void,
  ): Promise<ObjectList<T>>
  create<T extends KubernetesObject>(
    resource: Resource,
    ref: { readonly namespace?: string | undefined; readonly name?: string; readonly subresource?: string },
    body: object,
    options?: CallOptions,
  ): Promise<T>
  replace<T extends KubernetesObject>(resource: Resource, ref: ObjectRef, body: T, options?: CallOptions): Promise<T>
  patch<T extends KubernetesObject>(
    resource: Resource,
    ref: ObjectRef,
    body: unknown,
    options?: PatchOptions,
  ): Promise<T>
  /** Server-side apply of any object, custom resources too: its kind is looked up in the server's discovery. */
  apply<T extends KubernetesObject>(object: KubernetesObject, options?: ApplyOptions): Promise<T>
  delete(resource: Resource, ref: ObjectRef, options?: DeleteOptions): Promise<void>
  /** The resource of a kind by discovery. @throws InsituError K8S_UNKNOWN_KIND */
  resource(apiVersion: string, kind: string, options?: CallOptions): Promise<Resource>
  reviewToken(token: string, audiences: readonly string[], options?: CallOptions): Promise<TokenReview>
  /** RBAC and other authorizers asked: may this user (or we) do that? */
  allowed(query: AccessQuery, options?: CallOptions): Promise<boolean>
  /** A raw watch: one JSON event per line. For `watchResource` in watch.ts, which is what roles use. */
  openWatch(
    resource: Resource,
    namespace: string | undefined,
    query: Readonly<Record<string, string>>,
    options: { readonly signal: AbortSignal; readonly timeout?: number },
  ): Promise<IncomingMessage>
  /** What a container says, as it comes; with `follow` until it ends. @throws KubernetesError while it has not started */
  openLog(pod: ObjectRef, options: LogOptions): Promise<IncomingMessage>
  close(): void
}

export interface LogOptions {
  readonly container: string
  readonly follow: boolean
  /** Lines from the end; without it all. */
  readonly tail?: number | undefined
  /** Each line begins with its time (RFC 3339). */
  readonly timestamps?: boolean | undefined
  readonly signal?: AbortSignal | undefined
}

export interface ClientOptions extends EndpointOptions {
  /** Instead of looking for one. */
  readonly endpoint?: Endpoint
  readonly userAgent?: string
}

const contentTypes = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  strategic: 'application/strategic-merge-patch+json',
} as const

/** Connects nothing yet: the first call does. @throws InsituError NO_CLUSTER, KUBECONFIG_BROKEN */
export async function createKubernetesClient(options: ClientOptions = {}): Promise<KubernetesClient> {
  const endpoint = options.endpoint ?? (await loadEndpoint(options))
  const transport = createTransport(endpoint, options.userAgent ?? 'insitu')
  const attempt = (verb: string, resource: Resource, ref: ObjectRef = {}): Attempt => ({
    verb,
    what: describeRef(resource, ref),
    server: endpoint.server,
  })
  const call = (options: CallOptions | undefined): { signal: AbortSignal | undefined; timeout: number } => ({
    signal: options?.signal,
    timeout: options?.timeout ?? 30_000,
  })
  const url = (path: string, query: Readonly<Record<string, string | undefined>>): string => {
    const search = new URLSearchParams()
    for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, value)
    return search.size === 0 ? path : `${path}?${search.toString()}`
  }
  const dry = (options: CallOptions | undefined): string | undefined => (options?.dryRun ? 'All' : undefined)
  const raw = (path: string, options?: CallOptions): Promise<unknown> =>
    transport.json({
      method: 'GET',
      path,
      ...call(options),
      attempt: { verb: 'get', what: path, server: endpoint.server },
    })
  const discovery = createDiscovery(raw)

  const client: KubernetesClient = {
    endpoint,
    server: endpoint.server,
    namespace: endpoint.namespace,
    version: async (options) => (await raw('/version', options)) as { gitVersion: string },
    async get<T>(resource: Resource, ref: ObjectRef, options?: CallOptions) {
      const path = resourcePath(resource, ref)
      return (await transport.json({
        method: 'GET',
        path,
        ...call(options),
        attempt: attempt('get', resource, ref),
      })) as T
    },
    async find<T extends KubernetesObject>(resource: Resource, ref: ObjectRef, options?: CallOptions) {
      try {
        return await client.get<T>(resource, ref, options)
      } catch (error) {
        if (isNotFound(error)) return undefined
        throw error
      }
    },
    async list<T extends KubernetesObject>(resource: Resource, options: ListOptions = {}) {
      const items: T[] = []
      let token: string | undefined
      do {
        const page: ObjectList<T> = await client.page<T>(resource, { ...options, continue: token })
        items.push(...page.items)
        token = page.metadata?.continue || undefined
      } while (token !== undefined)
      return items
    },
    async page<T>(
      resource: Resource,
      options: ListOptions & { readonly continue?: string | undefined },
      onItem?: (item: T) => void,
    ) {
      const ref = { namespace: options.namespace }
      const path = url(resourcePath(resource, ref), {
        limit: String(options.limit ?? 500),
        continue: options.continue,
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
      })
      return (await transport.json({
        method: 'GET',
        path,
        ...call(options),
        attempt: attempt('list', resource, ref),
        onItem: onItem as ((item: unknown) => void) | undefined,
      })) as ObjectList<T>
    },
    async create<T>(resource: Resource, ref: ObjectRef, body: object, options?: CallOptions) {
      const path = url(resourcePath(resource, ref), { dryRun: dry(options), fieldManager: 'insitu' })
      const meta = (body as KubernetesObject).metadata
      const what = { ...ref, name: ref.name ?? meta?.name }
      return (await transport.json({
        method: 'POST',
        path,
        body,
        ...call(options),
        attempt: attempt('create', resource, what),
      })) as T
    },
    async replace<T>(resource: Resource, ref: ObjectRef, body: T, options?: CallOptions) {
      const path = url(resourcePath(resource, ref), { dryRun: dry(options), fieldManager: 'insitu' })
      return (await transport.json({
        method: 'PUT',
        path,
        body,
        ...call(options),
        attempt: attempt('update', resource, ref),
      })) as T
    },
    async patch<T>(resource: Resource, ref: ObjectRef, body: unknown, options?: PatchOptions) {
      const path = url(resourcePath(resource, ref), { dryRun: dry(options), fieldManager: 'insitu' })
      return (await transport.json({
        method: 'PATCH',
        path,
        body,
        contentType: contentTypes[options?.type ?? 'merge'],
        ...call(options),
        attempt: attempt('patch', resource, ref),
      })) as T
    },
    async apply<T>(object: KubernetesObject, options: ApplyOptions = {}) {
      const { apiVersion, kind, metadata } = object
      if (!apiVersion || !kind || !metadata?.name) {
        throw new InsituError('K8S_INVALID', 'an object without apiVersion, kind or metadata.name cannot be applied')
      }
      const resource = await client.resource(apiVersion, kind, options)
      const namespace = resource.namespaced ? (metadata.namespace ?? endpoint.namespace) : undefined
      const ref = { namespace, name: metadata.name }
      return (await transport.json({
        method: 'PATCH',
        path: url(resourcePath(resource, ref), {
          dryRun: dry(options),
          fieldManager: options.fieldManager ?? 'insitu',
          force: String(options.force ?? true),
        }),
        // JSON is YAML, and the server takes apply patches only under this name.
        contentType: 'application/apply-patch+yaml',
        body: object,
        ...call(options),
        attempt: attempt('patch', resource, ref),
      })) as T
    },
    async delete(resource, ref, options = {}) {
      try {
        await transport.json({
          method: 'DELETE',
          path: url(resourcePath(resource, ref), { dryRun: dry(options) }),
          body: {
            kind: 'DeleteOptions',
            apiVersion: 'v1',
            propagationPolicy: options.propagation ?? 'Background',
            ...(options.gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds: options.gracePeriodSeconds }),
            ...(options.uid === undefined ? {} : { preconditions: { uid: options.uid } }),
          },
          ...call(options),
          attempt: attempt('delete', resource, ref),
        })
      } catch (error) {
        if (!(isNotFound(error) && (options.ignoreMissing ?? true))) throw error
      }
    },
    resource: discovery,
    async reviewToken(token, audiences, options) {
      const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences } }
      const review = await client.create<RawTokenReview>(resources.tokenReviews, {}, body, options)
      const { status } = review
      return {
        authenticated: status?.authenticated === true,
        username: status?.user?.username ?? '',
        groups: status?.user?.groups ?? [],
        extra: status?.user?.extra ?? {},
        error: status?.error,
      }
    },
    async allowed(query, options) {
      const resourceAttributes = {
        verb: query.verb,
        group: query.resource.group,
        resource: query.resource.plural,
        subresource: query.subresource,
        namespace: query.namespace,
        name: query.name,
      }
      const own = query.user === undefined
      const kind = own ? 'SelfSubjectAccessReview' : 'SubjectAccessReview'
      const spec = own ? { resourceAttributes } : { resourceAttributes, user: query.user, groups: query.groups }
      const resource = own ? resources.selfSubjectAccessReviews : resources.subjectAccessReviews
      const body = { apiVersion: 'authorization.k8s.io/v1', kind, spec }
      const review = await client.create<KubernetesObject & { status?: { allowed?: boolean } }>(
        resource,
        {},
        body,
        options,
      )
      return review.status?.allowed === true
    },
    openWatch: (resource, namespace, query, options) =>
      transport.stream({
        method: 'GET',
        path: url(resourcePath(resource, { namespace }), { ...query, watch: 'true' }),
        signal: options.signal,
        timeout: options.timeout ?? 30_000,
        attempt: attempt('watch', resource, { namespace }),
      }),
    openLog: (pod, { container, follow, tail, timestamps, signal }) => {
      const ref = { ...pod, subresource: 'log' }
      return transport.stream({
        method: 'GET',
        path: url(resourcePath(resources.pods, ref), {
          ...{ container, follow: String(follow) },
          ...(tail === undefined ? {} : { tailLines: String(tail) }),
          ...(timestamps === true ? { timestamps: 'true' } : {}),
        }),
        accept: '*/*',
        signal,
        timeout: 30_000,
        attempt: attempt('read', resources.pods, ref),
      })
    },
    close: () => transport.close(),
  }
  return client
}

interface RawTokenReview extends KubernetesObject {
  readonly status?: {
    readonly authenticated?: boolean
    readonly error?: string
    readonly user?: { username?: string; groups?: string[]; extra?: Record<string, string[]> }
  }
}
