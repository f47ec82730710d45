import { create, toBinary } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { SolveRequestSchema } from '../../buildkit/gen/control_pb.ts'
import { factsOfSolve } from '../../buildkit/request-facts.ts'
import { fieldOf } from '../../kernel/grpc/wire.ts'
import type { Caller } from '../listener/caller.ts'
import { decide, type Decision } from './decide.ts'
import { fits } from './match.ts'
import { narrowSolve } from './narrow.ts'
import { defaultPolicy } from './policy.ts'
import { readPolicy } from './read-policy.ts'

const policy = readPolicy(
  `
[defaults]
exporters = ["image", "local"]

[[tenant]]
name = "ops"
match = { groups = ["platform-*"], loopback = true }
names = ["*"]
frontends = ["*"]
entitlements = ["network.host", "device*"]
administrator = true

[[tenant]]
name = "ci"
match = { serviceAccounts = ["ci/builder-*"] }
names = ["ghcr.io/org/app", "ghcr.io/org/base:v1", "team/"]
frontends = ["dockerfile.v0", "gateway.v0:docker/dockerfile"]
platforms = ["linux/amd64"]
cacheTo = ["inline"]
cacheFrom = ["registry"]

[[tenant]]
name = "namespaces"
match = { namespaces = ["dev-*"] }
names = ["reg.example.com/{namespace}/"]
`,
  'policy.toml',
)

const ci: Caller = { kind: 'service-account', namespace: 'ci', serviceAccount: 'builder-1' }
const dev: Caller = { kind: 'pod', namespace: 'dev-a', name: 'x', address: '10.0.0.1', serviceAccount: 'default' }
const ops: Caller = { kind: 'person', name: 'alice', groups: ['platform-eu'] }

type Init = Parameters<typeof create<typeof SolveRequestSchema>>[1]
const ask = (caller: Caller, init: Init): Decision =>
  decide(policy, caller, factsOfSolve(create(SolveRequestSchema, init)))
const image = (attrs: Record<string, string>, caller: Caller = ci): Decision =>
  ask(caller, { exporters: [{ type: 'image', attrs }] })
const ruleOf = (decision: Decision): string => (decision.allowed ? 'allowed' : decision.rule)

describe('names', () => {
  test.each([
    ['ghcr.io/org/app', 'allowed'],
    ['ghcr.io/org/app:v7', 'allowed'],
    ['ghcr.io/org/app,ghcr.io/org/base:v1', 'allowed'],
    ['team/x', 'allowed'],
    ['index.docker.io/team/x:1', 'allowed'],
    [' team/x ', 'allowed'],
    ['ghcr.io/org/base:v2', 'tenant "ci": names'],
    ['ghcr.io/org/app/evil', 'tenant "ci": names'],
    ['ghcr.io/org/application', 'tenant "ci": names'],
    ['teamx/y', 'tenant "ci": names'],
    ['team', 'tenant "ci": names'],
    ['ghcr.io/org/app,registry.k8s.io/pause:3.10', 'tenant "ci": names'],
    ['GHCR.io/Org/app', 'tenant "ci": names'],
    ['team/x,,team/y', 'tenant "ci": names'],
    ['team/\uFFFD', 'tenant "ci": names'],
    ['*', 'always'],
    ['team/x,*', 'always'],
  ])('%s: %s', (name, rule) => {
    expect(ruleOf(image({ name }))).toBe(rule)
    const legacy = ask(ci, { exporterDeprecated: 'image', exporterAttrsDeprecated: { name } })
    expect(ruleOf(legacy)).toBe(rule)
  })
  test('legacy fields count beside the list too', () => {
    const both = {
      exporters: [{ type: 'image', attrs: { name: 'team/x' } }],
      ...{ exporterDeprecated: 'image', exporterAttrsDeprecated: { name: 'evil' } },
    }
    expect(ruleOf(ask(ci, both))).toBe('tenant "ci": names')
  })
  test('a prefix for images without a name is a name', () => {
    expect(ruleOf(image({ 'dangling-name-prefix': 'team/x' }))).toBe('allowed')
    expect(ruleOf(image({ 'dangling-name-prefix': 'evil/x' }))).toBe('tenant "ci": names')
    expect(ruleOf(image({ 'dangling-name-prefix': 'team/x,pause' }))).toBe('tenant "ci": names')
  })
  test('the caller’s own namespace', () => {
    expect(ruleOf(image({ name: 'reg.example.com/dev-a/x' }, dev))).toBe('allowed')
    expect(ruleOf(image({ name: 'reg.example.com/dev-b/x' }, dev))).toBe('tenant "namespaces": names')
  })
})

