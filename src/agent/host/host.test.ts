import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import { asAnswered, detect, marks } from './distribution.ts'
import { workerOf } from './neighbours.ts'
import { recall, rememberNetwork } from './network-undo.ts'
import { checkBridge } from './network.ts'
import { checkSnapshotter, preflight, sharingFinding } from './preflight.ts'
import { checkSpace } from './space.ts'
import { checkContainerdVersion } from './versions.ts'

describe('detecting a distribution', () => {
  const on = (...paths: string[]) => detect((path) => paths.includes(path))

  it.each([
    ['kubeadm', ['/etc/kubernetes/kubelet.conf'], '/run/containerd/containerd.sock', '/var/lib/containerd'],
    [
      'kind',
      ['/kind/version', '/etc/kubernetes/kubelet.conf'],
      '/run/containerd/containerd.sock',
      '/var/lib/containerd',
    ],
    ['minikube', ['/var/lib/minikube'], '/run/containerd/containerd.sock', '/var/lib/containerd'],
    ['eks', ['/etc/eks'], '/run/containerd/containerd.sock', '/var/lib/containerd'],
    ['gke', ['/home/kubernetes/bin'], '/run/containerd/containerd.sock', '/var/lib/containerd'],
    ['aks', ['/etc/kubernetes/azure.json'], '/run/containerd/containerd.sock', '/var/lib/containerd'],
    [
      'k3s',
      ['/run/k3s/containerd/containerd.sock', '/var/lib/rancher/k3s'],
      '/run/k3s/containerd/containerd.sock',
      '/var/lib/rancher/k3s/agent/containerd',
    ],
    [
      'rke2',
      ['/run/k3s/containerd/containerd.sock', '/var/lib/rancher/rke2'],
      '/run/k3s/containerd/containerd.sock',
      '/var/lib/rancher/rke2/agent/containerd',
    ],
    [
      'microk8s',
      ['/var/snap/microk8s/common/run/containerd.sock'],
      '/var/snap/microk8s/common/run/containerd.sock',
      '/var/snap/microk8s/common/var/lib/containerd',
    ],
    ['unknown', [], '/run/containerd/containerd.sock', '/var/lib/containerd'],
  ])('%s', (name, paths, address, root) => {
    expect(on(...paths)).toMatchObject({ name, address, root })
    for (const path of paths) expect(marks).toContain(path)
  })
})

describe('where a containerd lies', () => {
  const usual = detect(() => false)
  it('is what it says itself', () => {
    const told = asAnswered(usual, '/run/other/containerd.sock', { root: '/data', state: '/run/state' })
    expect(told).toMatchObject({ address: '/run/other/containerd.sock', root: '/data', state: '/run/state' })
  })
  it('is beside its socket where it has no CRI plug-in to say so: the usual place may be another one’s', () => {
    const own = asAnswered(usual, '/var/lib/insitu/c/containerd.sock', {
      root: '/var/lib/insitu/c/root',
      state: undefined,
    })
    expect(own.state).toBe('/var/lib/insitu/c')
  })
  it('is the distribution’s place for it where its own containerd does not say so, as while its CRI plug-in starts', () => {
    const microk8s = detect((path) => path.startsWith('/var/snap/microk8s'))
    const told = asAnswered(microk8s, microk8s.address, { root: microk8s.root, state: undefined })
    expect(told.state).toBe('/var/snap/microk8s/common/run/containerd')
  })
  it('is the usual place of the distribution while nobody answers', () => {
    expect(asAnswered(usual, '/run/other/containerd.sock', undefined)).toEqual({
      ...usual,
      address: '/run/other/containerd.sock',
    })
  })
})

describe('containerd’s version', () => {
  it.each([
    ['1.6.20', ['CONTAINERD_TOO_OLD']],
    ['1.7.32', ['CONTAINERD_VULNERABLE']],
    ['1.7.33-k3s1', []],
    ['2.0.9', ['CONTAINERD_VULNERABLE']],
    ['2.1.9', []],
    ['2.2.4', ['CONTAINERD_VULNERABLE']],
    ['2.3.2', []],
    ['2.4.2', []],
    ['main', ['CONTAINERD_VERSION_UNKNOWN']],
  ])('%s', (version, codes) => {
    expect(checkContainerdVersion(version).map((finding) => finding.code)).toEqual(codes)
  })
})

describe('space', () => {
  const plenty = { path: '/x', freeBytes: 2 ** 40, freeShare: 0.5, freeInodes: 0.5 }
  it.each([
    [{}, []],
    [{ freeShare: 0.14 }, ['DISK_LOW']],
    [{ freeBytes: 2 ** 20, freeShare: 0.01 }, ['DISK_FULL']],
    [{ freeInodes: 0.04 }, ['INODES_LOW']],
    [{ freeInodes: 0.001 }, ['INODES_EXHAUSTED']],
  ])('%j', (change, codes) => {
    expect(checkSpace({ ...plenty, ...change }).map((finding) => finding.code)).toEqual(codes)
  })
})

