import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { issueLeaf } from '../../../src/kernel/tls/ca.ts'
import { createKeyPair } from '../../../src/kernel/tls/key.ts'
import { agentServerName, spiffe } from '../../../src/api/certificate.ts'
import { layOut } from '../../integration/fixtures/mirror-peers.ts'
import { sketchImage } from '../../integration/fixtures/oci-image.ts'
import type { BenchOptions } from '../benches.ts'
import type { Measurement } from '../report.ts'
import type { Setting } from './setting.ts'

/** The big image from another agent, in a process of its own, over mutual TLS, and what each side needs for a MiB. */
export async function measurePeer(
  setting: Setting,
  { runs, size }: Pick<BenchOptions, 'runs' | 'size'>,
): Promise<Measurement[]> {
  const { node, authority, gateways } = setting
  const directory = await mkdtemp(join(tmpdir(), 'insitu-bench-peer-'))
  const image = await sketchImage(node.directory, 'big', { layers: [size << 20] })
  await layOut(join(directory, 'root'), image.blobs)
  const { privateKey, publicKey } = await createKeyPair()
  const uris = [spiffe('buildkit-system', 'insitu-agent')]
  const names = { commonName: 'peer', uris, dnsNames: [agentServerName('peer')] }
  const { cert } = await issueLeaf({ authority, publicKey, ...names })
  const named = { name: 'peer.test/big:v1', digest: image.digest, version: 1 }
  const material = { cert, key: privateKey, ca: authority.cert }
  await writeFile(
    join(directory, 'peer.json'),
    JSON.stringify({ material, image: named, root: join(directory, 'root') }),
  )
  const child = spawn('node', [join(import.meta.dirname, 'peer.ts'), join(directory, 'peer.json')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ask = async <T>(): Promise<T> => {
    child.stdin.write('\n')
    return JSON.parse(String((await lines.next()).value)) as T
  }
  const rates: number[] = []
  const [giving, taking]: [number[], number[]] = [[], []]
  try {
    const { port } = await ask<{ port: number }>()
    const peer = { node: 'peer', host: '127.0.0.1', port }
    gateways.answer('one', () => ({ state: 'here', image: named, peers: [peer] }))
    await setting.configure(true)
    for (let round = 0; round <= runs; round += 1) {
      const [before, mine] = [await ask<{ processor: number }>(), await setting.processor()]
      const begun = performance.now()
      await setting.pull(named.name)
      const seconds = (performance.now() - begun) / 1000
      const [after, now] = [await ask<{ processor: number }>(), await setting.processor()]
      await setting.drop(named.name)
      if (round === 0) continue
      rates.push((size * 1.048576) / seconds)
      giving.push((after.processor - before.processor) / size)
      taking.push((now.mirror - mine.mirror) / size)
    }
  } finally {
    child.stdin.end()
    await once(child, 'exit')
    gateways.answer('one', () => ({ state: 'none' }))
    await rm(directory, { recursive: true, force: true })
  }
  const name = `${size} MiB from another node`
  return [
    { case: name, subject: 'mirror', unit: 'MB/s', values: rates },
    { case: `${name}, processor of the agent that gives`, subject: 'mirror', unit: 'ms/MiB', values: giving },
    { case: `${name}, processor of the agent that takes`, subject: 'mirror', unit: 'ms/MiB', values: taking },
  ]
}
