import { describe, expect, it } from 'vitest'
import type { NodeFacts } from '../placement/cluster.ts'
import type { PodFacts } from '../placement/facts.ts'
import { askingNode } from './asking.ts'
import { unmirroredPulls } from './unmirrored.ts'

const name = 'h.test/app:1'
const pod = (node: string | undefined, reason: string, image = name) =>
  ({ node, waiting: [{ image, reason, pullPolicy: 'IfNotPresent' }] }) as unknown as PodFacts
const found = (...pods: PodFacts[]) => {
  const view = {
    waitingImages: () => [name],
    waitingFor: (image: string) => new Set(pods.filter(({ waiting }) => waiting.some((w) => w.image === image))),
  }
  return unmirroredPulls(
    view,
    new Map([
      ['bare', { rootless: true }],
      ['other', { rootless: true }],
      ['usual', {}],
    ]),
  )
}

describe('pulls that no mirror hears of', () => {
  it('are of pods on rootless nodes that could not pull, each name and node once', () => {
    const pods = [pod('other', 'ImagePullBackOff'), pod('bare', 'ErrImagePull'), pod('bare', 'ImagePullBackOff')]
    expect(found(...pods)).toEqual([
      { name, node: 'bare' },
      { name, node: 'other' },
    ])
  })

  it.each([
    ['on a node with a mirror', pod('usual', 'ErrImagePull')],
    ['on a node without an agent', pod('unknown', 'ErrImagePull')],
    ['without a node', pod(undefined, 'ErrImagePull')],
    ['that pulls still', pod('bare', 'ContainerCreating')],
    ['that wants to pull nothing', pod('bare', 'ErrImageNeverPull')],
  ])('are not those of a pod %s', (_, one) => expect(found(one)).toEqual([]))
})

it('a rootless node builds what is pushed, and nothing that is to stay', () => {
  const agents = new Map([['bare', { ready: true, trouble: undefined, platforms: ['linux/amd64'], rootless: true }]])
  const view = () => ({ nodes: new Map([['bare', facts]]) })
  const asking = (pushes: boolean) =>
    askingNode('bare', pushes, { agents: () => agents, view, refusal: () => undefined })
  expect(asking(true)).toEqual({ node: 'bare', platform: 'linux/amd64', cannotBuild: undefined })
  expect(asking(false).cannotBuild).toBe('builds rootless: no image can stay there')
})
const facts = { platform: 'linux/amd64', pressure: [] } as unknown as NodeFacts
