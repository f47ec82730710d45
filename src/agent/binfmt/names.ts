import { createHash } from 'node:crypto'

const defaultRoot = '/var/lib/buildkit'

/**
 * How the handlers of one agent are called: `insitu-aarch64@node1`. Handlers are the kernel's, and one kernel can carry
 * several nodes (kind, the lab): each agent has its own, so that none takes away what another one's builds use.
 */
export interface HandlerNames {
  of(qemu: string): string
  isOwn(name: string): boolean
}

export function handlerNames(node: string, root: string): HandlerNames {
  const plain = node.replaceAll(/[^A-Za-z0-9._-]/g, '_')
  // A file's name holds 255 bytes.
  const short = plain.length <= 200 ? plain : `${plain.slice(0, 150)}-${digest(node)}`
  const holder = `@${short}${root === defaultRoot ? '' : `.${digest(root)}`}`
  return { of: (qemu) => `insitu-${qemu}${holder}`, isOwn: (name) => isOurs(name) && name.endsWith(holder) }
}

/** Of this agent or of another one's. */
export const isOurs = (name: string): boolean => /^insitu-[a-z0-9_]+@/.test(name)

const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 8)
