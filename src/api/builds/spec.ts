import { boolean, foreign, integer, list, listBy, map, object, oneOf, required, string } from './field.ts'
import type { ContainerStep, PodTemplate } from './pod-template.ts'

/** RFC 1123 label or subdomain, as Kubernetes names objects. */
const objectName = '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'
/** Go's durations as far as people write them. */
const duration = '^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$'
/** No white space, comma or quote: lists of names are written with commas, and a name is never a list. */
const imageName = '^[A-Za-z0-9][A-Za-z0-9._:/@-]*$'
/** The same with the placeholder of trigger OnPull in its tag; `revisionRules` in builds.ts says where it may stand. */
const outputName = '^[A-Za-z0-9][A-Za-z0-9._:/@-]*(:[A-Za-z0-9._-]*[$][{]REVISION[}][A-Za-z0-9._-]*)?$'
/** A path below something: not absolute, and without `..`. */
const below = '^([^/.][^/]*|[.][^/.][^/]*|[.]{2}[^/]+)(/([^/.][^/]*|[.][^/.][^/]*|[.]{2}[^/]+))*/?$'
/** Names of build arguments and parameters. */
const identifier = '^[A-Za-z_][A-Za-z0-9_.-]*$'

const secretName = (description: string) => string(description, { max: 253, pattern: objectName })
const nameAndValue = (description: string, value: string) =>
  object(description, {
    name: required(string('Its name.', { max: 128, pattern: identifier })),
    value: required(string(value, { max: 4096 })),
  })

const fromSecret = (description: string, id: string) =>
  object(description, {
    id: required(string(id, { max: 128, pattern: '^[A-Za-z0-9_.-]+$' })),
    secretName: required(secretName('A Secret in the namespace of the Build.')),
    key: required(string('The key of the Secret.', { max: 253, pattern: '^[-._a-zA-Z0-9]+$' })),
  })

const git = object('A git repository, fetched by the build daemon.', {
  url: required(
    string('https://, http://, ssh://, git:// or user@host:path. Credentials belong into a Secret.', {
      min: 1,
      max: 2048,
      pattern: '^((https?|ssh|git)://|[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:)[^#\\s]+$',
      rules: [
        {
          rule: "!self.matches('^(https?|git)://[^/]*@')",
          message:
            'a URL with credentials would be seen by everybody: put them into a Secret and name it in secretName',
        },
      ],
    }),
  ),
  revision: string('Branch, tag or commit. Default: what HEAD of the repository is.', {
    max: 256,
    pattern: '^[^\\s#:~^?*\\[\\\\-][^\\s#:~^?*\\[\\\\]*$',
  }),
  subPath: string('The directory of the context in the repository.', { max: 1024, pattern: below }),
  lfs: oneOf('What to do about files in Git LFS, which builds do not fetch: Refuse (default) or Ignore.', [
    'Refuse',
    'Ignore',
  ]),
  secretName: secretName(
    'Credentials: a Secret of type kubernetes.io/basic-auth, kubernetes.io/ssh-auth with known_hosts, or with the key token.',
  ),
  hostKeys: oneOf(
    'Of servers over ssh: Verify (default) against known_hosts of the Secret, or AcceptAny that somebody shows.',
    ['Verify', 'AcceptAny'],
  ),
})

const source = object(
  'Where the build context comes from.',
  {
    git,
    image: object('The file system of an image.', {
      name: required(string('Its name.', { min: 1, max: 512, pattern: imageName })),
    }),
    http: object('A tarball (also compressed) or a single Dockerfile behind a URL.', {
      url: required(string('http:// or https://', { min: 1, max: 2048, pattern: '^https?://[^\\s@]+$' })),
    }),
    workspace: object('A directory of the workspace, where steps before the build put things.', {
      subPath: string('The directory. Default: the whole workspace of this build.', { max: 1024, pattern: below }),
    }),
    dockerfile: string('The text of a Dockerfile that needs no context.', { min: 1, max: 131_072 }),
  },
  {
    rules: [
      {
        rule: '[has(self.git), has(self.image), has(self.http), has(self.workspace), has(self.dockerfile)].exists_one(x, x)',
        message: 'exactly one of git, image, http, workspace and dockerfile is the source',
      },
    ],
  },
)

