import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { fieldOf, strings } from '../kernel/grpc/wire.ts'
import { withProcessProxy } from './exec-message.ts'
import { ExecMessageSchema } from './gen/gateway_pb.ts'
import { wantsFullProvenance, withMinimalProvenance, withoutProxiesInside } from './provenance.ts'
import { mergeProxies, proxyOfOptions, withoutProxies, withProxy } from './proxy.ts'
import { checkProxy, proxyUrlTrouble, shownProxy } from './proxy-url.ts'

describe('options of frontends', () => {
  test('Dockerfiles get a spelling that no ARG has, so that none is written into history and cache key', () => {
    const expected = { 'build-arg:Http_Proxy': 'a', 'build-arg:No_Proxy': 'b' }
    expect(withProxy({}, 'dockerfile.v0', { HTTP_PROXY: 'a', no_proxy: 'b' })).toEqual(expected)
    for (const source of ['docker/dockerfile:1', 'mirror.test:5000/x/dockerfile-upstream@sha256:0', 'dockerfile']) {
      expect(withProxy({ source }, 'gateway.v0', { HTTP_PROXY: 'a', no_proxy: 'b' })).toEqual({ source, ...expected })
    }
  })

  test('other frontends get the usual names in both cases', () => {
    const source = 'team/dockerfile-like:v1'
    expect(withProxy({ source }, 'gateway.v0', { HTTP_PROXY: 'a' })).toEqual({
      ...{ source, 'build-arg:HTTP_PROXY': 'a', 'build-arg:http_proxy': 'a' },
    })
  })

  test.for(['build-arg:http_proxy', 'build-arg:HTTP_PROXY', 'build-arg:Http_Proxy'])(
    'what the client says as %s wins, variable by variable, and an empty value switches off',
    (key) => {
      for (const value of ['mine', '']) {
        const result = withProxy({ [key]: value }, 'dockerfile.v0', { HTTP_PROXY: 'a', HTTPS_PROXY: 'b' })
        expect(result).toEqual({ [key]: value, 'build-arg:Https_Proxy': 'b' })
      }
    },
  )

  test('off takes the client’s own away too; where insitu has no say nothing is touched', () => {
    const options = { 'build-arg:http_proxy': 'mine', 'build-arg:A': 'b' }
    expect(withProxy(options, 'dockerfile.v0', 'off')).toEqual({ 'build-arg:A': 'b' })
    expect(withProxy(options, 'dockerfile.v0', undefined)).toEqual(options)
    expect(withoutProxies({ target: 'x', 'build-arg:ALL_proxy': 'y' })).toEqual({ target: 'x' })
    expect(proxyOfOptions({ 'build-arg:NO_PROXY': 'u', 'build-arg:no_proxy': 'l', x: 'y' })).toEqual({ NO_PROXY: 'l' })
  })
})

test('sources are merged variable by variable: later ones win, lower case wins in one, empty switches off', () => {
  expect(
    mergeProxies(
      { HTTP_PROXY: 'agent', HTTPS_PROXY: 'agent', no_proxy: 'agent', PATH: '/bin', SOCKS_PROXY: 's' },
      { http_proxy: 'install', HTTP_PROXY: 'upper', FTP_PROXY: 'install' },
      { HTTPS_PROXY: '', ALL_PROXY: 'namespace', ftp_proxy: 'namespace' },
    ),
  ).toEqual({ HTTP_PROXY: 'install', FTP_PROXY: 'namespace', NO_PROXY: 'agent', ALL_PROXY: 'namespace' })
})

