import { expect, test } from 'vitest'
import { imagesInProvenance } from './bases.ts'

const [a, b, c] = ['a', 'b', 'c'].map((letter) => letter.repeat(64)) as [string, string, string]
const material = (uri: string, sha256: string) => ({ uri, digest: { sha256 } })

test('images of SLSA v1 provenance, each once whatever the platforms, with what was pinned', () => {
  const resolvedDependencies = [
    material('pkg:docker/debian@12?platform=linux%2Famd64', a),
    material('pkg:docker/debian@12?platform=linux%2Farm64', a),
    material(`pkg:docker/127.0.0.1%3A5000/team/base@v1?digest=sha256:${b}&platform=linux%2Famd64`, b),
    material('https://git.example.com/a.git', c),
    material('pkg:oci/layout@1?platform=linux%2Famd64', c),
    material(`pkg:docker/blobs@1?ref_type=blob`, c),
  ]
  expect(imagesInProvenance({ buildDefinition: { resolvedDependencies } })).toEqual([
    { name: 'docker.io/library/debian:12', digest: `sha256:${a}`, pinned: false },
    { name: '127.0.0.1:5000/team/base:v1', digest: `sha256:${b}`, pinned: true },
  ])
})

test('SLSA v0.2, and the image of a frontend is no base', () => {
  const document = {
    invocation: { parameters: { args: { source: 'docker/dockerfile:1' } } },
    materials: [material('pkg:docker/docker/dockerfile@1', a), material('pkg:docker/busybox@latest', b)],
  }
  expect(imagesInProvenance(document).map(({ name }) => name)).toEqual(['docker.io/library/busybox:latest'])
})

test.each([
  ['attest:sbom', '', 'docker/buildkit-syft-scanner@stable-1'],
  ['attest:sbom', 'type=sbom,disabled=false', 'docker/buildkit-syft-scanner@stable-1'],
  ['attest:sbom', 'generator=r.example/scan', 'r.example/scan@latest'],
  ['attest:sbom', `"generator=r.example:5000/scan:1@sha256:${c}"`, `r.example%3A5000/scan@1?digest=sha256:${c}`],
  ['build-arg:BUILDKIT_ATTEST_SBOM', 'generator=other,generator=scan:2', 'scan@2'],
])('the scanner of an SBOM is no base: %s=%s', (option, value, scanner) => {
  const document = { materials: [material(`pkg:docker/${scanner}`, a), material('pkg:docker/busybox@latest', b)] }
  const names = (options: Record<string, string>) => imagesInProvenance(document, options).map(({ name }) => name)
  expect(names({ [option]: value })).toEqual(['docker.io/library/busybox:latest'])
  expect(names({ 'attest:provenance': 'mode=max' })).toHaveLength(2)
})

test('two digests of one name are both told', () => {
  const materials = [material('pkg:docker/busybox@1', a), material('pkg:docker/busybox@1', b)]
  expect(imagesInProvenance({ materials })).toHaveLength(2)
})

test('a name that goes on and on takes no time', () => {
  const source = `${'@sha256:'.repeat(20_000)}\n`
  const started = performance.now()
  expect(imagesInProvenance({ invocation: { parameters: { args: { source } } } })).toEqual([])
  expect(performance.now() - started).toBeLessThan(500)
})

test.each([undefined, null, 'text', {}, { materials: 'no list' }, { materials: [{}, { uri: 'pkg:docker/@' }] }])(
  'nothing is read from %j',
  (document) => {
    expect(imagesInProvenance(document)).toEqual([])
  },
)
