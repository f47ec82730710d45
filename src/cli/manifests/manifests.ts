import { access } from './access.ts'
import { agent } from './agent.ts'
import { buildAccess, kinds } from './build-objects.ts'
import { controller, controllerAccess } from './controller.ts'
import { gateway } from './gateway.ts'
import { type Manifest, objectLabels } from './object.ts'
import type { ManifestOptions } from './options.ts'

/** Every object of an installation, in the order in which they must be made. */
export function manifests(options: ManifestOptions): Manifest[] {
  return [
    {
      comment: 'The namespace may exist already. Its agents are privileged, and Pod Security has to let them.',
      object: {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: {
          name: options.namespace,
          labels: {
            ...objectLabels(),
            'pod-security.kubernetes.io/enforce': 'privileged',
            'pod-security.kubernetes.io/audit': 'privileged',
            'pod-security.kubernetes.io/warn': 'privileged',
          },
        },
      },
    },
    ...kinds(),
    ...access(options.namespace),
    ...controllerAccess(options.namespace),
    ...buildAccess(),
    ...gateway(options),
    ...agent(options),
    ...controller(options),
  ]
}
