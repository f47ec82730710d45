import { expect, test } from 'vitest'
import { fuzzBridge } from '../fuzz/bridge.ts'
import { fuzzConnection } from '../fuzz/frames.ts'
import { fuzzHeld, fuzzSolve } from '../fuzz/solves.ts'

// A short run of `npm run fuzz`, always the same.

test('frames of broken and hostile peers end in nothing but protocol errors', async () => {
  const all = async (): Promise<void> => {
    for (let seed = 1; seed <= 1000; seed++) await fuzzConnection(seed)
  }
  await expect(all()).resolves.toBeUndefined()
}, 60_000)

test('no name gets past the policy, however the request is written', () => {
  let through = 0
  for (let seed = 1; seed <= 4000; seed++) if (fuzzSolve(seed)) through++
  // Otherwise nothing was tested.
  expect(through).toBeGreaterThan(200)
})

test('nor past it through LLBBridge, in a result or with a frontend that is not allowed', () => {
  let through = 0
  for (let seed = 1; seed <= 4000; seed++) if (fuzzBridge(seed)) through++
  expect(through).toBeGreaterThan(200)
})

test('a name that a node holds is not overwritten, however it is spelled', async () => {
  let asked = 0
  for (let seed = 1; seed <= 4000; seed++) if (await fuzzHeld(seed)) asked++
  expect(asked).toBeGreaterThan(15)
})
