import { readdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { parseToml, type TomlTable } from '../../../kernel/config/toml.ts'
import { readOptional } from '../../../kernel/fs/read-optional.ts'
import { withoutLinks } from '../../host/host-path.ts'
import { withoutBlock } from '../hosts-block.ts'

/** A server of a registry, as containerd on this node would ask it. */
export interface OriginHost {
  /** Without a slash at its end: `https://registry-1.docker.io/v2`. */
  readonly base: string
  /** PEM; undefined: the certificates that the node trusts anyway. */
  readonly ca: string | undefined
  /** Its certificate is not looked at. */
  readonly insecure: boolean
}

export interface OriginHostsOptions {
  /** containerd's registry directories on the node. */
  readonly directories: readonly string[]
  readonly hostRoot: string
}

/**
 * The servers that containerd asks for a registry besides the mirror, in its order: containerd's docs/hosts.md. Those
 * that the node identifies itself to, by certificates or headers, are left out: what they give is not for everybody.
 */
export async function originHosts(registry: string, options: OriginHostsOptions): Promise<readonly OriginHost[]> {
  const directory = await directoryOf(registry, options)
  const file = directory === undefined ? undefined : join(directory.seen, 'hosts.toml')
  const text = file === undefined ? undefined : await readOptional(file)
  const table = parseToml(withoutBlock(text ?? ''), 'hosts.toml')
  const { host: entries = {}, server, ...own } = table as { host?: Record<string, TomlTable>; server?: unknown }
  const hosts = Object.entries(entries).map(([url, entry]) => [url, entry] as const)
  const last = [typeof server === 'string' && server !== '' ? server : registry, own] as const
  const found: OriginHost[] = []
  for (const [url, entry] of [...hosts, last]) {
    const host = await readHost(url, entry, directory?.path ?? '/', options.hostRoot)
    if (host) found.push(host)
  }
  return found
}

async function directoryOf(registry: string, { directories, hostRoot }: OriginHostsOptions) {
  const [, name, port] = /^(.+):(\d+)$/.exec(registry) ?? []
  const names = [...(port === undefined ? [] : [`${name}_${port}_`]), registry, '_default']
  const onHost = (path: string): string => join(hostRoot, path)
  for (const root of directories) {
    const seen = onHost(await withoutLinks(root, onHost))
    const there = await readdir(seen).catch((): string[] => [])
    const first = names.find((one) => there.includes(one))
    if (first !== undefined) return { path: join(root, first), seen: join(seen, first) }
  }
  return undefined
}

async function readHost(
  url: string,
  entry: TomlTable,
  directory: string,
  hostRoot: string,
): Promise<OriginHost | undefined> {
  const { capabilities, client, header, ca, skip_verify: skip, override_path: override } = entry
  const cannot = Array.isArray(capabilities) && !capabilities.includes('resolve')
  if (cannot || client !== undefined || header !== undefined) return undefined
  const local = /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?(\/|$)/.test(url)
  const full = new URL(/^https?:\/\//.test(url) ? url : `${local ? 'http' : 'https'}://${url}`)
  if (full.host === 'docker.io') full.host = 'registry-1.docker.io'
  const path = full.pathname.replace(/\/+$/, '')
  const files = (Array.isArray(ca) ? ca : [ca]).filter((one): one is string => typeof one === 'string')
  return {
    base: `${full.origin}${override === true || path.endsWith('/v2') ? path : `${path}/v2`}`,
    ca: files.length === 0 ? undefined : await readAll(files, directory, hostRoot),
    insecure: skip === true,
  }
}

async function readAll(files: readonly string[], directory: string, hostRoot: string): Promise<string> {
  const onHost = (path: string): string => join(hostRoot, path)
  const read = async (file: string): Promise<string> =>
    (await readOptional(onHost(await withoutLinks(resolve(directory, file), onHost)))) ?? ''
  return (await Promise.all(files.map(read))).join('\n')
}

/** Where distributions keep the certificates that everybody trusts. Source: Go, crypto/x509/root_linux.go. */
const bundles = [
  ...['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/ca-bundle.pem'],
  ...['/etc/pki/tls/cacert.pem', '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem', '/etc/ssl/cert.pem'],
]

/** PEM of the authorities that programs of the node trust; undefined when it has none. */
export async function nodeAuthorities(hostRoot: string): Promise<string | undefined> {
  for (const file of bundles) {
    const text = await readAll([file], dirname(file), hostRoot).catch(() => '')
    if (text !== '') return text
  }
  return undefined
}
