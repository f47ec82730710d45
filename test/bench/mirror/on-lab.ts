import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pushImage } from '../../integration/fixtures/counted-registry.ts'
import { sketchImage } from '../../integration/fixtures/oci-image.ts'
import { ensureInstalled } from '../../e2e/fixtures/insitu.ts'
import { startRegistry } from '../../integration/fixtures/registry.ts'
import type { Lab } from '../../lab/lab.ts'
import { net } from '../../lab/layout.ts'
import type { BenchOptions } from '../benches.ts'
import type { Measurement } from '../report.ts'
import { inPairs, type Pair, rows, share } from './pulls.ts'
import { quantile } from './refusals.ts'

const node = 'node2'
const registryName = 'bench.example.test'
/** containerd's namespace of the pulls, so that no kubelet and no agent takes these images for its own. */
const namespace = 'bench'
const [plain, mirrored] = ['/run/insitu-bench/plain', '/run/insitu-bench/mirrored']
const askedFor = 500

/**
 * Ordinary pulls and unknown names on the lab: the agent of a node as it was installed, which asks both gateways over the
 * nodes' network. Pulls are `ctr`'s, in pairs, with the registry's configuration alone and with the agent's block before it.
 */
export async function measureOnLab({
  runs,
  size,
  progress,
}: Pick<BenchOptions, 'runs' | 'size' | 'progress'>): Promise<Measurement[]> {
  progress('lab and install')
  const { lab } = await ensureInstalled()
  const block = (await lab.exec(node, ['cat', '/etc/containerd/certs.d/_default/hosts.toml'])).stdout
  const times = await refusals(lab, block)
  const registry = await startRegistry({ host: net.host })
  const directory = await mkdtemp(join(tmpdir(), 'insitu-bench-'))
  try {
    const server = `server = "http://${registry.address}"\n`
    for (const [path, text] of [
      [plain, server],
      [mirrored, server + block],
    ] as const) {
      await lab.exec(node, ['mkdir', '-p', `${path}/${registryName}`])
      await lab.exec(node, ['tee', `${path}/${registryName}/hosts.toml`], { input: text })
    }
    const measure = async (name: string, bytes: number, count: number): Promise<readonly Pair[]> => {
      const image = await sketchImage(directory, name, { layers: [1, 2, 3, 4].map(() => bytes) })
      await pushImage(registry.address, name, 'v1', image)
      return inPairs(name, count, progress, (mirror) =>
        pull(lab, `${registryName}/${name}:v1`, mirror ? mirrored : plain),
      )
    }
    const small = await measure('small', 20_000, 20 * runs)
    const big = await measure('big', (size << 20) / 4, runs)
    return [
      ...times,
      ...rows('pull on the lab, small image', 'ms', small),
      ...share(`pull on the lab, ${size} MiB`, small, big, progress),
    ]
  } finally {
    await lab.exec(node, ['rm', '-rf', '/run/insitu-bench'])
    await rm(directory, { recursive: true, force: true })
    await registry.stop()
  }
}

/** @returns milliseconds; the image is gone again. */
async function pull(lab: Lab, name: string, configuration: string): Promise<number> {
  const ctr = ['ctr', '-n', namespace, 'images']
  const begun = performance.now()
  await lab.exec(node, [...ctr, 'pull', '--hosts-dir', configuration, name])
  const took = performance.now() - begun
  await lab.exec(node, [...ctr, 'rm', '--sync', name])
  return took
}

/** Names that nobody has, each asked for once, over one connection. `block`: containerd's file, with address and token. */
async function refusals(lab: Lab, block: string): Promise<Measurement[]> {
  const [, url = ''] = /^\[host\."([^"]+)"\]/m.exec(block) ?? []
  const [, token = ''] = /x-insitu-mirror = "([^"]+)"/.exec(block) ?? []
  // On standard input, so that the token is in no list of processes.
  const config = Array.from({ length: askedFor }, (_, i) => [
    `url = "${url}/v2/bench/unknown${i}/manifests/v1?ns=${registryName}"`,
    ...['head', 'silent', 'output = "/dev/null"', 'write-out = "%{http_code} %{time_total}\\n"'],
    `header = "x-insitu-mirror: ${token}"`,
  ])
  const input = config.map((lines) => `${lines.join('\n')}\n`).join('next\n')
  const { stdout } = await lab.exec(node, ['curl', '-K', '-'], { input, timeout: 120_000 })
  const answers = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
  if (answers.some(([code]) => code !== '404')) throw new Error(`not all are refused: ${answers[0]?.[0]}`)
  const times = answers.map(([, seconds]) => Number(seconds) * 1000)
  return ([0.5, 0.99] as const).map((part) => ({
    case: `404 of an unknown name on the lab, p${part * 100}`,
    ...{ subject: 'mirror', unit: 'ms', values: [quantile(times, part)] },
  }))
}
