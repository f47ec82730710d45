import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { type ContainerdCall, containerdCall } from '../src/agent/host/containerd-call.ts'
import { fieldOf, messages, string } from '../src/kernel/grpc/wire.ts'

/** Something that has containerd's leases. */
export interface HasLeases {
  readonly socket: string
  close(): Promise<void>
}

const digestOf = (digit: string): string => `sha256:${digit.repeat(64)}`
const [a, b, c] = [digestOf('a'), digestOf('b'), digestOf('c')] as const

/**
 * What the keeping of images relies on in containerd's leases. The fake of the unit tests passes it, and so does a
 * containerd: otherwise those tests would say nothing. Field numbers: containerd's api/services/leases/v1/leases.proto.
 */
export function leasesSuite(open: () => Promise<HasLeases>): void {
  let leases: HasLeases | undefined
  let call: ContainerdCall
  let id: string
  beforeAll(async () => {
    leases = await open()
    call = containerdCall(leases.socket, 'k8s.io')
  })
  afterAll(() => leases?.close())
  beforeEach(() => void (id = `suite-${randomBytes(4).toString('hex')}`))

  const create = () => call('leases.v1.Leases/Create', fieldOf(1, id))
  const remove = (sync = false) =>
    call('leases.v1.Leases/Delete', Buffer.concat([fieldOf(1, id), ...(sync ? [fieldOf(2, 1)] : [])]))
  const resource = (digest: string): Uint8Array =>
    Buffer.concat([fieldOf(1, id), fieldOf(2, Buffer.concat([fieldOf(1, digest), fieldOf(2, 'content')]))])
  const add = (digest: string) => call('leases.v1.Leases/AddResource', resource(digest))
  const letGo = (digest: string) => call('leases.v1.Leases/DeleteResource', resource(digest))
  const list = async (): Promise<string[]> => {
    const found = messages(await call('leases.v1.Leases/ListResources', fieldOf(1, id)), 1)
    expect(found.every((one) => string(one, 2) === 'content')).toBe(true)
    return found.map((one) => string(one, 1)).toSorted()
  }
  const failure = (status: string): object => ({ code: 'GRPC_CALL_FAILED', status })

  it('is empty when it was made, and there once', async () => {
    await create()
    expect(await list()).toEqual([])
    await add(a)
    await expect(create()).rejects.toMatchObject(failure('ALREADY_EXISTS'))
    expect(await list()).toEqual([a])
  })

  it('is made by one of those who do it at once', async () => {
    const made = await Promise.allSettled([create(), create(), create()])
    const failed = made.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []))
    expect(failed).toMatchObject([failure('ALREADY_EXISTS'), failure('ALREADY_EXISTS')])
    expect(await list()).toEqual([])
  })

  it('has what was added, once each, whether containerd has the content or not', async () => {
    await create()
    await Promise.all([add(a), add(b), add(c), add(a)])
    await add(b)
    expect(await list()).toEqual([a, b, c])
  })

  it('loses what is let go of, without complaint when it was not there', async () => {
    await create()
    await letGo(a)
    await Promise.all([add(a), add(b)])
    await letGo(a)
    await letGo(a)
    await letGo(c)
    expect(await list()).toEqual([b])
    await letGo(b)
    expect(await list()).toEqual([])
  })

  it.each([false, true])('goes with all it has, also when the collection is waited for (%s)', async (sync) => {
    await create()
    await add(a)
    await remove(sync)
    await expect(list()).rejects.toMatchObject(failure('NOT_FOUND'))
    await create()
    expect(await list()).toEqual([])
  })

  it('is not found by anybody when it is not there', async () => {
    for (const attempt of [list, remove, () => add(a), () => letGo(a)]) {
      await expect(attempt()).rejects.toMatchObject(failure('NOT_FOUND'))
    }
  })
}
