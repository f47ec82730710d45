import { expect, it } from 'vitest'
import { contextUrl, gitUrlRules } from './git-url.ts'

it.each([
  ['https://dev.azure.com/org/project/_git/repo', 'https://dev.azure.com/org/project/_git/repo.git'],
  ['https://h/a/', 'https://h/a.git'],
  ['https://h/a.git', 'https://h/a.git'],
  ['git://h/a', 'git://h/a'],
  ['git@ssh.dev.azure.com:v3/org/project/repo', 'git@ssh.dev.azure.com:v3/org/project/repo'],
])('%s is a context as %s', (url, context) => {
  expect(contextUrl(url)).toBe(context)
})

it.each([
  undefined,
  'https://h/a.git',
  'git@h:a/b',
  'ssh://git@h/a',
  'git://h/a',
  'https://h',
  'https://h/%zz',
  'https://h/a?b',
])('%s is fetched as the context says', (url) => {
  expect(gitUrlRules(url)).toEqual([])
})

/** What a rule makes of an identifier, as BuildKit does (sourcepolicy/mutate.go). */
function converted(url: string, identifier: string): unknown {
  const [rule] = gitUrlRules(url)
  const match = new RegExp(rule?.selector.identifier ?? '').exec(identifier)
  const updated = rule?.updates.identifier.replaceAll('${1}', match?.[1] ?? '').replaceAll('$$', '$')
  return match ? [updated, rule?.updates.attrs?.['git.fullurl']] : undefined
}

it.each([
  ['https://h:8443/a', 'git://h:8443/a.git', 'git://h:8443/a'],
  [
    'https://org@dev.azure.com/org/p/_git/r',
    'git://dev.azure.com/org/p/_git/r.git#v1:sub',
    'git://dev.azure.com/org/p/_git/r#v1:sub',
  ],
  ['https://h/My%20Project/_git/r', 'git://h/My Project/_git/r.git#:x', 'git://h/My Project/_git/r#:x'],
  ['http://h/a+b.c$d', 'git://h/a+b.c$d.git', 'git://h/a+b.c$d'],
])('%s is fetched as it is written', (url, identifier, to) => {
  expect(converted(url, identifier)).toEqual([to, url])
  // Nothing else is: neither another repository nor what has been converted.
  for (const other of [to, identifier.replace('.git', '.gitx'), identifier.replace('//h', '//g')].filter(
    (one) => one !== identifier,
  )) {
    expect(converted(url, other)).toBeUndefined()
  }
})