const step = foreign<ContainerStep>(
  'A container: name, image, command, args, env, workingDir and what else a container can have.',
)

/** It goes into an argument of a command, which has no NUL. */
const labelValue = { max: 4096, pattern: '^[^\\x00]*$' }
/** The option that sets a label is KEY=VALUE. */
const labelKeys = {
  rule: "self.all(key, key.size() <= 253 && key.matches('^[^=\\\\p{Cc}]+$'))",
  message: 'a label has a name of at most 253 characters, without = and control characters',
}

const attestations = object(
  'Statements about the image that are kept beside it: it is an index then, with a manifest of them for each platform.',
  {
    provenance: oneOf(
      'How it was built, as SLSA provenance: Min, or Max with its steps, the Dockerfile and the values of build arguments.',
      ['Min', 'Max'],
    ),
    sbom: object('What software is in it (SBOM), as a scanner says: a step after the build, in a container.', {
      generator: string('The image of the scanner. Default docker/buildkit-syft-scanner:stable-1, of docker.io.', {
        min: 1,
        max: 512,
        pattern: imageName,
      }),
    }),
  },
  {
    rules: [
      // `sbom:` without {} is null, which the API server takes out without a word.
      { rule: 'has(self.provenance) || has(self.sbom)', message: 'attestations are provenance, sbom ({}) or both' },
    ],
  },
)

const cacheEntry = string("As buildctl's --import-cache and --export-cache take it: type=registry,ref=…", {
  min: 1,
  max: 1024,
  pattern: '^type=(registry|local|s3|gha|azblob|inline)(,[^\\n]*)?$',
})

/** What a build is made of: the fields that Builds and templates share. */
export const recipe = {
  source,
  dockerfile: string('Path of the Dockerfile in the context. Default Dockerfile.', { max: 1024, pattern: below }),
  target: string('The stage that is built. Default: the last.', { max: 128, pattern: identifier }),
  args: listBy('Build arguments.', 'name', nameAndValue('A build argument.', 'Its value.'), 128),
  bases: listBy(
    'What names of images in the Dockerfile stand for: these digests, whatever their tags point to by now.',
    'name',
    object('An image.', {
      name: required(
        string('Its full name, such as docker.io/library/debian:12.', { min: 1, max: 512, pattern: imageName }),
      ),
      digest: required(string('sha256:…', { max: 71, pattern: '^sha256:[0-9a-f]{64}$' })),
    }),
  ),
  platforms: list(
    'Platforms such as linux/arm64. Default: that of the node.',
    string('A platform.', { max: 64, pattern: '^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$' }),
    16,
  ),
  output: object('What becomes of the result. Without it the build is only tried.', {
    names: required(list('Names of the image.', string('A name.', { min: 1, max: 512, pattern: outputName }), 16)),
    push: boolean('Push to the registries of the names. Otherwise the image stays on the nodes that will run it.', {
      default: false,
    }),
    insecure: boolean('The registries may speak plain HTTP or have any certificate.', { default: false }),
    labels: map('Labels of the image, over those of the Dockerfile.', string('Its value.', labelValue), {
      rules: [labelKeys],
    }),
    attestations,
  }),
  noCache: boolean('Every step runs, whatever caches have. What it makes is kept for later builds.'),
  cache: object('Caches besides those of the nodes.', {
    from: list('Where to look.', cacheEntry, 16),
    to: list('What to write.', cacheEntry, 16),
  }),
  secrets: listBy('Files for RUN --mount=type=secret.', 'id', fromSecret('A secret.', 'The id in the Dockerfile.')),
  ssh: listBy(
    'Private keys for RUN --mount=type=ssh, and for git over ssh the one with id default.',
    'id',
    fromSecret('A key.', 'The id in the Dockerfile.'),
    8,
  ),
  serviceAccountName: string(
    'In whose name it is built: its Secrets are the credentials for registries, its rights decide. Default: default.',
    { max: 253, pattern: objectName },
  ),
  node: string('The node that builds.', { max: 253, pattern: objectName }),
  for: string('The workload that will run the image, e.g. deploy/web: it is built where that one runs.', {
    max: 300,
    pattern: '^[a-z]+/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$',
  }),
  podTemplate: foreign<PodTemplate>(
    'What the pod of the build has besides: metadata and spec as in a Job; containers are merged by name ("build" is ours).',
  ),
  podTemplateFrom: object('The same from a ConfigMap, as YAML or JSON.', {
    configMap: required(secretName('A ConfigMap in the namespace of the Build.')),
    key: string('Its key.', { max: 253, pattern: '^[-._a-zA-Z0-9]+$', default: 'podtemplate.yaml' }),
  }),
  workspace: object('A claim instead of a volume that lives as long as the pod.', {
    claimName: required(secretName('A PersistentVolumeClaim in the namespace of the Build.')),
    directory: string('The directory on it. Default: one of its own for each Build.', { max: 1024, pattern: below }),
  }),
  steps: object('Containers in order. They share the workspace, which is mounted at /workspace.', {
    before: list('Before the build.', step, 16),
    after: list('After a successful build.', step, 16),
  }),
  timeout: string('How long it may take. Default 30m.', { max: 32, min: 2, pattern: duration }),
  retries: integer('How often it is begun again when a node, a pod or a daemon was lost. Never after a failed build.', {
    minimum: 0,
    maximum: 10,
  }),
  cleanUp: object('What stays after the end, and how long.', {
    pod: string('How long Job and pod, and so the logs, stay. Default 5m; 0s removes them at once.', {
      max: 32,
      min: 2,
      pattern: duration,
    }),
    workspace: oneOf('When the directory on the claim is removed. Default Always.', ['Always', 'OnSuccess', 'Never']),
    build: string('How long the Build itself stays. Default: until it is deleted.', {
      max: 32,
      min: 2,
      pattern: duration,
    }),
  }),
} as const

