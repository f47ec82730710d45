import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parseYaml, toYaml } from '../../kernel/k8s/yaml.ts'
import { convertKnative, type Plain } from './knative.ts'

const read = (name: string): string =>
  readFileSync(new URL(`../../../config/examples/knative/${name}`, import.meta.url), 'utf8')

const template = (spec: object): Plain => ({
  ...{ apiVersion: 'build.knative.dev/v1alpha1', kind: 'BuildTemplate', metadata: { name: 't' } },
  spec: { parameters: [{ name: 'IMAGE' }], ...spec },
})
const convert = (spec: object, push = false) => convertKnative(template(spec), { push })

describe('the example', () => {
  test('is converted as config/examples/knative/builds.yaml has it', () => {
    const objects = (parseYaml(read('old.yaml')) as Plain[]).map((old) => convertKnative(old, { push: true }).object)
    expect(objects).toEqual(parseYaml(read('builds.yaml')))
  })

  test('what is no Build passes as it is', () => {
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, data: { a: 'b' } } as Plain
    expect(convertKnative(secret, { push: true })).toEqual({ object: secret, remarks: [] })
  })

  const job = (image: string): Plain => {
    const containers = [{ name: 'a', image: 'alpine/git' }, { image }]
    const spec: object = { template: { spec: { containers } } }
    return { apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'j' }, spec: { ...spec } }
  }
  const known = 'only objects of build.knative.dev are converted'

  test.each([
    'gcr.io/kaniko-project/executor:v1.9.0',
    'moby/buildkit:rootless',
    'registry.example.com:5000/tools/buildkit-rootless@sha256:aa',
    'quay.io/buildah/stable',
    'docker:24-dind',
    'docker.io/library/docker',
  ])('what builds with %s passes, and that is said', (image) => {
    const object = job(image)
    const { object: passed, remarks } = convertKnative(object, { push: false })
    expect(passed).toBe(object)
    expect(remarks).toEqual([`Job j: unchanged, though it seems to build images (${image}); ${known}`])
  })

  test('so does what is of Shipwright', () => {
    const spec: object = { strategy: { name: 'buildah' }, output: { image: 'r.example/docker' } }
    const object: Plain = {
      apiVersion: 'shipwright.io/v1beta1',
      kind: 'Build',
      metadata: { name: 'b' },
      spec: { ...spec },
    }
    const said = `Build b: unchanged, though it is of shipwright.io; ${known}`
    expect(convertKnative(object, { push: false })).toEqual({ object, remarks: [said] })
  })

  test.each(['docker.io/library/nginx', 'docker.example.com/app', 'registry:2', 'docker/getting-started', '${IMAGE}'])(
    'nothing is said about %s',
    (image) => {
      expect(convertKnative(job(image), { push: false }).remarks).toEqual([])
    },
  )
})

