#!/usr/bin/env node
// Publishes a model as an image, as a service in a cluster does: puts its files on the shared workspace, has a pod build
// and push them, looks every 30 seconds how far it is, gives up after 30 minutes, and leaves nothing behind.
//
//   node publish.mjs --image registry.example.com/models/churn:7 DIRECTORY
//
// DIRECTORY holds the Dockerfile and the model. Exit codes: 0 published, 1 failed, 2 it took too long.
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    image: { type: 'string', default: '' },
    every: { type: 'string', default: '30' },
    limit: { type: 'string', default: '1800' },
    as: { type: 'string', default: process.env.PUBLISH_AS ?? 'Build' },
  },
})
const [directory] = positionals
const [every, limit] = [Number(values.every), Number(values.limit)]
// What stands in the name becomes part of a manifest and of an option: nothing but a name may.
if (!directory || !/^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/.test(values.image) || !(every > 0) || !(limit > 0)) {
  throw new Error('usage: publish.mjs --image NAME [--every SECONDS] [--limit SECONDS] [--as Job|Build] DIRECTORY')
}
const workspace = process.env.WORKSPACE ?? '/models/buildkit'
const claim = 'model-publish-buildkit'
const config = 'model-publish-buildkit-job-config'
const builder = 'model-publish-buildkit'
const credentials = '/etc/model-publish/docker/config.json'

const account = '/var/run/secrets/kubernetes.io/serviceaccount'
const namespace = readFileSync(`${account}/namespace`, 'utf8').trim()
const core = `/api/v1/namespaces/${namespace}`

/** Asks the API server. Answers undefined for what is not there; an object, or the text of a log. */
async function api(method, path, body, type = 'application/json') {
  const [status, text] = await new Promise((resolve, reject) => {
    const asked = request(
      {
        ...{ host: process.env.KUBERNETES_SERVICE_HOST, port: process.env.KUBERNETES_SERVICE_PORT, method, path },
        ca: readFileSync(`${account}/ca.crt`),
        headers: { authorization: `Bearer ${readFileSync(`${account}/token`, 'utf8')}`, 'content-type': type },
      },
      (answer) => {
        let received = ''
        answer.setEncoding('utf8').on('data', (part) => (received += part))
        answer.on('end', () => resolve([answer.statusCode, received])).on('error', reject)
      },
    )
    asked.on('error', reject).end(body)
  })
  if (status === 404) return undefined
  if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`)
  return path.includes('/log?') ? text : JSON.parse(text)
}

/** A Job from the pod template in the ConfigMap, with certificates that are good for the next hour. */
const job = {
  path: `/apis/batch/v1/namespaces/${namespace}/jobs`,
  async make(name) {
    const certs = mkdtempSync(join(tmpdir(), 'certs-'))
    execFileSync('insitu', ['connect', '--service-account', `${namespace}/${builder}`, '--directory', certs])
    const read = (file) => [file, readFileSync(join(certs, file)).toString('base64')]
    const data = Object.fromEntries(['ca.pem', 'cert.pem', 'key.pem'].map(read))
    rmSync(certs, { recursive: true })
    const merge = 'application/merge-patch+json'
    await api('PATCH', `${core}/secrets/buildkit-client-certs`, JSON.stringify({ data }), merge)
    const template = (await api('GET', `${core}/configmaps/${config}`)).data['podtemplate.yaml']
    const pod = template.replaceAll('${PUBLISH}', name).replaceAll('${IMAGE}', values.image)
    const spec = `backoffLimit: 0\nactiveDeadlineSeconds: ${limit}\nttlSecondsAfterFinished: 3600\ntemplate:\n${indent(pod)}`
    return `apiVersion: batch/v1\nkind: Job\nmetadata: {name: ${name}}\nspec:\n${indent(spec)}`
  },
  async result(name, { status = {} }) {
    const end = status.conditions?.find((c) => c.status === 'True' && /^(Complete|Failed)$/.test(c.type))
    if (!end) return undefined
    if (end.type === 'Complete') return { code: 0, said: 'published' }
    if (end.reason === 'DeadlineExceeded') return { code: 2, said: end.message }
    const pods = await api('GET', `${core}/pods?labelSelector=job-name%3D${name}`)
    const [pod] = pods.items
    const log = pod && (await api('GET', `${core}/pods/${pod.metadata.name}/log?tailLines=20`))
    return { code: 1, said: `${end.message}\n${log ?? ''}` }
  },
}

/** A Build, for which insitu makes the Job from the same ConfigMap. */
const build = {
  path: `/apis/insitu.build/v1alpha1/namespaces/${namespace}/builds`,
  make: (name) =>
    JSON.stringify({
      ...{ apiVersion: 'insitu.build/v1alpha1', kind: 'Build', metadata: { name } },
      spec: {
        source: { workspace: {} },
        workspace: { claimName: claim, directory: name },
        podTemplateFrom: { configMap: config },
        serviceAccountName: builder,
        output: { names: [values.image], push: true },
        timeout: `${limit}s`,
        cleanUp: { pod: '0s', workspace: 'Always', build: '1h' },
      },
    }),
  async result(_, { status = {} }) {
    const end = status.conditions?.find((c) => c.type === 'Succeeded' && c.status !== 'Unknown')
    if (!end) return undefined
    if (end.status === 'True') return { code: 0, said: `published ${status.digest}` }
    return { code: end.reason === 'Timeout' ? 2 : 1, said: status.message }
  },
}

async function look() {
  const object = await api('GET', `${kind.path}/${name}`)
  return object ? kind.result(name, object) : { code: 1, said: 'somebody deleted it' }
}

const indent = (text) => text.replace(/^(?=.)/gm, '  ')

const kind = values.as === 'Job' ? job : build
const letters = 'abcdefghijklmnopqrstuvwxyz0123456789'
const name = `publish-${Array.from(randomBytes(8), (byte) => letters[byte % letters.length]).join('')}`
const say = (text) => process.stdout.write(`${name}: ${text}\n`)
const [context, docker] = [join(workspace, name), join(workspace, `${name}-docker`)]
try {
  cpSync(directory, context, { recursive: true })
  mkdirSync(docker, { mode: 0o700 })
  if (existsSync(credentials)) cpSync(credentials, join(docker, 'config.json'), { dereference: true })
  await api('POST', kind.path, await kind.make(name), kind === job ? 'application/yaml' : undefined)
  say(`${values.as} made`)
  const started = Date.now()
  let result
  while (!result) {
    await sleep(every * 1000)
    // An API server that does not answer for a moment ends no publish.
    result = await look().catch((error) => void say(`not seen: ${error.message}`))
    if (!result && Date.now() - started > limit * 1000) result = { code: 2, said: `not ended after ${limit} s` }
    if (!result) say(`not ended after ${Math.round((Date.now() - started) / 1000)} s`)
  }
  say(result.said)
  process.exitCode = result.code
} finally {
  // First the pod, then what it has mounted.
  await api('DELETE', `${kind.path}/${name}?propagationPolicy=Foreground`)
  while (await api('GET', `${kind.path}/${name}`)) await sleep(500)
  for (const path of [context, docker]) rmSync(path, { recursive: true, force: true })
}
