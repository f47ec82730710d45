import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { apiVersion, type Build, buildResources } from '../../../src/api/builds/builds.ts'
import type { KubernetesClient } from '../../../src/kernel/k8s/client.ts'
import { KubernetesError } from '../../../src/kernel/k8s/failure.ts'
import type { KubernetesObject } from '../../../src/kernel/k8s/objects.ts'
import { parseYaml } from '../../../src/kernel/k8s/yaml.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { until } from '../fixtures/until.ts'
import { type Installed, startInstalled } from '../install/installed.ts'
import { nonsense, sensible } from './specs.ts'

const namespace = 'default'
const { builds } = buildResources
let installed: Installed
let admin: KubernetesClient
let count = 0

const make = (spec: object): Promise<Build> => {
  count += 1
  return admin.create<Build>(
    builds,
    { namespace },
    { apiVersion, kind: 'Build', metadata: { name: `b-${count}` }, spec },
  )
}
const dockerfile = { source: { dockerfile: 'FROM scratch' } }
const why = (spec: object): Promise<string> =>
  make(spec).then(
    () => 'taken',
    (error: unknown) => (error instanceof KubernetesError ? error.message : String(error)),
  )
const template = (kind: string, name: string, spec: object) =>
  admin.apply({
    ...{ apiVersion, kind, metadata: { name, ...(kind === 'BuildTemplate' ? { namespace } : {}) } },
    spec,
  } as KubernetesObject)

beforeAll(async () => {
  installed = await startInstalled()
  admin = installed.admin
  await until('the kinds are served', () =>
    admin.list(builds, { namespace }).then(
      () => true,
      () => false,
    ),
  )
  await template('BuildTemplate', 'buildkit', {
    parameters: [{ name: 'IMAGE' }, { name: 'TAG', default: 'latest' }],
    output: { names: ['${IMAGE}:${TAG}'], push: true },
  })
  await template('ClusterBuildTemplate', 'shared', { ...dockerfile, parameters: [{ name: 'VERSION' }] })
  // Admission policies and their parameters are watched: they hold a moment after they were written.
  await until('the policies hold', async () => {
    const said = await Promise.all([
      why({ ...dockerfile, template: { name: 'buildkit' } }),
      why({ template: { name: 'shared', kind: 'ClusterBuildTemplate' } }),
    ])
    return said.every((text) => text.includes('needs a value'))
  })
})
afterAll(async () => {
  await installed?.server.close()
})

describe('the API server takes', () => {
  test.each(sensible)('%s', async (_, spec) => {
    const made = await make(spec)
    expect(made.spec).toMatchObject(spec)
    expect(made.spec).toMatchObject({ trigger: 'Now', cancelled: false })
  })
})

describe('the API server refuses by itself', () => {
  test.each(nonsense)('%s', async (_, spec, message) => {
    expect(await why(spec)).toContain(message)
  })
})

describe('arguments of a template are checked at admission', () => {
  const ofTemplate = (...args: string[]) => ({
    ...dockerfile,
    template: { name: 'buildkit', arguments: args.map((name) => ({ name, value: 'x' })) },
  })

  test('a missing one is named', async () => {
    expect(await why(ofTemplate('TAG'))).toContain('BuildTemplate buildkit needs a value for its parameter IMAGE')
  })
  test('an unknown one is named, with those that there are', async () => {
    const said = await why(ofTemplate('IMAGE', 'IMGAE'))
    expect(said).toContain('BuildTemplate buildkit has no parameter IMGAE; it has IMAGE, TAG')
  })
  test('of a ClusterBuildTemplate likewise', async () => {
    const of = (name: string) => ({
      template: { name: 'shared', kind: 'ClusterBuildTemplate', arguments: [{ name, value: 'x' }] },
    })
    expect(await why(of('OTHER'))).toContain('ClusterBuildTemplate shared has no parameter OTHER')
    expect(await why(of('VERSION'))).toBe('taken')
  })
  test('fitting ones are taken, and defaults need none', async () => {
    expect(await why(ofTemplate('IMAGE'))).toBe('taken')
  })
})

