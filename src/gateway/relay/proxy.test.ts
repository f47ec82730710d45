import { expect, test } from 'vitest'
import type { ProxyVariables } from '../../buildkit/proxy.ts'
import { createLogger } from '../../kernel/log.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { RelayContext } from './context.ts'
import { registryProxies } from './proxy.ts'

const ask = (own: ProxyVariables, agent: () => Promise<ProxyVariables>, mode = 'full'): Promise<ProxyVariables> => {
  const install = { name: 'ConfigMap system/insitu-proxy:', variables: { https_proxy: 'http://install:1' } }
  const team = { name: 'ConfigMap team/insitu-proxy:', variables: { HTTPS_PROXY: 'http://team:1' } }
  const context = {
    logger: createLogger({ level: 'silent' }),
    proxies: {
      sources: (of: string | undefined) => (of === undefined ? [install] : [install, team]),
      exceptions: () => ['.svc'],
      own,
    },
  } as unknown as RelayContext
  return registryProxies(context, { name: 'a', proxy: agent, report: { mode } } as unknown as BuildNode)
}

test('registries are asked as the daemon of a node asks them, unless the gateway says something else', async () => {
  const agent = () =>
    Promise.resolve({ HTTP_PROXY: 'http://agent:1', HTTPS_PROXY: 'http://agent:1', LOCAL_REGISTRIES: 'r.lan' })
  const noProxy = { NO_PROXY: '.svc,r.lan' }
  expect(await ask({}, agent)).toEqual({ HTTP_PROXY: 'http://agent:1', HTTPS_PROXY: 'http://install:1', ...noProxy })
  expect(await ask({ HTTP_PROXY: '', https_proxy: 'http://own:1' }, agent)).toEqual({
    HTTPS_PROXY: 'http://own:1',
    ...noProxy,
  })
  // The install's ConfigMap is no business of a rootless node's daemon, which has its agent's environment alone.
  expect(await ask({}, agent, 'rootless')).toEqual({
    HTTP_PROXY: 'http://agent:1',
    HTTPS_PROXY: 'http://agent:1',
    ...noProxy,
  })
  const gone = () => Promise.reject(new Error('the agent does not answer'))
  expect(await ask({}, gone)).toEqual({ HTTPS_PROXY: 'http://install:1', NO_PROXY: '.svc' })
  await expect(ask({ HTTPS_PROXY: 'http://u:s3cret#' }, agent)).rejects.toThrow(
    /^the gateway's variable HTTPS_PROXY is not a URL$/,
  )
})
