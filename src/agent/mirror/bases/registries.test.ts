import { expect, test } from 'vitest'
import { parseToml } from '../../../kernel/config/toml.ts'
import { basesHosts, withBases } from './registries.ts'

const mirror = '127.0.0.1:4444'
const registries = (toml: string, hosts: readonly string[]): unknown =>
  parseToml(withBases(toml, hosts, mirror).toml, 'test')['registry']

test('registries are those of the configuration and of images that are there, each once', () => {
  const names = ['b.example:5000/team/app:1', 'docker.io/library/app:1', 'a.example/x/y:2', 'a.example/x/z:2']
  expect(basesHosts(['docker.io'], names)).toEqual(['docker.io', 'a.example', 'b.example:5000'])
})

test('each registry gets the mirror, and the rest of the file stays', () => {
  const { toml, left } = withBases('debug = true\n', ['docker.io', 'registry.example:5000'], mirror)
  expect(parseToml(toml, 'test')).toEqual({
    debug: true,
    registry: { 'docker.io': { mirrors: [mirror] }, 'registry.example:5000': { mirrors: [mirror] } },
  })
  expect(left).toEqual([])
})

test('what the user wrote about a registry stays, and the mirror comes before the user’s', () => {
  const user = '[registry."docker.io"]\nhttp = true\nmirrors = ["cache.example/hub"]\n[registry."other"]\nhttp = true\n'
  expect(registries(user, ['docker.io'])).toEqual({
    'docker.io': { http: true, mirrors: [mirror, 'cache.example/hub'] },
    other: { http: true },
  })
})

test.each([
  ['authorities', 'ca = ["/etc/ca.pem"]'],
  ['a certificate', 'keypair = [{ key = "/k", cert = "/c" }]'],
  ['a directory of certificates', 'tlsconfigdir = ["/etc/certs"]'],
  ['no check of certificates', 'insecure = true'],
])('a registry with %s of its own is left alone, also when it is a mirror’s', (_, line) => {
  const own = `[registry."harbor.example"]\n${line}\n`
  const behind = `${own}[registry."docker.io"]\nmirrors = ["harbor.example/hub"]\n`
  expect(withBases(own, ['harbor.example'], mirror)).toEqual({ toml: own, left: ['harbor.example'] })
  expect(withBases(behind, ['docker.io'], mirror)).toEqual({ toml: behind, left: ['docker.io'] })
})

test('lists that are empty say nothing', () => {
  expect(registries('[registry."a.example"]\nca = []\ninsecure = false\n', ['a.example'])).toMatchObject({
    'a.example': { mirrors: [mirror] },
  })
})
