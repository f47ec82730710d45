import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { decodeSolve, encodeSolve, rewriteSolve, solveFacts } from '../../buildkit/solve.ts'
import { createLogger } from '../../kernel/log.ts'
import type { Caller } from '../listener/caller.ts'
import { createAdmission } from './enforce.ts'
import { readPolicy } from './read-policy.ts'

const policy = readPolicy(
  '[[tenant]]\nname = "team"\nmatch = { anybody = true }\nnames = ["reg.test/team/", "team/x"]\nexporters = ["image"]\n',
  'policy.toml',
)
const admission = createAdmission({ policy: () => policy, logger: createLogger({ level: 'silent' }) })
const caller: Caller = { kind: 'person', name: 'alice', groups: [] }

/** What a daemon gets behind a gateway with a policy, and what the gateway takes for the names on the node. */
function sent(name: string, attrs: Record<string, string>) {
  const asked = create(SolveRequestSchema, { exporters: [{ type: 'image', attrs: { name, ...attrs } }] })
  const { request } = admission.solve(caller, asked)
  const { images, cacheKey } = solveFacts(request)
  const own = decodeSolve(rewriteSolve(request, { defaults: true, proxy: {} }) ?? encodeSolve(request))
  return { name: own.exporters[0]?.attrs['name'], images, cacheKey }
}

test.each([
  ['reg.test/team/app', 'reg.test/team/app', []],
  ['index.docker.io/team/x', 'docker.io/team/x', []],
  ['reg.test/team/app, reg.test/team/b', 'reg.test/team/app,reg.test/team/b', []],
  // The daemon gives this name to the image before it refuses to push it.
  ['reg.test/team/app:1', 'reg.test/team/app:1', ['reg.test/team/app:1']],
])('%s that is pushed by digest gets no tag, which BuildKit would refuse to push', (name, own, images) => {
  const byDigest = { 'push-by-digest': 'true', 'name-canonical': 'true', push: 'true' }
  const repository = own.replace(/(,|:1).*/, '')
  expect(sent(name, byDigest)).toEqual({ name: own, images, cacheKey: repository })
})

test('a name that is pushed by its tag has one', () => {
  expect(sent('reg.test/team/app', { push: 'true', 'push-by-digest': 'false' })).toMatchObject({
    name: 'reg.test/team/app:latest',
    images: ['reg.test/team/app:latest'],
  })
})

test('the names of a policy hold for what is pushed by digest too', () => {
  const pushed = { 'push-by-digest': '', push: 'true' }
  for (const name of ['reg.test/other/app', 'reg.test/team/app,docker.io/evil/x', 'team/xx']) {
    expect(() => sent(name, pushed)).toThrow('is not allowed (rule: tenant "team": names)')
  }
})
