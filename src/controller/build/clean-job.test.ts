import { describe, expect, test } from 'vitest'
import type { Build } from '../../api/builds/builds.ts'
import { cleanJob } from './clean-job.ts'

const build: Build = {
  metadata: { namespace: 'a', name: 'b', uid: 'c' },
  spec: { source: { workspace: {} }, workspace: { claimName: 'models' } },
}

function podOf(serviceAccountName: string | undefined): Record<string, unknown> {
  const recipe = { ...build.spec, ...(serviceAccountName === undefined ? {} : { serviceAccountName }) }
  const job = cleanJob(build, { recipe, image: 'insitu', podTemplate: undefined })
  return (job as unknown as { spec: { template: { spec: Record<string, unknown> } } }).spec.template.spec
}

describe('the pod that removes the directory of a Build', () => {
  test('has the account of the Build, with whose pull secrets it had its own image, and no token', () => {
    expect(podOf('builder')).toMatchObject({ serviceAccountName: 'builder', automountServiceAccountToken: false })
    expect(podOf(undefined)).toMatchObject({ serviceAccountName: 'default' })
  })
})
