import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { startFront } from '../../../src/agent/front/front.ts'
import { builtContent } from '../../../src/agent/mirror/built-content.ts'
import { contentStore } from '../../../src/agent/mirror/content.ts'
import { peerHandler } from '../../../src/agent/mirror/peer-handler.ts'
import { createUploads } from '../../../src/agent/mirror/uploads.ts'
import { spiffe } from '../../../src/api/certificate.ts'
import type { BuiltImage } from '../../../src/api/images.ts'
import { createLogger } from '../../../src/kernel/log.ts'
import type { TlsMaterial } from '../../../src/kernel/tls/material.ts'

/** An agent that gives one image to others. Answers each line with where it listens and what it has needed so far. */
const { material, image, root } = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')) as {
  readonly material: TlsMaterial
  readonly image: BuiltImage
  readonly root: string
}
const store = contentStore(root)
const records = { find: () => image, list: () => [image], revision: () => 1 }
const handler = peerHandler({ records, built: builtContent(records, store), store, uploads: createUploads() })
const front = await startFront({
  ...{ host: '127.0.0.1', port: 0, tls: { current: () => material, onChange: () => () => {} } },
  ...{ client: spiffe('buildkit-system', 'insitu-gateway'), peer: spiffe('buildkit-system', 'insitu-agent') },
  ...{ socket: '/nowhere', handlers: () => [handler], log: createLogger({ level: 'silent' }) },
})
for await (const _ of createInterface({ input: process.stdin })) {
  const { user, system } = process.cpuUsage()
  process.stdout.write(`${JSON.stringify({ port: front.port, processor: (user + system) / 1000 })}\n`)
}
await front.close()
