import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startBuildkitd } from '../integration/fixtures/buildkitd.ts'
import { startClient } from '../integration/fixtures/clients.ts'
import { startGateway } from '../integration/fixtures/gateway.ts'
import { countedProxy } from './counted-proxy.ts'
import { withEmulator } from './emulator.ts'
import type { BenchOptions } from './benches.ts'
import { type Measurement, type Report, summarize } from './report.ts'

const exec = promisify(execFile)
const split = 'insitu, split'
const whole = 'insitu, one node emulates'
const appended = 'buildx, two appended nodes'
const subjects = [split, whole, appended] as const
type Subject = (typeof subjects)[number]

/**
 * A compilation for two platforms with the Go toolchain of each: amd64 runs natively, arm64 in qemu wherever it is
 * built. Split, one daemon that claims arm64 runs it; whole, the other one does; buildx splits on its own between both.
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
      progress('toolchains of both platforms')
      const context = await toolchains(directory)
      const values = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]))
      // The first round brings the toolchains to the nodes and is not counted.
      for (let round = 0; round <= runs; round++) {
        for (const subject of subjects) {
          const started = performance.now()
          await field.build(subject, context, ['linux/amd64', 'linux/arm64'])
          const seconds = (performance.now() - started) / 1000
          progress(`compile: ${subject} ${round === 0 ? 'warm-up' : `${round}/${runs}`} ${seconds.toFixed(1)} s`)
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
    build: (subject: Subject, context: string, platforms: readonly string[]) =>
      buildx([
        ...['build', `--builder=${subject === appended ? 'appended' : 'insitu'}`, `--platform=${platforms.join(',')}`],
        ...(subject === whole ? ['--build-arg=insitu.node=amd'] : []),
        ...[`--build-arg=NONCE=${randomBytes(6).toString('hex')}`, '--provenance=false', '--output=type=cacheonly'],
        ...['--progress=plain', context],
      ]),
    async [Symbol.asyncDispose]() {
      await gateway.close()
      for (const proxy of [door, first, second]) proxy.close()
      await Promise.all([amd.stop(), arm.stop()])
    },
  }
}

/** A context with Go for both platforms and a step that compiles a part of its library, the compiler's own runtime included. */
async function toolchains(directory: string): Promise<string> {
  const context = join(directory, 'compile')
  const { stdout } = await exec('go', ['env', 'GOROOT'])
  const root = stdout.trim()
  for (const arch of ['amd64', 'arm64']) {
    const go = join(context, arch, 'go')
    const tools = join(go, 'pkg/tool', `linux_${arch}`)
    await mkdir(tools, { recursive: true })
    const own = join(root, 'pkg/tool', `linux_${arch}`)
    if (existsSync(join(own, 'compile'))) {
      await cp(own, tools, { recursive: true })
      await cp(join(root, 'bin'), join(go, 'bin'), { recursive: true })
    } else await crossCompile(root, arch, join(go, 'bin'), tools)
    await cp(join(root, 'pkg/include'), join(go, 'pkg/include'), { recursive: true })
    await cp(join(root, 'VERSION'), join(go, 'VERSION'))
    const filter = (path: string): boolean => !/\/testdata(\/|$)|_test\.go$|\/src\/cmd\/(?!internal)/.test(path)
    await cp(join(root, 'src'), join(go, 'src'), { recursive: true, filter })
    await cp(join(root, 'go.env'), join(go, 'go.env')).catch(() => undefined)
    await mkdir(join(context, arch, 'tmp'), { recursive: true })
    await writeFile(join(context, arch, 'tmp/keep'), '')
  }
  await writeFile(
    join(context, 'Dockerfile'),
    [
      ...['FROM scratch', 'ARG TARGETARCH', 'COPY $TARGETARCH /', 'ARG NONCE'],
      'ENV GOROOT=/go GOCACHE=/tmp/cache GOPATH=/tmp/path GOFLAGS=-p=1 CGO_ENABLED=0 HOME=/tmp PATH=/go/bin GOTOOLCHAIN=local',
      'RUN ["/go/bin/go", "build", "-a", "regexp"]',
      '',
    ].join('\n'),
  )
  return context
}

/** Go for another processor; Go's own cache makes it seconds the second time. */
async function crossCompile(root: string, arch: string, bin: string, tools: string): Promise<void> {
  const env = { ...process.env, GOOS: 'linux', GOARCH: arch, CGO_ENABLED: '0', GOFLAGS: '' }
  await mkdir(bin, { recursive: true })
  await exec('go', ['build', '-o', `${bin}/`, 'cmd/go'], { env, cwd: root })
  await exec('go', ['build', '-o', `${tools}/`, 'cmd/compile', 'cmd/asm', 'cmd/link'], { env, cwd: root })
}
