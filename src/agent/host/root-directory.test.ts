import { expect, it } from 'vitest'
import { deletable, isForeign } from './root-directory.ts'

it.each([
  [[], false],
  [['lost+found'], false],
  [['cache.db', 'history.db', 'containerd-overlayfs', 'net'], false],
  [['lost+found', 'local-mnt-src'], false],
  [['containerd', 'kubelet', 'buildkit'], true],
  [['photos'], true],
])('a directory with %j is somebody else’s: %s', (entries, foreign) => {
  expect(isForeign(entries)).toBe(foreign)
})

it('what tells whose a directory is goes last', () => {
  expect(deletable(['cache.db', 'lost+found', 'net'])).toEqual(['net', 'cache.db'])
})
