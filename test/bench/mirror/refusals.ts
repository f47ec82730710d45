import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Measurement } from '../report.ts'
import { type Setting, token } from './setting.ts'

export const bareServer = 'a server that refuses at once'
const count = 2000

/**
 * How long a 404 of a name that nobody has takes, in turns with a server of the same process that refuses at once: what
 * the machine and the client are late themselves.
 */
export async function measureRefusals({ url, host }: Setting): Promise<Measurement[]> {
  const bare = createServer((_, response) => response.writeHead(404).end())
  await new Promise<void>((resolve) => bare.listen(0, host, resolve))
  const subjects = [
    { subject: bareServer, base: `http://${host}:${(bare.address() as AddressInfo).port}` },
    { subject: 'mirror', base: url },
  ].map((one) => ({ ...one, times: [] as number[], processor: 0 }))
  const agent = new Agent({ keepAlive: true })
  try {
    for (let i = -100; i < count; i += 1) {
      for (const one of i % 2 === 0 ? subjects : subjects.toReversed()) {
        const used = process.cpuUsage()
        const begun = performance.now()
        await head(agent, `${one.base}/v2/a/b${i + 100}/manifests/v1?ns=bench.test`)
        if (i < 0) continue
        one.times.push(performance.now() - begun)
        const { user, system } = process.cpuUsage(used)
        one.processor += (user + system) / 1000 / count
      }
    }
  } finally {
    agent.destroy()
    bare.close()
  }
  return [
    ...([0.5, 0.99] as const).flatMap((share) =>
      subjects.map(({ subject, times }) => ({
        ...{ case: `404 of an unknown name, p${share * 100}`, subject, unit: 'ms', values: [quantile(times, share)] },
      })),
    ),
    ...subjects.map(({ subject, processor }) => ({
      ...{
        case: '404 of an unknown name, processor time, with the client’s',
        subject,
        unit: 'ms',
        values: [processor],
      },
    })),
  ]
}

const head = (agent: Agent, url: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const outgoing = request(url, { agent, method: 'HEAD', headers: { 'x-insitu-mirror': token } }, (response) => {
      response.resume()
      response.on('end', resolve)
    })
    outgoing.on('error', reject)
    outgoing.end()
  })

export const quantile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN
