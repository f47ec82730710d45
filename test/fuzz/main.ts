import { parseArgs } from 'node:util'
import { fuzzBridge } from './bridge.ts'
import { fuzzConnection } from './frames.ts'
import { fuzzHeld, fuzzSolve } from './solves.ts'

// npm run -s fuzz -- [--minutes N] [--seed N]: runs until the time is over, a finding ends it and names its seed.

/** Bytes that may be in use beyond what was after a minute: far more than all connections of a moment. */
const mostGrowth = 128 << 20

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '1' }, seed: { type: 'string' } } })
const end = Date.now() + Number(values.minutes) * 60_000
let seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed)
const first = seed
let admitted = 0
let baseline: number | undefined
console.error(`from seed ${seed}`)
while (Date.now() < end) {
  for (let n = 0; n < 1000; n++, seed++) {
    await fuzzConnection(seed)
    if (fuzzSolve(seed)) admitted++
    if (fuzzBridge(seed)) admitted++
    await fuzzHeld(seed)
  }
  const { heapUsed, external } = process.memoryUsage()
  baseline ??= heapUsed + external
  if (heapUsed + external > baseline + mostGrowth) throw new Error(`memory has grown to ${heapUsed + external} bytes`)
}
console.log(
  `${seed - first} connections, Solves and calls of LLBBridge, ${admitted} of them let through; nothing found`,
)
