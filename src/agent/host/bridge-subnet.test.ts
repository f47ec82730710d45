import { describe, expect, it } from 'vitest'
import { checkSubnet, chooseSubnet, defaultSubnet, hasWayOutOfSix, parseRoutes } from './bridge-subnet.ts'

const bridge = 'buildkit0'
const on = (device: string, networks: readonly string[]) => networks.map((network) => ({ device, network }))
const facts = (used: readonly string[], kept: readonly string[] = [], onlySix = false) => ({
  ...{ pod: [...on('eth0', used), ...on(bridge, kept)], node: [], hosts: [], onlySix },
})

describe('the network of RUN steps', () => {
  it.each([
    ['nothing is known', [], defaultSubnet],
    ['flannel and kubeadm', ['10.244.1.0/24', '10.96.0.1', '192.168.1.0/24'], defaultSubnet],
    ['k3s', ['10.42.0.0/24', '10.43.0.1', '10.43.0.10'], defaultSubnet],
    [
      'a VPC of 10.10.0.0/16 whose pods have its addresses',
      ['10.10.3.7', '10.10.3.0/24', '172.20.0.1'],
      '192.168.224.0/19',
    ],
    ['pods of other nodes next to it (GKE, 10.8.0.0/14)', ['10.8.2.0/24', '34.118.224.1'], '172.29.0.0/16'],
    ['services of AKS', ['10.0.0.1', '10.244.3.9'], '172.29.0.0/16'],
    [
      'Calico’s default, on a network of 172.16.0.0/12',
      ['192.168.7.0/26', '172.16.9.1', '10.10.0.9'],
      '100.126.0.0/16',
    ],
    [
      'something in each range, but not in all of it',
      ['10.8.0.1', '172.16.0.1', '192.168.1.1', '100.115.0.1'],
      defaultSubnet,
    ],
    ['the same, and the first is in use', ['10.10.0.1', '172.16.0.1', '192.168.1.1', '100.115.0.1'], '172.29.0.0/16'],
    ['all of them', ['10.10.0.1', '172.29.0.1', '192.168.224.1', '100.126.0.1'], defaultSubnet],
    ['a route that holds half of the Internet', ['10.0.0.0/8'], '172.29.0.0/16'],
  ])('where there is %s', (_, used, subnet) => {
    expect(chooseSubnet(facts(used), bridge)).toBe(subnet)
  })

  it('stays as it is while the bridge is there, whatever else has come', () => {
    expect(chooseSubnet(facts(['10.10.0.1'], ['10.10.0.0/16']), bridge)).toBe(defaultSubnet)
    expect(chooseSubnet(facts(['172.29.0.1'], ['172.29.0.0/16']), bridge)).toBe('172.29.0.0/16')
  })

  it('is a finding where it has addresses in use, and says which', () => {
    expect(checkSubnet('10.10.0.0/16', facts(['10.244.0.0/16', '10.10.3.0/24']), bridge)).toMatchObject([
      { code: 'BRIDGE_SUBNET', severity: 'warning', message: expect.stringContaining('10.10.3.0/24') as string },
    ])
    expect(checkSubnet('10.10.0.0/16', facts(['10.244.0.0/16', '10.11.0.0/16']), bridge)).toEqual([])
    expect(checkSubnet('fd00::/64', facts(['10.10.3.0/24']), bridge)).toEqual([])
  })
})

it('is a finding where only IPv6 leads out of the pod', () => {
  expect(checkSubnet(defaultSubnet, facts([], [], true), bridge)).toMatchObject([{ code: 'BRIDGE_IPV6_ONLY' }])
  const zero = '0'.repeat(32)
  const line = (device: string) =>
    `${zero} 00 ${zero} 00 ${zero} ffffffff 00000001 00000000 00200200 ${device.padStart(8)}\n`
  expect(hasWayOutOfSix(line('lo'))).toBe(false)
  expect(hasWayOutOfSix(line('lo') + line('eth0'))).toBe(true)
})

describe('a routing table of the kernel', () => {
  const head = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n'
  it('is read in the byte order of the machine, without ways out', () => {
    const table =
      `${head}eth0\t00000000\t010310AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n` +
      'tun0\t00000080\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n' +
      'buildkit0\t00000A0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n' +
      'cali1\t0703000A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n'
    expect(parseRoutes(table, 'LE')).toEqual([
      { device: 'buildkit0', network: '10.10.0.0/16' },
      { device: 'cali1', network: '10.0.3.7/32' },
    ])
  })
  it('is read on machines with the other one', () => {
    const table = `${head}eth0\t0A0A0300\t00000000\t0001\t0\t0\t0\tFFFFFF00\t0\t0\t0\n`
    expect(parseRoutes(table, 'BE')).toEqual([{ device: 'eth0', network: '10.10.3.0/24' }])
  })
  it('may be empty', () => {
    expect(parseRoutes('')).toEqual([])
    expect(parseRoutes(head)).toEqual([])
  })
})
