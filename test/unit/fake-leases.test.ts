import { describe } from 'vitest'
import { leasesSuite } from '../leases-suite.ts'
import { fakeLeases } from './fake-leases.ts'

describe('a lease of the fake', () => {
  leasesSuite(fakeLeases)
})