describe('a template', () => {
  test('whose step only builds keeps the image on the nodes, unless --push is said', () => {
    const steps = [{ name: 'build', image: 'docker:18.06', args: ['build', '-t', '${IMAGE}', '.'] }]
    const volumes = [{ name: 'docker-socket', hostPath: { path: '/var/run/docker.sock' } }]
    const { object, remarks } = convert({ steps, volumes })
    expect(object).toMatchObject({ apiVersion: 'insitu.build/v1alpha1', spec: { output: { names: ['${IMAGE}'] } } })
    expect(toYaml(object)).not.toMatch(/push|docker.sock/)
    expect(remarks.join('\n')).toMatch(/is not pushed[^]*docker-socket is not needed/)
    expect(convert({ steps }, true).object).toMatchObject({ spec: { output: { names: ['${IMAGE}'], push: true } } })
  })

  test('of kaniko pushes, with its Dockerfile, context, target and arguments', () => {
    const args = [
      '--destination=${IMAGE}',
      '--dockerfile=/workspace/docker/Dockerfile',
      '--build-arg',
      'A=b=c',
      '--target=run',
    ]
    const steps = [{ image: 'gcr.io/kaniko-project/executor:v1', args }]
    expect(convert({ source: { git: { url: 'https://g/r' } }, steps }).object).toMatchObject({
      spec: {
        source: { git: { url: 'https://g/r' } },
        dockerfile: 'docker/Dockerfile',
        target: 'run',
        args: [{ name: 'A', value: 'b=c' }],
        output: { names: ['${IMAGE}'], push: true },
      },
    })
  })

  test('keeps other steps, before and after, with the volumes they use', () => {
    const test = { name: 'test', image: 'golang', args: ['test'], volumeMounts: [{ name: 'cache' }] }
    const tell = { name: 'tell', image: 'curl' }
    const build = { image: 'quay.io/buildah/stable', command: ['buildah'], args: ['bud', '-t', '${IMAGE}', 'app'] }
    const volumes = [
      { name: 'cache', emptyDir: {} },
      { name: 'other', emptyDir: {} },
    ]
    const { object } = convert({ source: { git: { url: 'https://g/r' } }, steps: [test, build, tell], volumes })
    expect(object).toMatchObject({
      spec: {
        source: { git: { subPath: 'app' } },
        steps: { before: [test], after: [tell] },
        podTemplate: { spec: { volumes: [volumes[0]] } },
      },
    })
  })

  test.each<[string, object[]]>([
    [
      'img',
      [
        { image: 'img', args: ['build', '-t', 'a', '.'] },
        { image: 'img', args: ['push', '--insecure-registry', 'a'] },
      ],
    ],
    [
      'kaniko',
      [{ image: 'gcr.io/kaniko-project/executor', args: ['--insecure-registry', 'host', '-d', 'a', '--insecure'] }],
    ],
    [
      'buildah',
      [
        { image: 'buildah', args: ['bud', '--tls-verify=false', '-t', 'a', '.'] },
        { image: 'buildah', args: ['push', 'a'] },
      ],
    ],
  ])('of %s says that its registry speaks plain HTTP', (_, steps) => {
    expect(convert({ steps }).object['spec']).toMatchObject({ output: { names: ['a'], push: true, insecure: true } })
    expect(convert({ steps }).object['spec']).not.toHaveProperty('source')
  })

  const built = (image: string, ...args: string[]) =>
    convert({ parameters: undefined, steps: [{ image, args: ['build', '-t', 'a', ...args] }] }).object['spec']

  test.each(['docker', 'img', 'quay.io/buildah/stable'])('of %s that uses no cache does so here', (image) => {
    expect(built(image, '--no-cache', '.')).toEqual({ noCache: true, output: { names: ['a'] } })
    expect(built(image, '--no-cache=true', '.')).toHaveProperty('noCache', true)
    expect(built(image, '--no-cache', '--no-cache=false', '.')).not.toHaveProperty('noCache')
  })

  test.each<[string, object | undefined]>([
    ['--provenance=true', { provenance: 'Max' }],
    ['--provenance mode=min', { provenance: 'Min' }],
    ['--provenance=mode=max --sbom=true', { provenance: 'Max', sbom: {} }],
    ['--sbom=generator=r.example/scan:1@sha256:aa', { sbom: { generator: 'r.example/scan:1@sha256:aa' } }],
    ['--attest type=sbom --attest=type=provenance,mode=max', { provenance: 'Max', sbom: {} }],
    ['--attest type=sbom,generator=scan --sbom=false', undefined],
    ['--attest=type=provenance,disabled=true --sbom=0', undefined],
  ])('that says %s', (options, attestations) => {
    const output = { names: ['a'], ...(attestations === undefined ? {} : { attestations }) }
    expect(built('docker:27', ...options.split(' '), '.')).toEqual({ output })
  })

  test.each([
    '--no-cache=${FRESH}',
    '--provenance=mode=max,builder-id=me',
    '--provenance=${MODE}',
    '--sbom=syft',
    '--attest=type=other',
    '--attest=provenance',
    '--attest=type=sbom,generator=a,format=b',
  ])('is refused for %s, whose meaning would be lost', (option) => {
    expect(() => built('docker', option, '.')).toThrow(option)
  })

  test.each<[string, object, RegExp]>([
    [
      'an option whose meaning would be lost',
      { steps: [{ image: 'docker', args: ['build', '--squash', '.'] }] },
      /--squash/,
    ],
    [
      'two builds',
      {
        steps: [
          { image: 'docker', args: ['build', '.'] },
          { image: 'img', args: ['build', '.'] },
        ],
      },
      /twice/,
    ],
    ['no build', { steps: [{ image: 'golang' }] }, /none of its steps/],
    ['another source', { source: { gcs: {} }, steps: [] }, /only spec.source.git/],
    ['a field that does not exist', { stepz: [] }, /spec.stepz/],
  ])('is refused: %s', (_, spec, message) => {
    expect(() => convert(spec)).toThrow(message)
  })
})
