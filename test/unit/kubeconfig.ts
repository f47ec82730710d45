import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** A directory of the running test with a kubeconfig in it, whose cluster is not there. */
export async function farCluster(): Promise<{ readonly directory: string; readonly kubeconfig: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'insitu-far-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const kubeconfig = join(directory, 'config.json')
  const config = {
    'current-context': 'far',
    clusters: [{ name: 'far', cluster: { server: 'https://far.example:6443' } }],
    contexts: [{ name: 'far', context: { cluster: 'far', user: 'far' } }],
    users: [{ name: 'far', user: { token: 'x' } }],
  }
  await writeFile(kubeconfig, JSON.stringify(config))
  return { directory, kubeconfig }
}
