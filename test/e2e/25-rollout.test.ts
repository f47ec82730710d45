import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { labels, namespace } from '../../src/api/names.ts'
import { waitFor } from '../lab/wait.ts'
import { ensureInstalled, type Installed, ready } from './fixtures/insitu.ts'

const load = `rollout-${randomBytes(3).toString('hex')}`
let insitu: Installed

/** Three clients that build one after the other, through the Service, until they are told to stop. */
const script = (image: string): object => ({
  apiVersion: 'v1',
  kind: 'List',
  items: [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: load, labels: { [labels.plaintext]: 'allow' } } },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'load', namespace: load },
      spec: {
        restartPolicy: 'Never',
        terminationGracePeriodSeconds: 0,
        containers: [1, 2, 3].map((n) => ({
          name: `client${n}`,
          image,
          imagePullPolicy: 'Never',
          command: ['sh', '-c', client],
        })),
      },
    },
  ],
})

const client = `
mkdir -p /tmp/context; cd /tmp/context; i=0
while [ ! -e /tmp/stop ]; do
  i=$((i+1)); printf 'FROM busybox\\nRUN echo %s-%s; sleep 1\\n' "$HOSTNAME" $i > Dockerfile
  if out=$(buildctl --addr tcp://buildkitd.${namespace}:2375 build --progress=plain --frontend=dockerfile.v0 \\
      --local=context=. --local=dockerfile=. --no-cache 2>&1)
  then echo "built $(echo "$out" | grep -o 'insitu. node [a-z0-9]*' | head -n 1)"; else echo "FAILED: $out" | tr '\\n' '~'; echo; fi
done; echo stopped`

const logs = async (): Promise<string> =>
  insitu.kubectl(['-n', load, 'logs', 'load', '--all-containers', '--tail=-1', '--max-log-requests=3'])
const built = async (): Promise<number> => (await logs()).match(/^built/gm)?.length ?? 0

beforeAll(async () => {
  insitu = await ensureInstalled()
  const image = await insitu.kubectl([
    ...['-n', namespace, 'get', 'deployment', 'insitu-gateway'],
    ...['-o', 'jsonpath={.spec.template.spec.containers[0].image}'],
  ])
  await insitu.kubectl(['apply', '-f', '-'], JSON.stringify(script(image)))
  await waitFor('the first builds', async () => (await built()) >= 6 || undefined, { timeout: 120_000 })
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'namespace', load, '--wait=false'])
})

/** Restarts every pod of a workload, waits until all are new, and for some more builds. */
async function restart(workload: string): Promise<void> {
  await insitu.kubectl(['-n', namespace, 'rollout', 'restart', workload])
  await insitu.kubectl(['-n', namespace, 'rollout', 'status', workload, '--timeout=170s'])
  const soFar = await built()
  await waitFor('builds after it', async () => (await built()) >= soFar + 6 || undefined, { timeout: 60_000 })
}

describe('under continuous builds', () => {
  it('every gateway is replaced and no build fails', async () => {
    await restart('deployment/insitu-gateway')
    expect(await logs()).not.toContain('FAILED')
  })

  it('every agent is replaced and no build fails', async () => {
    await restart('daemonset/insitu-agent')
    const output = await logs()
    expect(output).not.toContain('FAILED')
    // While one node was away the other one built.
    for (const node of ['node1', 'node2']) expect(output).toContain(`node ${node}`)
    await ready(insitu)
  })

  it('a node is cordoned: its builds end, and the next ones go elsewhere', async () => {
    await insitu.kubectl(['cordon', 'node1'])
    try {
      const before = (await logs()).match(/node node1/g)?.length ?? 0
      const at = await built()
      await waitFor('builds elsewhere', async () => (await built()) >= at + 12 || undefined, { timeout: 90_000 })
      const output = await logs()
      expect(output).not.toContain('FAILED')
      // Those that had begun.
      expect((output.match(/node node1/g)?.length ?? 0) - before).toBeLessThanOrEqual(3)
    } finally {
      await insitu.kubectl(['uncordon', 'node1'])
    }
  })
})
