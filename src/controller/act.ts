import { createHash } from 'node:crypto'
import { apiVersion, type Build, buildResources, type BuildStatus } from '../api/builds/builds.ts'
import { reasons } from '../api/builds/status.ts'
import { buildUidLabel, workspaceFinalizer } from '../api/builds/work.ts'
import { gatewayServerNames } from '../api/certificate.ts'
import { ports, serviceName } from '../api/names.ts'
import { describeError, InsituError } from '../kernel/errors.ts'
import type { KubernetesClient } from '../kernel/k8s/client.ts'
import { isAlreadyExists, isConflict, isNotFound, KubernetesError } from '../kernel/k8s/failure.ts'
import { resources } from '../kernel/k8s/resources.ts'
import type { Logger } from '../kernel/log.ts'
import type { Action, BuildEvent } from './build/actions.ts'
import { gather, grantSecrets, podTemplateOf } from './build/gather.ts'
import { cleanJob } from './build/clean-job.ts'
import { buildJob } from './build/job.ts'
import { invalid, withoutCa, withoutPod } from './build/refused.ts'
import { sameStatus, timeText } from './build/status.ts'
import { createPodRefusals } from './pod-refusals.ts'

export interface ActorOptions {
  readonly client: KubernetesClient
  /** Where insitu lives. */
  readonly namespace: string
  /** The image of the pods: our own. */
  readonly image: string
  readonly logger: Logger
  readonly now: () => Date
  /** Builds that may run on one node at once. */
  readonly perNode: number
}

const { builds } = buildResources

/** Does what was planned. What somebody else did first, or changed in between, is no error: the next look sees it. */
export function createActor(options: ActorOptions): (action: Action) => Promise<void> {
  const { client, logger, now } = options
  const refusalsOf = createPodRefusals(client, () => now().getTime())

  async function writeStatus(build: Build, status: BuildStatus, event: BuildEvent | undefined): Promise<void> {
    const { namespace, name } = build.metadata ?? {}
    // The resource version goes along: who decided on an old picture is refused.
    await client.replace(
      builds,
      { namespace, name, subresource: 'status' },
      { ...build, apiVersion, kind: 'Build', status },
    )
    logger.info(
      { build: `${namespace}/${name}`, phase: status.phase, attempt: status.attempt },
      event?.message ?? 'status',
    )
    if (event) await writeEvent(client, build, event, now()).catch(() => undefined)
  }

  async function createJob(action: Action & { readonly kind: 'createJob' }): Promise<void> {
    const { build, recipe, attempt, deadline } = action
    const { namespace = '', name = '', uid = '' } = build.metadata ?? {}
    const { ca, basicAuth, registrySecrets, podTemplate, unread } = await gather(
      ...([client, build, recipe, options.namespace] as const),
    )
    const [, , serverName = ''] = gatewayServerNames(options.namespace)
    const job = buildJob(build, {
      ...{ recipe, attempt, deadline, image: options.image, registrySecrets, podTemplate },
      work: {
        ...{ build: { namespace, name, uid }, recipe: slim(recipe), ca, basicAuth, perNode: options.perNode },
        ...(unread.length === 0
          ? {}
          : { unread: { secrets: unread, fix: grantSecrets(namespace, options.namespace) } }),
        gateway: { host: `${serviceName}.${options.namespace}.svc`, port: ports.clients, serverName },
      },
    })
    await client.create(resources.jobs, { namespace }, job)
    logger.info({ build: `${namespace}/${name}`, attempt }, 'Job made')
  }

  async function createCleanJob({ build, recipe }: Action & { readonly kind: 'createCleanJob' }): Promise<void> {
    const { namespace } = build.metadata ?? {}
    const podTemplate = await podTemplateOf(client, namespace, recipe).catch((error: unknown) => {
      // Its ConfigMap went before it: it is cleaned with what is usual.
      if (isInvalid(error)) return undefined
      throw error
    })
    const { serviceAccountName: name, ...withDefault } = recipe
    // An account that went before it could have no pod: what it wrote is removed all the same.
    const account = name && (await client.find(resources.serviceAccounts, { namespace, name }))
    const job = cleanJob(build, { recipe: account ? recipe : withDefault, image: options.image, podTemplate })
    await client.create(resources.jobs, { namespace }, job)
  }

  async function explainNoPod({ build, job, status }: Action & { readonly kind: 'explainNoPod' }): Promise<void> {
    const refusals = await refusalsOf(build, job)
    if (refusals === undefined) return
    const said = withoutPod({ ...build, status }, { job, refusals }, now())
    if (!sameStatus(build.status, said)) await writeStatus(build, said, undefined)
  }

  async function act(action: Action): Promise<void> {
    const { build } = action
    const { namespace, name, uid, resourceVersion, finalizers = [] } = build.metadata ?? {}
    switch (action.kind) {
      case 'status':
        return writeStatus(build, action.status, action.event)
      case 'finalizer': {
        const others = finalizers.filter((one) => one !== workspaceFinalizer)
        const wanted = action.present ? [...others, workspaceFinalizer] : others
        await client.patch(builds, { namespace, name }, { metadata: { resourceVersion, finalizers: wanted } })
        if (action.event) await writeEvent(client, build, action.event, now()).catch(() => undefined)
        return
      }
      case 'createJob':
        return createJob(action)
      case 'createCleanJob':
        return createCleanJob(action)
      case 'explainNoPod':
        return explainNoPod(action)
      case 'unlessJob': {
        const which = { labelSelector: `${buildUidLabel}=${uid}`, fieldSelector: `metadata.name=${action.job}` }
        if ((await client.list(resources.jobs, { namespace, ...which })).length > 0) return
        for (const next of action.otherwise) await act(next)
        return
      }
      case 'deleteJob':
        return client.delete(resources.jobs, { namespace, name: action.name })
      case 'deletePod':
        logger.info({ build: `${namespace}/${name}`, pod: action.name }, 'its node is lost: the pod is given up')
        return client.delete(
          resources.pods,
          { namespace, name: action.name },
          { uid: action.uid, gracePeriodSeconds: 0 },
        )
      case 'createBuild':
        await client.create(builds, { namespace }, action.made)
        logger.info({ build: `${namespace}/${name}`, made: action.made.metadata?.name }, 'a pull begins a build')
        return
      case 'forget': {
        const gone = Object.fromEntries(action.annotations.map((key) => [key, null]))
        await client.patch(builds, { namespace, name }, { metadata: { annotations: gone } })
        return
      }
      case 'deleteBuild':
        logger.info({ build: `${namespace}/${name}`, uid }, `deleted: ${action.why}`)
        return client.delete(builds, { namespace, name }, { uid })
    }
  }

  /** Nothing is left that could be cleaned, and nobody shall wait for it. */
  const letGo = (build: Build): Promise<void> =>
    act({ kind: 'finalizer', build, present: false }).catch(() => undefined)

  return async (action) => {
    try {
      await act(action)
    } catch (error) {
      if (isConflict(error) || isAlreadyExists(error) || isNotFound(error)) return
      const { build } = action
      const where = `${build.metadata?.namespace}/${build.metadata?.name}`
      if (namespaceEnds(error)) {
        // Nothing can be made there any more; what holds the namespace back is let go.
        if (action.kind === 'createCleanJob') await letGo(build)
        return
      }
      if (isInvalid(error) && action.kind === 'createJob') {
        return writeStatus(build, invalid(build, error.message, now()), {
          ...{ type: 'Warning', reason: reasons.invalid, message: error.message },
        }).catch(() => undefined)
      }
      if (isInvalid(error) && action.kind === 'createCleanJob') {
        const message = `its directory stays on the claim: ${error.message}`
        await writeEvent(client, build, { type: 'Warning', reason: 'NotCleaned', message }, now()).catch(
          () => undefined,
        )
        return letGo(build)
      }
      logger.warn({ build: where, action: action.kind }, describeError(error))
      if (error instanceof InsituError && error.code === 'CA_MISSING') {
        const { status, event } = withoutCa(build, error, now())
        if (!sameStatus(build.status, status)) await writeStatus(build, status, event).catch(() => undefined)
      }
      if (isInvalid(error) || (error instanceof KubernetesError && error.httpStatus === 403)) {
        // A quota or an admission rule, or a Build of a pull that would be none: said on the object, tried again.
        const message = `${action.kind}: ${error.message}`
        await writeEvent(client, build, { type: 'Warning', reason: 'Refused', message }, now()).catch(() => undefined)
        if (action.kind === 'createCleanJob' && waitedLong(build, now())) await letGo(build)
      }
    }
  }
}

