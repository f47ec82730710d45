import { annotations, caSecret, configMaps, labels, serviceAccounts } from '../../api/names.ts'
import { InsituError } from '../../kernel/errors.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject as AnyObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { manifests } from '../manifests/manifests.ts'
import { objectName } from '../manifests/object.ts'
import { defaultOptions } from '../manifests/options.ts'
import type { UninstallFlags } from './flags.ts'
import { isOurs } from './checks.ts'
import { cleanNodes, type CleanedNode } from './clean-nodes.ts'
import { print, say, withCluster } from './connect.ts'
import { forgetPods } from './forget-pods.ts'
import { isReadyNode, nameOf, type Node, type Pod, type Workload } from './objects.ts'
import { unlabelNodes } from './modes.ts'
import { isUsersCa, releaseUsersCa } from './own-ca.ts'
import { patiently } from './patient.ts'
import { parseDuration } from './parse.ts'
import { madeObjects, refuseLoss } from './made-objects.ts'
import { type NotCleaned, readNotCleaned, rememberNotCleaned, wayOf } from './not-cleaned.ts'
import { readyNodes } from './ready-nodes.ts'
import { releaseBuilds } from './release-builds.ts'
import { removeNamespace } from './remove-namespace.ts'
import { stop } from './stop.ts'

/** Stops everything, cleans the nodes, deletes the objects. Can be run again after it was interrupted. */
export async function uninstall(flags: UninstallFlags): Promise<void> {
  // Wrong options are said before the cluster is asked.
  const grace = parseDuration(flags.grace)
  const timeout = parseDuration(flags.timeout)
  await withCluster(flags, async (client) => {
    const { namespace } = flags
    const installed = await findObjects(client, namespace)
    const found = flags.keepBuilds ? installed.filter((object) => !isKind(object)) : installed
    const made = await madeObjects(client)
    if (!flags.deleteBuilds && found.some(isKind)) refuseLoss(made)
    // Who keeps Builds keeps those in our own namespace, too.
    const holdsBuilds = flags.keepBuilds === true && made.namespaces.has(namespace)
    const home = await client.find<AnyObject>(resources.namespaces, { name: namespace })
    const usersCa = await releaseUsersCa(client, namespace)
    const stays = whyStays({ home, holdsBuilds, keepsCa: usersCa && !flags.deleteNamespace })
    if (found.length === 0) {
      // The namespace may be all that an interrupted run has left.
      const removed = stays === undefined && (await removeNamespace(client, home, flags, timeout))
      say(removed ? `namespace ${namespace} deleted` : `insitu is not installed in namespace ${namespace}`)
      report(flags, [], removed)
      return
    }

    const daemonSet = await client.find<Workload>(resources.daemonSets, { namespace, name: serviceAccounts.agent })
    const remembered = await readNotCleaned(client, namespace)
    // Rootless agents leave nothing on nodes, and a namespace of theirs admits no pod that could clean one.
    const rootless = home?.metadata?.labels?.['pod-security.kubernetes.io/enforce'] === 'baseline'
    // Nor is there anything on nodes where an earlier run has left the kinds of Builds, and nothing else.
    const nodes = rootless || found.every(isKind) ? [] : await nodesToClean(client, namespace, daemonSet, remembered)
    const way = daemonSet === undefined && remembered ? remembered.way : wayOf(daemonSet)
    if (made.text !== '') say(`${made.text} ${flags.keepBuilds ? 'stay' : 'will be deleted'}`)
    // Without the DaemonSet nothing else tells where agents were, and how they worked.
    await rememberNotCleaned(client, namespace, { nodes, way })
    say('stopping gateways and agents')
    await stop(client, namespace, { grace, timeout })
    await patiently(() => releaseBuilds(client))

    const ready = await readyNodes(client)
    const cleaned = await cleanNodes({
      client,
      namespace,
      nodes: nodes.map((node) => ({ node, reachable: ready.has(node) })),
      timeout,
      say,
      ...way,
      keepCache: flags.keepCache === true,
    })
    const failed = cleaned.filter((node) => node.error !== undefined)
    // Before the objects go: without them the next run has no reason to look at pods and nodes.
    await forgetPods(client, say)
    await unlabelNodes(client)
    const memory = found.filter(isMemory)
    for (const { resource, ref, name } of [
      ...found.filter((object) => !isMemory(object)).toReversed(),
      ...(failed.length > 0 ? [] : memory),
    ]) {
      await patiently(() => client.delete(resource, ref))
      say(`  ${name} deleted`)
    }
    if (failed.length > 0) {
      await rememberNotCleaned(client, namespace, { nodes: failed.map((node) => node.node), way })
      report(flags, cleaned, false)
      throw new InsituError(
        'NODES_NOT_CLEAN',
        `not cleaned: ${failed.map((node) => `${node.node} (${node.error})`).join(', ')}`,
        {
          status: 'FAILED_PRECONDITION',
          fix: 'Run it again when the nodes are back, or clean them by hand: docs/host-changes.md.',
        },
      )
    }
    const removed = stays === undefined && (await removeNamespace(client, home, flags, timeout))
    if (removed) say(`namespace ${namespace} deleted`)
    else if (stays !== undefined) say(`namespace ${namespace} stays: ${stays}`)
    else if (home) say(`namespace ${namespace} stays: insitu did not make it (--delete-namespace)`)
    report(flags, cleaned, removed)
  })
}

