import { expect, test } from 'vitest'
import { createLogger } from '../../kernel/log.ts'
import type { WorkloadFacts } from '../placement/facts.ts'
import { createImageIndex } from './index.ts'
import { tellWanted, wantedOn } from './wanted.ts'

const digest = `sha256:${'a'.repeat(64)}`
const image = (name: string) => ({ name: `docker.io/team/${name}`, digest, version: 1 })
const workload = (...names: string[]) =>
  ({ images: names.map((name) => `docker.io/team/${name}`) }) as unknown as WorkloadFacts

test('what a template names is wanted on the nodes that have it, and agents are told when it changes', async () => {
  const index = createImageIndex()
  for (const name of ['web:1', 'web:2', 'other:1']) index.add('n1', image(name))
  const templates = new Set([workload('web:2', 'missing:1')])
  const view = {
    templatesOf: (repository: string) => (repository === 'docker.io/team/web' ? templates : new Set<WorkloadFacts>()),
  }
  expect(wantedOn(index, view, 'n1')).toEqual(['docker.io/team/web:2'])

  const told: [string, readonly string[]][] = []
  let complete = (): void => {}
  const stop = tellWanted({
    ...{ index, view: () => view, logger: createLogger({ level: 'silent' }), interval: 5 },
    complete: () => new Promise<void>((resolve) => (complete = resolve)),
    agents: () => new Map(['n1', 'n2', 'n3'].map((node) => [node, { uid: `u-${node}`, ready: node !== 'n3' }])),
    tell(node, names) {
      told.push([node, names])
      return told.length === 1 ? Promise.reject(new Error('not now')) : Promise.resolve()
    },
  })
  await expect.poll(() => complete.name).not.toBe('complete')
  expect(told).toEqual([])
  complete()
  // The first message fails and is sent again; n2 has nothing.
  await expect
    .poll(() => told)
    .toEqual([
      ['n1', ['docker.io/team/web:2']],
      ['n1', ['docker.io/team/web:2']],
    ])
  templates.clear()
  await expect.poll(() => told.at(-1)).toEqual(['n1', []])
  stop()
})

test('what a gateway before this one said is taken back where no template names it any more', async () => {
  const index = createImageIndex()
  index.add('n1', image('web:1'))
  const told: [string, readonly string[]][] = []
  const stop = tellWanted({
    ...{
      index,
      view: () => ({ templatesOf: () => new Set() }),
      logger: createLogger({ level: 'silent' }),
      interval: 5,
    },
    complete: () => Promise.resolve(),
    agents: () => new Map(['n1', 'n2'].map((node) => [node, { uid: `u-${node}`, ready: true }])),
    tell: (node, names) => Promise.resolve(void told.push([node, names])),
  })
  await expect.poll(() => told).toEqual([['n1', []]])
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(told).toEqual([['n1', []]])
  stop()
})
