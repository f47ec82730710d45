import type { Build, Recipe } from '../../src/api/builds/builds.ts'
import type { PodTemplate } from '../../src/api/builds/pod-template.ts'
import { buildJob } from '../../src/controller/build/job.ts'
import type { KubernetesObject } from '../../src/kernel/k8s/objects.ts'

/** The pod of a Build's first attempt, as its Job has it. */
export function templateOf(build: Build, recipe: Recipe, podTemplate?: PodTemplate): PodTemplate {
  const { namespace = '', name = '', uid = '' } = build.metadata ?? {}
  const job = buildJob(build, {
    ...{ recipe, attempt: 1, deadline: 60, image: 'insitu', registrySecrets: [], podTemplate },
    work: {
      ...{ build: { namespace, name, uid }, recipe, ca: '', basicAuth: [] },
      gateway: { host: 'h', port: 2375, serverName: 'h' },
    },
  }) as KubernetesObject & { readonly spec: { readonly template: PodTemplate } }
  return job.spec.template
}
