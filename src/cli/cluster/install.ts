import { setTimeout as pause } from 'node:timers/promises'
import { annotations } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { InstallFlags } from './flags.ts'
import { manifests } from '../manifests/manifests.ts'
import { type KubernetesObject, objectName } from '../manifests/object.ts'
import type { ManifestOptions } from '../manifests/options.ts'
import { checkBuildkitdToml } from './check-toml.ts'
import { agentNodes, buildkitdToml, checkForeign, checkVersion, missingRights } from './checks.ts'
import { print, say, withCluster } from './connect.ts'
import { commonDistribution } from './distribution.ts'
import { optionsFrom } from './install-options.ts'
import { checkModeChange, divide, labelNodes, type Modes } from './modes.ts'
import { readInstallation } from './installation.ts'
import type { Node } from './objects.ts'
import { patiently } from './patient.ts'
import { parseDuration } from './parse.ts'
import { waitUntilReady } from './rollout.ts'
import { statusDocument, statusText } from './status-view.ts'

/** Checks, applies, waits. Nothing is written before every check has passed. */
export async function install(flags: InstallFlags): Promise<void> {
  // Wrong options are said before the cluster is asked.
  const timeout = parseDuration(flags.timeout)
  await optionsFrom(flags, 'kubeadm')
  await withCluster(flags, async (client) => {
    const { gitVersion } = await client.version()
    checkVersion(gitVersion)
    const all = await client.list<Node>(resources.nodes)
    const { options, modes } = await chooseOptions(flags, all)
    const objects = manifests(options).map((manifest) => manifest.object)
    say(`${client.server} (Kubernetes ${gitVersion}), ${all.length} node${all.length === 1 ? '' : 's'}`)

    const missing = await missingRights(client, objects)
    if (missing.length > 0) {
      throw new InsituError('RIGHTS', `this account may not: ${missing.join(', ')}`, {
        status: 'PERMISSION_DENIED',
        fix: 'Use an account with the role cluster-admin.',
      })
    }
    await checkForeign(client, objects, options.namespace)
    await checkModeChange(client, options.namespace, options.mode)
    const toml = options.buildkitdToml ?? (await buildkitdToml(client, options.namespace))
    if (toml !== undefined) await checkBuildkitdToml(toml, options.paths.buildkitRoot)

    await apply(client, objects)
    await labelNodes(client, modes.toLabel, say)
    if (flags.wait) {
      const read = () => patiently(() => readInstallation(client, options.namespace))
      await waitUntilReady({ read, say, timeout, pause })
    }
    const installation = await readInstallation(client, options.namespace)
    print(flags.output === 'json' ? JSON.stringify(statusDocument(installation), null, 2) : statusText(installation))
  })
}

async function chooseOptions(
  flags: InstallFlags,
  all: readonly Node[],
): Promise<{ options: ManifestOptions; modes: Modes }> {
  const first = await optionsFrom(flags, flags.distribution === 'auto' ? 'kubeadm' : flags.distribution)
  const nodes = agentNodes(all, first.nodeSelector, (taint) =>
    first.tolerations.some(
      (t) => (t.key === undefined || t.key === taint.key) && (t.effect ?? taint.effect) === taint.effect,
    ),
  )
  if (nodes.length === 0) {
    throw new InsituError('NO_NODES', `none of the ${all.length} nodes can take an agent`, {
      status: 'FAILED_PRECONDITION',
      fix: 'It takes a ready Linux node; taints are tolerated with --toleration, and --node-selector may be too narrow.',
    })
  }
  const modes = divide(nodes, flags.mode)
  if (flags.distribution !== 'auto' || flags.containerdRoot !== undefined) return { options: first, modes }
  return { options: await optionsFrom(flags, commonDistribution(modes.node)), modes }
}

/** Server-side apply in order; what others have added (a proxy variable of the agents, an annotation) stays. */
async function apply(client: KubernetesClient, objects: readonly KubernetesObject[]): Promise<void> {
  for (const object of objects) {
    const resource = await client.resource(object.apiVersion, object.kind)
    const ref = { namespace: object.metadata.namespace, name: object.metadata.name }
    const before = await client.find(resource, ref)
    const created = before === undefined
    // Remembered, so that uninstall does not delete a namespace that was somebody else's first.
    const ours =
      object.kind === 'Namespace' && (created || before.metadata?.annotations?.[annotations.namespaceCreated])
    const metadata = ours
      ? { ...object.metadata, annotations: { [annotations.namespaceCreated]: 'true' } }
      : object.metadata
    const after = await patiently(() => client.apply({ ...object, metadata }))
    const changed = before?.metadata?.resourceVersion !== after.metadata?.resourceVersion
    say(`  ${objectName(object)} ${created ? 'created' : changed ? 'changed' : 'unchanged'}`)
  }
}
