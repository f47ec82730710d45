import { paths, type Work } from '../../api/builds/work.ts'
import { group, optionPrefix } from '../../api/names.ts'
import { contextUrl } from './git-url.ts'

/** Files that were put down for buildctl. */
export interface Files {
  /** ca.pem, cert.pem, key.pem. */
  readonly tls: string
  readonly metadata: string
  /** Gets the ref of the build. */
  readonly ref: string
  /** Holds a Dockerfile, for a source without a context; or an image's files. */
  readonly context: string
  /** Secrets for git: id → file. */
  readonly git: ReadonlyMap<string, string>
  /** A private key for git over ssh. */
  readonly sshKey: string | undefined
  /** Default: that of a Build's pod. */
  readonly workspace?: string | undefined
  /** What the daemon has to keep to with its sources, as JSON. */
  readonly sourcePolicy?: string | undefined
}

type Output = NonNullable<Work['recipe']['output']>

const option = (key: string, value: string): string[] => ['--opt', `${key}=${value}`]

/** Where the gateway is and who we are to it. */
export const connection = ({ gateway }: Work, tls: string): string[] => [
  ...['--addr', `tcp://${gateway.host.includes(':') ? `[${gateway.host}]` : gateway.host}:${gateway.port}`],
  ...['--tlsservername', gateway.serverName, '--tlsdir', tls],
]

/** The arguments of buildctl for a Build. Nothing secret is among them: secrets are named by their files. */
export function buildArguments(work: Work, files: Files, secrets: string = paths.secrets): string[] {
  const { recipe } = work
  const { cache, output } = recipe
  return [
    ...connection(work, files.tls),
    ...['build', '--progress', 'plain', '--frontend', 'dockerfile.v0', '--metadata-file', files.metadata],
    ...['--ref-file', files.ref],
    ...contextArguments(work, files),
    ...(recipe.dockerfile === undefined ? [] : option('filename', recipe.dockerfile)),
    ...(recipe.target === undefined ? [] : option('target', recipe.target)),
    ...(recipe.platforms?.length ? option('platform', recipe.platforms.join(',')) : []),
    ...(recipe.args ?? []).flatMap(({ name, value }) => option(`build-arg:${name}`, value)),
    ...Object.entries(output?.labels ?? {}).flatMap(([key, value]) => option(`label:${key}`, value)),
    ...attestations(output?.attestations),
    ...(recipe.noCache === true ? ['--no-cache'] : []),
    ...hints(work),
    ...(recipe.secrets ?? []).flatMap(({ id, secretName, key }) => [
      ...['--secret', `id=${id},src=${secrets}/${secretName}/${key}`],
    ]),
    ...[...files.git].flatMap(([id, file]) => ['--secret', `id=${id},src=${file}`]),
    ...(recipe.ssh ?? []).flatMap(({ id, secretName, key }) => ['--ssh', `${id}=${secrets}/${secretName}/${key}`]),
    ...(files.sshKey === undefined ? [] : ['--ssh', `default=${files.sshKey}`]),
    ...(files.sourcePolicy === undefined ? [] : ['--source-policy-file', files.sourcePolicy]),
    ...(output === undefined ? [] : ['--output', outputArgument(output)]),
    ...(cache?.from ?? []).flatMap((entry) => ['--import-cache', entry]),
    ...(cache?.to ?? []).flatMap((entry) => ['--export-cache', entry]),
  ]
}

/** Asks the gateway what a node can do, or all of them. */
export const workerArguments = (work: Work, { tls }: Pick<Files, 'tls'>, node: string | undefined): string[] => [
  ...connection(work, tls),
  ...['debug', 'workers', '--format', '{{json .}}'],
  ...(node === undefined ? [] : ['--filter', `labels."${group}/node"==${JSON.stringify(node)}`]),
]

/** First an image's files are fetched; then they are the context. */
export const imageArguments = (work: Work, files: Files, archive: string): string[] => [
  ...connection(work, files.tls),
  ...['build', '--progress', 'plain', '--frontend', 'dockerfile.v0'],
  ...['--local', `context=${files.context}`, '--local', `dockerfile=${files.context}`],
  ...hints(work),
  ...['--output', `type=tar,dest=${archive}`],
]

const hints = ({ recipe, perNode }: Work): string[] => [
  ...(perNode === undefined ? [] : option(`${optionPrefix}builds-per-node`, String(perNode))),
  ...(recipe.node === undefined ? [] : option(`${optionPrefix}node`, recipe.node)),
  ...(recipe.for === undefined ? [] : option(`${optionPrefix}for`, recipe.for)),
]

/** Source: BuildKit v0.33.1, frontend/attestations/parse.go. */
const attestations = ({ provenance, sbom }: NonNullable<Output['attestations']> = {}): string[] => [
  ...(provenance === undefined ? [] : option('attest:provenance', `mode=${provenance.toLowerCase()}`)),
  ...(sbom === undefined
    ? []
    : option('attest:sbom', sbom.generator === undefined ? '' : `generator=${sbom.generator}`)),
]

function contextArguments({ recipe }: Work, { context, workspace = paths.workspace }: Files): string[] {
  const { source } = recipe
  const local = (directory: string): string[] => [
    ...['--local', `context=${directory}`, '--local', `dockerfile=${directory}`],
  ]
  if (source?.git) return option('context', gitContext(source.git))
  if (source?.http) return option('context', source.http.url)
  if (source?.workspace) {
    const { subPath } = source.workspace
    return local(subPath === undefined ? workspace : `${workspace}/${subPath}`)
  }
  return local(context)
}

export interface GitSource {
  readonly url: string
  readonly revision?: string | undefined
  readonly subPath?: string | undefined
  /** `AcceptAny`: whatever host key a server shows. */
  readonly hostKeys?: string | undefined
}

export interface GitCredentials {
  /** Of the header Authorization. */
  readonly header: string | undefined
  /** A file with a private key. */
  readonly sshKey: string | undefined
  /** The text of known_hosts: keys of the hosts that may be talked to. */
  readonly knownHosts: string | undefined
}

/** As BuildKit writes git contexts: `URL#REVISION:PATH`. */
export function gitContext({ url, revision, subPath }: GitSource): string {
  const remote = contextUrl(url)
  if (revision === undefined && subPath === undefined) return remote
  return `${remote}#${revision ?? ''}${subPath === undefined ? '' : `:${subPath.replace(/\/$/, '')}`}`
}

function outputArgument(output: Output): string {
  const names = output.names.join(',')
  return [
    'type=image',
    names.includes(',') ? `"name=${names}"` : `name=${names}`,
    ...(output.push === true ? ['push=true'] : []),
    ...(output.insecure === true ? ['registry.insecure=true'] : []),
  ].join(',')
}
