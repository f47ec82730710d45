import { describe, expect, it } from 'vitest'
import { nodeOptions, parseMachine, type MachineFiles } from '../../lab/machine.ts'

const v1: MachineFiles = {
  mountinfo: [
    '30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw',
    '31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct',
    '32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
    '33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd',
    '34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
    '90 25 0:28 /kubepods /elsewhere/memory rw - cgroup cgroup rw,memory',
  ].join('\n'),
  status: 'Name:\tnode\nCapEff:\t000001fffeffffff\n',
  resolvConfs: ['nameserver 192.0.2.53\n'],
  swaps: 'Filename\tType\n',
  controllers: '',
  subtreeControl: '',
  systemd: false,
  mtu: 1400,
}

const v2: MachineFiles = {
  ...v1,
  mountinfo: '30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate',
  status: 'CapEff:\t000001ffffffffff\n',
  controllers: 'cpuset cpu io memory hugetlb pids rdma\n',
  subtreeControl: 'cpu memory pids\n',
  systemd: true,
}

describe('what the lab finds out about the machine', () => {
  it('cgroup v1, also with the empty v2 beside it: the hierarchies where systemd looks for them', () => {
    const facts = parseMachine(v1)
    expect(facts.cgroupVersion).toBe(1)
    expect(facts.cgroupHierarchies).toEqual(['cpu,cpuacct', 'memory', 'systemd'])
  })

  it('cgroup v2 and its controllers', () => {
    const facts = parseMachine(v2)
    expect(facts.cgroupVersion).toBe(2)
    expect(facts.cgroupHierarchies).toEqual([])
    expect(facts.cgroupEnabled).toEqual(['cpu', 'memory', 'pids'])
  })

  it('CAP_SYS_RESOURCE is bit 24 of the effective set', () => {
    expect(parseMachine(v1).mayLowerOomScore).toBe(false)
    expect(parseMachine(v2).mayLowerOomScore).toBe(true)
  })

  it("name servers on loopback are of no use to a node; systemd-resolved's own list is", () => {
    const resolvConfs = ['nameserver 127.0.0.53\noptions edns0\n', 'nameserver 127.0.0.1\nnameserver 198.51.100.7\n']
    expect(parseMachine({ ...v1, resolvConfs }).nameservers).toEqual(['198.51.100.7'])
    expect(parseMachine({ ...v1, resolvConfs: ['nameserver ::1\nnameserver 2001:db8::53\n', ''] }).nameservers).toEqual(
      [],
    )
  })
})

describe('what follows from it', () => {
  it('on v1 without CAP_SYS_RESOURCE', () => {
    const options = nodeOptions(parseMachine(v1))
    expect(options.kubelet.failCgroupV1).toBe(false)
    expect(options.containerd.restrictOomScoreAdj).toBe(true)
    expect(options.daemonGroup).toBe('')
    expect(options.enableControllers).toEqual([])
  })

  it('on v2 with systemd: a leaf for the daemons, missing controllers handed down, cgroupfs inside', () => {
    const options = nodeOptions(parseMachine(v2))
    expect(options.kubelet).toMatchObject({ failCgroupV1: true, cgroupDriver: 'cgroupfs', cgroupRoot: '/' })
    expect(options.containerd).toEqual({ restrictOomScoreAdj: false, systemdCgroup: false })
    expect(options.daemonGroup).toBe('daemons')
    expect(options.enableControllers).toEqual(['cpuset', 'hugetlb', 'io'])
  })
})
