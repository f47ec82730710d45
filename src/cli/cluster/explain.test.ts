import { describe, expect, it } from 'vitest'
import { annotations } from '../../api/names.ts'
import type { NodeReport } from '../../api/node-report.ts'
import { explainPod, reportOf } from './explain.ts'
import type { ClusterEvent, ContainerStatus, Pod } from './objects.ts'

const pod = (container: ContainerStatus | undefined, more: Partial<Pod> = {}): Pod => ({
  status: { phase: 'Pending', containerStatuses: container ? [container] : [] },
  ...more,
})

const event = (reason: string, message: string, lastTimestamp: string, type = 'Warning'): ClusterEvent => ({
  type,
  reason,
  message,
  lastTimestamp,
})

const report = (value: Partial<NodeReport>): Pod['metadata'] & object => ({
  annotations: { [annotations.nodeReport]: JSON.stringify({ version: 1, findings: [], ...value }) },
})

describe('explainPod', () => {
  it('has nothing to say about a pod that is ready', () => {
    expect(explainPod({ status: { conditions: [{ type: 'Ready', status: 'True' }] } }, [])).toBeUndefined()
  })

  it('says why there is no node', () => {
    const message = '0/2 nodes are available: 2 Insufficient cpu.'
    const conditions = [{ type: 'PodScheduled', status: 'False', message }]
    expect(explainPod({ status: { conditions } }, [])).toMatchObject({
      stuck: false,
      text: `has no node yet: ${message}`,
    })
  })

  it.each(['ErrImagePull', 'ImagePullBackOff'])('says what the registry answered (%s)', (reason) => {
    const waiting = pod({ state: { waiting: { reason, message: 'Back-off pulling image "x"' } } })
    const events = [
      event('Failed', 'Failed to pull image "x": not found', '2026-01-01T00:00:01Z'),
      event('Failed', 'Error: ErrImagePull', '2026-01-01T00:00:02Z'),
      event('BackOff', 'Back-off pulling image "x"', '2026-01-01T00:00:03Z', 'Normal'),
    ]
    const explained = explainPod(waiting, events)
    expect(explained?.text).toBe('cannot get its image: Failed to pull image "x": not found')
    expect(explained).toMatchObject({ stuck: true, fix: expect.stringContaining('--image') as string })
    expect(explainPod(waiting, [])?.text).toContain('Back-off pulling image')
  })

  it('quotes the last words of a program that ends again and again', () => {
    const terminated = { exitCode: 2, message: 'line 1\ninsitu: no address to listen on\n  fix: add --listen\n' }
    const explained = explainPod(
      pod({ state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated } }),
      [],
    )
    expect(explained?.text).toContain('exit code 2): line 1\ninsitu: no address')
  })

  it('knows a node whose containerd lives elsewhere', () => {
    const message =
      'MountVolume.SetUp failed for volume "containerd-root" : hostPath type check failed: /var/lib/containerd is not a directory'
    const creating = pod({ state: { waiting: { reason: 'ContainerCreating' } } })
    const explained = explainPod(creating, [event('FailedMount', message, '2026-01-01T00:00:01Z')])
    expect(explained?.text).toBe('the node has no directory /var/lib/containerd')
    expect(explained?.fix).toContain('--distribution')
  })

  it('repeats what the agent found on its node', () => {
    const finding = {
      code: 'SOCKET_MISSING',
      severity: 'fatal',
      message: 'there is no containerd',
      fix: 'start it',
    } as const
    const running = pod({ state: { running: {} } }, { metadata: report({ state: 'failed', findings: [finding] }) })
    expect(explainPod(running, [])).toEqual({
      stuck: true,
      text: 'there is no containerd [SOCKET_MISSING]',
      fix: 'start it',
    })
    const starting = pod({ state: { running: {} } }, { metadata: report({ state: 'starting' }) })
    expect(explainPod(starting, [])).toMatchObject({ stuck: false, text: 'runs and is not ready yet (starting)' })
    const noticed = pod({ state: { running: {} } }, { metadata: report({ state: 'ready', findings: [] }) })
    expect(explainPod(noticed, [])).toMatchObject({ stuck: false, text: expect.stringContaining('takes builds') })
  })
})

describe('reportOf', () => {
  it.each(['', '{', '{"version":2}'])('leaves out what it cannot read: %j', (text) => {
    expect(reportOf({ metadata: { annotations: { [annotations.nodeReport]: text } } })).toBeUndefined()
  })
})
