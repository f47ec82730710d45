import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createRevision } from './revision.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

it('what was built here, and what went, is reported at once', () => {
  let reports = 0
  const revision = createRevision(() => (reports += 1))
  const before = revision.reported
  revision.change('built')
  expect([revision.current, revision.reported, reports]).toEqual([before + 1, before + 1, 1])
  revision.change()
  expect([revision.current, revision.reported, reports]).toEqual([before + 2, before + 2, 2])
})

it('what came from other nodes counts at once, and is reported together a second later, or with what is built before', () => {
  let reports = 0
  const revision = createRevision(() => (reports += 1))
  const before = revision.reported
  revision.change('delivered')
  vi.advanceTimersByTime(600)
  revision.change('delivered')
  expect([revision.current, revision.reported, reports]).toEqual([before + 2, before, 0])
  vi.advanceTimersByTime(400)
  expect([revision.reported, reports]).toEqual([before + 2, 1])
  revision.change('delivered')
  revision.change('built')
  expect([revision.reported, reports]).toEqual([before + 4, 2])
  vi.advanceTimersByTime(5000)
  expect(reports).toBe(2)
})

it('nothing is reported after its end', () => {
  let reports = 0
  const revision = createRevision(() => (reports += 1))
  revision.change('delivered')
  revision.stop()
  vi.advanceTimersByTime(5000)
  expect(reports).toBe(0)
})
