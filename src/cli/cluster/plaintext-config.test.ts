import { describe, expect, it } from 'vitest'
import { UsageError } from '../../kernel/errors.ts'
import { plaintextToml } from '../manifests/gateway.ts'
import { objectLabels } from '../manifests/object.ts'
import { type ConfigMap, planPlaintext, writtenRanges } from './plaintext-config.ts'

const map = (text: string, labels: Record<string, string> = objectLabels()): ConfigMap => ({
  metadata: { namespace: 'n', name: 'insitu.toml', labels },
  data: { 'insitu.toml': text },
})
const written = map(plaintextToml(['10.0.0.0/8']))
const users = '[gateway]\nmaxBuildDuration = "1h"\n'
const edited = map(`${users}${plaintextToml(['10.0.0.0/8'])}`)

describe('the ConfigMap insitu.toml', () => {
  it('is known as written by install by its label and its text', () => {
    expect(writtenRanges(written)).toEqual(['10.0.0.0/8'])
    for (const other of [undefined, edited, map(users), map('['), map(plaintextToml(['::1']), {})]) {
      expect(writtenRanges(other)).toBeUndefined()
    }
  })

  it('is made, changed and taken away again with the option', () => {
    const make = { ranges: ['::1'], remove: false, stays: undefined }
    expect(planPlaintext(undefined, ['::1'])).toEqual(make)
    expect(planPlaintext(written, ['::1'])).toEqual(make)
    expect(planPlaintext(written, [])).toEqual({ ranges: [], remove: true, stays: undefined })
    expect(planPlaintext(undefined, [])).toEqual({ ranges: [], remove: false, stays: undefined })
  })

  it('of a user is never replaced: what is missing in it is said', () => {
    const refused = () => planPlaintext(map(users, {}), ['10.0.0.0/8', '::1'])
    expect(refused).toThrow('would replace ConfigMap n/insitu.toml')
    expect(refused).toThrow(UsageError)
    const fix = expect.stringContaining('[gateway.plaintext]\n    cidrs = ["10.0.0.0/8","::1"]') as string
    expect(refused).toThrow(expect.objectContaining({ fix }))
    expect(() => planPlaintext(edited, ['::1'])).toThrow(UsageError)
  })

  it('of a user stays as it is when nothing is missing in it', () => {
    expect(planPlaintext(edited, ['10.0.0.0/8'])).toEqual({
      ranges: [],
      remove: false,
      stays: edited.data?.['insitu.toml'],
    })
    expect(planPlaintext(map(users), [])).toEqual({ ranges: [], remove: false, stays: users })
  })
})
