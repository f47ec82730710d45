import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InsituError } from '../../../src/kernel/errors.ts'
import { cacheDir, standInRegistry } from '../layout.ts'
import { alive, lastLines, startDetached, stop } from '../processes.ts'
import { readState } from '../state.ts'
import { waitFor } from '../wait.ts'
import { freePort } from '../../free-port.ts'

/** Gives the address of a registry on the stand-in's storage: the lab's, or one on loopback for the time being. */
export async function withImageRegistry<T>(work: (registry: string) => Promise<T>): Promise<T> {
  if (alive(readState()?.processes['registry'])) return work(standInRegistry)
  await mkdir(cacheDir, { recursive: true })
  const dir = await mkdtemp(join(cacheDir, 'registry-'))
  const address = `127.0.0.1:${await freePort()}`
  const config = join(dir, 'config.yml')
  const log = join(dir, 'registry.log')
  await writeFile(
    config,
    JSON.stringify({
      version: '0.1',
      log: { level: 'warn', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(cacheDir, 'registry') } },
      http: { addr: address },
    }),
  )
  const registry = await startDetached('docker-registry', ['serve', config], { log })
  try {
    await waitFor(
      'the registry',
      async () => {
        if (!alive(registry)) throw new InsituError('LAB_REGISTRY', `the registry ended: ${lastLines(log)}`)
        return (await fetch(`http://${address}/v2/`)).ok || undefined
      },
      { timeout: 10_000, interval: 50 },
    )
    return await work(address)
  } finally {
    await stop(registry)
    await rm(dir, { recursive: true, force: true })
  }
}
