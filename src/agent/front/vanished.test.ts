import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createVanished } from './vanished.ts'

class Client extends EventEmitter {
  readonly remoteAddress: string
  bytesRead = 100
  destroyed = false
  constructor(host: string) {
    super()
    this.remoteAddress = host
  }
  destroy(): this {
    this.destroyed = true
    this.emit('close')
    return this
  }
}

describe('gateways that vanished', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  function setUp(...hosts: string[]) {
    const gone: [string, number][] = []
    const vanished = createVanished({
      ...{ interval: 1000, patience: 3 },
      onVanished: (host, connections) => gone.push([host, connections]),
    })
    const clients = hosts.map((host) => new Client(host))
    for (const client of clients) vanished.watch(client)
    return { vanished, clients, gone }
  }

  it('lose all their connections, others none', () => {
    const { vanished, clients, gone } = setUp('a', 'a', 'b')
    for (let i = 0; i < 5; i += 1) {
      vi.advanceTimersByTime(1000)
      vanished.heard('b')
    }
    expect(clients.map(({ destroyed }) => destroyed)).toEqual([true, true, false])
    expect(gone).toEqual([['a', 2]])
  })

  it('are there as long as they ask, or as bytes come on any of their connections', () => {
    const { vanished, clients, gone } = setUp('a', 'a')
    for (let i = 0; i < 10; i += 1) {
      vi.advanceTimersByTime(2000)
      if (i % 2 === 0) vanished.heard('a')
      else clients[1]!.bytesRead += 1
    }
    expect(gone).toEqual([])
    vi.advanceTimersByTime(4000)
    expect(clients.every(({ destroyed }) => destroyed)).toBe(true)
  })

  it('cost nothing when none is connected', () => {
    const { vanished, clients, gone } = setUp('a')
    clients[0]!.emit('close')
    vi.advanceTimersByTime(10_000)
    expect(vi.getTimerCount()).toBe(0)
    expect(gone).toEqual([])
    vanished.heard('a')
    vanished.heard(undefined)
    vanished.watch(new Client('a'))
    vi.advanceTimersByTime(3000)
    expect(gone).toEqual([['a', 1]])
  })
})
