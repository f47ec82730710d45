import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { endForeign, ensureForeign, first, foreign } from '../e2e/fixtures/foreign.ts'
import { startClient } from '../integration/fixtures/clients.ts'
import { pushRegistry } from '../lab/lab.ts'
import { countedProxy } from './counted-proxy.ts'
import { secondsOfSteps } from './raw-progress.ts'
import { allowPlaintext, bench, doorAddress, removeBench, theirs } from './subjects.ts'

const split = 'insitu, split'
const whole = 'insitu, one node emulates'
export const appended = 'buildx, two appended nodes'
export const subjects = [split, whole, appended] as const
/** Those that split. */
export const pair = [split, appended] as const
export type Subject = (typeof subjects)[number]

/** Seconds of a build: all of it, and what of it no step ran in, which is what a client, a gateway and a push take. */
export interface Times {
  readonly all: number
  readonly around: number
}

/**
 * A lab with a node of another architecture, insitu on it, daemons of their own on a node of each architecture, and
 * buildx with a builder for each way; bytes to all of them are counted.
 * @param directory for what buildx remembers.
 */
export async function openField(directory: string, progress: (text: string) => void) {
  progress('lab with a node of another architecture, and install')
  const insitu = await ensureForeign()
  await insitu.kubectl(['delete', 'namespace', bench, '--ignore-not-found'])
  await allowPlaintext(insitu)
  const [amd, arm] = [await theirs(insitu, first), await theirs(insitu, foreign, 'peer-foreign')]
  const [door, one, other] = await Promise.all(
    [await doorAddress(insitu), amd.address, arm.address].map((address) => countedProxy(address)),
  )
  if (!door || !one || !other) throw new Error('no proxies')
  const env = { BUILDX_CONFIG: join(directory, 'buildx') }
  const buildx = async (args: readonly string[]): Promise<string> => {
    const { exitCode, output } = await startClient('buildx', args, { env }).ended
    if (exitCode !== 0) throw new Error(output)
    return output
  }
  const builder = (name: string, { address }: { address: string }, ...more: string[]): Promise<string> =>
    buildx(['create', `--name=${name}`, '--driver=remote', ...more, address])
  await builder('insitu', door)
  await builder('appended', one, '--node=amd', '--platform=linux/amd64,linux/386')
  await builder('appended', other, '--node=arm', '--platform=linux/arm64', '--append')
  return {
    sent: () => door.sent() + one.sent() + other.sent(),
    push: `--output=type=image,name=${pushRegistry}/bench/compiled:v1,push=true,registry.insecure=true`,
    async build(
      subject: Subject,
      context: string,
      platforms: readonly string[],
      more: readonly string[],
    ): Promise<Times> {
      const started = performance.now()
      const output = await buildx([
        ...['build', `--builder=${subject === appended ? 'appended' : 'insitu'}`, `--platform=${platforms.join(',')}`],
        ...(subject === whole ? [`--build-arg=insitu.node=${first}`] : []),
        ...[`--build-arg=NONCE=${randomBytes(6).toString('hex')}`, '--provenance=false', '--progress=rawjson'],
        ...[...more, context],
      ])
      const all = (performance.now() - started) / 1000
      return { all, around: all - secondsOfSteps(output) }
    },
    async [Symbol.asyncDispose]() {
      for (const proxy of [door, one, other]) proxy.close()
      await removeBench(insitu)
      await endForeign()
    },
  }
}
