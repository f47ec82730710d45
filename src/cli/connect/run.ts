import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { certificatePath } from '../../api/certificate.ts'
import { configMaps, serviceName } from '../../api/names.ts'
import { processEnv } from '../../kernel/config/env.ts'
import { InsituError } from '../../kernel/errors.ts'
import { writeFileAtomic } from '../../kernel/fs/atomic.ts'
import { createKubernetesClient, type KubernetesClient } from '../../kernel/k8s/client.ts'
import type { KubernetesObject } from '../../kernel/k8s/objects.ts'
import { resources } from '../../kernel/k8s/resources.ts'
import { attach } from '../../kernel/process/attach.ts'
import { aborted, terminationSignal } from '../../kernel/process/termination.ts'
import type { TlsMaterial, TlsSource } from '../../kernel/tls/material.ts'
import { renewingTls } from '../../kernel/tls/renewing.ts'
import { requestCertificate } from '../../kernel/tls/request.ts'
import { claimDirectory } from './directory.ts'
import { ownCluster, reachGateway } from './gateway-address.ts'
import { checkNamedFile } from './named-file.ts'
import type { Connection, ConnectFlags } from './options.ts'
import { environment, jsonText, shellText } from './print.ts'
import { refuseServed, serveLocally } from './socket.ts'
import { tokenSource } from './token.ts'

/**
 * Gets a certificate and says how to use it; keeps it fresh while a command runs or until it is stopped.
 * @param command empty: none.
 * @returns the exit code of the command.
 */
export async function runConnect(flags: ConnectFlags, command: readonly string[]): Promise<number> {
  const env = processEnv()
  const directory = resolve(flags.directory ?? defaultDirectory(env))
  await claimDirectory(directory)
  const say = (line: string): void => void process.stderr.write(`insitu: ${line}\n`)
  const { client, close } = lazyClient(flags)
  const stays = command.length > 0 || flags.watch === true
  const signal = stays ? terminationSignal() : undefined
  const path = join(directory, command.length > 0 ? `buildkitd-${process.pid}.sock` : 'buildkitd.sock')
  // Before the other one's files are replaced.
  if (stays) await refuseServed(path)
  // Refused before a forwarding is open that nothing would close.
  if (flags.caFile !== undefined) checkNamedFile('--ca-file', flags.caFile)
  const tokenFile = tokenSource(flags, client, ownCluster(flags, env))
  const gateway = await reachGateway(flags, { env, client, directory, onFailure: say })
  const serverName = flags.serverName ?? `${serviceName}.${flags.namespace}.svc`
  const { target } = gateway
  const request = {
    ...('path' in target ? { host: 'gateway', port: 0, socketPath: target.path } : target),
    serverName,
    path: certificatePath,
    tokenFile,
    loadCa: () => loadCa(flags, client),
  }
  let tls: Awaited<ReturnType<typeof renewingTls>> | undefined
  let local: Awaited<ReturnType<typeof serveLocally>> | undefined
  try {
    // What is refused once is refused always: the first answer is not waited for again and again.
    let first: TlsMaterial | undefined = await requestCertificate(request, signal ?? AbortSignal.timeout(60_000))
    await writeFiles(directory, first)
    const connection = (current: TlsMaterial, socket: string | undefined): Connection => ({
      ...{ address: gateway.address, serverName, directory, socket },
      notAfter: new Date(new X509Certificate(current.cert).validTo).toISOString(),
    })
    if (!signal) {
      write(flags, connection(first, undefined))
      return 0
    }
    tls = await renewingTls({
      signal,
      async obtain(abort) {
        const material = first ?? (await requestCertificate(request, abort))
        first = undefined
        return material
      },
      onFailure: (error) => say(`the certificate could not be renewed: ${String(error)}`),
    })
    tls.onChange((material) => void writeFiles(directory, material).catch((error: unknown) => say(String(error))))
    local = await serveLocally({ path, target, serverName, tls: tls satisfies TlsSource, onFailure: say })
    const now = connection(tls.current(), path)
    const [program, ...args] = command
    if (program !== undefined) return await attach(program, args, { env: environment(now), signal })
    write(flags, now)
    await aborted(signal)
    return 0
  } finally {
    tls?.close()
    await local?.close()
    await gateway.close()
    await close()
  }
}

const write = (flags: ConnectFlags, connection: Connection): void =>
  void process.stdout.write(
    flags.output === 'json' ? `${jsonText(connection)}\n` : shellText(connection, flags.namespace),
  )

/** The names that buildctl's --tlsdir looks for. The key is written first: a pair that does not fit is never complete. */
async function writeFiles(directory: string, { cert, key, ca }: TlsMaterial): Promise<void> {
  await writeFileAtomic(join(directory, 'key.pem'), key, 0o600)
  await writeFileAtomic(join(directory, 'cert.pem'), cert, 0o600)
  await writeFileAtomic(join(directory, 'ca.pem'), ca, 0o600)
}

function defaultDirectory(env: Readonly<Record<string, string | undefined>>): string {
  const runtime = env['XDG_RUNTIME_DIR']
  return runtime ? join(runtime, 'insitu') : join(homedir(), '.insitu', 'connect')
}

/** A client of the cluster for what needs one: a pod with a projected token and a CA file does not. */
function lazyClient(flags: ConnectFlags): {
  readonly client: () => Promise<KubernetesClient>
  readonly close: () => Promise<void>
} {
  let made: Promise<KubernetesClient> | undefined
  const { kubeconfig, context } = flags
  return {
    client: () => (made ??= createKubernetesClient({ kubeconfig, context, userAgent: 'insitu-cli' })),
    close: async () => {
      await made?.then(
        (client) => client.close(),
        () => undefined,
      )
    },
  }
}

async function loadCa(flags: ConnectFlags, client: () => Promise<KubernetesClient>): Promise<string> {
  if (flags.caFile !== undefined) return readFile(flags.caFile, 'utf8')
  const ref = { namespace: flags.namespace, name: configMaps.ca }
  const found = await (
    await client()
  ).get<KubernetesObject & { readonly data?: Readonly<Record<string, string>> }>(resources.configMaps, ref)
  const ca = found.data?.['ca.crt']
  if (ca) return ca
  throw new InsituError('CA_MISSING', `ConfigMap ${flags.namespace}/${configMaps.ca} holds no CA yet`, {
    status: 'UNAVAILABLE',
    fix: 'wait until a gateway is ready: insitu status',
  })
}
