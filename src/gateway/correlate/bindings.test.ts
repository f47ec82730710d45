import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createBindings } from './bindings.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('who waits gets what is decided later', async () => {
  const bindings = createBindings<string>({ linger: 0 })
  const waiting = bindings.wait('r', 3000)
  const claimed = await bindings.claim('r', () => Promise.resolve('node'))
  const found = await waiting
  expect(found?.value).toBe('node')
  claimed.release()
  expect(bindings.size).toBe(1)
  found?.release()
  expect(bindings.size).toBe(0)
})

test('waiting ends without a claim, and when the signal aborts', async () => {
  const bindings = createBindings<string>({ linger: 0 })
  const patient = bindings.wait('r', 3000)
  const abort = new AbortController()
  const held = bindings.wait('s', Infinity, abort.signal)
  await vi.advanceTimersByTimeAsync(3000)
  expect(await patient).toBeUndefined()
  abort.abort(new Error('gone'))
  expect(await held).toBeUndefined()
  expect(bindings.size).toBe(0)
})

test('a binding that is forgotten is not found, and releasing it later takes nothing from the next one', async () => {
  const bindings = createBindings<string>({ linger: 1000 })
  const first = await bindings.claim('r', () => Promise.resolve('first'))
  bindings.forget('r')
  expect(bindings.size).toBe(0)
  const second = await bindings.claim('r', () => Promise.resolve('second'))
  first.release()
  await vi.advanceTimersByTimeAsync(1000)
  expect([second.value, bindings.size]).toEqual(['second', 1])
})

test('concurrent claims decide once', async () => {
  const bindings = createBindings<string>({ linger: 0 })
  const decide = vi.fn<() => Promise<string>>(() => Promise.resolve('first'))
  const both = await Promise.all([bindings.claim('r', decide), bindings.claim('r', decide)])
  expect(both.map((hold) => hold.value)).toEqual(['first', 'first'])
  expect(decide).toHaveBeenCalledTimes(1)
})

test('a failed decision reaches all who wait, also a little later, and the next claim decides anew', async () => {
  const bindings = createBindings<string>({ linger: 1000 })
  const waiting = bindings.wait('r', 3000)
  const refused = bindings.claim('r', () => Promise.reject(new Error('no')))
  await expect(refused).rejects.toThrow('no')
  await expect(waiting).rejects.toThrow('no')
  await expect(bindings.wait('r', 3000)).rejects.toThrow('no')
  expect((await bindings.claim('r', () => Promise.resolve('yes'))).value).toBe('yes')
})

test('without lingering a failed decision is forgotten', async () => {
  const bindings = createBindings<string>({ linger: 0 })
  await expect(bindings.claim('r', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(bindings.size).toBe(0)
})

test('a binding is found for a while after its end, but a new claim does not join it', async () => {
  const bindings = createBindings<string>({ linger: 1000 })
  const first = await bindings.claim('r', () => Promise.resolve('first'))
  first.release()
  first.release()
  const late = await bindings.wait('r', 0)
  expect(late?.value).toBe('first')
  late?.release()
  expect((await bindings.claim('r', () => Promise.resolve('second'))).value).toBe('second')
  const other = await bindings.claim('s', () => Promise.resolve('x'))
  other.release()
  await vi.advanceTimersByTimeAsync(1000)
  expect(bindings.size).toBe(1)
})
