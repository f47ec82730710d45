import { expect, onTestFinished, test, vi } from 'vitest'
import { rebuildOptions } from './options.ts'
import { farCluster } from '../../../test/unit/kubeconfig.ts'

async function proxiesWith(env: Readonly<Record<string, string>>): Promise<unknown> {
  const { directory, kubeconfig } = await farCluster()
  for (const [name, value] of Object.entries({ DOCKER_CONFIG: directory, ...env })) vi.stubEnv(name, value)
  onTestFinished(() => void vi.unstubAllEnvs())
  const flags = { kubeconfig, registry: [], parallel: '8', keep: '2', changed: true }
  const { options, close } = await rebuildOptions(flags as never, () => undefined)
  close()
  return options.proxies
}

test('proxies for registries are those of the environment, and a password is in no error', async () => {
  const env = { HTTPS_PROXY: 'http://upper:1', https_proxy: 'http://lower:1', HTTP_PROXY: '', NO_PROXY: '.lan' }
  expect(await proxiesWith(env)).toMatchObject({ HTTPS_PROXY: 'http://lower:1', HTTP_PROXY: '', NO_PROXY: '.lan' })
  await expect(proxiesWith({ https_proxy: 'http://u:s3cret#' })).rejects.toThrow(
    /^the environment variable HTTPS_PROXY is not a URL$/,
  )
})
