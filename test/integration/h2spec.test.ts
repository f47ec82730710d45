import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAuthority, issueLeaf } from '../../src/kernel/tls/ca.ts'
import { createKeyPair } from '../../src/kernel/tls/key.ts'
import type { TlsSource } from '../../src/kernel/tls/material.ts'
import { startClient } from './fixtures/clients.ts'
import { createWorkspace, type Workspace } from './fixtures/context.ts'
import { startGateway, type TestGateway } from './fixtures/gateway.ts'
import { tool } from './fixtures/paths.ts'
import { until } from './fixtures/until.ts'

let work: Workspace
let gateway: TestGateway

beforeAll(async () => {
  work = await createWorkspace()
  gateway = await startGateway({ nodes: { none: { socket: '/nowhere.sock' } }, tls: await certificate() })
})

afterAll(async () => {
  await gateway?.close()
  await work?.remove()
})

async function certificate(): Promise<TlsSource> {
  const authority = await createAuthority()
  const { privateKey, publicKey } = await createKeyPair()
  const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'], uris: [] }
  const { cert } = await issueLeaf({ authority, publicKey, commonName: 'test', now: new Date(), ...names })
  return { current: () => ({ cert, key: privateKey, ca: authority.cert }), onChange: () => () => undefined }
}

/** The cases of h2spec, and which of them failed. */
async function h2spec(port: number, ...extra: string[]): Promise<{ all: number; failed: string[] }> {
  const report = join(await work.directory(), 'report.xml')
  const args = ['-h', '127.0.0.1', '-p', String(port), '--timeout', '1', '--junit-report', report, ...extra]
  await startClient('h2spec', args).ended
  const cases = (await readFile(report, 'utf8')).split('<testcase ').slice(1)
  const failed = cases.filter((text) => /<(failure|error)/.test(text))
  return {
    all: cases.length,
    failed: failed.map((text) => /package="([^"]*)" classname="([^"]*)"/.exec(text)?.[0] ?? text),
  }
}

test('h2spec finds nothing in our listener that it does not find in Go’s own server, in plaintext and over TLS', async () => {
  const reference = spawn(tool('reference'), { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    let output = ''
    reference.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    const port = Number(await until('the reference to listen', () => /"port":(\d+)/.exec(output)?.[1]))
    const go = await h2spec(port)
    const plain = await h2spec(gateway.port)
    const secure = await h2spec(gateway.port, '-t', '-k')
    expect(go.all).toBeGreaterThan(140)
    expect(plain.all).toBe(go.all)
    expect(plain.failed.filter((name) => !go.failed.includes(name))).toEqual([])
    expect(secure.all).toBe(go.all)
    expect(secure.failed.filter((name) => !go.failed.includes(name))).toEqual([])
  } finally {
    reference.kill('SIGKILL')
  }
})
