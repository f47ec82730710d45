import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { cleanWorkspaceCommand } from './clean-workspace.ts'

it('removes the directory of a Build, and nothing by a link that a build left', async () => {
  const root = await mkdtemp(join(tmpdir(), 'insitu-claim-'))
  const clean = (directory: string) =>
    cleanWorkspaceCommand().parseAsync(['--root', root, '--directory', directory], { from: 'user' })
  try {
    await mkdir(join(root, 'a/one/deep'), { recursive: true })
    await mkdir(join(root, 'other/one'), { recursive: true })
    await symlink('../other', join(root, 'a/link'))
    await clean('a/one')
    expect(await readdir(join(root, 'a'))).toEqual(['link'])
    await expect(clean('a/link/one')).rejects.toThrow('leads through a link')
    expect(await readdir(join(root, 'other'))).toEqual(['one'])
    // The link itself may go, and what is not there is no error.
    await clean('a/link')
    await clean('no/such')
    expect(await readdir(join(root, 'other'))).toEqual(['one'])
    for (const directory of ['..', '.', '/etc', 'a/../..', '']) {
      await expect(clean(directory)).rejects.toThrow('is no path below the claim')
    }
  } finally {
    await rm(root, { recursive: true })
  }
})
