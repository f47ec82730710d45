import { setTimeout as pause } from 'node:timers/promises'
import { annotations, configMaps, serviceAccounts } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import type { InstallFlags } from './flags.ts'
import { manifests } from '../manifests/manifests.ts'
import type { KubernetesObject } from '../manifests/object.ts'
import type { ManifestOptions } from '../manifests/options.ts'
import { apply } from './apply.ts'
import { checkBuildkitdToml } from './check-toml.ts'
import { agentNodes, checkForeign, checkVersion, missingRights } from './checks.ts'
import { print, say, withCluster } from './connect.ts'
import { commonDistribution } from './distribution.ts'
import { optionsFrom } from './install-options.ts'
import { checkModeChange, divide, labelNodes, type Modes } from './modes.ts'
import { readInstallation } from './installation.ts'
import type { Node } from './objects.ts'
import { forgetNotCleaned } from './not-cleaned.ts'
import { patiently } from './patient.ts'
import { parseDuration } from './parse.ts'
import { type ConfigMap, planPlaintext, writtenRanges } from './plaintext-config.ts'
import { waitUntilReady } from './rollout.ts'
import { recallOptions, rememberOptions, type SaidOptions, settleOptions } from './said-options.ts'
import { statusDocument, statusText } from './status-view.ts'

export interface CommandLine {
  /** The options on it that shape an installation. */
  readonly said: SaidOptions
  /** Reads the command line as if it had these options, too. */
  with(more: SaidOptions): InstallFlags
}

/** Checks, applies, waits. Nothing is written before every check has passed. */
export async function install(flags: InstallFlags, line: CommandLine): Promise<void> {
  // Wrong options are said before the cluster is asked.
  const timeout = parseDuration(flags.timeout)
  await optionsFrom(flags, 'kubeadm')
  await withCluster(flags, async (client) => {
    const { gitVersion } = await client.version()
    checkVersion(gitVersion)
    const all = await client.list<Node>(resources.nodes)
    say(`${client.server} (Kubernetes ${gitVersion}), ${all.length} node${all.length === 1 ? '' : 's'}`)

    const asked = manifests(await optionsFrom(flags, 'kubeadm')).map((manifest) => manifest.object)
    const missing = await missingRights(client, asked)
    if (missing.length > 0) {
      throw new InsituError('RIGHTS', `this account may not: ${missing.join(', ')}`, {
        status: 'PERMISSION_DENIED',
        fix: 'Use an account with the role cluster-admin.',
      })
    }
    await checkForeign(client, asked, flags.namespace)
    const there = await readPresent(client, flags.namespace)
    const said = settleOptions(there.said, line.said, flags.reuseOptions ? 'reuse' : flags.resetOptions && 'reset')
    const settled = line.with(Object.fromEntries(Object.entries(said).filter(([flag]) => !(flag in line.said))))
    const { options: chosen, modes } = await chooseOptions(settled, all)
    await checkModeChange(client, chosen.namespace, chosen.mode)
    const plaintext = planPlaintext(there.insitu, chosen.allowPlaintext)
    const present = { buildkitdToml: there.buildkitd?.data?.['buildkitd.toml'], insituToml: plaintext.stays }
    const options = { ...chosen, allowPlaintext: plaintext.ranges, present }
    const toml = options.buildkitdToml ?? present.buildkitdToml
    if (toml !== undefined) await checkBuildkitdToml(toml, options.paths.buildkitRoot)

    if (plaintext.remove) {
      const ref = { namespace: options.namespace, name: configMaps.insitu }
      await patiently(() => client.delete(resources.configMaps, ref))
      say(`  ConfigMap ${ref.namespace}/${ref.name} deleted`)
    }
    await apply(
      client,
      manifests(options).map(({ object }) => remembering(object, said)),
      say,
    )
    await forgetNotCleaned(client, options.namespace)
    await labelNodes(client, modes.toLabel, say)
    const read = () => patiently(() => readInstallation(client, options.namespace))
    if (flags.wait) await waitUntilReady({ read, say, timeout, pause })
    const installation = await read()
    print(flags.output === 'json' ? JSON.stringify(statusDocument(installation), null, 2) : statusText(installation))
  })
}

const plaintextFlag = '--allow-plaintext'

/** What an installation that is there was told, and the ConfigMaps that its pods read. */
async function readPresent(client: KubernetesClient, namespace: string) {
  const [deployment, insitu, buildkitd] = await Promise.all([
    client.find(resources.deployments, { namespace, name: serviceAccounts.gateway }),
    client.find<ConfigMap>(resources.configMaps, { namespace, name: configMaps.insitu }),
    client.find<ConfigMap>(resources.configMaps, { namespace, name: configMaps.buildkitd }),
  ])
  const remembered = recallOptions(deployment?.metadata?.annotations?.[annotations.installOptions])
  // Which ranges are in force says their ConfigMap, whoever has applied it: kubectl may have, from what `--print` printed. One
  // that is the user's own by now loses nothing.
  const { [plaintextFlag]: _, ...others } = remembered
  const ranges = writtenRanges(insitu)
  return { said: ranges === undefined ? others : { ...others, [plaintextFlag]: ranges }, insitu, buildkitd }
}

/** The object that remembers the options does. */
function remembering(object: KubernetesObject, said: SaidOptions): KubernetesObject {
  if (object.kind !== 'Deployment' || object.metadata.name !== serviceAccounts.gateway) return object
  if (Object.keys(said).length === 0) return object
  const known = { ...object.metadata.annotations, [annotations.installOptions]: rememberOptions(said) }
  return { ...object, metadata: { ...object.metadata, annotations: known } }
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
