import type { Finding } from '../../api/node-report.ts'

/** What the kernel told this process when it started it. */
export const auxiliaryVector = '/proc/self/auxv'

/** Size of a page of memory in bytes, from an auxiliary vector: pairs of words as wide as the machine's, getauxval(3). */
export function pageSize(auxv: Buffer): number | undefined {
  const key = 6n // AT_PAGESZ
  for (let at = 0; at + 16 <= auxv.length; at += 16) {
    if (auxv.readBigUInt64LE(at) === key) return Number(auxv.readBigUInt64LE(at + 8))
  }
  return undefined
}

/** Whether /proc/self/uid_map is the one of the first user namespace: user_namespaces(7). */
export const isFirstUserNamespace = (uidMap: string): boolean => /^\s*0\s+0\s+4294967295\s*$/.test(uidMap)

export const userNamespaceFinding: Finding = {
  code: 'BINFMT_USER_NAMESPACE',
  severity: 'warning',
  message:
    'the agent runs in a user namespace of its own: handlers that it registers there do not hold for RUN steps, which containerd starts',
  fix: 'run the agent without a user namespace (hostUsers), or install emulators on the node: apt-get install qemu-user-static binfmt-support',
}

/** @param error of `openKernel` */
export const missingFinding = (error: { readonly message: string; readonly fix: string | undefined }): Finding => ({
  code: 'BINFMT_MISSING',
  severity: 'warning',
  message: `no other architecture can be emulated: ${error.message}`,
  fix: error.fix,
})

export const disabledFinding: Finding = {
  code: 'BINFMT_DISABLED',
  severity: 'warning',
  message: 'binfmt_misc is switched off on this node: no other architecture can be emulated',
  fix: 'on the node: echo 1 > /proc/sys/fs/binfmt_misc/status',
}

export function pageSizeFinding(size: number | undefined, emulated: readonly string[]): Finding[] {
  if (size === undefined || size === 4096 || emulated.length === 0) return []
  return [
    {
      code: 'BINFMT_PAGE_SIZE',
      severity: 'warning',
      message: `the kernel’s pages are ${size / 1024} KiB: programs that were made for pages of 4 KiB can fail when they are emulated (${emulated.join(', ')})`,
      fix: 'run a kernel with pages of 4 KiB on nodes that emulate, or build these platforms on nodes of their own architecture',
    },
  ]
}

/** @param name the host's handler. @param flags its flags. */
export const hostBrokenFinding = (oci: string, name: string, flags: string, reason: string): Finding => ({
  code: 'EMULATOR_HOST_BROKEN',
  severity: 'warning',
  message: `the host’s handler ${name} does not run programs for ${oci} in containers: ${reason}`,
  fix: flags.includes('F')
    ? `update the host’s emulator, or remove its handler (echo -1 > /proc/sys/fs/binfmt_misc/${name}): then insitu brings its own`
    : `register it with the flag F (Debian: fix_binary yes), or remove it (echo -1 > /proc/sys/fs/binfmt_misc/${name}): then insitu brings its own`,
})

export const ownBrokenFinding = (oci: string, reason: string): Finding => ({
  code: 'EMULATOR_BROKEN',
  severity: 'warning',
  message: `the emulator for ${oci} does not work on this node, so the platform is not offered: ${reason}`,
  fix: 'leave the platform out of agent.emulators.platforms in insitu.toml, or use insitu’s image of a newer version',
})
