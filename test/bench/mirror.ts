import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { containerdCall } from '../../src/agent/host/containerd-call.ts'
import { putMirror, removeMirror } from '../../src/agent/mirror/certs.ts'
import { startMirror } from '../../src/agent/mirror/mirror.ts'
import { createAuthority } from '../../src/kernel/tls/ca.ts'
import { startNode } from '../integration/fixtures/containerd.ts'
import { agentTls, layOut, silent, startPeer, testGateways, testRecords } from '../integration/fixtures/mirror-peers.ts'
import { type SketchedImage, sketchImage } from '../integration/fixtures/oci-image.ts'
import { measureCompression } from './compress.ts'
import type { BenchOptions } from './benches.ts'
import { type Report, summarize } from './report.ts'

const token = 'bench'
const small = 20
const bareServer = 'a server that refuses at once'

/**
 * A real containerd pulls from a registry of this process, without the mirror and with it in front, in turns; then
 * from another agent over mutual TLS. Gateways answer from this process, so that their network is not part of it.
 */
export async function benchMirror({ runs, size, progress }: BenchOptions): Promise<Report> {
  const node = await startNode()
  const certs = join(node.directory, 'certs.d')
  const socket = `/proc/${node.pid}/root/run/containerd/containerd.sock`
  const link = `ib${process.pid}`
  const exec = promisify(execFile)
  const ip = (args: readonly string[]): Promise<unknown> => exec('ip', args)
  await ip(['link', 'add', link, 'type', 'veth', 'peer', 'name', 'out', 'netns', String(node.pid)])
  await ip(['address', 'add', '10.98.199.1/24', 'dev', link])
  await ip(['link', 'set', link, 'up'])
  await node.ok('ip', ['address', 'add', '10.98.199.2/24', 'dev', 'out'])
  await node.ok('ip', ['link', 'set', 'out', 'up'])

  const authority = await createAuthority()
  const gateways = testGateways()
  gateways.answer('one', () => ({ state: 'none' }))
  const mirror = await startMirror({
    ...{ containerdRoot: join(node.directory, 'containerd'), containerd: containerdCall(socket, 'k8s.io') },
    ...{ tls: agentTls(authority, 'puller'), records: testRecords(), gateways, token, port: 0, host: '10.98.199.1' },
    log: silent,
  })
  const url = `http://10.98.199.1:${mirror.server.port}`

  progress('images')
  const images: SketchedImage[] = []
  for (let i = 0; i < small; i++)
    images.push(await sketchImage(node.directory, `i${i}`, { layers: [20_000, 50_000, 3000] }))
  const big = await sketchImage(node.directory, 'big', { layers: [size << 20] })
  const blobs = new Map([...images, big].flatMap((image) => [...image.blobs]))
  const registry = createServer((request, response) => {
    const last = new URL(request.url ?? '/', 'http://r').pathname.split('/').at(-1) ?? ''
    const digest = last.startsWith('sha256:') ? last : ([...images, big][Number(last.slice(1))]?.digest ?? '')
    const bytes = blobs.get(digest)
    if (!bytes) return void response.writeHead(404).end()
    const manifest = request.url?.includes('/manifests/')
      ? 'application/vnd.oci.image.manifest.v1+json'
      : 'application/octet-stream'
    response.writeHead(200, {
      'content-type': manifest,
      'content-length': bytes.length,
      'docker-content-digest': digest,
    })
    response.end(request.method === 'HEAD' ? undefined : bytes)
  })
  await new Promise<void>((resolve) => registry.listen(0, '10.98.199.1', resolve))
  const server = `http://10.98.199.1:${(registry.address() as AddressInfo).port}`
  await mkdir(join(certs, 'bench.test'), { recursive: true })
  await writeFile(
    join(certs, 'bench.test/hosts.toml'),
    `server = "${server}"\n\n[host."${server}"]\n  capabilities = ["pull", "resolve"]\n`,
  )

  const pull = (name: string): Promise<string> => node.ctr(['images', 'pull', '--hosts-dir', certs, '--local', name])
  const drop = (names: readonly string[]): Promise<string> => node.ctr(['images', 'rm', '--sync', ...names])
  const timed = async (names: readonly string[]): Promise<number> => {
    const begun = performance.now()
    for (const name of names) await pull(name)
    const took = performance.now() - begun
    await drop(names)
    return took
  }
  const smallNames = images.map((_, i) => `bench.test/app:v${i}`)
  const bigNames = [`bench.test/app:v${small}`]
  const times = {
    with: { small: [] as number[], big: [] as number[] },
    without: { small: [] as number[], big: [] as number[] },
  }
  const refusals: number[] = []
  const bare: number[] = []
  const rates: number[] = []
  try {
    await timed([...smallNames.slice(0, 2), ...bigNames])
    for (let round = 0; round < runs; round++) {
      for (const way of round % 2 === 0 ? (['without', 'with'] as const) : (['with', 'without'] as const)) {
        if (way === 'with') await putMirror({ directories: [certs], hostRoot: '/' }, { url, token })
        else await removeMirror({ directories: [certs], hostRoot: '/' })
        times[way].small.push((await timed(smallNames)) / small)
        times[way].big.push(await timed(bigNames))
      }
      progress(
        `round ${round + 1}/${runs}: small ${times.without.small.at(-1)!.toFixed(1)} → ${times.with.small.at(-1)!.toFixed(1)} ms`,
      )
    }
    // In turns with a server of this process that refuses at once: what the machine and the client are late themselves.
    for (let i = 0; i < 500; i++) {
      for (const [base, values] of [
        [url, refusals],
        [server, bare],
      ] as const) {
        const begun = performance.now()
        const asked = { method: 'HEAD', headers: { 'x-insitu-mirror': token } }
        await fetch(`${base}/v2/a/b${i}/manifests/sha256:${'0'.repeat(64)}?ns=bench.test`, asked)
        values.push(performance.now() - begun)
      }
    }
    await putMirror({ directories: [certs], hostRoot: '/' }, { url, token })
    const root = join(node.directory, 'peer')
    await layOut(root, big.blobs)
    const peer = await startPeer({ authority, node: 'peer', root })
    const image = { name: 'peer.test/big:v1', digest: big.digest, version: 1 }
    peer.records.set(image)
    gateways.answer('one', () => ({ state: 'here', image, peers: [peer.peer] }))
    for (let round = 0; round < runs; round++) rates.push(size / ((await timed([image.name])) / 1000))
    await peer.close()
  } finally {
    registry.close()
    await mirror.close()
    await node.stop()
  }
  const at = (values: number[], share: number): number =>
    values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN
  return summarize(
    'mirror',
    (where) =>
      where.startsWith('pull')
        ? 'without mirror'
        : where.startsWith('404')
          ? bareServer
          : where.includes('compress')
            ? 'zstd'
            : 'mirror',
    [
      { case: 'pull, small images', subject: 'without mirror', unit: 'ms', values: times.without.small },
      { case: 'pull, small images', subject: 'with mirror', unit: 'ms', values: times.with.small },
      { case: `pull, ${size} MiB`, subject: 'without mirror', unit: 'ms', values: times.without.big },
      { case: `pull, ${size} MiB`, subject: 'with mirror', unit: 'ms', values: times.with.big },
      ...([0.5, 0.99] as const).flatMap((share) =>
        [
          { subject: bareServer, values: bare },
          { subject: 'mirror', values: refusals },
        ].map(({ subject, values }) => ({
          ...{ case: `404 of an unknown name, p${share * 100}`, subject, unit: 'ms', values: [at(values, share)] },
        })),
      ),
      { case: `${size} MiB from another node`, subject: 'mirror', unit: 'MB/s', values: rates },
      ...(await measureCompression(runs)),
    ],
  )
}
