import type { Build, Recipe } from '../../api/builds/builds.ts'
import type { Container, Named, PodTemplate } from '../../api/builds/pod-template.ts'
import { buildContainer, buildUidLabel, jobRoleLabel, mostOutcome, paths } from '../../api/builds/work.ts'
import { workAnnotation, type Work } from '../../api/builds/work.ts'
import { tokenAudience } from '../../api/names.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { mergePodTemplate } from './merge-pod.ts'
import { jobName, workspaceDirectory } from './names.ts'
import { identityMounts, restricted, user, workspaceName, workspaceVolume } from './pod-parts.ts'
import { workspaceGuard } from './workspace-guard.ts'

/** What a Job is made of besides the Build. */
export interface JobInputs {
  readonly recipe: Recipe
  readonly attempt: number
  /** Seconds. */
  readonly deadline: number
  /** The image of insitu, which has buildctl. */
  readonly image: string
  readonly work: Work
  /** Names of the service account's Secrets. */
  readonly registrySecrets: readonly string[]
  /** spec.podTemplate, or what its ConfigMap holds. */
  readonly podTemplate: PodTemplate | undefined
}

/** The Job of one attempt of a Build: buildctl between its steps, as pod security "restricted" wants it. */
export function buildJob(build: Build, inputs: JobInputs): KubernetesObject {
  const { recipe, work } = inputs
  const before = (recipe.steps?.before ?? []).map((step, i) => stepContainer(step, `before-${i + 1}`, inputs))
  const after = (recipe.steps?.after ?? []).map((step, i) => stepContainer(step, `after-${i + 1}`, inputs))
  // Init containers run one after the other: all but the last are such.
  const sequence = [...before, buildStep(inputs), ...after]
  const secrets = usedSecrets(recipe)
  const ours: PodTemplate = {
    metadata: { annotations: { 'kubectl.kubernetes.io/default-container': buildContainer } },
    spec: {
      restartPolicy: 'Never',
      serviceAccountName: recipe.serviceAccountName ?? 'default',
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 15,
      // A pod on a node that is gone is given up after half a minute, and built again elsewhere.
      tolerations: ['not-ready', 'unreachable'].map((state) => ({
        ...{ key: `node.kubernetes.io/${state}`, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 30 },
      })),
      securityContext: {
        ...{ runAsNonRoot: true, runAsUser: user, runAsGroup: user, fsGroup: user },
        seccompProfile: { type: 'RuntimeDefault' },
      },
      initContainers: [...workspaceGuard(build, inputs), ...sequence.slice(0, -1)],
      containers: sequence.slice(-1),
      volumes: [
        {
          name: 'insitu-work',
          downwardAPI: {
            items: [{ path: 'work.json', fieldRef: { fieldPath: `metadata.annotations['${workAnnotation}']` } }],
          },
        },
        {
          name: 'insitu-identity',
          projected: {
            sources: [{ serviceAccountToken: { path: 'token', audience: tokenAudience, expirationSeconds: 3600 } }],
          },
        },
        { name: 'insitu-tmp', emptyDir: {} },
        workspaceVolume(recipe),
        ...inputs.registrySecrets.map((name, i) => registryVolume(`insitu-registry-${i}`, name)),
        ...secrets.map((name, i) => secretVolume(`insitu-secret-${i}`, name)),
      ],
    },
  }
  const merged = mergePodTemplate(ours, inputs.podTemplate)
  const annotations = {
    ...merged.metadata?.annotations,
    [workAnnotation]: JSON.stringify({ ...work, room: roomIn(merged) }),
  }
  const template = { ...merged, metadata: { ...merged.metadata, annotations } }
  return job(build, {
    name: jobName(build, inputs.attempt),
    role: 'build',
    deadline: inputs.deadline,
    template,
    podLabels: merged.metadata?.labels ?? {},
  })
}

/** Bytes that the kubelet keeps of what all containers of a pod say at their ends; each gets the same share. */
const mostOfPod = 12_288
/** Containers that a service mesh puts into a pod. */
const injected = 2

/** Bytes that the build in such a pod has for its outcome. */
function roomIn({ spec }: PodTemplate): number {
  const containers = (spec?.initContainers ?? []).length + (spec?.containers ?? []).length
  return Math.min(mostOutcome, Math.floor(mostOfPod / (containers + injected)))
}

