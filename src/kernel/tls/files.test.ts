import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { createAuthority, issueLeaf } from './ca.ts'
import { tlsFromFiles } from './files.ts'
import { createKeyPair } from './key.ts'
import type { TlsMaterial } from './material.ts'

const directories: string[] = []
afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true })
})

async function put(directory: string, material: TlsMaterial) {
  const files = { cert: join(directory, 'tls.crt'), key: join(directory, 'tls.key'), ca: join(directory, 'ca.crt') }
  for (const name of ['cert', 'key', 'ca'] as const) {
    await writeFile(`${files[name]}.new`, material[name])
    await rename(`${files[name]}.new`, files[name])
  }
  return files
}

async function material(): Promise<TlsMaterial> {
  const authority = await createAuthority()
  const pair = await createKeyPair()
  const { cert } = await issueLeaf({ authority, publicKey: pair.publicKey, commonName: 'x' })
  return { cert, key: pair.privateKey, ca: authority.cert }
}

describe('tlsFromFiles', () => {
  it('reads again what is replaced', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'insitu-tls-'))
    directories.push(directory)
    const [one, two] = [await material(), await material()]
    const tls = await tlsFromFiles(await put(directory, one))
    expect(tls.current()).toEqual(one)
    const changed = new Promise<TlsMaterial>((resolve) => tls.onChange(resolve))
    await put(directory, two)
    expect(await changed).toEqual(two)
    expect(tls.current()).toEqual(two)
    tls.close()
  })

  it('says which file is missing, and when a key belongs to another certificate', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'insitu-tls-'))
    directories.push(directory)
    const [one, two] = [await material(), await material()]
    const files = await put(directory, { ...one, key: two.key })
    await expect(tlsFromFiles(files)).rejects.toThrow(/is not the key of/)
    await expect(tlsFromFiles({ ...files, key: '/nowhere/tls.key' })).rejects.toThrow('/nowhere/tls.key cannot be read')
  })
})
