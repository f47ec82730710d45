import type { GitServers } from '../fixtures/git-servers.ts'

/** The context says by itself which commit it is: a build that takes another one fails. */
const files = (text: string) => ({
  Dockerfile: `FROM scratch\nCOPY which /${text}\n`,
  which: text,
  'sub/Dockerfile': `FROM scratch\nCOPY only-here-${text} /\n`,
  [`sub/only-here-${text}`]: text,
})
const ofModule = { Dockerfile: 'FROM scratch\nCOPY lib/part /\n' }

/** What the refusal of the repository `large` says. */
export const lfsRefused = '1 file of the context is kept in Git LFS (data/model.bin)'

/**
 * Makes `app`, with the tag v1, a second commit and the branch feature/x; `with-module` and `ssh-module`, whose directory
 * lib is the repository `library` by git daemon and by ssh; and `large`, of which data/model.bin is in Git LFS.
 * @returns the three commits of `app`.
 */
export async function makeRepositories(git: GitServers): Promise<string[]> {
  await git.repository('library', [{ files: { part: 'of a submodule\n' } }])
  const commits = await git.repository('app', [
    { files: files('first'), tag: 'v1' },
    { files: files('second') },
    { files: files('branched'), branch: 'feature/x' },
  ])
  await git.repository('with-module', [{ files: ofModule, submodules: { lib: git.daemon('library') } }])
  await git.repository('ssh-module', [{ files: ofModule, submodules: { lib: git.ssh('library') } }])
  await git.repository('large', [
    {
      files: {
        ...files('large'),
        '.gitattributes': 'data/*.bin filter=lfs diff=lfs merge=lfs -text\n',
        'data/model.bin': 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n',
      },
    },
  ])
  return commits
}

/** known_hosts with another key for the SSH server than its own. */
export function otherHostKey({ knownHosts }: GitServers): string {
  const [host = '', type = '', key = ''] = knownHosts.split(' ')
  return `${host} ${type} ${key.slice(0, -12)}AAAAAAAAAAAA`
}
