import { describe, expect, it } from 'vitest'
import { agentNodes, checkVersion } from './checks.ts'
import { commonDistribution, distributionOf } from './distribution.ts'
import { parseDuration, parseHostPath, parseLabels, parseToleration } from './parse.ts'
import type { Node } from './objects.ts'

const node = (
  name: string,
  more: { spec?: Node['spec']; info?: object; labels?: Record<string, string>; ready?: boolean } = {},
): Node => ({
  metadata: { name, labels: more.labels ?? {} },
  spec: more.spec ?? {},
  status: {
    conditions: [{ type: 'Ready', status: more.ready === false ? 'False' : 'True' }],
    nodeInfo: {
      kubeletVersion: 'v1.35.4',
      containerRuntimeVersion: 'containerd://2.4.2',
      operatingSystem: 'linux',
      ...more.info,
    },
  },
})

describe('checkVersion', () => {
  it.each(['v1.30.0', 'v1.35.4', 'v1.31.2+k3s1', 'v2.0.0'])('%s will do', (version) => {
    expect(() => checkVersion(version)).not.toThrow()
  })
  it.each(['v1.29.9', 'v1.9.0', 'nonsense'])('%s will not', (version) => {
    expect(() => checkVersion(version)).toThrow('needs 1.30')
  })
})

describe('agentNodes', () => {
  const names = (nodes: readonly Node[], selector = {}, tolerated: readonly string[] = []): (string | undefined)[] =>
    agentNodes(nodes, selector, (taint) => tolerated.includes(taint.key)).map((n) => n.metadata?.name)

  it('are ready, run Linux, carry the labels', () => {
    const all = [
      node('a', { labels: { build: 'yes' } }),
      node('down', { ready: false }),
      node('win', { info: { operatingSystem: 'windows' } }),
    ]
    expect(names(all)).toEqual(['a'])
    expect(names([...all, node('b')], { build: 'yes' })).toEqual(['a'])
  })

  it('have no taint that nobody tolerates', () => {
    const tainted = (key: string, effect: string): Node => node(key, { spec: { taints: [{ key, effect }] } })
    const all = [
      tainted('gpu', 'NoSchedule'),
      tainted('soft', 'PreferNoSchedule'),
      tainted('node.kubernetes.io/disk-pressure', 'NoSchedule'),
    ]
    expect(names(all)).toEqual(['soft', 'node.kubernetes.io/disk-pressure'])
    expect(names(all, {}, ['gpu'])).toHaveLength(3)
  })
})

describe('the distribution', () => {
  it.each([
    ['k3s', node('n', { info: { kubeletVersion: 'v1.33.1+k3s1' } })],
    ['rke2', node('n', { info: { kubeletVersion: 'v1.33.1+rke2r1' } })],
    ['microk8s', node('n', { labels: { 'microk8s.io/cluster': 'true' } })],
    ['kind', node('n', { spec: { providerID: 'kind://docker/kind/kind-control-plane' } })],
    ['kubeadm', node('n')],
  ])('%s is recognised', (name, n) => {
    expect(distributionOf(n)).toBe(name)
    expect(commonDistribution([n, n])).toBe(name)
  })

  it('must be one', () => {
    expect(() => commonDistribution([node('a'), node('b', { info: { kubeletVersion: 'v1.33.1+k3s1' } })])).toThrow(
      'k3s (b)',
    )
  })

  it('must run containerd', () => {
    expect(() => commonDistribution([node('a', { info: { containerRuntimeVersion: 'cri-o://1.30' } })])).toThrow(
      'cri-o',
    )
  })
})

describe('options', () => {
  it.each([
    ['90s', 90_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
  ])('%s is a duration', (text, milliseconds) => expect(parseDuration(text)).toBe(milliseconds))
  it.each(['', '5', 'm', '1d', '-1s'])('%j is none', (text) =>
    expect(() => parseDuration(text)).toThrow('not a duration'),
  )

  it.each([
    ['*', { operator: 'Exists' }],
    ['gpu', { key: 'gpu', operator: 'Exists' }],
    ['gpu=yes', { key: 'gpu', operator: 'Equal', value: 'yes' }],
    ['example.com/gpu:NoExecute', { key: 'example.com/gpu', operator: 'Exists', effect: 'NoExecute' }],
    ['gpu=yes:NoSchedule', { key: 'gpu', operator: 'Equal', value: 'yes', effect: 'NoSchedule' }],
  ])('%s is a toleration', (text, toleration) => expect(parseToleration(text)).toEqual(toleration))
  it.each(['', 'a:Never', '=x'])('%j is none', (text) => expect(() => parseToleration(text)).toThrow('--toleration'))

  it('labels', () => {
    const labels = ['a=b', 'example.com/C_d=E.f', `g=${'h'.repeat(63)}`, 'i=']
    expect(Object.entries(parseLabels(labels, '--x')).map((pair) => pair.join('='))).toEqual(labels)
  })
  it.each(['a', '=b', 'a=b=c', 'a b=c', 'a=-b', '/a=b', 'A.b/c=d', 'a/b/c=d', `a=${'b'.repeat(64)}`])(
    '%j is none',
    (text) => expect(() => parseLabels([text], '--x')).toThrow(`--x "${text}"`),
  )

  it('host paths have a directory of their own', () => {
    expect(parseHostPath('/var/lib/buildkit/', '--x')).toBe('/var/lib/buildkit')
    for (const bad of ['/', '/var', 'var/lib', '/var/../lib', '/var//lib']) {
      expect(() => parseHostPath(bad, '--x')).toThrow('--x')
    }
  })
})