export const trigger = oneOf(
  'Now, or OnPull: only when a kubelet first asks for one of the names.',
  ['Now', 'OnPull'],
  'Now',
  [{ rule: 'self == oldSelf', message: 'the trigger of a Build cannot change: make a new one' }],
)

export const onPull = object('More about trigger OnPull.', {
  revisions: oneOf(
    'What ${REVISION} in a pulled tag may be: Commits (default), which are full hashes, or Any branch, tag or commit.',
    ['Commits', 'Any'],
  ),
  atOnce: integer('How many builds of pulls run at once, one for each revision; further pulls wait. Default 4.', {
    minimum: 1,
    maximum: 100,
  }),
  keep: integer('How many ended Builds that pulls began stay. Default 20.', { minimum: 1, maximum: 1000 }),
})

export const templateReference = object('A template, whose fields hold where the Build says nothing.', {
  name: required(string('Its name.', { min: 1, max: 253, pattern: objectName })),
  kind: oneOf('BuildTemplate or ClusterBuildTemplate.', ['BuildTemplate', 'ClusterBuildTemplate'], 'BuildTemplate'),
  arguments: listBy(
    'Values of its parameters.',
    'name',
    nameAndValue('A value.', 'What stands for ${NAME} in the template.'),
  ),
})

export const parameters = listBy(
  'What a Build gives as arguments; ${NAME} in the strings of the template stands for it, $${NAME} for the text ${NAME}.',
  'name',
  object('A parameter.', {
    name: required(string('Its name.', { max: 128, pattern: identifier })),
    description: string('What it is for.', { max: 1024 }),
    default: string('Its value where the Build gives none. Without one the Build must.', { max: 4096 }),
  }),
)

export const history = object('How many ended Builds of this template stay in a namespace. Default: all.', {
  succeeded: integer('Successful ones.', { minimum: 0, maximum: 10_000 }),
  failed: integer('Failed and cancelled ones.', { minimum: 0, maximum: 10_000 }),
})
