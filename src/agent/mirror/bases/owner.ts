import { readdir, readFile, readlink } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { endianness } from 'node:os'

/**
 * Whether the other end of a connection on 127.0.0.1 is held by a process, as the kernel says: its table of connections
 * names the inode of that end (proc_net_tcp), and the process has it among its open files. Needs the right to look into
 * that process, and its network to be ours.
 */
export async function heldBy(pid: number, { remoteAddress, remotePort, localPort }: Socket): Promise<boolean> {
  if (remoteAddress !== '127.0.0.1' || remotePort === undefined || localPort === undefined) return false
  const table = await readFile('/proc/self/net/tcp', 'utf8').catch(() => '')
  const inode = inodeOf(table, remotePort, localPort)
  if (inode === undefined) return false
  const directory = `/proc/${pid}/fd`
  for (const file of await readdir(directory).catch(() => [])) {
    if ((await readlink(`${directory}/${file}`).catch(() => '')) === `socket:[${inode}]`) return true
  }
  return false
}

const established = '01'

/** @param table what /proc/net/tcp says. @returns the inode of the end at `from` of a connection `from` → `to` on 127.0.0.1. */
export function inodeOf(
  table: string,
  from: number,
  to: number,
  order: 'BE' | 'LE' = endianness(),
): string | undefined {
  const address = (port: number): string =>
    `${order === 'LE' ? '0100007F' : '7F000001'}:${port.toString(16).toUpperCase().padStart(4, '0')}`
  for (const line of table.split('\n')) {
    const [, local, remote, state, , , , , , inode] = line.trim().split(/\s+/)
    if (local === address(from) && remote === address(to) && state === established && inode !== '0') return inode
  }
  return undefined
}
