import { create, toBinary } from '@bufbuild/protobuf'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { SolveRequestSchema, SolveResponseSchema } from '../../buildkit/gen/control_pb.ts'
import type { ProxyVariables } from '../../buildkit/proxy.ts'
import { InsituError } from '../../kernel/errors.ts'
import { frame } from '../../kernel/grpc/framing.ts'
import { createLogger } from '../../kernel/log.ts'
import { createActivity } from '../correlate/activity.ts'
import type { BuildNode } from '../directory/directory.ts'
import type { Http2Stream } from '../http2/stream.ts'
import type { Caller } from '../listener/caller.ts'
import type { Placement } from '../placement/placer.ts'
import { createProgress } from '../progress/progress.ts'
import type { Build, Call, RelayContext } from '../relay/context.ts'
import type { Upstream } from '../relay/upstream.ts'
import { solveParts } from './solve-parts.ts'
import { type BuildPart, noResults, type SplitBuild } from './split-build.ts'
import { forwardProxy } from '../../../test/unit/forward-proxy.ts'
import { looseStream } from '../../../test/unit/loose-stream.ts'

const name = 'docker.io/library/app:1'
const digestOf = (node: string): string => `sha256:${(node === 'a' ? 'a' : 'b').repeat(64)}`

const partOf = (node: string, platform: string): BuildPart => ({
  // Only the second is behind a proxy.
  node: {
    name: node,
    proxy: () => Promise.resolve(node === 'b' ? { HTTP_PROXY: 'http://u:hunter2@proxy.test' } : {}),
    report: {
      findings: ['proxy', 'other'].map((host) => ({
        ...{ code: 'PROXY_UNREACHABLE', severity: 'warning', fix: 'start it' },
        message: `the proxy http://***@${host}.test cannot be reached from this node: no answer`,
      })),
    },
  } as unknown as BuildNode,
  platforms: [platform],
  placement: { node, targets: [], reason: 'native' } as unknown as Placement,
})

type Answer = 'made' | 'nothing' | 'fails' | 'away'

/** What a daemon says to Solve: an image, no image, an error. */
function answered(node: string, answer: Answer): Http2Stream {
  const stream = looseStream()
  const descriptor = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digestOf(node), size: 7 }
  const exporterResponse: Record<string, string> = {
    'containerimage.digest': digestOf(node),
    ...(answer === 'made' && {
      'containerimage.descriptor': Buffer.from(JSON.stringify(descriptor)).toString('base64'),
    }),
  }
  setImmediate(() => {
    stream.emit('response', [':status', '200'], false)
    if (answer === 'fails') {
      // After the other part has named its image.
      setImmediate(() => end(['grpc-status', '13', 'grpc-message', 'no space']))
      return
    }
    stream.received(frame(toBinary(SolveResponseSchema, create(SolveResponseSchema, { exporterResponse }))))
    end(['grpc-status', '0'])
  })
  const end = (trailers: string[]): void => {
    stream.emit('trailers', trailers)
    stream.receivedEnd()
    stream.finish(0)
  }
  return stream
}

async function solved(
  answers: { readonly a: Answer; readonly b: Answer },
  delivery?: InsituError,
  second = 'linux/arm64',
  pushed?: { readonly name: string; readonly install: ProxyVariables },
) {
  const retracted: [string, readonly string[]][] = []
  let turns = 0
  const inProgress: (string | undefined)[] = []
  const activity = createActivity()
  const context = {
    activity,
    config: { proxy: true, defaults: false, recordOwner: false, push: { plainHttp: [] } },
    logger: createLogger({ level: 'silent' }),
    proxies: {
      sources: () => (pushed ? [{ name: 'ConfigMap system/insitu-proxy:', variables: pushed.install }] : []),
      exceptions: () => [],
      own: {},
    },
    turns: { wait: () => Promise.resolve(((turns += 1), () => void (turns -= 1))), limit: () => undefined },
    images: {
      begin: () => ({ placed: () => undefined, ended: (why?: string) => void inProgress.push(why) }),
      finish: () => Promise.resolve(delivery),
      retract: (node: string, list: readonly string[]) => Promise.resolve(void retracted.push([node, list])),
    },
  } as unknown as RelayContext
  const stream = looseStream()
  const call = {
    ...{ stream, raw: [], signal: new AbortController().signal },
    upstreams: {
      to: ({ name: node }: BuildNode): Promise<Upstream> =>
        answers[node as 'a' | 'b'] === 'away'
          ? Promise.reject(new InsituError('NODE_UNREACHABLE', `node ${node} is away`, { status: 'UNAVAILABLE' }))
          : Promise.resolve({
              ...{ node, lost: () => undefined, whyLost: () => Promise.resolve(undefined) },
              request: () => answered(node, answers[node as 'a' | 'b']),
            }),
    },
  } as unknown as Call
  const parts = [partOf('a', 'linux/amd64'), partOf('b', second)] as const
  const split: SplitBuild = {
    ...{ parts, platforms: ['linux/amd64', 'linux/arm64'], results: noResults(), session: undefined },
    output: pushed
      ? { kind: 'push', names: [pushed.name], byDigest: false, insecure: true }
      : { kind: 'place', names: [name] },
  }
  const begun = Promise.withResolvers<void>()
  const began = begun.promise.then(
    () => true,
    () => false,
  )
  const progress = createProgress()
  const told: Uint8Array[] = []
  progress.follow((message) => void told.push(message))
  const { node, placement } = parts[0]
  const caller: Caller = { kind: 'loopback', address: '127.0.0.1' }
  const build = { node, placement, caller, progress, begun, delivery: {}, proxy: { off: false, own: {} } } as Build
  const frontendAttrs = { 'attest:provenance': 'mode=max' }
  const request = create(SolveRequestSchema, {
    frontend: 'dockerfile.v0',
    frontendAttrs,
    exporters: [{ type: 'image', attrs: { name } }],
  })
  const end = await solveParts(context, call, { build, split, request, onBegun: () => undefined })
  await progress.ended
  expect([turns, activity.total], 'turns and builds that are left').toEqual([0, 0])
  return {
    end,
    retracted,
    began: await began,
    trailers: stream.trailers,
    inProgress,
    told: Buffer.concat(told).toString(),
  }
}

