import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { waitFor } from '../lab/wait.ts'
import { buildctl, ensureInstalled, type Installed, temporary } from './fixtures/insitu.ts'
import { podSays, podStatus, runPod } from './fixtures/pods.ts'
import { portForward } from './fixtures/port-forward.ts'

const id = randomBytes(3).toString('hex')
/** There is no such registry, and its name resolves nowhere. */
const image = `registry.example.test/${id}/early:v1`
let insitu: Installed
let door: Awaited<ReturnType<typeof portForward>>

beforeAll(async () => {
  insitu = await ensureInstalled()
  door = await portForward(insitu.lab)
})
afterAll(async () => {
  await insitu?.kubectl(['delete', 'pods', '-l', `e2e=${id}`, '--wait=false', '--ignore-not-found'])
  await door?.[Symbol.asyncDispose]()
})

it('a build names the pod that was backing off before it began and when its kubelet tries again, and then it starts', async () => {
  const pod = await runPod(insitu, { label: id, image, policy: 'Always', node: 'node2', restart: 'Always' })
  await waitFor(
    'the kubelet to back off',
    async () => (await podStatus(insitu, pod)).waiting === 'ImagePullBackOff' || undefined,
    { timeout: 60_000 },
  )
  await using context = await temporary()
  const steps = ['FROM busybox', `RUN echo ${id} > /says`, 'CMD ["sh", "-c", "cat /says; sleep 3600"]', '']
  await writeFile(join(context.path, 'Dockerfile'), steps.join('\n'))
  const opt = { 'insitu.node': 'node1', 'insitu.deliver': 'none' }
  const { stderr } = await buildctl({ addr: door.addr, context: context.path, name: image, opt })
  const said = /pod (\S+) on node (\S+) was already in back-off .*tries again at ([\d:]{8}) UTC/.exec(stderr)
  expect(said?.slice(1, 3)).toEqual([`default/${pod}`, 'node2'])
  expect(await podSays(insitu, pod)).toBe(id)
  // The kubelet looks at the pod every ten to fifteen seconds, and the times of both are whole seconds.
  const { startedAt = 0 } = await podStatus(insitu, pod)
  const today = Date.parse(`${new Date().toISOString().slice(0, 11)}${said?.[3]}Z`)
  const due = today > Date.now() ? today - 86_400_000 : today
  expect(startedAt).toBeGreaterThanOrEqual(due - 1000)
})