/** The container whose end is that of the Build: the last step, or the build. What else a pod has runs beside it. */
export function lastContainer({ steps }: Recipe): string {
  const after = steps?.after ?? []
  const last = after.at(-1) as { readonly name?: string } | undefined
  return last === undefined ? buildContainer : (last.name ?? `after-${after.length}`)
}

function buildStep(inputs: JobInputs): Container {
  return {
    name: buildContainer,
    image: inputs.image,
    imagePullPolicy: 'IfNotPresent',
    args: ['run-build'],
    env: [{ name: 'HOME', value: '/tmp' }],
    securityContext: { ...restricted, readOnlyRootFilesystem: true },
    resources: { requests: { cpu: '50m', memory: '96Mi' } },
    volumeMounts: [
      ...identityMounts,
      { name: 'insitu-tmp', mountPath: '/tmp' },
      workspaceMount(inputs),
      ...inputs.registrySecrets.map((name, i) => ({
        ...{ name: `insitu-registry-${i}`, mountPath: `${paths.registries}/${name}`, readOnly: true },
      })),
      ...usedSecrets(inputs.recipe).map((name, i) => ({
        ...{ name: `insitu-secret-${i}`, mountPath: `${paths.secrets}/${name}`, readOnly: true },
      })),
    ],
  }
}

const workspaceMount = ({ recipe, work }: JobInputs): { name: string; mountPath: string; subPath?: string } => ({
  name: workspaceName,
  mountPath: paths.workspace,
  ...(recipe.workspace === undefined
    ? {}
    : { subPath: workspaceDirectory({ metadata: work.build, spec: {} }, recipe.workspace.directory) }),
})

const secretVolume = (name: string, secretName: string): Named => ({
  name,
  // The key of ssh is refused by ssh when others may read it; the group is ours alone.
  secret: { secretName, defaultMode: 0o440 },
})

/**
 * Only what may be a credential for registries: a service account may also have tokens for the API server. An optional
 * volume leaves out keys that are not there.
 */
const registryVolume = (name: string, secretName: string): Named => ({
  name,
  secret: {
    ...{ secretName, optional: true, defaultMode: 0o440 },
    items: ['.dockerconfigjson', '.dockercfg', 'username', 'password'].map((key) => ({ key, path: key })),
  },
})

/** Secrets that the recipe names, once each. */
const usedSecrets = (recipe: Recipe): string[] => [
  ...new Set([
    ...(recipe.source?.git?.secretName === undefined ? [] : [recipe.source.git.secretName]),
    ...(recipe.secrets ?? []).map(({ secretName }) => secretName),
    ...(recipe.ssh ?? []).map(({ secretName }) => secretName),
  ]),
]

function stepContainer(step: object, name: string, inputs: JobInputs): Container {
  const given = step as Partial<Container> & { readonly securityContext?: object; readonly workingDir?: string }
  return {
    workingDir: paths.workspace,
    ...given,
    name: given.name ?? name,
    securityContext: { ...restricted, ...given.securityContext },
    volumeMounts: [workspaceMount(inputs), ...(given.volumeMounts ?? [])],
  }
}

export interface JobParts {
  readonly name: string
  readonly role: 'build' | 'clean'
  readonly deadline: number
  readonly template: PodTemplate
  readonly podLabels: Readonly<Record<string, string>>
}

/** A Job of ours around a pod. */
export function job(build: Build, { name, role, deadline, template, podLabels }: JobParts): KubernetesObject {
  const { namespace = '', name: buildName = '', uid = '' } = build.metadata ?? {}
  const labels = { [buildUidLabel]: uid, [jobRoleLabel]: role, 'app.kubernetes.io/managed-by': 'insitu' }
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name,
      namespace,
      labels,
      ownerReferences: [
        {
          ...{ apiVersion: 'insitu.build/v1alpha1', kind: 'Build', name: buildName, uid },
          ...{ controller: true, blockOwnerDeletion: false },
        },
      ],
    },
    spec: {
      backoffLimit: role === 'build' ? 0 : 2,
      completions: 1,
      parallelism: 1,
      activeDeadlineSeconds: Math.max(1, Math.ceil(deadline)),
      template: { ...template, metadata: { ...template.metadata, labels: { ...podLabels, ...labels } } },
    },
  } as KubernetesObject
}
