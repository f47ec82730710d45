import type { Recipe } from '../../api/builds/builds.ts'
import type { Named } from '../../api/builds/pod-template.ts'

/** What pod security "restricted" wants of every container. */
export const restricted = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
} as const

/** Of the image; also owns what a Build writes to its claim. */
export const user = 65532

export const workspaceName = 'insitu-workspace'

export const workspaceVolume = ({ workspace }: Recipe): Named =>
  workspace === undefined
    ? { name: workspaceName, emptyDir: {} }
    : { name: workspaceName, persistentVolumeClaim: { claimName: workspace.claimName } }

/** Of containers that speak to the gateway: what for, and as whom. */
export const identityMounts = [
  { name: 'insitu-work', mountPath: '/var/run/insitu/work', readOnly: true },
  { name: 'insitu-identity', mountPath: '/var/run/secrets/insitu.build', readOnly: true },
] as const