describe('sharing and bridge findings', () => {
  it('have a fix wherever they are fatal', () => {
    for (const sharing of ['not-propagated', 'different', 'unproven', 'no-room'] as const) {
      expect(sharingFinding('/x', sharing)[0]?.fix).toBeTruthy()
    }
    expect(sharingFinding('/x', 'shared')).toEqual([])
    const facts = { onPath: false, cniBinaryPath: '/cni', iptables: true, forwarding: true }
    expect(checkBridge(facts)).toEqual([])
    expect(checkBridge({ ...facts, onPath: true, cniBinaryPath: undefined })).toEqual([])
    expect(checkBridge({ ...facts, cniBinaryPath: undefined })[0]?.message).toContain('host-local')
    expect(checkBridge({ ...facts, iptables: false, forwarding: false })[0]?.message).toMatch(/iptables and the right/)
  })
})

describe('another buildkitd', () => {
  it('is read from flags before its file, and from defaults last', () => {
    expect(workerOf(['buildkitd'], undefined)).toEqual({
      root: '/var/lib/buildkit',
      enabled: true,
      address: '/run/containerd/containerd.sock',
      namespace: 'buildkit',
    })
    const config = 'root = "/r"\n[worker.containerd]\naddress = "/a.sock"\nnamespace = "k8s.io"\nenabled = false\n'
    expect(workerOf(['buildkitd'], config)).toEqual({
      root: '/r',
      enabled: false,
      address: '/a.sock',
      namespace: 'k8s.io',
    })
    const flags = [
      'buildkitd',
      '--containerd-worker=true',
      '--containerd-worker-addr',
      'unix:///b.sock',
      '--containerd-worker-namespace=x',
    ]
    expect(workerOf([...flags, '--root=/s'], config).root).toBe('/s')
    expect(workerOf(flags, config)).toEqual({ root: '/r', enabled: true, address: '/b.sock', namespace: 'x' })
    expect(workerOf(['buildkitd'], 'not = toml = ')).toMatchObject({ namespace: 'buildkit' })
  })
})

describe('what helps', () => {
  it('against a containerd elsewhere is an option of the command that installed the agent', async () => {
    const nowhere = { root: '/nowhere/buildkit', namespace: 'k8s.io', hostRoot: '/nowhere' }
    const { findings } = await preflight({ ...nowhere, containerdAddress: '/nowhere/containerd.sock' })
    expect(findings.map(({ code }) => code)).toEqual(['CONTAINERD_MISSING'])
    expect(findings[0]?.fix).toMatch(
      /insitu install --distribution.*--containerd-state.*insitu local --containerd-address/,
    )
  })
  it('where the snapshotter is not known is an argument of the agent, which insitu install does not have', () => {
    const [finding] = checkSnapshotter(undefined, { snapshotters: ['overlayfs'] })
    expect(finding?.fix).toContain('arguments of DaemonSet insitu-agent')
  })
})

describe('the memory of a network', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'insitu-network-'))
  })
  afterEach(() => rm(directory, { recursive: true }))

  it('is not used after another boot or in another network', async () => {
    const file = join(directory, 'insitu-network.json')
    const before = {
      boot: 'b1',
      namespace: 4026531840,
      own: { bridge: 'buildkit0', subnet: '10.10.0.0/16' },
      bridge: false,
      addresses: false,
      forwarding: false,
      rules: {},
    }
    await writeFile(file, JSON.stringify(before))
    expect(await recall(file, { boot: 'b1', namespace: 4026531840 })).toEqual(before)
    expect(await recall(file, { boot: 'b2', namespace: 4026531840 })).toBeUndefined()
    expect(await recall(file, { boot: 'b1', namespace: 4026531841 })).toBeUndefined()
    // An older agent did not say of which boot it is, or of which network.
    for (const missing of ['boot', 'own']) {
      await writeFile(file, JSON.stringify({ ...before, [missing]: undefined }))
      expect(await recall(file, { boot: 'b1', namespace: 4026531840 })).toBeUndefined()
    }
  })

  it('is not made where RUN steps use the network that is there', async () => {
    const [file, log] = [join(directory, 'insitu-network.json'), createLogger({ level: 'silent' })]
    expect(await rememberNetwork({ own: undefined, file, log })).toBeUndefined()
    expect(await readdir(directory)).toEqual([])
  })

  it('of an agent that was killed is used up before another network comes', async () => {
    const [file, log] = [join(directory, 'insitu-network.json'), createLogger({ level: 'silent' })]
    const here = {
      boot: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
      namespace: (await stat('/proc/self/ns/net')).ino,
    }
    const left = { ...here, own: { bridge: 'insitu-none', subnet: '192.0.2.0/24' }, rules: {} }
    // So that nothing of this machine is touched.
    const before = { ...left, bridge: true, addresses: true, forwarding: true }
    await writeFile(file, JSON.stringify(before))
    expect(await rememberNetwork({ own: left.own, file, log })).toBeDefined()
    expect(await recall(file, here)).toEqual(before)
    const own = { ...left.own, subnet: '198.51.100.0/24' }
    expect(await rememberNetwork({ own, file, log })).toBeDefined()
    expect(await recall(file, here)).toMatchObject({ own, bridge: false })
    await writeFile(file, JSON.stringify(before))
    expect(await rememberNetwork({ own: undefined, file, log })).toBeUndefined()
    expect(await readdir(directory)).toEqual([])
  })
})