test('the names of a part are taken back when another part fails, and the client gets its error', async () => {
  const { end, retracted, trailers, inProgress } = await solved({ a: 'made', b: 'fails' })
  expect(end).toEqual({ kind: 'status', code: 13, message: 'node b: no space' })
  // Also those of the part that fails: it may have failed after its image was named.
  expect(retracted).toEqual([
    ['a', [name]],
    ['b', [name]],
  ])
  expect(trailers).toEqual(['grpc-status', '13', 'grpc-message', 'no space'])
  expect(inProgress[0]).toBe('node b: no space')
})

test('those of all parts are when they cannot be put together', async () => {
  const { end, retracted } = await solved({ a: 'made', b: 'nothing' })
  expect(end).toMatchObject({ kind: 'status', message: expect.stringContaining('node b') as string })
  expect(retracted.map(([node]) => node).toSorted()).toEqual(['a', 'b'])
})

test('and when two nodes made different images for one platform', async () => {
  const { end, retracted } = await solved({ a: 'made', b: 'made' }, undefined, 'linux/amd64')
  expect(end).toMatchObject({
    code: 9,
    message: expect.stringContaining('made different images for linux/amd64') as string,
  })
  expect(retracted.map(([node]) => node).toSorted()).toEqual(['a', 'b'])
})

test('a node that cannot be reached: nothing has begun, nothing is taken back', async () => {
  const { end, retracted, began } = await solved({ a: 'made', b: 'away' })
  expect(end).toMatchObject({ code: 14, message: 'node b is away' })
  expect([began, retracted]).toEqual([false, []])
})

test('a delivery that fails takes no names back: the image is there, as its error says', async () => {
  const { end, retracted } = await solved(
    { a: 'made', b: 'made' },
    new InsituError('DELIVERY', 'app is on node a and could not be delivered to c', { status: 'UNAVAILABLE' }),
  )
  expect(end).toMatchObject({ code: 14, message: expect.stringContaining('is on node a') as string })
  expect(retracted).toEqual([])
})

test('when all is well the client gets the index', async () => {
  const { end, retracted, trailers } = await solved({ a: 'made', b: 'made' })
  expect([end, retracted, trailers]).toEqual([
    { kind: 'status', code: 0, message: undefined },
    [],
    ['grpc-status', '0'],
  ])
})

test('that provenance is the short one is said once, also when only another part than the first has a proxy', async () => {
  const { told } = await solved({ a: 'made', b: 'made' })
  // A step begins and ends.
  expect(told.match(/provenance is mode=min/g)).toHaveLength(2)
  expect(told).not.toContain('hunter2')
})

test('a proxy that does not answer on the node of a part is named, and no other one is', async () => {
  const { told } = await solved({ a: 'made', b: 'made' })
  expect(told.match(/node b: the proxy http:\/\/\*\*\*@proxy.test cannot be reached/g)).toHaveLength(2)
  expect(told).not.toMatch(/node a: the proxy|other.test/)
})

test('the index is pushed through the proxy of the install, of which nothing but errors without password is said', async () => {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.writeHead(201).end())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  const proxy = await forwardProxy({ ports: { 'registry.test': port }, login: 'u:s3cret' })
  const install = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url }
  const to = (variables: ProxyVariables) =>
    solved({ a: 'made', b: 'made' }, undefined, undefined, { name: 'registry.test/a:1', install: variables })
  const { end, told } = await to(install)
  expect([end, proxy.requests.at(-1)]).toEqual([
    { kind: 'status', code: 0, message: undefined },
    'PUT http://registry.test/v2/a/manifests/1',
  ])
  const wrong = await to({ ...install, HTTP_PROXY: proxy.url.replace('s3cret', 'S3CRET') })
  expect(wrong.end).toMatchObject({ code: 14, message: expect.stringContaining('answers 407') as string })
  const broken = await to({ HTTP_PROXY: 'http://u:s3cret#' })
  expect(broken.end).toMatchObject({ code: 3, message: expect.stringContaining('HTTP_PROXY is not a URL') as string })
  expect(told + wrong.told + broken.told + JSON.stringify([wrong.end, broken.end])).not.toMatch(/s3cret/i)
})
