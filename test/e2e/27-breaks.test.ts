import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { namespace } from '../../src/api/names.ts'
import { waitFor } from '../lab/wait.ts'
import { startBuild } from './fixtures/background.ts'
import { buildctl, ensureInstalled, type Installed, ready, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

// What breaks without a word: nobody closes a connection, and still no client is left hanging.

const id = randomBytes(3).toString('hex')
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled()
  await ready(insitu)
  // Node 2 is the one that will be broken: the gateway must not be there.
  const [gateway] = (
    await insitu.kubectl([
      ...['-n', namespace, 'get', 'pods', '-l', 'insitu.build/role=gateway', '-o'],
      'jsonpath={range .items[?(@.spec.nodeName=="node1")]}{.metadata.name}{"\\n"}{end}',
    ])
  ).split('\n')
  door = await portForward(insitu.lab, `pod/${gateway}`)
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
})

const processes = async (node: string): Promise<string[]> =>
  (await insitu.lab.exec(node, ['ps', '-ww', '-eo', 'pid,args'])).stdout.split('\n')

/** A build on node 2 whose step runs. */
async function runningBuild(marker: string, context: string) {
  await writeFile(join(context, 'Dockerfile'), `FROM busybox\nRUN echo ${marker}; sleep 3000\n`)
  const name = `example.test/${id}/${marker}:v1`
  const build = startBuild({ addr: door.addr, context, name, opt: { 'insitu.node': 'node2' } })
  await waitFor(
    'the step to run',
    async () => (await processes('node2')).some((p) => p.includes(marker)) || undefined,
    {
      timeout: 60_000,
    },
  )
  return build
}

/** The next build, which nobody ties to a node, succeeds on the other one. */
async function nextGoesElsewhere(context: string): Promise<void> {
  await writeFile(join(context, 'Dockerfile'), `FROM busybox\nRUN echo next-${id}-${Date.now()}\n`)
  const next = await buildctl({ addr: door.addr, context })
  expect(next.stderr).toContain('[insitu] node node1')
}

describe('what breaks without a word', () => {
  it('a daemon that is stopped: its agent notices, the client ends with it, the next build goes elsewhere', async () => {
    await using context = await temporary()
    const build = await runningBuild(`stopped-${id}`, context.path)
    const pid = /^\s*(\d+)\s/.exec((await processes('node2')).find((p) => /^\s*\d+ \S*buildkitd /.test(p)) ?? '')?.[1]
    await insitu.lab.exec('node2', ['kill', '-STOP', pid ?? ''])
    const gone = waitFor(
      'the daemon to be killed',
      async () =>
        !(await processes('node2')).some((p) => p.trim().startsWith(`${pid} `) && !p.includes('defunct')) || undefined,
      { timeout: 60_000, interval: 200 },
    ).then(() => Date.now())
    const end = await build.ended
    const ended = Date.now()
    expect(ended - (await gone)).toBeLessThan(2000)
    expect(end.code).not.toBe(0)
    expect(end.output).toMatch(/node2.*(buildkitd|build daemon)/)
    await nextGoesElsewhere(context.path)
    await waitFor(
      'the report',
      async () => {
        const report = (await insitu.agents()).get('node2')?.report
        return (report?.ready && report.findings.some(({ code }) => code === 'DAEMON_HUNG')) || undefined
      },
      { timeout: 60_000 },
    )
  })

  it('a node without network: the client is told within half a minute, the next build goes elsewhere', async () => {
    await using context = await temporary()
    const build = await runningBuild(`cut-${id}`, context.path)
    const rules = [
      ['INPUT', '!', '-i', 'lo', '-j', 'DROP'],
      ['OUTPUT', '!', '-o', 'lo', '-j', 'DROP'],
      ['FORWARD', '-j', 'DROP'],
    ]
    for (const rule of rules) await insitu.lab.exec('node2', ['iptables', '-I', ...rule])
    const cut = Date.now()
    try {
      const end = await build.ended
      expect(Date.now() - cut).toBeLessThan(32_000)
      expect(end.code).not.toBe(0)
      expect(end.output).toContain('node node2 has stopped to answer')
      await waitFor(
        'builds to go elsewhere',
        async () =>
          nextGoesElsewhere(context.path).then(
            () => true,
            () => undefined,
          ),
        { timeout: 90_000 },
      )
    } finally {
      for (const rule of rules) await insitu.lab.exec('node2', ['iptables', '-D', ...rule])
    }
    await ready(insitu)
  })
})
