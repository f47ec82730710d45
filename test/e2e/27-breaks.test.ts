import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { waitFor } from '../lab/wait.ts'
import { buildctl, type Installed, ready, temporary } from './fixtures/insitu.ts'
import { openTroubledNode, type TroubledNode } from './fixtures/troubled-node.ts'

// What breaks without a word: nobody closes a connection, and still no client is left hanging.

const id = randomBytes(3).toString('hex')
let node: TroubledNode
let insitu: Installed
let broken: string

beforeAll(async () => {
  node = await openTroubledNode(id)
  ;({ insitu, name: broken } = node)
})
afterAll(async () => {
  await node?.[Symbol.asyncDispose]()
})

describe('a node that will be gone soon', () => {
  it.each(['ToBeDeletedByClusterAutoscaler:NoSchedule', 'node.kubernetes.io/out-of-service=nodeshutdown:NoSchedule'])(
    '%s: what runs there ends well, and nothing begins, also not for a pod that waits there',
    async (taint) => {
      await using context = await temporary()
      const marker = `leaving-${Date.now()}`
      const build = await node.runningBuild(marker, context.path)
      const key = taint.split(/[=:]/)[0]
      await insitu.kubectl(['taint', 'node', broken, taint])
      try {
        await node.refuses(`node ${broken} is going away`, context.path)
        await node.nextGoesElsewhere(context.path)
        await node.endStep()
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

describe('a daemon that ends', () => {
  it.each([
    ['SIGKILL', 'buildkitd was killed by SIGKILL'],
    ['SIGABRT', 'buildkitd (ended with exit code 2|was killed by SIGABRT)'],
  ])('by %s: its client is told so, and the next build succeeds, wherever it is', async (signal, words) => {
    await using context = await temporary()
    const build = await node.runningBuild(`ends-${Date.now()}`, context.path)
    const killed = Date.now()
    await insitu.lab.exec(broken, ['kill', `-${signal.slice(3)}`, await node.daemon()])
    const end = await build.ended
    expect(Date.now() - killed).toBeLessThan(5000)
    expect(end.output).toMatch(new RegExp(`node ${broken}: the connection to its build daemon was lost: ${words}`))
    await writeFile(join(context.path, 'Dockerfile'), `FROM busybox\nRUN echo after-${signal}-${id}\n`)
    await buildctl({ addr: node.addr, context: context.path })
    await ready(insitu)
  })
})

describe('what breaks without a word', () => {
  it('a daemon that is stopped: its agent notices, the client ends with it, the next build goes elsewhere', async () => {
    await using context = await temporary()
    const build = await node.runningBuild(`stopped-${id}`, context.path)
    const pid = await node.daemon()
    await insitu.lab.exec(broken, ['kill', '-STOP', pid])
    const gone = waitFor(
      'the daemon to be killed',
      async () =>
        !(await node.processes()).some((p) => p.trim().startsWith(`${pid} `) && !p.includes('defunct')) || undefined,
      { timeout: 60_000, interval: 200 },
    ).then(() => Date.now())
    const end = await build.ended
    const ended = Date.now()
    expect(ended - (await gone)).toBeLessThan(5000)
    expect(end.code).not.toBe(0)
    expect(end.output).toMatch(new RegExp(`${broken}.*(buildkitd|build daemon)`))
    await node.nextGoesElsewhere(context.path)
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
    const build = await node.runningBuild(`cut-${id}`, context.path)
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
          node.nextGoesElsewhere(context.path).then(
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
