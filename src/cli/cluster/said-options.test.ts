import { describe, expect, it } from 'vitest'
import { UsageError } from '../../kernel/errors.ts'
import { installCommand } from '../install.ts'
import { asText, recallOptions, rememberOptions, saidOptions, settleOptions, shaping } from './said-options.ts'

const said = (...args: string[]) => {
  const command = installCommand().exitOverride()
  command.action(() => {})
  command.parse(args, { from: 'user' })
  return saidOptions(command)
}

it('every option of install is remembered, or does not shape the installation', () => {
  // Whose cluster; what is shown and waited for; what is about options; and a ConfigMap that stays when it is left out.
  const others = [
    ...['--namespace', '--kubeconfig', '--context', '--output', '--print', '--print-kinds', '--no-wait', '--timeout'],
    ...['--reuse-options', '--reset-options', '--buildkitd-toml'],
  ]
  const all = installCommand().options.map(({ long }) => long)
  expect(new Set(all)).toEqual(new Set([...shaping, ...others]))
})

it('what was said is remembered as it was said, and defaults are not', () => {
  expect(said()).toEqual({})
  const options = said('--mode', 'node', '--no-proxy', 'a,b', '--toleration', '*', '--toleration', 'gpu', '--no-wait')
  expect(options).toEqual({ '--mode': ['node'], '--no-proxy': ['a,b'], '--toleration': ['*', 'gpu'] })
  expect(recallOptions(rememberOptions(options))).toEqual(options)
  expect(asText(options)).toBe(`--mode node --no-proxy a,b --toleration '*' --toleration gpu`)
})

it.each([undefined, '', 'nonsense', '{}', '["--replicas"]', '["--future","1"]'])('%j recalls nothing', (text) => {
  expect(recallOptions(text)).toEqual({})
})

describe('a second command line', () => {
  const before = said('--replicas', '3', '--node-selector', 'pool=builds')

  it('that leaves options out is refused, with what would be lost and what to say', () => {
    const refused = () => settleOptions(before, said('--replicas', '4'), undefined)
    expect(refused).toThrow('would drop options of the installation that is there: --node-selector pool=builds')
    expect(refused).toThrow(UsageError)
    expect(refused).toThrow(expect.objectContaining({ fix: expect.stringMatching(/--reuse-options.*--reset-options/) }))
  })

  it('may keep them, or drop them', () => {
    const now = said('--replicas', '4')
    expect(settleOptions(before, now, 'reuse')).toEqual({ '--replicas': ['4'], '--node-selector': ['pool=builds'] })
    expect(settleOptions(before, now, 'reset')).toEqual(now)
  })

  it('that repeats or changes them is as it is', () => {
    const now = said('--node-selector', 'pool=other', '--replicas', '2', '--image', 'x')
    expect(settleOptions(before, now, undefined)).toEqual(now)
    expect(settleOptions({}, said(), undefined)).toEqual({})
  })
})
