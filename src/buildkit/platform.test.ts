import { expect, test } from 'vitest'
import { normalizePlatform } from './platform.ts'

test.each([
  ['linux/amd64', 'linux/amd64'],
  ['Linux/AMD64', 'linux/amd64'],
  ['arm64', 'linux/arm64'],
  ['linux/aarch64', 'linux/arm64'],
  ['linux/armhf', 'linux/arm/v7'],
  ['linux/arm/v6', 'linux/arm/v6'],
  ['linux/arm/7', 'linux/arm/v7'],
  ['linux/amd64/v3', 'linux/amd64/v3'],
  ['windows(10.0.17763)/amd64', 'windows/amd64'],
  ['local', undefined],
])('%s is %s', (text, expected) => {
  expect(normalizePlatform(text)).toBe(expected)
})

test.each([
  'linux/',
  '/',
  'linux/amd64/v9',
  'linux/pdp11',
  'lunix/amd64',
  'amd46',
  'linux/arm/v7/x',
  'linux arm64',
  '*',
])('%s is refused with what would work', (text) => {
  expect(() => normalizePlatform(text)).toThrow(
    expect.objectContaining({ code: 'PLATFORM', status: 'INVALID_ARGUMENT' }),
  )
  expect(() => normalizePlatform(text)).toThrow(text)
})
