import type { Build, Recipe } from '../../api/builds/builds.ts'
import type { Container } from '../../api/builds/pod-template.ts'
import { workspaceContainer } from '../../api/builds/work.ts'
import { workspaceDirectory } from './names.ts'
import { identityMounts, restricted, workspaceName } from './pod-parts.ts'

/**
 * In a namespace that is deleted no pod can be made that would remove the directory of a Build from its claim, so it is a
 * container of the Build's own pod that does it: a sidecar, which kubelets end after all others. It runs as long as the
 * pod does and does nothing at any other end, after which there may be another attempt, or the usual cleaning comes.
 * @returns none where there is no claim, or where what did not succeed is to stay.
 */
export function workspaceGuard(
  build: Build,
  { recipe, image }: { readonly recipe: Recipe; readonly image: string },
): readonly Container[] {
  const { workspace, cleanUp } = recipe
  if (workspace === undefined || (cleanUp?.workspace ?? 'Always') !== 'Always') return []
  const directory = workspaceDirectory(build, workspace.directory)
  return [
    {
      name: workspaceContainer,
      image,
      imagePullPolicy: 'IfNotPresent',
      restartPolicy: 'Always',
      args: ['clean-workspace', '--root', '/claim', '--directory', directory, '--if-namespace-ends'],
      securityContext: { ...restricted, readOnlyRootFilesystem: true },
      resources: { requests: { cpu: '5m', memory: '48Mi' } },
      volumeMounts: [...identityMounts, { name: workspaceName, mountPath: '/claim' }],
    },
  ]
}
