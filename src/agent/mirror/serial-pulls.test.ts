import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { kubeletSettings } from '../host/kubelet.ts'
import { pullsAreSerial } from './serial-pulls.ts'

/** A /proc with a kubelet of this command line, whose root has these files. */
async function procWith(args: readonly string[], files: Readonly<Record<string, string>> = {}): Promise<string> {
  const proc = await mkdtemp(join(tmpdir(), 'insitu-proc-'))
  onTestFinished(() => rm(proc, { recursive: true }))
  await mkdir(join(proc, '1/ns'), { recursive: true })
  await writeFile(join(proc, '1/cmdline'), '/sbin/init\0')
  await mkdir(join(proc, '42/root/etc/kubelet.d'), { recursive: true })
  await mkdir(join(proc, '42/ns'))
  for (const pid of ['1', '42']) await symlink('pid:[1]', join(proc, pid, 'ns/pid'))
  await writeFile(join(proc, '42/cmdline'), ['/usr/bin/kubelet', ...args, ''].join('\0'))
  for (const [path, text] of Object.entries(files)) await writeFile(join(proc, '42/root', path), text)
  return proc
}

it.each<[string, string[], string, string, boolean]>([
  ['by default', [], '', '', true],
  ['not when the file says so', [], 'serializeImagePulls: false', '', false],
  ['when it says nothing of it', [], 'maxPods: 20', '', true],
  ['not with several in parallel, which changes the default', [], 'maxParallelImagePulls: 5', '', false],
  ['with one in parallel', [], '{serializeImagePulls: false, maxParallelImagePulls: 1}', '', true],
  ['when a drop-in has the last word', [], 'serializeImagePulls: false', 'serializeImagePulls: true', true],
  ['when a drop-in takes away what the file said', [], 'serializeImagePulls: false', 'serializeImagePulls: null', true],
  ['not when the flag overrides the file', ['--serialize-image-pulls=false'], 'serializeImagePulls: true', '', false],
  ['when the flag has no value', ['--serialize-image-pulls', '--v=2'], 'serializeImagePulls: false', '', true],
  ['when the file is no YAML', [], '{', '', true],
])('a kubelet pulls one image at a time %s', async (_, flags, file, dropIn, serial) => {
  const args = ['--config=/etc/kubelet.yaml', '--config-dir', '/etc/kubelet.d', ...flags]
  const files = { 'etc/kubelet.yaml': file, 'etc/kubelet.d/10-pulls.conf': dropIn }
  expect(pullsAreSerial(await kubeletSettings(await procWith(args, files)))).toBe(serial)
})

it('a kubelet without a file pulls one image at a time', async () => {
  expect(pullsAreSerial(await kubeletSettings(await procWith(['--v=2'])))).toBe(true)
})

it('the kubelet within k3s or microk8s, which has no process, pulls several', async () => {
  const proc = await mkdtemp(join(tmpdir(), 'insitu-proc-'))
  onTestFinished(() => rm(proc, { recursive: true }))
  const none = await kubeletSettings(proc)
  expect(none).toBeUndefined()
  expect(pullsAreSerial(none)).toBe(false)
})