/** What is in a namespace of ours and must not go with it. One that insitu did not make stays anyway. */
function whyStays(of: { home: AnyObject | undefined; holdsBuilds: boolean; keepsCa: boolean }): string | undefined {
  if (of.holdsBuilds) return 'it holds Builds or templates'
  if (!of.keepsCa || of.home?.metadata?.annotations?.[annotations.namespaceCreated] === undefined) return undefined
  return `it holds a CA that is not insitu's, Secret ${caSecret} (--delete-namespace)`
}

interface Found {
  readonly name: string
  readonly resource: Awaited<ReturnType<KubernetesClient['resource']>>
  readonly ref: { readonly namespace?: string; readonly name: string }
}

/** Where the next run finds what this one has not done: it goes last. */
const isMemory = ({ resource, ref }: Found): boolean => resource.plural === 'configmaps' && ref.name === configMaps.ca

const isKind = ({ resource }: Found): boolean => resource.plural === 'customresourcedefinitions'

/** Objects of an installation that exist and carry its label, in the order of making. The namespace is not among them. */
async function findObjects(client: KubernetesClient, namespace: string): Promise<Found[]> {
  // Texts and ranges are of no matter here: they make the two optional ConfigMaps part of the list.
  const options = {
    ...defaultOptions(),
    namespace,
    mode: 'mixed' as const,
    allowPlaintext: ['127.0.0.1'],
    buildkitdToml: '',
  }
  const found: Found[] = []
  for (const { object } of manifests(options)) {
    if (object.kind === 'Namespace') continue
    const resource = await client.resource(object.apiVersion, object.kind)
    const ref = { ...(resource.namespaced ? { namespace } : {}), name: object.metadata.name }
    const existing = await client.find<AnyObject>(resource, ref)
    if (!existing || !isOurs(existing) || isUsersCa(object.kind, existing)) continue
    // A cluster-wide object may belong to an installation in another namespace.
    const subjects = (existing as { subjects?: readonly { namespace?: string }[] }).subjects
    // Groups have none.
    const elsewhere = subjects?.find((s) => s.namespace !== undefined && s.namespace !== namespace)?.namespace
    if (elsewhere !== undefined) {
      throw new InsituError('INSTALLED_ELSEWHERE', `insitu is installed in namespace ${elsewhere}`, {
        fix: `insitu uninstall --namespace ${elsewhere}`,
      })
    }
    found.push({ name: objectName(object), resource, ref })
  }
  return found
}

/** Nodes on which an agent has run. Without a DaemonSet an earlier run did not get to its end: what that one left. */
async function nodesToClean(
  client: KubernetesClient,
  namespace: string,
  daemonSet: Workload | undefined,
  remembered: NotCleaned | undefined,
): Promise<string[]> {
  if (daemonSet === undefined) {
    const all = await client.list<Node>(resources.nodes)
    return all
      .filter((node) => (node.status?.nodeInfo?.operatingSystem ?? 'linux') === 'linux')
      .filter((node) => (remembered ? (remembered.nodes?.includes(nameOf(node)) ?? true) : isReadyNode(node)))
      .map(nameOf)
  }
  const pods = await client.list<Pod>(resources.pods, {
    namespace,
    labelSelector: `${labels.role}=agent,${labels.mode}!=rootless`,
  })
  const names = new Set(pods.filter(mayHaveRun).flatMap((pod) => pod.spec?.nodeName ?? []))
  return [...names].toSorted()
}

/** Also where it is only about to start: another one may have run on the node before. Without an image none did. */
function mayHaveRun(pod: Pod): boolean {
  const [container] = pod.status?.containerStatuses ?? []
  if (container?.containerID || (container?.restartCount ?? 0) > 0) return true
  return !/Image/.test(container?.state?.waiting?.reason ?? '')
}

function report(flags: UninstallFlags, nodes: readonly CleanedNode[], namespaceDeleted: boolean): void {
  if (flags.output === 'json') print(JSON.stringify({ nodes, namespaceDeleted }, null, 2))
}
