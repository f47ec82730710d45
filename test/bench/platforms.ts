import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { startBuildkitd } from '../integration/fixtures/buildkitd.ts'
import { startClient } from '../integration/fixtures/clients.ts'
import { startGateway } from '../integration/fixtures/gateway.ts'
import { compilation, preparation } from './compilation.ts'
import { countedProxy } from './counted-proxy.ts'
import { withEmulator } from './emulator.ts'
import type { BenchOptions } from './benches.ts'
import { type Measurement, type Report, summarize } from './report.ts'

const split = 'insitu, split'
const whole = 'insitu, one node emulates'
const appended = 'buildx, two appended nodes'
const subjects = [split, whole, appended] as const
type Subject = (typeof subjects)[number]

/**
 * A compilation for two platforms with the Go compiler of each: amd64 runs natively, arm64 in qemu wherever it is
 * built. Split, one daemon that claims arm64 runs it; whole, the other one does; buildx splits on its own between both.
 * The order of the three changes with each round, so that none is always first on a machine that gets warmer or busier.
 * Then the bytes that leave the client for a context that three platforms need.
 */
export async function benchPlatforms({ runs, size, only, progress }: BenchOptions): Promise<Report> {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-platforms-'))
  const measurements: Measurement[] = []
  const wants = (part: string): boolean => only.length === 0 || only.includes(part)
  await using field = await openField(directory)
  await using _ = await withEmulator()
  try {
    if (wants('compile')) {
      progress('compilers for both platforms')
      const context = await compilation(directory, ['amd64', 'arm64'])
      const values = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]))
      // The first round only brings the compilers to the nodes.
      for (let round = 0; round <= runs; round++) {
        for (const subject of rotated(subjects, round)) {
          const started = performance.now()
          const target = round === 0 ? [`--target=${preparation}`] : []
          await field.build(subject, context, ['linux/amd64', 'linux/arm64'], target)
          const seconds = (performance.now() - started) / 1000
          const load = loadavg()[0]?.toFixed(1)
          progress(
            `compile: ${subject} ${round === 0 ? 'warm-up' : `${round}/${runs}`} ${seconds.toFixed(1)} s, load ${load}`,
          )
          if (round > 0) values.get(subject)?.push(seconds)
        }
      }
      for (const [subject, v] of values)
        measurements.push({ case: 'compile for two platforms', subject, unit: 's', values: v })
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
        await field.build(subject, context, ['linux/amd64', 'linux/386', 'linux/arm64'])
        measurements.push({ case: name, subject, unit: 'MiB', values: [(field.sent() - before) / 2 ** 20] })
      }
    }
  } finally {
    progress('cleaning up')
    await rm(directory, { recursive: true, force: true })
  }
  return summarize('platforms', appended, measurements)
}

const rotated = <T>(list: readonly T[], by: number): T[] => list.map((_, i) => list[(i + by) % list.length]!)

/** Two daemons, a gateway before them, and buildx with a builder for each subject; bytes to all of them are counted. */
async function openField(directory: string) {
  const [amd, arm] = await Promise.all(
    ['["linux/amd64", "linux/386", "linux/arm64"]', '["linux/arm64"]'].map((platforms) =>
      startBuildkitd({ config: `[worker.oci]\nplatforms = ${platforms}\n`, tcp: true }),
    ),
  )
  if (!amd?.tcp || !arm?.tcp) throw new Error('the daemons do not listen')
  const gateway = await startGateway({
    nodes: {
      amd: { socket: amd.socket, native: ['linux/amd64', 'linux/386'] },
      arm: { socket: arm.socket, native: ['linux/arm64'] },
    },
  })
  const [door, first, second] = await Promise.all(
    [gateway.address.slice('tcp://'.length), amd.tcp, arm.tcp].map((address) => countedProxy(address)),
  )
  if (!door || !first || !second) throw new Error('no proxies')
  const env = { BUILDX_CONFIG: join(directory, 'buildx') }
  const buildx = async (args: readonly string[]): Promise<void> => {
    const { exitCode, output } = await startClient('buildx', args, { env }).ended
    if (exitCode !== 0) throw new Error(output)
  }
  const builder = (name: string, { address }: { address: string }, ...more: string[]): Promise<void> =>
    buildx(['create', `--name=${name}`, '--driver=remote', ...more, address])
  await builder('insitu', door)
  await builder('appended', first, '--node=amd', '--platform=linux/amd64,linux/386')
  await builder('appended', second, '--node=arm', '--platform=linux/arm64', '--append')
  return {
    sent: () => door.sent() + first.sent() + second.sent(),
    build: (subject: Subject, context: string, platforms: readonly string[], more: readonly string[] = []) =>
      buildx([
        ...['build', `--builder=${subject === appended ? 'appended' : 'insitu'}`, `--platform=${platforms.join(',')}`],
        ...(subject === whole ? ['--build-arg=insitu.node=amd'] : []),
        ...[`--build-arg=NONCE=${randomBytes(6).toString('hex')}`, '--provenance=false', '--output=type=cacheonly'],
        ...['--progress=plain', ...more, context],
      ]),
    async [Symbol.asyncDispose]() {
      await gateway.close()
      for (const proxy of [door, first, second]) proxy.close()
      await Promise.all([amd.stop(), arm.stop()])
    },
  }
}
