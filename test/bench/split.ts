import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { startBuildkitd } from '../integration/fixtures/buildkitd.ts'
import { startClient } from '../integration/fixtures/clients.ts'
import { startRegistry } from '../integration/fixtures/registry.ts'
import type { BenchOptions } from './benches.ts'
import { openThroughAgents } from './relay/through-agent.ts'
import { type Report, summarize } from './report.ts'

const direct = 'buildx, two appended nodes'
const subjects = ['insitu, gateway and agents', direct] as const
const architectures = ['amd64', 'arm64'] as const

/**
 * What splitting costs where all else is the same: one pair of daemons, once behind agents and a gateway as in a cluster,
 * once given to buildx, which splits by itself. A build of one COPY of 2 MiB for each platform, pushed to one registry;
 * first one of both, then the other. There is no lab in it.
 */
export async function benchSplit({ runs, progress }: BenchOptions): Promise<Report> {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-split-'))
  const registry = await startRegistry({ memory: true })
  const daemons = await Promise.all(
    architectures.map((arch) => startBuildkitd({ tcp: true, config: `[worker.oci]\nplatforms = ["linux/${arch}"]\n` })),
  )
  const nodes = architectures.map((arch, i) => ({ name: arch, daemon: daemons[i]!, platforms: [`linux/${arch}`] }))
  const door = await openThroughAgents(subjects[0], nodes)
  const buildx = async (args: readonly string[]): Promise<void> => {
    const { exitCode, output } = await startClient('buildx', args, { env: { BUILDX_CONFIG: directory } }).ended
    if (exitCode !== 0) throw new Error(output)
  }
  try {
    const create = ['create', '--driver=remote']
    await buildx([...create, '--name=insitu', `tcp://${door.address}`])
    for (const [i, arch] of architectures.entries()) {
      const more = [`--node=${arch}`, `--platform=linux/${arch}`, ...(i > 0 ? ['--append'] : [])]
      await buildx([...create, '--name=direct', ...more, `tcp://${daemons[i]!.tcp}`])
    }
    const context = join(directory, 'context')
    await mkdir(context)
    await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /file\n')
    const values: readonly number[][] = subjects.map(() => [])
    const rounds = Math.max(runs, 10)
    // The first three only warm everything up.
    for (let round = -2; round <= rounds; round++) {
      const order = round % 2 === 0 ? [0, 1] : [1, 0]
      for (const subject of order) {
        for (const arch of architectures) await writeFile(join(context, arch), randomBytes(2 << 20))
        const started = performance.now()
        await buildx([
          ...['build', `--builder=${subject === 0 ? 'insitu' : 'direct'}`, '--platform=linux/amd64,linux/arm64'],
          ...['--provenance=false', '--progress=plain', '--output'],
          ...[`type=image,name=${registry.address}/bench/split:v1,push=true`, context],
        ])
        if (round > 0) values[subject]?.push((performance.now() - started) / 1000)
      }
      if (round % 10 === 0) progress(`${round}/${rounds}, load ${(loadavg()[0] ?? 0).toFixed(1)}`)
    }
    const what = 'one COPY of 2 MiB for two platforms and push, the same daemons'
    const rows = subjects.map((subject, i) => ({
      ...{ case: what, subject, unit: 's', values: values[i] ?? [], paired: true },
    }))
    return summarize('split', direct, rows)
  } finally {
    progress('cleaning up')
    await door.stop()
    await Promise.all([...daemons.map((daemon) => daemon.stop()), registry.stop()])
    await rm(directory, { recursive: true, force: true })
  }
}
