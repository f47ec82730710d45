import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { SolveRequestSchema as BridgeSolveSchema } from '../../buildkit/gen/gateway_pb.ts'
import { DaemonRefusal } from './exchange.ts'
import { exportPart } from './export-again.ts'

const halfWritten = new DaemonRefusal('n1', 2, 'digest invalid: provided digest did not match uploaded content', [])
const message = toBinary(
  SolveRequestSchema,
  create(SolveRequestSchema, { ref: 'r', session: 's', frontendAttrs: { 'attest:sbom': '', platform: 'linux/arm64' } }),
)
const asked = toBinary(
  BridgeSolveSchema,
  create(BridgeSolveSchema, { frontend: 'dockerfile.v0', frontendOpt: { target: 'x' } }),
)

/** Fails with each error in turn, then is done. */
function attempts(errors: readonly Error[]) {
  const seen: Uint8Array[] = []
  let said = 0
  const exported = exportPart({
    message,
    asked: () => asked,
    solve: (own) => {
      seen.push(own)
      const error = errors[seen.length - 1]
      return error ? Promise.reject(error) : Promise.resolve(Buffer.from('done'))
    },
    onAgain: () => void said++,
  })
  return { exported, seen, said: () => said }
}

test('what the push of another node was in the way of is exported again, by the daemon alone and under another ref', async () => {
  const { exported, seen, said } = attempts([halfWritten, halfWritten])
  expect(String(await exported)).toBe('done')
  expect(said()).toBe(2)
  const [first, second, third] = seen.map((one) => fromBinary(SolveRequestSchema, one))
  expect(first).toMatchObject({ ref: 'r', frontend: '' })
  expect(second).toMatchObject({
    session: 's',
    frontend: 'dockerfile.v0',
    frontendAttrs: { 'attest:sbom': '', platform: 'linux/arm64', target: 'x' },
  })
  expect(new Set([first?.ref, second?.ref, third?.ref]).size).toBe(3)
})

test.for([
  { name: 'for ever', errors: [halfWritten, halfWritten, halfWritten], solves: 3, from: asked },
  { name: 'another error', errors: [new DaemonRefusal('n1', 2, 'denied', [])], solves: 1, from: asked },
  {
    name: 'not of a daemon',
    errors: [new Error('provided digest did not match uploaded content')],
    solves: 1,
    from: asked,
  },
  { name: 'nothing was asked of a frontend', errors: [halfWritten], solves: 1, from: undefined },
])('it ends with the error: $name', async ({ errors, solves, from }) => {
  const seen: Uint8Array[] = []
  const exported = exportPart({
    message,
    asked: () => from,
    solve: (own) => {
      seen.push(own)
      return Promise.reject(errors[seen.length - 1] ?? new Error('once too often'))
    },
    onAgain: () => undefined,
  })
  await expect(exported).rejects.toBe(errors.at(-1))
  expect(seen).toHaveLength(solves)
})
