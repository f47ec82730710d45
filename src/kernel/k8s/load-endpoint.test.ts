import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { loadEndpoint } from './load-endpoint.ts'

let directory: string
/** What a pod with a mounted token has. */
let mounted: string
let env: Readonly<Record<string, string>>
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'insitu-endpoint-'))
  mounted = join(directory, 'serviceaccount')
  await mkdir(mounted)
  await writeFile(join(mounted, 'token'), 'of-the-pod')
  await writeFile(join(mounted, 'ca.crt'), 'ca')
  env = { HOME: directory, KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' }
})
afterEach(() => rm(directory, { recursive: true }))

async function kubeconfig(path: string, name: string): Promise<string> {
  const config = {
    'current-context': name,
    clusters: [{ name, cluster: { server: `https://${name}:6443` } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    users: [{ name, user: { token: `of-${name}` } }],
  }
  await mkdir(join(path, '..'), { recursive: true })
  await writeFile(path, JSON.stringify(config))
  return path
}
const home = (): Promise<string> => kubeconfig(join(directory, '.kube', 'config'), 'home')

it('takes the kubeconfig of the home directory before the account of its pod, as kubectl', async () => {
  await home()
  const endpoint = await loadEndpoint({ env }, mounted)
  expect(endpoint.server).toBe('https://home:6443')
  expect(await endpoint.credentials()).toMatchObject({ headers: { Authorization: 'Bearer of-home' } })
})

it('takes the account of its pod where there is no kubeconfig', async () => {
  const endpoint = await loadEndpoint({ env }, mounted)
  expect(endpoint.server).toBe('https://10.96.0.1:443')
  expect(await endpoint.credentials()).toMatchObject({ headers: { authorization: 'Bearer of-the-pod' } })
  expect((await loadEndpoint({ env: { ...env, HOME: '/nonexistent' } }, mounted)).server).toBe('https://10.96.0.1:443')
})

it('takes what is said before the home directory, and the first of several files that says something', async () => {
  await home()
  const [one, two] = await Promise.all(['one', 'two'].map((name) => kubeconfig(join(directory, `${name}.json`), name)))
  const KUBECONFIG = `${one}:${two}`
  expect((await loadEndpoint({ env: { ...env, KUBECONFIG: two! } }, mounted)).server).toBe('https://two:6443')
  expect((await loadEndpoint({ env: { ...env, KUBECONFIG } }, mounted)).server).toBe('https://one:6443')
  expect((await loadEndpoint({ env: { ...env, KUBECONFIG }, context: 'two' }, mounted)).server).toBe('https://two:6443')
  expect((await loadEndpoint({ env: { ...env, KUBECONFIG: two! }, kubeconfig: one }, mounted)).server).toBe(
    'https://one:6443',
  )
})

it('does not take the account of its pod for a context of a kubeconfig that is not there', async () => {
  await expect(loadEndpoint({ env, context: 'other' }, mounted)).rejects.toMatchObject({ code: 'KUBECONFIG_BROKEN' })
})

it.each(['nonsense', 'ftp://far:6443', 'far:6443'])('names the file whose server is %s', async (server) => {
  const file = await kubeconfig(join(directory, 'bad.json'), 'bad')
  await writeFile(file, (await readFile(file, 'utf8')).replace('https://bad:6443', server))
  await expect(loadEndpoint({ env, kubeconfig: file }, mounted)).rejects.toMatchObject({
    code: 'KUBECONFIG_BROKEN',
    message: `the kubeconfig ${file} says where cluster "bad" is with "${server}", which is no URL of an API server`,
    fix: 'write server: https://HOST:PORT',
  })
})
