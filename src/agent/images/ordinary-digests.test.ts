import { expect, it } from 'vitest'
import { followOrdinary } from './ordinary-digests.ts'
import type { ImageRecord, NodeImage } from './record.ts'

it('lists what insitu did not build once for all its names, and tells of changes', async () => {
  const image = (name: string, digest: string): NodeImage => ({ name, digest, target: new Uint8Array(), labels: {} })
  const current = new Map(
    [image('r.test/a:1', 'sha256:a'), image('sha256:id', 'sha256:a')].map((one) => [one.name, one]),
  )
  current.set('docker.io/built:1', image('docker.io/built:1', 'sha256:b'))
  const records = new Map([['docker.io/built:1', { digest: 'sha256:b' } as ImageRecord]])
  let changes = 0
  const followed = followOrdinary({
    ...{ keeper: { current, memory: { records, known: new Map(), wanted: new Set() } }, interval: 5 },
    onChange: () => (changes += 1),
  })
  expect(followed.list()).toEqual(['sha256:a'])
  current.set('r.test/c:1', image('r.test/c:1', 'sha256:c'))
  await expect.poll(() => changes).toBe(1)
  expect(followed.list()).toEqual(['sha256:a', 'sha256:c'])
  followed.stop()
})
