import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { startBuildkitd } from '../integration/fixtures/buildkitd.ts'
import { startClient } from '../integration/fixtures/clients.ts'
import { startGateway } from '../integration/fixtures/gateway.ts'
import { startRegistry } from '../integration/fixtures/registry.ts'
import { compilation, preparation } from './compilation.ts'
import { countedProxy } from './counted-proxy.ts'
import { withEmulator } from './emulator.ts'
import { secondsOfSteps } from './raw-progress.ts'
import type { BenchOptions } from './benches.ts'
import { type Measurement, type Report, summarize } from './report.ts'

const split = 'insitu, split'
const whole = 'insitu, one node emulates'
const appended = 'buildx, two appended nodes'
const subjects = [split, whole, appended] as const
type Subject = (typeof subjects)[number]

/** Seconds of a build: all of it, and what of it no step ran in, which is what a client, a gateway and a push take. */
interface Times {
  readonly all: number
  readonly around: number
}

/**
 * A compilation for two platforms with the Go compiler of each: amd64 runs natively, arm64 in qemu wherever it is
 * built. Split, one daemon that claims arm64 runs it; whole, the other one does; buildx splits on its own between both.
 * All push the image, with an index, to one registry. The order of the three changes with each round, so that none is
 * always first on a machine that gets warmer or busier. What the compilers take is the machine's and the same for all of
 * them: the time around it is told apart. Then the bytes that leave the client for a context that three platforms need.
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

/** Two daemons, a gateway before them, and buildx with a builder for each subject; bytes to all of them are counted. */
async function openField(directory: string) {
  const [amd, arm] = await Promise.all(
    ['["linux/amd64", "linux/386", "linux/arm64"]', '["linux/arm64"]'].map((platforms) =>
      startBuildkitd({ config: `[worker.oci]\nplatforms = ${platforms}\n`, tcp: true }),
    ),
  )
  const registry = await startRegistry()
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
  const buildx = async (args: readonly string[]): Promise<string> => {
    const { exitCode, output } = await startClient('buildx', args, { env }).ended
    if (exitCode !== 0) throw new Error(output)
    return output
  }
  const builder = (name: string, { address }: { address: string }, ...more: string[]): Promise<string> =>
    buildx(['create', `--name=${name}`, '--driver=remote', ...more, address])
  await builder('insitu', door)
  await builder('appended', first, '--node=amd', '--platform=linux/amd64,linux/386')
  await builder('appended', second, '--node=arm', '--platform=linux/arm64', '--append')
  return {
    sent: () => door.sent() + first.sent() + second.sent(),
    push: `--output=type=image,name=${registry.address}/bench/compiled:v1,push=true`,
    async build(subject: Subject, context: string, platforms: readonly string[], more: readonly string[]) {
      const started = performance.now()
      const output = await buildx([
        ...['build', `--builder=${subject === appended ? 'appended' : 'insitu'}`, `--platform=${platforms.join(',')}`],
        ...(subject === whole ? ['--build-arg=insitu.node=amd'] : []),
        ...[`--build-arg=NONCE=${randomBytes(6).toString('hex')}`, '--provenance=false', '--progress=rawjson'],
        ...[...more, context],
      ])
      const all = (performance.now() - started) / 1000
      return { all, around: all - secondsOfSteps(output) }
    },
    async [Symbol.asyncDispose]() {
      await gateway.close()
      for (const proxy of [door, first, second]) proxy.close()
      await Promise.all([amd.stop(), arm.stop(), registry.stop()])
    },
  }
}
