import { expect, test } from 'vitest'
import { completeNoProxy } from '../../buildkit/no-proxy.ts'
import { createRandom } from '../../../test/random.ts'
import { clusterDomain } from './domain.ts'
import { exceptionsOf } from './exceptions.ts'
import { fewRanges } from './ranges.ts'
import { joinSources } from './sources.ts'

test('neighbours are joined, what lies in others is left out, and IPv6 is kept apart', () => {
  const pods = Array.from({ length: 256 }, (_, i) => `10.244.${i}.0/24`)
  expect(fewRanges(pods, 4)).toEqual(['10.244.0.0/16'])
  expect(fewRanges(['10.0.0.7', '10.0.0.6', '10.1.0.1', 'fd00::1', 'fd00:0:0::/48', 'nonsense'], 9)).toEqual([
    ...['10.1.0.1', 'fd00::/48', '10.0.0.6/31'],
  ])
})

test('too many are widened, and every address stays in one of them', () => {
  const random = createRandom(5)
  const nodes = Array.from({ length: 3000 }, () => `10.${random.int(4)}.${random.int(256)}.${random.int(256)}`)
  const ranges = fewRanges(nodes, 32)
  expect(ranges.length).toBeLessThanOrEqual(32)
  const number = (text: string): number => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  for (const node of nodes) {
    const inside = ranges.some((range) => {
      const [first = '', bits = '32'] = range.split('/')
      const size = 2 ** (32 - Number(bits))
      return Math.floor(number(node) / size) === Math.floor(number(first) / size)
    })
    expect(inside, node).toBe(true)
  }
})

test('what no proxy is asked for: names, services, pods, nodes, API server, registries', () => {
  expect(
    exceptionsOf({
      services: ['10.96.0.0/16'],
      pods: ['10.244.1.0/24', '10.244.0.0/24'],
      nodes: ['10.77.0.12', '10.77.0.11'],
      apiServer: '10.96.0.1',
      domain: 'corp.local',
      registries: ['registry.lan:5000', '[fd00::5]:5000'],
    }),
  ).toEqual([
    ...['localhost', '127.0.0.1', '::1', '.svc', '.corp.local', '10.96.0.1', '10.96.0.0/16', '10.244.0.0/23'],
    ...['10.77.0.11', '10.77.0.12', 'fd00::5', 'registry.lan'],
  ])
})

test('NO_PROXY is completed where there is a proxy, and what it says stays first', () => {
  expect(completeNoProxy({ http_proxy: 'http://p', NO_PROXY: 'a, .svc' }, ['.svc', 'b'])).toEqual({
    ...{ HTTP_PROXY: 'http://p', NO_PROXY: 'a,.svc,b' },
  })
  expect(completeNoProxy({ NO_PROXY: 'a' }, ['b'])).toEqual({ NO_PROXY: 'a' })
  expect(completeNoProxy({ HTTP_PROXY: 'http://p', NO_PROXY: '*' }, ['b'])).toMatchObject({ NO_PROXY: '*' })
})

test('agent, install and namespace: later ones win variable by variable, and a wrong one is named', () => {
  const install = {
    name: 'ConfigMap system/insitu-proxy:',
    variables: { HTTPS_PROXY: 'http://install', NO_PROXY: 'i' },
  }
  const team = { name: 'ConfigMap team/insitu-proxy:', variables: { https_proxy: '', all_proxy: 'socks5://team:1080' } }
  const agent = { HTTP_PROXY: 'http://agent', https_proxy: 'http://agent', LOCAL_REGISTRIES: 'r.lan,s.lan' }
  expect(joinSources('n1', agent, [install, team], ['.svc'])).toEqual({
    HTTP_PROXY: 'http://agent',
    ALL_PROXY: 'socks5://team:1080',
    NO_PROXY: 'i,.svc,r.lan,s.lan',
  })
  const wrong = { name: team.name, variables: { HTTP_PROXY: 'http://u:s3cret' } }
  expect(() => joinSources('n1', agent, [wrong], [])).toThrow('ConfigMap team/insitu-proxy: HTTP_PROXY is not a URL')
})

test('the domain of a cluster is in the resolv.conf of pods', () => {
  expect(clusterDomain('search a.svc.corp.local svc.corp.local corp.local lan\nnameserver 10.96.0.10\n')).toBe(
    'corp.local',
  )
  expect(clusterDomain('nameserver 1.1.1.1\n')).toBeUndefined()
})
