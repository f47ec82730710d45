import { expect, test } from 'vitest'
import { withProxy } from './proxy.ts'

test('each variable is set in both cases', () => {
  expect(withProxy({}, { HTTP_PROXY: 'a', no_proxy: 'b' })).toEqual({
    'build-arg:HTTP_PROXY': 'a',
    'build-arg:http_proxy': 'a',
    'build-arg:NO_PROXY': 'b',
    'build-arg:no_proxy': 'b',
  })
})

test.for(['build-arg:http_proxy', 'build-arg:HTTP_PROXY', 'build-arg:Http_Proxy'])(
  'what the client says as %s wins, variable by variable, and an empty value switches off',
  (key) => {
    for (const value of ['mine', '']) {
      const result = withProxy({ [key]: value }, { HTTP_PROXY: 'a', HTTPS_PROXY: 'b' })
      expect(result).toEqual({ [key]: value, 'build-arg:HTTPS_PROXY': 'b', 'build-arg:https_proxy': 'b' })
    }
  },
)

test('other variables of the environment and empty ones are not passed on', () => {
  expect(withProxy({ target: 'x' }, { PATH: '/bin', HTTP_PROXY: '', SOCKS_PROXY: 's' })).toEqual({ target: 'x' })
})

test('where both cases differ the lower one counts', () => {
  expect(withProxy({}, { ALL_PROXY: 'upper', all_proxy: 'lower' })['build-arg:ALL_PROXY']).toBe('lower')
})
