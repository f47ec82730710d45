import { maxNodes, net, nodeIP, nodeName, podRange, pushRegistry, standInRegistry, stoodInFor } from './layout.ts'
import type { MachineFacts, NodeOptions } from './machine.ts'

export const pauseImage = 'registry.k8s.io/pause:3.10'

/** The files of a node's /etc, by path below it. Pure. */
export function nodeEtc(
  node: string,
  { machine, options }: { machine: MachineFacts; options: NodeOptions },
): Record<string, string> {
  const json = (value: unknown): string => `${JSON.stringify(value, undefined, 1)}\n`
  const hosts = Array.from({ length: maxNodes }, (_, i) => `${nodeIP(nodeName(i + 1))} ${nodeName(i + 1)}\n`)
  const standIn = `server = "http://${standInRegistry}"\n\n[host."http://${standInRegistry}"]\n  capabilities = ["pull", "resolve"]\n`
  return {
    hostname: `${node}\n`,
    hosts: `127.0.0.1 localhost\n::1 localhost\n${hosts.join('')}`,
    'resolv.conf': machine.nameservers.map((s) => `nameserver ${s}\n`).join(''),
    'containerd/config.toml': containerdConfig(options),
    // `server` too: a name that the stand-in does not have must fail at once, not after the internet's time-out.
    ...Object.fromEntries(stoodInFor.map((name) => [`containerd/certs.d/${name}/hosts.toml`, standIn])),
    [`containerd/certs.d/${standInRegistry}/hosts.toml`]: standIn,
    [`containerd/certs.d/${pushRegistry}/hosts.toml`]: `server = "http://${pushRegistry}"\n\n[host."http://${pushRegistry}"]\n  capabilities = ["pull", "resolve", "push"]\n`,
    'cni/net.d/10-insitu-lab.conflist': json({
      cniVersion: '1.0.0',
      name: 'insitu-lab',
      plugins: [
        {
          type: 'bridge',
          bridge: 'cni0',
          isGateway: true,
          // The host masquerades what leaves the lab; inside, a pod's address must reach the other pod.
          ipMasq: false,
          hairpinMode: true,
          mtu: Math.min(machine.mtu, 1500),
          ipam: { type: 'host-local', ranges: [[{ subnet: podRange(node) }]], routes: [{ dst: '0.0.0.0/0' }] },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    }),
    'kubernetes/kubelet.json': json({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      ...options.kubelet,
      containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
      authentication: {
        anonymous: { enabled: false },
        webhook: { enabled: true },
        x509: { clientCAFile: '/etc/kubernetes/ca.crt' },
      },
      authorization: { mode: 'Webhook' },
      tlsCertFile: '/etc/kubernetes/kubelet.crt',
      tlsPrivateKeyFile: '/etc/kubernetes/kubelet.key',
      clusterDNS: [net.dnsService],
      clusterDomain: 'cluster.local',
      resolvConf: '/etc/resolv.conf',
      serializeImagePulls: false,
      // Nothing the lab's disk does may move pods or images.
      evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' },
      imageGCHighThresholdPercent: 100,
      imageGCLowThresholdPercent: 99,
      shutdownGracePeriod: '0s',
    }),
  }
}

const containerdConfig = (options: NodeOptions): string => `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "${pauseImage}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "/etc/containerd/certs.d"

[plugins."io.containerd.cri.v1.runtime"]
  # A profile would be loaded into the machine's kernel, where it would stay.
  disable_apparmor = true
  restrict_oom_score_adj = ${options.containerd.restrictOomScoreAdj}
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    SystemdCgroup = ${options.containerd.systemdCgroup}
`