describe('addresses of proxies', () => {
  test.for([
    ['http://proxy.test:3128', 'http://proxy.test:3128'],
    ['proxy.test:3128', 'proxy.test:3128'],
    ['http://user:pass@proxy.test:3128/', 'http://***@proxy.test:3128'],
    ['user:p%40ss@proxy.test:3128', '***@proxy.test:3128'],
    ['socks5h://u@[fd00::1]:1080', 'socks5h://***@[fd00::1]:1080'],
  ] as const)('%s is one, and is shown as %s', ([text, shown]) => {
    expect(proxyUrlTrouble(text)).toBeUndefined()
    expect(shownProxy('HTTP_PROXY', text)).toBe(shown)
  })

  test.for([
    ['http://us#er:s3cret@proxy', 'something after host and port'],
    ['http://user:s3/cret@proxy:1', 'is not a URL'],
    ['http://proxy:s3cret', 'is not a URL'],
    ['http:// proxy', 'holds white space'],
    ['gopher://s3cret:1', 'scheme gopher:'],
    ['http://proxy:1/s3cret', 'something after host and port'],
    ['http://', 'is not a URL'],
  ] as const)('%s is none, and the error does not quote it', ([text, why]) => {
    expect(proxyUrlTrouble(text)).toContain(why)
    expect(proxyUrlTrouble(text)).not.toContain('s3')
    expect(shownProxy('HTTP_PROXY', text)).not.toContain('s3')
    expect(() => checkProxy({ HTTP_PROXY: text }, 'the build argument')).toThrow('the build argument HTTP_PROXY')
  })

  test('an empty one and every list of exceptions are right', () => {
    expect(() => checkProxy({ HTTP_PROXY: '', NO_PROXY: '.svc, 10.0.0.0/8,*' }, 'x')).not.toThrow()
    expect(() => checkProxy({ no_proxy: 'a\nb' }, 'x')).toThrow('control characters')
  })
})

describe('provenance', () => {
  test.for([
    [{ 'attest:provenance': 'mode=max,builder-id=x' }, { 'attest:provenance': 'builder-id=x,mode=min' }],
    [{ 'attest:provenance': '' }, { 'attest:provenance': 'mode=min' }],
    [{ 'build-arg:BUILDKIT_ATTEST_PROVENANCE': '"mode=max"' }, { 'build-arg:BUILDKIT_ATTEST_PROVENANCE': 'mode=min' }],
    [{ 'attest:provenance': 'mode=min,mode=full' }, { 'attest:provenance': 'mode=min' }],
  ] as const)('%o is full: it becomes minimal', ([full, minimal]) => {
    expect(wantsFullProvenance(full)).toBe(true)
    expect(withMinimalProvenance(full)).toEqual(minimal)
  })

  test.for([{}, { 'attest:sbom': '' }, { 'attest:provenance': 'mode=min,inline-only=true' }])('%o stays', (options) => {
    expect(withMinimalProvenance(options)).toBe(options)
  })

  test('a document loses its proxy variables and keeps its size', () => {
    const args = { 'build-arg:Http_Proxy': 'http://u:p@x', 'build-arg:A': 'b' }
    const step = { op: { exec: { meta: { env: ['A=b'], proxy_env: { http_proxy: 'http://u:p@x' } } } } }
    const document = Buffer.from(JSON.stringify({ request: { args, root: { args } }, steps: [step] }, undefined, 2))
    const clean = withoutProxiesInside(document)
    expect(clean.length).toBe(document.length)
    expect(JSON.parse(clean.toString())).toEqual({
      request: { args: { 'build-arg:A': 'b' }, root: { args: { 'build-arg:A': 'b' } } },
      steps: [{ op: { exec: { meta: { env: ['A=b'] } } } }],
    })
    const other = Buffer.from('{"a":1}')
    expect(withoutProxiesInside(other)).toBe(other)
  })
})

describe('processes that a client starts', () => {
  const init = (env: string[]) => toBinary(ExecMessageSchema, create(ExecMessageSchema, { init: { meta: { env } } }))

  test('get the variables in both cases, their own win, and other fields stay', () => {
    const sent = Buffer.concat([fieldOf(1, 'process'), init(['PATH=/bin', 'https_proxy='])])
    const changed = withProcessProxy(sent, { HTTP_PROXY: 'a', HTTPS_PROXY: 'b' }) ?? new Uint8Array()
    expect(fromBinary(ExecMessageSchema, changed).init?.meta?.env).toEqual([
      ...['PATH=/bin', 'https_proxy=', 'HTTP_PROXY=a', 'http_proxy=a'],
    ])
    expect(strings(changed, 1)).toEqual(['process'])
  })

  test('input, garbage and builds without proxies pass as they are', () => {
    expect(withProcessProxy(fieldOf(3, 'input'), { HTTP_PROXY: 'a' })).toBeUndefined()
    expect(withProcessProxy(Uint8Array.of(0xff), { HTTP_PROXY: 'a' })).toBeUndefined()
    expect(withProcessProxy(init([]), {})).toBeUndefined()
  })
})
