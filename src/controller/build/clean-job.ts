import type { Build } from '../../api/builds/builds.ts'
import type { PodTemplate } from '../../api/builds/pod-template.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { job, type JobInputs } from './job.ts'
import { cleanJobName, workspaceDirectory } from './names.ts'
import { restricted, user, workspaceName, workspaceVolume } from './pod-parts.ts'

/** What the pod that cleans takes of a pod template: as whom files are written, and where the claim can be mounted. */
const ofCleaning = ['nodeSelector', 'affinity', 'tolerations', 'imagePullSecrets', 'priorityClassName'] as const

/** Removes the directory of a Build from its claim. */
export function cleanJob(build: Build, inputs: Pick<JobInputs, 'recipe' | 'image' | 'podTemplate'>): KubernetesObject {
  const { recipe, image, podTemplate } = inputs
  const theirs = podTemplate?.spec
  const directory = workspaceDirectory(build, recipe.workspace?.directory)
  const template: PodTemplate = {
    spec: {
      restartPolicy: 'Never',
      // With its pull secrets the Build had our image.
      serviceAccountName: recipe.serviceAccountName ?? 'default',
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: {
        ...{ runAsNonRoot: true, runAsUser: user, runAsGroup: user, fsGroup: user },
        seccompProfile: { type: 'RuntimeDefault' },
        ...(theirs?.['securityContext'] as object | undefined),
      },
      ...Object.fromEntries(ofCleaning.flatMap((field) => (theirs?.[field] ? [[field, theirs[field]]] : []))),
      containers: [
        {
          name: 'clean',
          image,
          imagePullPolicy: 'IfNotPresent',
          args: ['clean-workspace', '--root', '/claim', '--directory', directory],
          // Why it could not, for the event.
          terminationMessagePolicy: 'FallbackToLogsOnError',
          securityContext: { ...restricted, readOnlyRootFilesystem: true },
          volumeMounts: [{ name: workspaceName, mountPath: '/claim' }],
        },
      ],
      volumes: [workspaceVolume(recipe)],
    },
  }
  return job(build, { name: cleanJobName(build), role: 'clean', deadline: 600, template, podLabels: {} })
}
