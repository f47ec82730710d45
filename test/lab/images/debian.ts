import { existsSync } from 'node:fs'
import { chmod, copyFile, cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InsituError } from '../../../src/kernel/errors.ts'
import { run } from '../../../src/kernel/process/run.ts'
import { cacheDir, checkout, toolsBin } from '../layout.ts'
import { defaultPath, folder, type Recipe } from './base.ts'
import { makeFolder } from './oci.ts'

const release = 'bookworm'
const machineCertificates = '/etc/ssl/certs/ca-certificates.crt'
const rootfs = join(cacheDir, 'debian', release)

/** A small Debian made with debootstrap from the mirror that this machine's apt is configured for. */
export const debian: Recipe = {
  repository: 'library/debian',
  tags: ['bookworm-slim'],
  // The packages' versions are not part of it: a cached Debian stays until `.lab` is deleted.
  inputs: () => Promise.resolve({ files: [], texts: [release, '1'] }),
  layers: async () => [{ folder: await ensureDebian(), createdBy: `debootstrap --variant=minbase ${release}` }],
  config: { Cmd: ['bash'], Env: [`PATH=${defaultPath}`] },
}

/** That Debian with the Node of this checkout and npm, laid out as the image of the Node project is. */
export const node: Recipe = {
  repository: 'library/node',
  tags: ['24-bookworm-slim'],
  inputs: async () => ({
    files: [join(checkout, 'node_modules/node/package.json')],
    texts: [release, '2', await npmSettings()],
  }),
  layers: async (scratch) => [
    { folder: await ensureDebian(), createdBy: `debootstrap --variant=minbase ${release}` },
    { folder: await nodeLayer(join(scratch, 'node')), createdBy: 'add node and npm' },
  ],
  config: { Entrypoint: ['docker-entrypoint.sh'], Cmd: ['node'], Env: [`PATH=${defaultPath}`] },
}

const qemu = ['aarch64', 'arm', 'i386', 'ppc64le', 'riscv64', 's390x', 'x86_64'] as const

/** The programs of upstream's image under upstream's paths; see `binaries-linux` in BuildKit's Dockerfile. */
export const buildkit: Recipe = {
  repository: 'moby/buildkit',
  tags: ['v0.33.1'],
  inputs: () => Promise.resolve({ files: Object.values(buildkitFiles()), texts: ['1'] }),
  layers: async (scratch) => {
    const emulators = Object.fromEntries(Object.entries(buildkitFiles()).filter(([to]) => to.includes('qemu')))
    const programs = Object.fromEntries(Object.entries(buildkitFiles()).filter(([to]) => !to.includes('qemu')))
    return [
      await folder(scratch, 'base', { 'bin/busybox': '/usr/bin/busybox' }),
      await folder(scratch, 'emulators', emulators),
      await folder(scratch, 'programs', programs),
    ]
  },
  config: { Entrypoint: ['buildkitd'], Env: [`PATH=${defaultPath}`] },
}

function buildkitFiles(): Record<string, string> {
  const own = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
  const files = {
    'usr/bin/buildkitd': join(toolsBin, 'buildkitd'),
    'usr/bin/buildctl': join(toolsBin, 'buildctl'),
    'usr/bin/buildkit-runc': join(toolsBin, 'runc'),
    ...Object.fromEntries(
      ['bridge', 'loopback', 'host-local', 'firewall'].map((name) => [
        `usr/bin/buildkit-cni-${name}`,
        `/usr/lib/cni/${name}`,
      ]),
    ),
    ...Object.fromEntries(
      qemu
        .filter((arch) => arch !== own)
        .map((arch) => [`usr/bin/buildkit-qemu-${arch}`, `/usr/bin/qemu-${arch}-static`]),
    ),
  }
  const missing = Object.values(files).filter((file) => !existsSync(file))
  if (missing.length > 0) {
    throw new InsituError('LAB_PACKAGES', `missing for the buildkit image: ${missing.join(', ')}`, {
      fix: 'run: tools/build.sh buildkit runc && apt-get install -y qemu-user-static containernetworking-plugins',
    })
  }
  return files
}

let making: Promise<string> | undefined

/** Two images are made of it, at once. */
const ensureDebian = (): Promise<string> => (making ??= makeDebian())

