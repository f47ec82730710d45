import { join } from 'node:path'
import { serviceName } from '../../api/names.ts'
import type { Connection } from './options.ts'

/** Variables for a program that builds: buildctl and buildx read the first. */
export function environment(connection: Connection): Record<string, string> {
  const { address, socket, directory, serverName } = connection
  const host = socket === undefined ? address : `unix://${socket}`
  return {
    ...(host === undefined ? {} : { BUILDKIT_HOST: host }),
    ...(address === undefined ? {} : { INSITU_ADDRESS: address }),
    INSITU_SERVER_NAME: serverName,
    INSITU_TLS_DIR: directory,
  }
}

/** Lines for a shell: `eval "$(insitu connect)"`, and as comments the commands that use them. */
export function shellText(connection: Connection, namespace: string): string {
  const { address, socket, directory, serverName, notAfter } = connection
  const file = (name: string): string => join(directory, name)
  const lines = Object.entries(environment(connection)).map(([key, value]) => `export ${key}=${quote(value)}`)
  if (socket !== undefined) {
    return [
      ...lines,
      '# while this command runs, no certificates are needed:',
      '#   buildctl build …',
      `#   docker buildx create --name insitu --driver remote unix://${socket}`,
      '',
    ].join('\n')
  }
  const at = address ?? 'tcp://127.0.0.1:2375'
  const options = `cacert=${file('ca.pem')},cert=${file('cert.pem')},key=${file('key.pem')},servername=${serverName}`
  return [
    ...lines,
    `# good until ${notAfter}; run again, or keep it fresh with --watch`,
    ...(address === undefined ? [`#   kubectl -n ${namespace} port-forward service/${serviceName} 2375 &`] : []),
    `#   buildctl --addr ${at} --tlsservername ${serverName} --tlsdir ${quote(directory)} build …`,
    `#   docker buildx create --name insitu --driver remote --driver-opt ${quote(options)} ${at}`,
    '',
  ].join('\n')
}

export const jsonText = (connection: Connection): string => {
  const { directory, ...rest } = connection
  const files = { ca: join(directory, 'ca.pem'), cert: join(directory, 'cert.pem'), key: join(directory, 'key.pem') }
  return JSON.stringify({ ...rest, directory, files, environment: environment(connection) }, null, 2)
}

/** For a POSIX shell. */
const quote = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)
