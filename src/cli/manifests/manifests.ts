import { access } from './access.ts'
import { agent, priorityQuota } from './agent.ts'
import { buildAccess, kinds } from './build-objects.ts'
import { controller, controllerAccess } from './controller.ts'
import { rootlessAgents } from './rootless-agent.ts'
import { gateway } from './gateway.ts'
import { type Manifest, objectLabels } from './object.ts'
import type { ManifestOptions } from './options.ts'

/** Every object of an installation, in the order in which they must be made. */
export function manifests(options: ManifestOptions): Manifest[] {
  return [
    {
      comment:
        options.mode === 'rootless'
          ? 'The namespace may exist already. No pod of it needs more than Pod Security calls baseline.'
          : 'The namespace may exist already. Its agents are privileged, and Pod Security has to let them.',
      object: {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: {
          name: options.namespace,
          labels: {
            ...objectLabels(),
            ...Object.fromEntries(
              ['enforce', 'audit', 'warn'].map((what) => [
                `pod-security.kubernetes.io/${what}`,
                options.mode === 'rootless' ? 'baseline' : 'privileged',
              ]),
            ),
          },
        },
      },
    },
    ...priorityQuota(options),
    ...kinds(),
    ...access(options.namespace),
    ...controllerAccess(options.namespace),
    ...buildAccess(),
    ...gateway(options),
    ...agent(options),
    ...rootlessAgents(options),
    ...controller(options),
  ]
}
