import { expect, it } from 'vitest'
import { imagesNamedIn } from './dockerfile.ts'

const named = (text: string, args: Readonly<Record<string, string>> = {}): string[] =>
  imagesNamedIn(text, new Map(Object.entries(args))).map(({ name, digest }) => (digest ? `${name}@${digest}` : name))

it.each([
  ['a plain one', 'FROM debian:12\nRUN x', ['docker.io/library/debian:12']],
  [
    'options and a stage',
    'from --platform=$BUILDPLATFORM r.io/a AS base\nFROM base\nFROM Base AS x',
    ['r.io/a:latest'],
  ],
  ['scratch', 'FROM scratch\nCOPY a b', []],
  ['a digest', `FROM a:1@sha256:${'0'.repeat(64)}`, [`docker.io/library/a:1@sha256:${'0'.repeat(64)}`]],
  ['a variable', 'ARG V=12\nFROM debian:${V}', ['docker.io/library/debian:12']],
  ['a fallback', 'FROM debian:${V:-11}', ['docker.io/library/debian:11']],
  ['an unknown variable', 'ARG V\nFROM debian:$V', []],
  ['quotes', 'ARG V="12"\nFROM "debian:$V"', ['docker.io/library/debian:12']],
  [
    'COPY --from',
    'FROM scratch AS a\nCOPY --from=a x y\nCOPY --link --from=r.io/b:2 x y\nCOPY --from=0 x y',
    ['r.io/b:2'],
  ],
  ['RUN --mount', 'FROM scratch\nRUN --mount=type=bind,from=r.io/c:3,target=/c true', ['r.io/c:3']],
  ['what only looks so', 'FROM scratch\n# FROM a\nRUN echo --from=b', []],
  ['a line that goes on', 'FROM \\\n# between\n  debian:12', ['docker.io/library/debian:12']],
  ['ARG of a stage', 'FROM scratch\nARG V=1\nFROM a:${V}', []],
])('%s', (_, text, expected) => expect(named(text)).toEqual(expected))

it('takes build arguments', () => {
  expect(named('ARG V=12\nFROM debian:$V', { V: '13' })).toEqual(['docker.io/library/debian:13'])
})