test('a caller of no tenant may nothing', () => {
  const stranger = ask({ kind: 'service-account', namespace: 'other', serviceAccount: 'builder-1' }, {})
  expect(stranger).toMatchObject({ allowed: false, rule: 'policy.toml' })
})

test.each<[string, Init, string]>([
  ['exporter', { exporters: [{ type: 'tar', attrs: {} }] }, 'tenant "ci": exporters'],
  ['legacy exporter', { exporterDeprecated: 'tar' }, 'tenant "ci": exporters'],
  ['exporters of the session', { enableSessionExporter: true }, 'always'],
  ['network', { entitlements: ['network.host'] }, 'tenant "ci": entitlements'],
  ['insecure', { entitlements: ['security.insecure'] }, 'tenant "ci": entitlements'],
  ['device', { entitlements: ['device=vendor/x'] }, 'tenant "ci": entitlements'],
  ['frontend image', { frontend: 'gateway.v0', frontendAttrs: { source: 'evil/x' } }, 'tenant "ci": frontends'],
  ['known frontend image', { frontend: 'gateway.v0', frontendAttrs: { source: 'docker/dockerfile:1' } }, 'allowed'],
  [
    'frontend image in development',
    { frontend: 'gateway.v0', frontendAttrs: { source: 'docker/dockerfile', 'gateway-devel': '' } },
    'tenant "ci": frontends',
  ],
  [
    'syntax argument',
    { frontend: 'dockerfile.v0', frontendAttrs: { 'build-arg:BUILDKIT_SYNTAX': 'evil/x y' } },
    'tenant "ci": frontends',
  ],
  [
    'syntax argument for a known frontend image',
    {
      frontend: 'gateway.v0',
      frontendAttrs: { source: 'docker/dockerfile', 'build-arg:BUILDKIT_SYNTAX': 'evil/x' },
    },
    'tenant "ci": frontends',
  ],
  ['raw LLB', { definition: { def: [fieldOf(3, 'x')] } }, 'tenant "ci": frontends'],
  ['platform', { frontendAttrs: { platform: 'linux/amd64,linux/arm64' } }, 'tenant "ci": platforms'],
  ['cache to', { cache: { exports: [{ type: 's3' }] } }, 'tenant "ci": cacheTo'],
  ['legacy cache to', { cache: { exportRefDeprecated: 'x' } }, 'tenant "ci": cacheTo'],
  ['cache from', { cache: { imports: [{ type: 'local' }] } }, 'tenant "ci": cacheFrom'],
  ['legacy cache from', { cache: { importRefsDeprecated: ['x'] } }, 'allowed'],
  [
    'cache from in options',
    { frontendAttrs: { 'cache-imports': '[{"TYPE":"s3","type":"registry"}]' } },
    'tenant "ci": cacheFrom',
  ],
])('%s', (_, init, rule) => expect(ruleOf(ask(ci, init))).toBe(rule))

test('administrators get what their tenant says', () => {
  expect(ruleOf(ask(ops, { entitlements: ['network.host', 'device=vendor/x'] }))).toBe('allowed')
  expect(ruleOf(ask(ops, { entitlements: ['security.insecure'] }))).toBe('tenant "ops": entitlements')
})

