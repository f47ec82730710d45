import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BenchOptions } from './benches.ts'
import { compilation, preparation } from './compilation.ts'
import { appended, openField, pair, type Subject, subjects, type Times } from './platforms-field.ts'
import { type Measurement, type Report, summarize } from './report.ts'

/**
 * A compilation for two platforms with the Go compiler of each: amd64 runs natively, arm64 in qemu wherever it is
 * built, on a lab with a node that takes itself for one of arm64. Split, that node runs it; whole, another one does; buildx
 * splits on its own between daemons on two nodes. All push the image, with an index, to one registry. The order of the three changes with each round, so that none is
 * always first on a machine that gets warmer or busier. What the compilers take is the machine's and the same for all of
 * them: the time around it is told apart. A build without steps, many times, shows what splitting costs more sharply. Then the bytes that leave the client for a context that three platforms need.
 */
export async function benchPlatforms({ runs, size, only, progress }: BenchOptions): Promise<Report> {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-platforms-'))
  const measurements: Measurement[] = []
  const wants = (part: string): boolean => only.length === 0 || only.includes(part)
  await using field = await openField(directory, progress)
  try {
    if (wants('compile')) {
      progress('compilers for both platforms')
      const context = await compilation(directory, ['amd64', 'arm64'])
      const values = new Map<Subject, Times[]>(subjects.map((subject) => [subject, []]))
      // The first round only brings the compilers to the nodes, and their layers to the registry.
      for (let round = 0; round <= runs; round++) {
        for (const subject of rotated(subjects, round)) {
          const target = round === 0 ? [`--target=${preparation}`] : []
          const times = await field.build(subject, context, ['linux/amd64', 'linux/arm64'], [...target, field.push])
          const text = `${times.all.toFixed(1)} s, ${times.around.toFixed(2)} s of it around the step`
          progress(`compile: ${subject} ${round === 0 ? 'warm-up' : `${round}/${runs}`} ${text}, load ${load()}`)
          if (round > 0) values.get(subject)?.push(times)
        }
      }
      const paired = true
      for (const [what, read] of [
        ['compile for two platforms and push', ({ all }: Times) => all],
        ['the same without the time of its steps', ({ around }: Times) => around],
      ] as const) {
        for (const [subject, v] of values)
          measurements.push({ case: what, subject, unit: 's', values: v.map(read), paired })
      }
    }
    if (wants('small')) {
      const rounds = Math.max(10, runs * 5)
      const context = join(directory, 'small')
      await mkdir(context)
      await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /file\n')
      const values = new Map<Subject, number[]>(pair.map((subject) => [subject, []]))
      // The first round warms gateways, agents and daemons, and their connections to the registry.
      for (let round = 0; round <= rounds; round++) {
        for (const subject of rotated(pair, round)) {
          for (const arch of ['amd64', 'arm64']) await writeFile(join(context, arch), randomBytes(2 << 20))
          const { all } = await field.build(subject, context, ['linux/amd64', 'linux/arm64'], [field.push])
          if (round > 0) values.get(subject)?.push(all)
        }
        if (round % 5 === 0) progress(`small: ${round}/${rounds}, load ${load()}`)
      }
      const what = 'one COPY of 2 MiB for two platforms and push'
      for (const [subject, v] of values) measurements.push({ case: what, subject, unit: 's', values: v, paired: true })
    }
    if (wants('context')) {
      const mib = Math.min(size, 64)
      const context = join(directory, 'context')
      await mkdir(context)
      await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nARG NONCE\nCOPY . /\n')
      const name = `context of ${mib} MiB for three platforms: sent by the client`
      for (const subject of subjects) {
        await writeFile(join(context, 'big'), randomBytes(mib << 20))
        const before = field.sent()
        await field.build(subject, context, ['linux/amd64', 'linux/386', 'linux/arm64'], ['--output=type=cacheonly'])
        progress(`context: ${subject}`)
        measurements.push({ case: name, subject, unit: 'MiB', values: [(field.sent() - before) / 2 ** 20] })
      }
    }
  } finally {
    progress('cleaning up')
    await rm(directory, { recursive: true, force: true })
  }
  return summarize('platforms', appended, measurements)
}

const load = (): string => (loadavg()[0] ?? 0).toFixed(1)

const rotated = <T>(list: readonly T[], by: number): T[] => list.map((_, i) => list[(i + by) % list.length]!)
