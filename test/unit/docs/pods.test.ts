import { describe, expect, it } from 'vitest'
import { examplePods } from './example-pods.ts'

// That pod security "restricted" takes them is shown by an API server: test/integration/install/examples.test.ts.
describe('pods of the examples', () => {
  it('are found', () => expect(new Set(examplePods.map(({ file }) => file)).size).toBeGreaterThan(4))

  it.each(examplePods)('say what they need, have a limit of memory and write to volumes only ($file)', ({ spec }) => {
    for (const { name, resources, securityContext } of [...(spec.initContainers ?? []), ...spec.containers]) {
      expect(Object.keys(resources?.requests ?? {}), name).toEqual(['cpu', 'memory'])
      expect(Object.keys(resources?.limits ?? {}), name).toContain('memory')
      expect(securityContext?.readOnlyRootFilesystem, name).toBe(true)
    }
  })
})
