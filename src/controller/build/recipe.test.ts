import { describe, expect, it } from 'vitest'
import type { Build, BuildTemplate } from '../../api/builds/builds.ts'
import { recipe as fields } from '../../api/builds/spec.ts'
import { recipeOf } from './recipe.ts'

it('no field has a default at admission: a Build would say it, over its template', () => {
  expect(Object.entries(fields).flatMap(([name, { schema }]) => ('default' in schema ? [name] : []))).toEqual([])
})

/** A template with one parameter, X, and a Build that gives it a value. */
function recipe(spec: BuildTemplate['spec'], value: string) {
  const template: BuildTemplate = { spec: { source: { dockerfile: 'FROM a' }, ...spec, parameters: [{ name: 'X' }] } }
  const build: Build = { spec: { template: { name: 't', arguments: [{ name: 'X', value }] } } }
  return recipeOf(build, template)
}

describe('arguments of a template', () => {
  const git = { url: 'https://h/a.git' }
  it.each<[string, BuildTemplate['spec'], string]>([
    ['an option for git', { source: { git: { ...git, revision: '${X}' } } }, '--upload-pack=x'],
    ['a password in a URL', { source: { git: { url: '${X}' } } }, 'https://me:secret@h/a.git'],
    ['a helper of git that runs a command', { source: { git: { url: '${X}' } } }, 'ext::sh -c x'],
    ['another line of a Dockerfile', { source: { image: { name: '${X}' } } }, 'a\nRUN x'],
    ['another field of an option', { secrets: [{ id: 'a', secretName: 's', key: '${X}' }] }, 'x,src=/etc/passwd'],
    ['the directory of a Secret', { secrets: [{ id: 'a', secretName: '${X}', key: 'k' }] }, '../../work'],
    ['the whole claim', { workspace: { claimName: 'c', directory: '${X}' } }, '.'],
    ['the whole claim by nothing', { workspace: { claimName: 'c', directory: '${X}' } }, ''],
    ['a directory above', { workspace: { claimName: 'c', directory: 'a/${X}' } }, '..'],
    ['a platform that is none', { platforms: ['${X}'] }, 'linux/amd64,linux/arm64'],
    ['a label that is too long', { output: { names: ['a'], labels: { a: '${X}${X}' } } }, 'x'.repeat(4000)],
    [
      'another field of a scanner',
      { output: { names: ['a'], attestations: { sbom: { generator: '${X}' } } } },
      'scan,BUILDKIT=x',
    ],
    ['a cache that is none', { cache: { to: ['${X}'] } }, 'other\ntype=local'],
  ])('cannot be %s', (_, spec, value) => {
    expect(() => recipe(spec, value)).toThrow(expect.objectContaining({ code: 'INVALID_SPEC' }))
  })

  it('that are what the schema wants are taken', () => {
    const spec = { args: [{ name: 'A', value: '${X}' }], output: { names: ['a/b:${X}'] } }
    expect(recipe(spec, 'v1')).toMatchObject({ args: [{ value: 'v1' }], output: { names: ['a/b:v1'] } })
    expect(recipe({ args: [{ name: 'A', value: '${X}' }] }, '--x\ny,z')).toMatchObject({
      args: [{ value: '--x\ny,z' }],
    })
    const labeled = { noCache: true, output: { names: ['a'], labels: { team: '${X}' } } }
    expect(recipe(labeled, 'b=c')).toMatchObject({ noCache: true, output: { labels: { team: 'b=c' } } })
  })
})
