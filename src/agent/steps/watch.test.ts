import { expect, onTestFinished, test } from 'vitest'
import { type FakeAnswer, fakeGrpc } from '../../../test/unit/fake-grpc.ts'
import { fieldOf, string } from '../../kernel/grpc/wire.ts'
import { createLogger } from '../../kernel/log.ts'
import { watchSteps } from './watch.ts'

const [created, running, stopped] = [1, 2, 3]

interface Task {
  readonly pid: number
  readonly status: number
  /** Default: one that BuildKit made for a RUN step. */
  readonly image?: string
}

/** An encoded container of containerd's; resolv.conf of a step lies below the root. */
function containerOf(id: string, image: string): Uint8Array {
  const spec = JSON.stringify({
    mounts: [{ destination: '/etc/resolv.conf', source: '/root-of-buildkit/resolv.conf' }],
  })
  return Buffer.concat([fieldOf(1, id), fieldOf(3, image), fieldOf(5, fieldOf(2, spec))])
}

/** A containerd that runs these, follows no other calls and sends no events. */
function answerOf(tasks: ReadonlyMap<string, Task>, method: string, request: Uint8Array): FakeAnswer {
  switch (method.replace('/containerd.services.', '')) {
    case 'events.v1.Events/Subscribe':
      return { begin: () => undefined }
    case 'containers.v1.Containers/List':
      return Buffer.concat([...tasks].map(([id, { image = '' }]) => fieldOf(1, containerOf(id, image))))
    case 'tasks.v1.Tasks/Get': {
      const task = tasks.get(string(request, 1))
      if (!task || task.pid === 0) return 'NOT_FOUND'
      return fieldOf(1, Buffer.concat([fieldOf(3, task.pid), fieldOf(4, task.status)]))
    }
    default:
      return 'UNIMPLEMENTED'
  }
}

/** @returns the processes that it was told of, once each. */
function watch(containerd: string): Set<number> {
  const told = new Set<number>()
  const stop = watchSteps({
    ...{ containerd, namespace: 'k8s.io', root: '/root-of-buildkit', log: createLogger({ level: 'silent' }) },
    onProcess: (pid) => Promise.resolve(void told.add(pid)),
  })
  onTestFinished(stop)
  return told
}

test('steps that began before the watch are told, and nothing else', async () => {
  const tasks = new Map<string, Task>([
    ['without-a-task', { pid: 0, status: created }],
    ['pod', { pid: 100, status: running, image: 'docker.io/library/app:1' }],
    ['ended', { pid: 101, status: stopped }],
    ['begins', { pid: 102, status: created }],
    ['runs', { pid: 103, status: running }],
  ])
  const told = watch(await fakeGrpc((method, request) => answerOf(tasks, method, request)))
  await expect.poll(() => [...told].toSorted((a, b) => a - b)).toEqual([102, 103])
})

test('steps that begin while containerd is away are told as soon as it sends events again', async () => {
  const tasks = new Map<string, Task>()
  let subscriptions = 0
  const told = watch(
    await fakeGrpc((method, request) => {
      if (!method.endsWith('/Subscribe')) return answerOf(tasks, method, request)
      subscriptions += 1
      if (subscriptions < 3) return 'UNAVAILABLE'
      tasks.set('began-meanwhile', { pid: 104, status: running })
      return answerOf(tasks, method, request)
    }),
  )
  await expect.poll(() => [...told], { timeout: 3000 }).toEqual([104])
})

test('steps that begin between the look and the first events are told', async () => {
  const tasks = new Map<string, Task>()
  const told = watch(
    await fakeGrpc((method, request) => {
      const answer = answerOf(tasks, method, request)
      if (method.endsWith('Containers/List')) tasks.set('between', { pid: 105, status: running })
      return answer
    }),
  )
  await expect.poll(() => [...told], { timeout: 3000 }).toEqual([105])
})
