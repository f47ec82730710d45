import { describe } from 'vitest'
import { leasesSuite } from '../leases-suite.ts'
import { startNode } from './fixtures/containerd.ts'

describe('a lease of containerd', () => {
  leasesSuite(async () => {
    const node = await startNode()
    return { socket: `/proc/${node.pid}/root${node.address}`, close: () => node.stop() }
  })
})
