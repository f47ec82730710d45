import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type FakeAnswer, fakeGrpc } from '../../../test/unit/fake-grpc.ts'
import { fieldOf } from '../../kernel/grpc/wire.ts'
import { preflight } from './preflight.ts'

const entry = (key: string, value: string): Uint8Array => Buffer.concat([fieldOf(1, key), fieldOf(2, value)])
const snapshotter = (id: string): Uint8Array =>
  Buffer.concat([
    ...[fieldOf(1, 'io.containerd.snapshotter.v1'), fieldOf(2, id)],
    fieldOf(5, entry('root', `/nowhere/${id}`)),
  ])

/** A containerd with two snapshotters, of which its CRI plug-in uses native, once that answers. */
function containerd(method: string, cri: FakeAnswer | undefined): FakeAnswer {
  switch (method) {
    case '/containerd.services.version.v1.Version/Version':
      return fieldOf(1, 'v2.4.2')
    case '/containerd.services.introspection.v1.Introspection/Plugins':
      return Buffer.concat([fieldOf(1, snapshotter('overlayfs')), fieldOf(1, snapshotter('native'))])
    case '/runtime.v1.ImageService/ImageFsInfo':
      return cri ?? fieldOf(1, fieldOf(2, fieldOf(1, '/nowhere/native')))
    default:
      return method.startsWith('/runtime.v1.') ? (cri ?? new Uint8Array()) : new Uint8Array()
  }
}

test.each<[string, FakeAnswer | undefined, string | undefined, string[]]>([
  ['answers: its snapshotter is used', undefined, 'native', []],
  ['is not there: overlayfs is used', 'UNIMPLEMENTED', 'overlayfs', ['CRI_ABSENT']],
  ['starts: no daemon may', 'UNAVAILABLE', undefined, ['CONTAINERD_SILENT']],
  ['starts, in containerd 1.7', 'UNKNOWN', undefined, ['CONTAINERD_SILENT']],
])('a CRI plug-in that %s', async (_, cri, expected, codes) => {
  const root = await mkdtemp(join(tmpdir(), 'insitu-root-'))
  onTestFinished(() => rm(root, { recursive: true }))
  const containerdAddress = await fakeGrpc((method) => containerd(method, cri))
  const found = await preflight({ root, namespace: 'k8s.io', containerdAddress, hostRoot: '/nowhere' })
  expect(found.snapshotter).toBe(expected)
  const ofContainerd = found.findings.map(({ code }) => code).filter((code) => /^(CONTAINERD|CRI)_/.test(code))
  expect(ofContainerd).toEqual(codes)
})
