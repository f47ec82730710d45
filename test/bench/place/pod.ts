import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { namespace } from '../../../src/api/names.ts'
import type { ApiServer } from '../../integration/fixtures/apiserver.ts'

/** How a program is started so that it finds the API server as a pod does. */
export interface PodLike {
  readonly command: string
  /** Before the program and its arguments. */
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  close(): Promise<void>
}

/** A `/run` of its own with the service account's files, then the program under the same process id. */
const script = `mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io
cp -r "$1" /run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"`

/**
 * With a kubeconfig a program loads a library that costs more memory than anything else in a gateway; a pod has a service
 * account instead. Needs root.
 */
export async function podLike(server: ApiServer): Promise<PodLike> {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-account-'))
  const { headers } = await server.endpoint().credentials()
  const token = String((headers as Record<string, string>)['authorization']).replace(/^Bearer /, '')
  await writeFile(join(directory, 'token'), token)
  await writeFile(join(directory, 'ca.crt'), server.ca)
  await writeFile(join(directory, 'namespace'), namespace)
  return {
    command: 'unshare',
    args: ['--mount', '--propagation', 'private', 'sh', '-ec', script, 'sh', directory],
    env: {
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(server.port),
      POD_NAMESPACE: namespace,
    },
    close: () => rm(directory, { recursive: true, force: true }),
  }
}