describe('once started', () => {
  const started = async (spec: object): Promise<{ namespace: string; name: string }> => {
    const { metadata } = await make(spec)
    const ref = { namespace, name: metadata?.name ?? '' }
    const status = { phase: 'Running', startTime: '2026-01-01T00:00:00Z' }
    await admin.patch(builds, { ...ref, subresource: 'status' }, { status })
    return ref
  }
  const change = (ref: object, spec: object): Promise<string> =>
    admin.patch(builds, ref, { spec }).then(
      () => 'taken',
      (error: Error) => error.message,
    )

  test('the spec cannot change any more; before it can', async () => {
    const { metadata } = await make(dockerfile)
    expect(await change({ namespace, name: metadata?.name }, { timeout: '5m' })).toBe('taken')
    const ref = await started({
      ...dockerfile,
      podTemplate: { spec: { nodeSelector: { a: 'b' } } },
      steps: { before: [{ name: 's', image: 'a' }] },
    })
    for (const [field, value] of Object.entries({
      source: { dockerfile: 'FROM other' },
      timeout: '5m',
      target: 'x',
      podTemplate: { spec: { nodeSelector: { a: 'c' } } },
      steps: { before: [{ name: 's', image: 'b' }] },
      retries: 3,
      template: { name: 'other' },
    })) {
      expect(await change(ref, { [field]: value }), field).toContain(`spec.${field} cannot change`)
    }
  })

  test('it can be cancelled, for good', async () => {
    const ref = await started(dockerfile)
    expect(await change(ref, { cancelled: true })).toBe('taken')
    expect(await change(ref, { cancelled: false })).toContain('stays cancelled')
  })
})

test('who may build and not create jobs makes no Builds', async () => {
  await admin.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'ci', namespace } })
  const rbac = 'rbac.authorization.k8s.io'
  const bind = (role: string, kind = 'ClusterRole') =>
    admin.apply({
      ...{ apiVersion: `${rbac}/v1`, kind: 'RoleBinding', metadata: { name: role, namespace } },
      roleRef: { apiGroup: rbac, kind, name: role },
      subjects: [{ kind: 'ServiceAccount', name: 'ci', namespace }],
    } as KubernetesObject)
  await bind('insitu-builder')
  const ci = await (await installed.pod('ci', 'ci', 'node-1', namespace)).client()
  const attempt = () =>
    ci
      .create(builds, { namespace }, { apiVersion, kind: 'Build', metadata: { generateName: 'ci-' }, spec: dockerfile })
      .then(
        () => 'taken',
        (error: Error) => error.message,
      )
  expect(await attempt()).toContain('must be allowed to create jobs.batch in namespace default')
  await bind('insitu-builds-edit')
  // Nor does he make somebody else's his own: he may only cancel it.
  const { metadata } = await make(dockerfile)
  const change = (spec: object) =>
    ci.patch(builds, { namespace, name: metadata?.name }, { spec }).then(
      () => 'taken',
      (error: Error) => error.message,
    )
  await until('he may write Builds', async () => !(await change({ timeout: '1h' })).includes('cannot patch'))
  expect(await change({ podTemplate: { spec: { serviceAccountName: 'admin' } } })).toContain(
    'must be allowed to create jobs.batch in namespace default',
  )
  expect(await change({ cancelled: true })).toBe('taken')
  await admin.apply({
    ...{ apiVersion: `${rbac}/v1`, kind: 'Role', metadata: { name: 'jobs', namespace } },
    rules: [{ apiGroups: ['batch'], resources: ['jobs'], verbs: ['create'] }],
  } as KubernetesObject)
  await bind('jobs', 'Role')
  await until('the role holds', async () => (await attempt()) === 'taken')
  ci.close()
})

test('what insitu convert makes of Knative’s objects is taken', async () => {
  const example = (name: string): string => join(import.meta.dirname, '../../../config/examples/knative', name)
  const insitu = join(import.meta.dirname, '../../../bin/insitu')
  const { stdout } = await run(insitu, ['convert', '--push', '-f', example('old.yaml')])
  const objects = parseYaml(stdout) as KubernetesObject[]
  expect(objects).toEqual(parseYaml(await readFile(example('builds.yaml'), 'utf8')))
  for (const object of objects) await admin.apply({ ...object, metadata: { ...object.metadata, namespace } })
  const { spec } = await admin.get<Build>(builds, { namespace, name: 'app' })
  expect(spec).toMatchObject({ template: { name: 'img' }, serviceAccountName: 'build-bot' })
})
