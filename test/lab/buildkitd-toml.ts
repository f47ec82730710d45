import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkout, pushRegistry, standInRegistry } from './layout.ts'

/**
 * The shipped buildkitd.toml with the lab's registries: buildkitd does not read containerd's certs.d, where the nodes
 * have them.
 */
export async function labBuildkitdToml(): Promise<string> {
  const shipped = await readFile(join(checkout, 'install/buildkitd.toml'), 'utf8')
  const http = [standInRegistry, pushRegistry].map((registry) => `[registry."${registry}"]\n  http = true\n`)
  return [shipped, `[registry."docker.io"]\n  mirrors = ["${standInRegistry}"]\n`, ...http].join('\n')
}