/** Neither waiting nor another look makes it right: the author has to. */
const isInvalid = (error: unknown): error is InsituError =>
  error instanceof InsituError && (error.code === 'INVALID_SPEC' || error.code === 'K8S_INVALID')

/** A quota that is full must not keep somebody from deleting: after ten minutes the directory stays and the Build goes. */
const waitedLong = ({ metadata }: Build, now: Date): boolean =>
  metadata?.deletionTimestamp !== undefined && now.getTime() - Date.parse(metadata.deletionTimestamp) > 600_000

const namespaceEnds = (error: unknown): boolean =>
  error instanceof KubernetesError && error.httpStatus === 403 && error.message.includes('being terminated')

/** What the pod needs of a recipe: its template and steps are the Job's. */
const slim = <T extends object>(recipe: T): T => {
  const { podTemplate: _, steps: _steps, ...rest } = recipe as T & { podTemplate?: unknown; steps?: unknown }
  return rest as T
}

/** Named after what it says: the same event twice is refused, whoever says it. */
async function writeEvent(client: KubernetesClient, build: Build, event: BuildEvent, now: Date): Promise<void> {
  const { namespace, name = '', uid, resourceVersion } = build.metadata ?? {}
  const key = createHash('sha256')
    .update(JSON.stringify([uid, build.status?.attempt, event]))
    .digest('hex')
  const time = timeText(now)
  await client.create(
    resources.events,
    { namespace },
    {
      ...{
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name: `${name.slice(0, 200)}.${key.slice(0, 16)}`, namespace },
      },
      involvedObject: { apiVersion, kind: 'Build', namespace, name, uid, resourceVersion },
      ...{ type: event.type, reason: event.reason, message: event.message.slice(0, 1000) },
      ...{ source: { component: 'insitu-controller' }, firstTimestamp: time, lastTimestamp: time, count: 1 },
    },
  )
}
