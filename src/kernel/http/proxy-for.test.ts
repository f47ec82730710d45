import { describe, expect, it } from 'vitest'
import { proxyFor } from './proxy-for.ts'

describe('the proxy for a registry', () => {
  const both = { HTTP_PROXY: 'http://plain:1', https_proxy: 'secure:2' }
  it.each([
    ['https://r.test/v2', {}, 'http://secure:2'],
    ['http://r.test:5000/v2', {}, 'http://plain:1'],
    ['http://localhost:5000/v2', {}, undefined],
    ['http://127.3.4.5:5000/v2', {}, undefined],
    ['https://r.test/v2', { NO_PROXY: '*' }, undefined],
    ['https://r.test/v2', { NO_PROXY: 'a, r.test' }, undefined],
    ['https://x.r.test/v2', { NO_PROXY: 'r.test' }, undefined],
    ['https://r.test/v2', { NO_PROXY: '.r.test,*.r.test' }, 'http://secure:2'],
    ['https://x.r.test/v2', { no_proxy: '*.r.test' }, undefined],
    ['https://xr.test/v2', { NO_PROXY: 'r.test' }, 'http://secure:2'],
    ['https://r.test/v2', { NO_PROXY: 'r.test:443' }, undefined],
    ['https://r.test/v2', { NO_PROXY: 'r.test:5000' }, 'http://secure:2'],
    ['https://10.1.2.3/v2', { NO_PROXY: '10.0.0.0/8' }, undefined],
    ['https://11.1.2.3/v2', { NO_PROXY: '10.0.0.0/8,fd00::/8' }, 'http://secure:2'],
    ['https://[fd00::1]:5000/v2', { NO_PROXY: 'fd00::/8' }, undefined],
    ['https://10.1.2.3/v2', { NO_PROXY: '10.1.2.3' }, undefined],
  ])('%s with %j: %s', (url, more, expected) => expect(proxyFor(new URL(url), { ...both, ...more })).toBe(expected))
})
