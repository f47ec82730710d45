import { parse } from '@iarna/toml'
import { describe, expect, it } from 'vitest'
import { pushRegistry, standInRegistry } from '../../lab/layout.ts'
import { nodeOptions, type MachineFacts } from '../../lab/machine.ts'
import { nodeEtc, pauseImage } from '../../lab/node-config.ts'

const machine: MachineFacts = {
  cgroupVersion: 1,
  cgroupHierarchies: ['memory'],
  cgroupControllers: [],
  cgroupEnabled: [],
  systemd: false,
  mayLowerOomScore: false,
  swap: false,
  nameservers: ['192.0.2.53'],
  mtu: 1400,
}
const files = nodeEtc('node2', { machine, options: nodeOptions(machine) })
const text = (path: string): string => files[path] ?? ''

describe("a node's /etc", () => {
  it('containerd: the registries from certs.d, our pause image, no lowered oom scores where that is not allowed', () => {
    expect(parse(text('containerd/config.toml'))).toMatchObject({
      plugins: {
        'io.containerd.cri.v1.images': {
          pinned_images: { sandbox: pauseImage },
          registry: { config_path: '/etc/containerd/certs.d' },
        },
        'io.containerd.cri.v1.runtime': {
          restrict_oom_score_adj: true,
          containerd: {
            runtimes: { runc: { runtime_type: 'io.containerd.runc.v2', options: { SystemdCgroup: false } } },
          },
        },
      },
    })
  })

  it('certs.d: the public registries end at the stand-in and never at the internet', () => {
    for (const name of ['docker.io', 'ghcr.io', 'registry.k8s.io']) {
      expect(parse(text(`containerd/certs.d/${name}/hosts.toml`))).toEqual({
        server: `http://${standInRegistry}`,
        host: { [`http://${standInRegistry}`]: { capabilities: ['pull', 'resolve'] } },
      })
    }
    expect(parse(text(`containerd/certs.d/${pushRegistry}/hosts.toml`))).toMatchObject({
      server: `http://${pushRegistry}`,
    })
  })

  it("CNI: the node's own pod range, no masquerading between pods", () => {
    const cni = JSON.parse(text('cni/net.d/10-insitu-lab.conflist')) as { plugins: Record<string, unknown>[] }
    expect(cni.plugins[0]).toMatchObject({ type: 'bridge', ipMasq: false, mtu: 1400 })
    expect(JSON.stringify(cni.plugins[0])).toContain('10.244.2.0/24')
    expect(cni.plugins[1]).toMatchObject({ type: 'portmap' })
  })

  it('kubelet: no eviction and no image collection by disk', () => {
    const kubelet = JSON.parse(text('kubernetes/kubelet.json')) as object
    expect(kubelet).toMatchObject({ imageGCHighThresholdPercent: 100, failCgroupV1: false, cgroupRoot: '/' })
  })

  it('resolv.conf: the servers of the machine', () => {
    expect(text('resolv.conf')).toBe('nameserver 192.0.2.53\n')
  })
})
