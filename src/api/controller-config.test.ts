import { expect, test } from 'vitest'
import { controllerConfig, defaultControllerConfig } from './controller-config.ts'

test('every key of [controller] changes its field, and what is wrong is named', () => {
  expect(controllerConfig({ gateway: { x: 1 } })).toEqual(defaultControllerConfig)
  const set = { buildsPerNamespace: 7, buildsPerNode: 2 }
  expect(controllerConfig({ controller: set })).toEqual(set)
  expect(() => controllerConfig({ controller: { perNode: 2 } })).toThrow('there is no key controller.perNode')
  expect(() => controllerConfig({ controller: { buildsPerNode: 0 } })).toThrow('controller.buildsPerNode must be')
})
