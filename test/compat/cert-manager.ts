import { strict as assert } from 'node:assert'
import { X509Certificate } from 'node:crypto'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { certificatePath } from '../../src/api/certificate.ts'
import { caSecret, configMaps, serviceAccounts, tokenAudience } from '../../src/api/names.ts'
import type { KubernetesObject } from '../../src/kernel/k8s/objects.ts'
import { resources } from '../../src/kernel/k8s/resources.ts'
import { renewingTls } from '../../src/kernel/tls/renewing.ts'
import { requestCertificate } from '../../src/kernel/tls/request.ts'
import { run } from '../../src/kernel/process/run.ts'
import { startClient } from '../integration/fixtures/clients.ts'
import { createWorkspace } from '../integration/fixtures/context.ts'
import { tool } from '../integration/fixtures/paths.ts'
import { until } from '../integration/fixtures/until.ts'
import { startCertifiedGateway } from '../integration/install/certified-gateway.ts'
import { namespace, startInstalled } from '../integration/install/installed.ts'

const repository = join(import.meta.dirname, '../..')
const say = (text: string): void => void process.stderr.write(`  ${text}\n`)

/**
 * insitu with a CA that cert-manager keeps, as docs/connect.md says it: cert-manager's own kinds and controller, our
 * example, a real API server, and then a renewal with a new key, under a gateway, an agent's certificate and clients.
 * @param source a checkout of cert-manager with its controller built at `source/controller`.
 */
export async function certManager(source: string): Promise<void> {
  const work = await createWorkspace()
  let controller: ReturnType<typeof spawn> | undefined
  const installed = await startInstalled(async (server) => {
    const kubectl = (...args: string[]) => run(tool('kubectl'), ['--kubeconfig', server.kubeconfig, ...args])
    await kubectl('create', 'namespace', namespace)
    await kubectl('apply', '--server-side', '-f', join(source, 'deploy/crds'))
    controller = spawn(
      join(source, 'controller'),
      [
        ...['--kubeconfig', server.kubeconfig, '--leader-elect=false', '--namespace', namespace],
        ...['--metrics-listen-address=127.0.0.1:0', '--enable-gateway-api=false'],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    const said: string[] = []
    controller.stderr?.on('data', (chunk) => said.push(String(chunk)))
    await until('the kinds of cert-manager', () =>
      kubectl('apply', '-f', join(repository, 'config/examples/cert-manager.yaml')).then(
        () => true,
        () => false,
      ),
    )
    await until('the Secret of cert-manager', async () => {
      if (controller?.exitCode !== null) throw new Error(`cert-manager ended: ${said.slice(-20).join('')}`)
      const { stdout } = await kubectl('-n', namespace, 'get', 'secret', caSecret, '--ignore-not-found', '-o', 'name')
      return stdout !== ''
    })
  })
  try {
    const { admin, server } = installed
    type Data = KubernetesObject & { readonly data: Readonly<Record<string, string>> }
    const authority = async (): Promise<string> => {
      const { data } = await admin.get<Data>(resources.secrets, { namespace, name: caSecret })
      return Buffer.from(data['tls.crt'] ?? '', 'base64').toString()
    }
    const published = async (): Promise<string> =>
      (await admin.get<Data>(resources.configMaps, { namespace, name: configMaps.ca })).data['ca.crt'] ?? ''
    const issued = (leaf: string, ca: string): boolean => new X509Certificate(leaf).checkIssued(new X509Certificate(ca))

    const first = await authority()
    const door = await startCertifiedGateway(installed, { lookAgain: 1000 })
    await door.accounts('builder')
    try {
      assert.ok(issued(door.identity.tls.current().cert, first))
      say("the gateway signs with cert-manager's CA")

      const pod = await installed.pod('agent-1', serviceAccounts.agent, 'node-1')
      const tokenFile = join(await work.directory(), 'token')
      await writeFile(tokenFile, await pod.token(tokenAudience))
      const { port } = door.gateway
      const serverName = `buildkitd.${namespace}.svc`
      const asked = { host: '127.0.0.1', port, serverName, path: certificatePath, tokenFile, loadCa: published }
      const agent = await renewingTls({
        obtain: (signal) => requestCertificate(asked, signal),
        trust: { load: published, every: 1000 },
      })
      assert.ok(issued(agent.current().cert, first))
      say('an agent has a certificate')

      const connect = async (directory: string, ...more: string[]) => {
        const where = ['--service-account', 'default/builder', '--address', `127.0.0.1:${port}`]
        const args = ['connect', '--kubeconfig', server.kubeconfig, ...where, '--directory', directory, ...more]
        const { exitCode, output } = await startClient(join(repository, 'bin/insitu'), args).ended
        assert.equal(exitCode, 0, output)
        return output
      }
      const [before, after] = [await work.directory(), await work.directory()]
      await connect(before)
      const build = async (directory: string, word: string): Promise<void> => {
        const context = await work.context(`RUN echo ${word}\n`)
        const { exitCode, output } = await startClient('buildctl', [
          ...['--addr', `tcp://127.0.0.1:${port}`, '--tlsservername', serverName, '--tlsdir', directory],
          ...['build', '--progress=plain', '--frontend=dockerfile.v0'],
          ...[`--local=context=${context}`, `--local=dockerfile=${context}`],
        ]).ended
        assert.equal(exitCode, 0, output)
      }
      await build(before, 'before')
      say('a client builds')

      // What `cmctl renew` does.
      const condition = { type: 'Issuing', status: 'True', reason: 'ManuallyTriggered', message: 'test' }
      const conditions = [{ ...condition, lastTransitionTime: new Date().toISOString() }]
      await run(tool('kubectl'), [
        ...['--kubeconfig', server.kubeconfig, '-n', namespace, 'patch', 'certificate', 'insitu-ca'],
        ...['--subresource=status', '--type=merge', '-p', JSON.stringify({ status: { conditions } })],
      ])
      const second = await until('a new CA', async () => {
        const now = await authority()
        return now !== first && now
      })
      assert.notEqual(new X509Certificate(second).fingerprint256, new X509Certificate(first).fingerprint256)
      say('cert-manager has renewed the CA with a new key')
      const trusts = (ca: string): boolean => ca.includes(first.trim()) && ca.includes(second.trim())
      await until('the gateway to trust both', () => trusts(door.identity.tls.current().ca))
      await until('the agent to trust both', () => trusts(agent.current().ca))
      say('gateway and agent trust both, without a restart')
      await build(before, 'with the former certificate')
      await until('the new CA to sign', async () => {
        await connect(after)
        return issued(await readFile(join(after, 'cert.pem'), 'utf8'), second)
      })
      await build(after, 'with a new one')
      say('clients of either CA build')
      agent.close()
    } finally {
      await door.stop()
    }
  } finally {
    if (controller?.exitCode === null) {
      controller.kill('SIGKILL')
      await once(controller, 'close')
    }
    installed.admin.close()
    await installed.server.close()
    await work.remove()
  }
}