describe('raw LLB', () => {
  const bytes = (number: number, message: Uint8Array): Uint8Array =>
    Buffer.concat([Uint8Array.of((number << 3) | 2, message.length), message])
  const withDef = (...def: Uint8Array[]): Decision =>
    decide(defaultPolicy, ci, factsOfSolve(create(SolveRequestSchema, { definition: { def } })))
  const group = bytes(2, bytes(1, fieldOf(10, '/kubepods')))
  test('may not choose its control group, also not in a second occurrence of the operation', () => {
    expect(ruleOf(withDef(group))).toBe('always')
    expect(ruleOf(withDef(Buffer.concat([bytes(2, bytes(1, fieldOf(3, '/'))), group])))).toBe('always')
    expect(ruleOf(withDef(bytes(2, bytes(1, fieldOf(3, '/')))))).toBe('allowed')
  })
  test('may not hide operations in others', () => expect(ruleOf(withDef(bytes(5, fieldOf(1, 1))))).toBe('always'))
  test('may not be ambiguous', () => {
    // Field 2 + 2^32, which Go reads as field 2.
    const tag = Uint8Array.of(0x92, 0x80, 0x80, 0x80, 0x80, 0x01)
    const inner = bytes(1, fieldOf(10, '/'))
    expect(() => withDef(Buffer.concat([tag, Uint8Array.of(inner.length), inner]))).toThrow(/cannot be read/)
  })
  test('inputs of a frontend count too', () => {
    const request = create(SolveRequestSchema, { frontend: 'dockerfile.v0', frontendInputs: { x: { def: [group] } } })
    expect(ruleOf(decide(defaultPolicy, ci, factsOfSolve(request)))).toBe('always')
  })
})

test('what is taken away quietly', () => {
  const request = create(SolveRequestSchema, {
    frontend: 'dockerfile.v0',
    frontendAttrs: { 'cgroup-parent': '/x', target: 'y' },
    exporters: [{ type: 'image', attrs: { name: ' app , team/x:1' } }],
  })
  const narrow = narrowSolve(request, true)
  expect(narrow.frontendAttrs).toEqual({ target: 'y' })
  expect(narrow.exporters[0]?.attrs['name']).toBe('docker.io/library/app:latest,docker.io/team/x:1')
  expect(narrowSolve(request, false).frontendAttrs).toEqual({ target: 'y', cmdline: '' })
  // The image hands over to what a Dockerfile names, as the daemon's own frontend does.
  const image = create(SolveRequestSchema, { frontend: 'gateway.v0', frontendAttrs: { source: 'docker/dockerfile' } })
  expect(narrowSolve(image, false).frontendAttrs).toEqual({ source: 'docker/dockerfile', cmdline: '' })
  expect(toBinary(SolveRequestSchema, request)).not.toEqual(toBinary(SolveRequestSchema, narrow))
})

test.each([
  ['', 'x', false],
  ['*', '', true],
  ['a*', 'abc', true],
  ['*c', 'abc', true],
  ['a*b*c', 'aXbYc', true],
  ['ab*bc', 'abc', false],
  ['a', 'ab', false],
])('pattern %s, text %s: %s', (pattern, text, expected) => expect(fits(pattern, text)).toBe(expected))

test.each([
  [
    '[[tenant]]\nname = "x"\nmatch = { anybody = true }\nname_prefixes = []',
    /line 4: there is no key tenant.x.name_prefixes/,
  ],
  ['[[tenant]]\nname = "x"', /tenant.x.match must be there/],
  ['[[tenant]]\nname = "x"\nmatch = { anybody = true }\nnames = ["a*b"]', /line 4: tenant.x.names must be/],
  ['[[tenant]]\nname = "x"\nmatch = { user = ["a"] }', /there is no key tenant.x.match.user/],
  ['[defaults]\nweight = 0', /line 2: defaults.weight must be a whole number from 1/],
  ['[[tenant]]\nname = "x"\nmatch = { anybody = true }\nfrontends = ["gateway.v0:"]', /frontends must be/],
  ['x = ', /policy.toml line 1/],
])('a wrong file is refused: %s', (text, message) => expect(() => readPolicy(text, 'policy.toml')).toThrow(message))
