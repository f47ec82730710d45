import { X509Certificate } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Work } from '../../api/builds/work.ts'
import { certificatePath } from '../../api/certificate.ts'
import { describeError, InsituError } from '../../kernel/errors.ts'
import type { TlsMaterial } from '../../kernel/tls/material.ts'
import { requestCertificate } from '../../kernel/tls/request.ts'

export interface CertificateOptions {
  readonly work: Pick<Work, 'gateway' | 'ca'>
  readonly tokenFile: string
  /** Where buildctl looks for it. */
  readonly directory: string
  readonly signal: AbortSignal
  readonly say: (line: string) => void
}

/**
 * @returns what is to be called before each connection: a certificate lives for an hour, and a build may take longer. The
 * first call throws when there is none; when a later one gets no other, the one at hand is kept and the connection says the rest.
 */
export function keepCertificate(options: CertificateOptions): () => Promise<void> {
  let renewAt: number | undefined
  return async () => {
    const now = Date.now()
    if (renewAt !== undefined && now < renewAt) return
    try {
      const material = await obtain(options)
      await write(material, options.directory)
      renewAt = now + (Date.parse(new X509Certificate(material.cert).validTo) - now) / 2
    } catch (error) {
      if (renewAt === undefined) throw error
      options.say(`insitu: no new certificate: ${describeError(error)}`)
    }
  }
}

/** A gateway that is not there yet is waited for; one that refuses is not asked again. */
async function obtain({ work, tokenFile, signal, say }: CertificateOptions): Promise<TlsMaterial> {
  const end = Date.now() + 60_000
  for (;;) {
    try {
      const { host, port, serverName } = work.gateway
      const request = {
        host,
        port,
        serverName,
        path: certificatePath,
        tokenFile,
        loadCa: () => Promise.resolve(work.ca),
      }
      return await requestCertificate(request, signal)
    } catch (error) {
      const refused = error instanceof InsituError && error.status !== 'UNAVAILABLE' && error.status !== 'UNKNOWN'
      if (refused) throw error
      if (signal.aborted || Date.now() > end) {
        throw new InsituError('NO_GATEWAY', 'no gateway gives a certificate', { status: 'UNAVAILABLE', cause: error })
      }
      say(`insitu: no certificate yet: ${describeError(error)}`)
      await sleep(2000, undefined, { signal }).catch(() => undefined)
    }
  }
}

async function write({ ca, cert, key }: TlsMaterial, directory: string): Promise<void> {
  for (const [name, text] of Object.entries({ 'ca.pem': ca, 'cert.pem': cert, 'key.pem': key })) {
    await writeFile(join(directory, name), text, { mode: 0o600 })
  }
}
