import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { namespace } from '../../src/api/names.ts'
import { waitFor } from '../lab/wait.ts'
import { startBuild } from './fixtures/background.ts'
import { buildctl, ensureInstalled, type Installed, ready, temporary } from './fixtures/insitu.ts'
import { portForward } from './fixtures/port-forward.ts'

// What breaks without a word: nobody closes a connection, and still no client is left hanging.

const id = randomBytes(3).toString('hex')
let insitu: Installed
let safe: string
let broken: string
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled()
  await ready(insitu)
  // What is broken is not where the client's gateway is, wherever the tests before have left it.
  const [gateway = '', node] = (
    await insitu.kubectl([
      ...['-n', namespace, 'get', 'pods', '-l', 'insitu.build/role=gateway', '--field-selector=status.phase=Running'],
      ...['-o', 'jsonpath={.items[0].metadata.name} {.items[0].spec.nodeName}'],
    ])
  ).split(' ')
  safe = node === 'node2' ? 'node2' : 'node1'
  broken = safe === 'node1' ? 'node2' : 'node1'
  door = await portForward(insitu.lab, `pod/${gateway}`)
})
afterAll(async () => {
  await door?.[Symbol.asyncDispose]()
})

const processes = async (node: string): Promise<string[]> =>
  (await insitu.lab.exec(node, ['ps', '-ww', '-eo', 'pid,args'])).stdout.split('\n')

/** A build on the node to be broken, whose step runs. */
async function runningBuild(marker: string, context: string) {
  await writeFile(join(context, 'Dockerfile'), `FROM busybox\nRUN sleep 3000; echo ${marker}\n`)
  const name = `example.test/${id}/${marker}:v1`
  // On a machine that is too busy to answer in time a node counts as silent for a moment, and a build for it is refused.
  for (let left = 3; ; left--) {
    const build = startBuild({ addr: door.addr, context, name, opt: { 'insitu.node': broken } })
    let over = false
    void build.ended.then(() => (over = true))
    const runs = await waitFor(
      'the step to run',
      async () => (await processes(broken)).some((p) => p.includes(marker)) || (over ? false : undefined),
      { timeout: 120_000 },
    )
    if (runs) return build
    if (left === 0) throw new Error(build.output())
    await delay(3000)
  }
}

/** The next build, which nobody ties to a node, succeeds on the other one. */
async function nextGoesElsewhere(context: string): Promise<void> {
  await writeFile(join(context, 'Dockerfile'), `FROM busybox\nRUN echo next-${id}-${Date.now()}\n`)
  const next = await buildctl({ addr: door.addr, context })
  expect(next.stderr).toContain(`[insitu] node ${safe}`)
}

describe('a node that will be gone soon', () => {
  it.each(['ToBeDeletedByClusterAutoscaler:NoSchedule', 'node.kubernetes.io/out-of-service=nodeshutdown:NoSchedule'])(
    '%s: what runs there ends well, and nothing begins, also not for a pod that waits there',
    async (taint) => {
      await using context = await temporary()
      const marker = `leaving-${Date.now()}`
      const build = await runningBuild(marker, context.path)
      const key = taint.split(/[=:]/)[0]
      await insitu.kubectl(['taint', 'node', broken, taint])
      try {
        const refused = async (): Promise<true | undefined> => {
          await writeFile(join(context.path, 'Dockerfile'), 'FROM busybox\n')
          const said = await buildctl({
            ...{ addr: door.addr, context: context.path, opt: { 'insitu.node': broken } },
            allow: [1],
          })
          return said.stderr.includes(`node ${broken} is going away`) || undefined
        }
        await waitFor('builds to be refused there', refused, { timeout: 60_000 })
        await nextGoesElsewhere(context.path)
        await insitu.lab.exec(broken, ['pkill', '-xf', 'sleep 3000'])
        const end = await build.ended
        expect(end.code, end.output).toBe(0)
        expect(end.output).toContain(marker)
      } finally {
        await insitu.kubectl(['taint', 'node', broken, `${key}-`])
      }
      await ready(insitu)
    },
  )
})

/** The process of the node's buildkitd, in the node's numbers. */
const daemon = async (): Promise<string> =>
  /^\s*(\d+)\s/.exec((await processes(broken)).find((p) => /^\s*\d+ \S*buildkitd /.test(p)) ?? '')?.[1] ?? ''

describe('a daemon that ends', () => {
  it.each([
    ['SIGKILL', 'buildkitd was killed by SIGKILL'],
    ['SIGABRT', 'buildkitd (ended with exit code 2|was killed by SIGABRT)'],
  ])('by %s: its client is told so, and the next build succeeds, wherever it is', async (signal, words) => {
    await using context = await temporary()
    const build = await runningBuild(`ends-${Date.now()}`, context.path)
    const killed = Date.now()
    await insitu.lab.exec(broken, ['kill', `-${signal.slice(3)}`, await daemon()])
    const end = await build.ended
    expect(Date.now() - killed).toBeLessThan(5000)
    expect(end.output).toMatch(new RegExp(`node ${broken}: the connection to its build daemon was lost: ${words}`))
    await writeFile(join(context.path, 'Dockerfile'), `FROM busybox\nRUN echo after-${signal}-${id}\n`)
    await buildctl({ addr: door.addr, context: context.path })
    await ready(insitu)
  })
})

describe('what breaks without a word', () => {
  it('a daemon that is stopped: its agent notices, the client ends with it, the next build goes elsewhere', async () => {
    await using context = await temporary()
    const build = await runningBuild(`stopped-${id}`, context.path)
    const pid = await daemon()
    await insitu.lab.exec(broken, ['kill', '-STOP', pid])
    const gone = waitFor(
      'the daemon to be killed',
      async () =>
        !(await processes(broken)).some((p) => p.trim().startsWith(`${pid} `) && !p.includes('defunct')) || undefined,
      { timeout: 60_000, interval: 200 },
    ).then(() => Date.now())
    const end = await build.ended
    const ended = Date.now()
    expect(ended - (await gone)).toBeLessThan(2000)
    expect(end.code).not.toBe(0)
    expect(end.output).toMatch(new RegExp(`${broken}.*(buildkitd|build daemon)`))
    await nextGoesElsewhere(context.path)
    await waitFor(
      'the report',
      async () => {
        const report = (await insitu.agents()).get(broken)?.report
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
    for (const rule of rules) await insitu.lab.exec(broken, ['iptables', '-I', ...rule])
    const cut = Date.now()
    try {
      const end = await build.ended
      expect(Date.now() - cut).toBeLessThan(30_000)
      expect(end.code).not.toBe(0)
      expect(end.output).toContain(`node ${broken} has stopped to answer`)
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
      for (const rule of rules) await insitu.lab.exec(broken, ['iptables', '-D', ...rule])
    }
    await ready(insitu)
  })
})
