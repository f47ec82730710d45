import { apiVersion, type Build, buildResources } from '../../../src/api/builds/builds.ts'
import { configMaps, serviceAccounts } from '../../../src/api/names.ts'
import { type Controller, createController } from '../../../src/controller/controller.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { resources } from '../../../src/kernel/k8s/resources.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import { createCluster } from '../fixtures/cluster.ts'
import { until } from '../fixtures/until.ts'
import { namespace as ours, startInstalled } from '../install/installed.ts'

export interface ControllerSeams {
  readonly client?: KubernetesClient
  readonly identity?: string
  readonly limits?: { readonly perNamespace: number; readonly perNode: number }
  readonly now?: () => Date
  /** Milliseconds. Shorter ones are lost by a machine that is busy: the leader has two thirds of it to renew. */
  readonly leaseDuration?: number
}

/** An API server with an installation, a build node, and controllers with the rights that the installation gives them. */
export async function startBuilds() {
  const installed = await startInstalled()
  const { admin } = installed
  const cluster = createCluster(admin)
  await admin.patch(resources.configMaps, { namespace: ours, name: configMaps.ca }, { data: { 'ca.crt': 'CA' } })
  await admin.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'default' } })
  await cluster.agent('node-1')
  const identity = await installed.pod('controller-1', serviceAccounts.controller, 'node-1')
  const { builds } = buildResources
  const template = { source: { dockerfile: 'FROM scratch' } }
  await policiesHold(admin, template)

  return {
    installed,
    admin,
    cluster,
    client: () => identity.client(),
    async controller(seams: ControllerSeams = {}): Promise<Controller> {
      return createController({
        client: seams.client ?? (await identity.client()),
        ...{ namespace: ours, image: 'insitu:test', identity: seams.identity ?? 'one' },
        limits: seams.limits ?? { perNamespace: 20, perNode: 20 },
        logger: createLogger({ level: 'silent' }),
        leaseDuration: seams.leaseDuration ?? 3000,
        ...(seams.now ? { now: seams.now } : {}),
      })
    },
    async namespace(name: string): Promise<void> {
      await cluster.namespace(name)
      await admin.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: name } })
    },
    make: (name: string, spec: object = template, namespace = 'default') =>
      admin.create<Build>(builds, { namespace }, object(name, spec)),
    get: (name: string, namespace = 'default') => admin.get<Build>(builds, { namespace, name }),
    /** Waits until a Build is as told. */
    seen: (name: string, what: string, holds: (build: Build) => boolean, namespace = 'default') =>
      until(`${name} ${what}`, async () => {
        const build = await admin.find<Build>(builds, { namespace, name })
        return build !== undefined && holds(build) ? build : undefined
      }),
    async stop(): Promise<void> {
      admin.close()
      await installed.server.close()
    },
  }
}

/**
 * Waits until Builds are taken and refused as they are to be. Admission policies are watched, and so are the templates
 * that they look into: a policy that holds and has not seen them yet refuses every Build.
 */
async function policiesHold(admin: KubernetesClient, template: object): Promise<void> {
  const { builds, buildTemplates, clusterBuildTemplates } = buildResources
  const spec = { ...template, parameters: [{ name: 'NEEDED' }] }
  const probe = { apiVersion, metadata: { name: 'probe' }, spec }
  const said = (body: object): Promise<string> =>
    admin.create(builds, { namespace: 'default' }, object('probe', body), { dryRun: true }).then(
      () => 'taken',
      (error: unknown) => String(error),
    )
  const kinds = ['BuildTemplate', 'ClusterBuildTemplate'] as const
  const served = (object: KubernetesObject): Promise<unknown> =>
    until(`${object.kind} is served`, () =>
      admin.apply(object).then(
        () => true,
        () => false,
      ),
    )
  await served({ ...probe, kind: kinds[0], metadata: { name: 'probe', namespace: 'default' } })
  await served({ ...probe, kind: kinds[1] })
  await until('the policies to see templates, and Builds to be taken', async () => {
    const refusals = await Promise.all(kinds.map((kind) => said({ template: { kind, name: 'probe' } })))
    return refusals.every((text) => text.includes('NEEDED')) && (await said(template)) === 'taken'
  })
  await admin.delete(buildTemplates, { namespace: 'default', name: 'probe' })
  await admin.delete(clusterBuildTemplates, { name: 'probe' })
}

const object = (name: string, spec: object): object => ({ apiVersion, kind: 'Build', metadata: { name }, spec })

export type Builds = Awaited<ReturnType<typeof startBuilds>>
