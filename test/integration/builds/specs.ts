import type { BuildSpec } from '../../../src/api/builds/builds.ts'

const dockerfile = { source: { dockerfile: 'FROM scratch' } }

/** What the API server takes, with what it is. */
export const sensible: readonly (readonly [string, BuildSpec])[] = [
  ['an inline Dockerfile', dockerfile],
  [
    'git with everything',
    {
      source: {
        git: { url: 'https://git.example.com/a/b.git', revision: 'feature/x', subPath: 'a/.b', secretName: 's' },
      },
      dockerfile: 'docker/Dockerfile.prod',
      target: 'release',
      args: [{ name: 'A', value: 'x y' }],
      platforms: ['linux/amd64', 'linux/arm/v7'],
      output: {
        names: ['registry.example.com:5000/a/b:v1@sha256'],
        push: true,
        labels: { 'org.example/ä b': 'c=d\n' },
        attestations: { provenance: 'Min', sbom: { generator: 'registry.example.com:5000/scan:1' } },
      },
      noCache: true,
      cache: { from: ['type=registry,ref=r/c'], to: ['type=inline'] },
      secrets: [{ id: 'npm', secretName: 'npm', key: '.npmrc' }],
      ssh: [{ id: 'default', secretName: 'key', key: 'ssh-privatekey' }],
      serviceAccountName: 'build-bot',
      for: 'deploy/web',
      timeout: '1h30m',
      retries: 1,
      cleanUp: { pod: '0s', workspace: 'OnSuccess', build: '24h' },
      steps: { before: [{ image: 'busybox', command: ['sh', '-c', 'true'] }] },
      podTemplate: { spec: { nodeSelector: { a: 'b' } } },
    },
  ],
  ['an SBOM', { ...dockerfile, output: { names: ['a'], attestations: { sbom: {} } } }],
  ['git over ssh', { source: { git: { url: 'git@git.example.com:a/b.git' } } }],
  ['an image as context', { source: { image: { name: 'docker.io/library/busybox:1' } } }],
  ['a tarball', { source: { http: { url: 'http://files.example.com/a.tar.gz' } } }],
  ['a workspace', { source: { workspace: {} }, workspace: { claimName: 'models', directory: 'publish-1' } }],
]

const attested = (attestations: object): object => ({ ...dockerfile, output: { names: ['a'], attestations } })
const labeled = (labels: object): object => ({ ...dockerfile, output: { names: ['a'], labels } })

/** What the API server refuses by itself: what it is, the spec, and what the refusal says. */
export const nonsense: readonly (readonly [string, object, string])[] = [
  ['no source', {}, 'a Build has a source'],
  ['two sources', { source: { dockerfile: 'FROM a', image: { name: 'a' } } }, 'exactly one of'],
  ['an empty source', { source: {} }, 'exactly one of'],
  [
    'a password in a URL',
    { source: { git: { url: 'https://me:secret@example.com/a.git' } } },
    'put them into a Secret',
  ],
  ['a URL of another kind', { source: { git: { url: 'file:///etc' } } }, 'spec.source.git.url'],
  ['a path upwards', { source: { git: { url: 'https://a/b', subPath: '../x' } } }, 'subPath'],
  ['an absolute path', { ...dockerfile, dockerfile: '/etc/passwd' }, 'spec.dockerfile'],
  ['an option as revision', { source: { git: { url: 'https://a/b', revision: '--upload-pack=x' } } }, 'revision'],
  ['a timeout that is none', { ...dockerfile, timeout: 'soon' }, 'spec.timeout'],
  ['a list of names in one', { ...dockerfile, output: { names: ['a,push=true'] } }, 'spec.output.names[0]'],
  ['a label without a name', labeled({ '': 'a' }), 'a label has a name'],
  ['a label with = in its name', labeled({ 'a=b': 'c' }), 'a label has a name'],
  ['a label with a line in its name', labeled({ 'a\nb': 'c' }), 'a label has a name'],
  ['a label with a long name', labeled({ ['a'.repeat(254)]: 'c' }), 'a label has a name'],
  ['a label that is no text', labeled({ a: 1 }), 'spec.output.labels.a'],
  ['a label with a NUL', labeled({ a: 'b\u0000' }), 'spec.output.labels.a'],
  ['65 labels', labeled(Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`a${i}`, '']))), 'spec.output.labels'],
  ['no attestations', attested({}), 'attestations are'],
  ['an SBOM that is null', attested({ sbom: null }), 'attestations are'],
  ['another mode of provenance', attested({ provenance: 'max' }), 'spec.output.attestations.provenance'],
  ['a list as scanner', attested({ sbom: { generator: 'a,b=c' } }), 'spec.output.attestations.sbom.generator'],
  ['output without names', { ...dockerfile, output: {} }, 'spec.output.names'],
  [
    'an argument twice',
    {
      ...dockerfile,
      args: [
        { name: 'A', value: '1' },
        { name: 'A', value: '2' },
      ],
    },
    'Duplicate',
  ],
  ['an unknown trigger', { ...dockerfile, trigger: 'Sometimes' }, 'spec.trigger'],
  ['OnPull without names', { ...dockerfile, trigger: 'OnPull' }, 'the names that may be pulled'],
  ['two pod templates', { ...dockerfile, podTemplate: {}, podTemplateFrom: { configMap: 'a' } }, 'exclude each other'],
  ['a hundred retries', { ...dockerfile, retries: 100 }, 'spec.retries'],
  ['a platform that is none', { ...dockerfile, platforms: ['amd64'] }, 'spec.platforms[0]'],
]
