import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { labels } from '../../src/api/names.ts'
import { pushRegistry } from '../lab/layout.ts'
import { waitFor } from '../lab/wait.ts'
import { ensureInstalled, type Installed, repository } from './fixtures/insitu.ts'

const id = randomBytes(3).toString('hex')
let insitu: Installed

beforeAll(async () => {
  insitu = await ensureInstalled()
})

describe('the lab deployment: a Service on 1234, a ConfigMap, a Secret and a pod with buildctl', () => {
  const home = `flow-${id}`
  const files = (name: string): string => join(repository, 'config/examples/lab-deployment', name)
  const kubectl = (...args: string[]): Promise<string> => insitu.kubectl(['-n', home, ...args])
  const inPod = (script: string): Promise<string> => kubectl('exec', 'buildkit-cli', '--', 'sh', '-ec', script)

  beforeAll(async () => {
    await insitu.kubectl(['create', 'ns', home])
    await insitu.kubectl(['label', 'ns', home, `${labels.plaintext}=allow`])
    await kubectl(
      ...['create', 'configmap', 'build-config', `--from-literal=REGISTRY=${pushRegistry}`],
      `--from-literal=REPOSITORY=lab-${id}`,
    )
    await kubectl(
      ...['create', 'secret', 'docker-registry', 'registry-creds', `--docker-server=${pushRegistry}`],
      ...['--docker-username=somebody', '--docker-password=secret'],
    )
    await kubectl('apply', '-f', files('buildkitd.yaml'), '-f', files('buildkit-cli.yaml'))
    await kubectl('wait', '--for=condition=Ready', 'pod/buildkit-cli', '--timeout=90s')
  })
  afterAll(async () => {
    await insitu?.kubectl(['delete', 'ns', home, '--wait=false', '--ignore-not-found'])
  })

  it('builds and pushes each version with the same command, and pods run them', async () => {
    expect(await inPod('cat $DOCKER_CONFIG/config.json')).toContain(pushRegistry)
    for (const version of ['0.1.0', '0.2.0']) {
      await inPod(`mkdir -p /tmp/app && cd /tmp/app
        printf 'FROM busybox\\nLABEL of=${id}-${version}\\nCMD ["echo", "this is ${version}"]\\n' > Dockerfile
        export VERSION=${version}
        buildctl --addr tcp://buildkitd:1234 build --frontend=dockerfile.v0 --local context=. --local dockerfile=. \\
          --output type=image,name=$REGISTRY/$REPOSITORY/simple:$VERSION,push=true`)
      const pod = `v${version.replaceAll('.', '-')}`
      await kubectl('run', pod, `--image=${pushRegistry}/lab-${id}/simple:${version}`, '--restart=Never')
      const log = await waitFor(
        pod,
        async () => {
          const phase = await kubectl('get', 'pod', pod, '-o', 'jsonpath={.status.phase}')
          return phase === 'Succeeded' ? await kubectl('logs', pod) : undefined
        },
        { timeout: 90_000, interval: 500 },
      )
      expect(log).toContain(`this is ${version}`)
    }
    const tags = (await (await fetch(`http://${pushRegistry}/v2/lab-${id}/simple/tags/list`)).json()) as {
      tags: string[]
    }
    expect(tags.tags.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(['0.1.0', '0.2.0'])
  })

  it('is cleaned up by its label', async () => {
    await kubectl('delete', 'deploy,svc,pod', '-l', 'kubernetes.courselabs.co=buildkit', '--timeout=60s')
    expect(await kubectl('get', 'svc,pod', '-l', 'kubernetes.courselabs.co=buildkit', '-o', 'name')).toBe('')
  })
})
