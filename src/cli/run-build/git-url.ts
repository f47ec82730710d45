import { posix } from 'node:path'
import type { SourceRule } from './source-policy.ts'

/** A repository's URL as git takes it. */
export const gitUrl = (url: string): string => url.replace(/\/+$/, '')

/** As BuildKit writes it in a context: an http(s) URL is git's for it only when it ends in .git. */
export function contextUrl(url: string): string {
  const bare = gitUrl(url)
  return isBareHttp(bare) ? `${bare}.git` : bare
}

const isBareHttp = (url: string): boolean => /^https?:\/\//.test(url) && !url.endsWith('.git')

/**
 * Makes the daemon fetch the URL that its author has written, without the .git that only the context needs: some servers
 * (Azure Repos) know no such name. The identifier has to change, too: the daemon takes the path from there
 * (v0.33.1: client/llb/source.go makes it, source/git/identifier.go compares both).
 */
export function gitUrlRules(url: string | undefined): SourceRule[] {
  const bare = gitUrl(url ?? '')
  const [, host = '', path = ''] = /^https?:\/\/(?:[^@/]*@)?([^/?#]+)(\/[^?#]*)$/.exec(bare) ?? []
  const name = decoded(path)
  if (!isBareHttp(bare) || name === undefined || name === '') return []
  const identifier = `${host}${posix.normalize(name)}`
  return [
    {
      action: 'CONVERT',
      selector: {
        identifier: `^git://${identifier.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)}\\.git(#.*)?$`,
        match_type: 'REGEX',
      },
      updates: { identifier: `git://${identifier.replaceAll('$', '$$$$')}\${1}`, attrs: { 'git.fullurl': bare } },
    },
  ]
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path)
  } catch {
    // The daemon cannot read it either, and says so.
    return undefined
  }
}