async function makeDebian(): Promise<string> {
  if (existsSync(rootfs)) return rootfs
  await makeFolder(rootfs, async (root) => {
    const targets = await aptTargets()
    const main = targets.find((t) => t.release === release) ?? targets[0]
    if (!main) {
      throw new InsituError('LAB_APT', "this machine's apt knows no Debian mirror", {
        fix: 'add one to /etc/apt/sources.list',
      })
    }
    await run('debootstrap', ['--variant=minbase', release, root, main.site], { timeout: 600_000 })
    const sources = targets.filter((t) => t.release.startsWith(release))
    const lines = (sources.length > 0 ? sources : [{ ...main, release }]).map(
      (t) => `deb ${t.site} ${t.release} main\n`,
    )
    await writeFile(join(root, 'etc/apt/sources.list'), [...new Set(lines)].join(''))
    // A proxy or a relaxed check that this machine's apt needs, an apt inside a build needs too.
    const { stdout } = await run('apt-config', ['dump'])
    const settings = stdout
      .split('\n')
      .filter((l) => /^Acquire::.*(Proxy|Check-Date|Check-Valid-Until)\b.* "[^"]+";/.test(l))
    await writeFile(join(root, 'etc/apt/apt.conf.d/90machine'), settings.map((l) => `${l}\n`).join(''))
    for (const path of [
      'usr/share/doc',
      'usr/share/man',
      'usr/share/info',
      'var/cache/apt',
      'var/lib/apt/lists',
      'var/log',
    ]) {
      for (const entry of await readdir(join(root, path)).catch(() => [])) {
        await rm(join(root, path, entry), { recursive: true, force: true })
      }
    }
    await mkdir(join(root, 'var/cache/apt/archives/partial'), { recursive: true })
    await mkdir(join(root, 'var/lib/apt/lists/partial'), { recursive: true })
    for (const file of ['etc/hostname', 'etc/resolv.conf']) await rm(join(root, file), { force: true })
  })
  return rootfs
}

/** What apt-get would download package lists from. */
async function aptTargets(): Promise<{ site: string; release: string }[]> {
  const { stdout } = await run('apt-get', ['indextargets', '--format', '$(SITE) $(RELEASE)', 'Created-By: Packages'])
  return stdout.split('\n').flatMap((line) => {
    const [site, name] = line.split(' ')
    return site && name ? [{ site, release: name }] : []
  })
}

async function nodeLayer(root: string): Promise<string> {
  for (const dir of ['usr/local/bin', 'usr/local/lib/node_modules', 'usr/local/etc', 'etc', 'home/node']) {
    await mkdir(join(root, dir), { recursive: true })
  }
  await copyFile(join(checkout, 'node_modules/node/bin/node'), join(root, 'usr/local/bin/node'))
  await chmod(join(root, 'usr/local/bin/node'), 0o755)

  const packed = join(root, 'npm-package')
  await mkdir(packed)
  // Node 24 carries npm 11; taken from the registry because the machine's own npm may be cut into system packages.
  await run('npm', ['pack', 'npm@11', '--silent', '--pack-destination', packed], { timeout: 180_000, cwd: packed })
  const [tarball = ''] = await readdir(packed)
  await run('tar', ['-C', packed, '-xzf', join(packed, tarball)])
  await cp(join(packed, 'package'), join(root, 'usr/local/lib/node_modules/npm'), { recursive: true })
  await rm(packed, { recursive: true })
  for (const name of ['npm', 'npx']) {
    await symlink(`../lib/node_modules/npm/bin/${name}-cli.js`, join(root, 'usr/local/bin', name))
    await chmod(join(root, `usr/local/lib/node_modules/npm/bin/${name}-cli.js`), 0o755)
  }
  await writeFile(join(root, 'usr/local/etc/npmrc'), await npmSettings(), { mode: 0o644 })
  if (existsSync(machineCertificates)) await copyFile(machineCertificates, join(root, 'usr/local/etc/ca.pem'))

  const entry = join(root, 'usr/local/bin/docker-entrypoint.sh')
  await writeFile(entry, '#!/bin/sh\ncase "$1" in -*) set -- node "$@" ;; esac\nexec "$@"\n')
  await chmod(entry, 0o755)
  for (const [file, line] of [
    ['passwd', `node:x:1000:1000::/home/node:/bin/bash\n`],
    ['group', `node:x:1000:\n`],
  ] as const) {
    await writeFile(join(root, 'etc', file), (await readFile(join(rootfs, 'etc', file), 'utf8')) + line)
  }
  return root
}

/** How npm inside a build reaches the registry that npm on this machine uses. No credentials. */
async function npmSettings(): Promise<string> {
  // A machine behind an inspecting proxy trusts an authority that Node's own list does not have.
  const cafile = existsSync(machineCertificates) ? 'cafile=/usr/local/etc/ca.pem\n' : ''
  const { stdout } = await run('npm', ['config', 'get', 'registry', '--silent'])
  return `registry=${stdout}\n${cafile}update-notifier=false\n`
}
