import { createPrivateKey, X509Certificate } from 'node:crypto'
import { watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { describeError, InsituError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { TlsMaterial, TlsSource } from './material.ts'

export interface TlsFiles {
  /** Paths of PEM files. */
  readonly cert: string
  readonly key: string
  readonly ca: string
}

export interface FileTls extends TlsSource {
  close(): void
}

/**
 * Certificates that somebody else keeps in files, read again when they change. The directories are watched, because
 * Kubernetes and most tools replace files by renaming.
 * @throws InsituError TLS_FILES when they cannot be read or the key does not belong to the certificate.
 */
export async function tlsFromFiles(files: TlsFiles, options: { readonly log?: Logger } = {}): Promise<FileTls> {
  let current = await read(files)
  const listeners = new Set<(material: TlsMaterial) => void>()
  const reload = async (): Promise<void> => {
    try {
      const next = await read(files)
      if (next.cert === current.cert && next.key === current.key && next.ca === current.ca) return
      current = next
      options.log?.info('certificate files changed and were read again')
      for (const listener of listeners) listener(current)
    } catch (error) {
      // Half-written pairs are seen in between; the change that completes them comes as an event too.
      options.log?.warn(`the certificate in use stays: ${describeError(error)}`)
    }
  }
  let timer: NodeJS.Timeout | undefined
  const watchers = [...new Set([files.cert, files.key, files.ca].map((file) => dirname(file)))].map((directory) =>
    watch(directory, { persistent: false }, () => {
      clearTimeout(timer)
      timer = setTimeout(() => void reload(), 100)
    }),
  )
  return {
    current: () => current,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close() {
      clearTimeout(timer)
      for (const watcher of watchers) watcher.close()
      listeners.clear()
    },
  }
}

async function read(files: TlsFiles): Promise<TlsMaterial> {
  const fail = (what: string, cause?: unknown): InsituError =>
    new InsituError('TLS_FILES', what, {
      cause,
      fix: 'Give three PEM files: certificate (with its chain), key and CA.',
    })
  const [cert, key, ca] = await Promise.all(
    [files.cert, files.key, files.ca].map((file) =>
      readFile(file, 'utf8').catch((cause: unknown) => {
        throw fail(`${file} cannot be read`, cause)
      }),
    ),
  )
  if (cert === undefined || key === undefined || ca === undefined) throw fail('a file is missing')
  try {
    if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) throw new Error('another certificate’s key')
  } catch (cause) {
    throw fail(`${files.key} is not the key of ${files.cert}`, cause)
  }
  return { cert, key, ca }
}
