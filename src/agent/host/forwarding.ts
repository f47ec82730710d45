import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'

const ipv4 = '/proc/sys/net/ipv4'
const redirects = `${ipv4}/conf/all/accept_redirects`

/** Whether this network namespace forwards, and what a change of that changes with it. */
export interface Forwarding {
  /** `net.ipv4.ip_forward` */
  readonly forwarding: boolean
  /** Below `conf`, `default` among them: those that forward. An older agent did not say. */
  readonly forwarders?: readonly string[]
  /** `net.ipv4.conf.all.accept_redirects`. An older agent did not say. */
  readonly redirects?: boolean
}

/** Reads it from the kernel. */
export async function readForwarding(): Promise<Forwarding> {
  // `all` is another name of ip_forward.
  const names = (await readdir(`${ipv4}/conf`).catch(() => [])).filter((name) => name !== 'all')
  const on = await Promise.all(names.map((name) => isOn(ofInterface(name))))
  return {
    forwarding: await isOn(`${ipv4}/ip_forward`),
    forwarders: names.filter((_, i) => on[i]),
    redirects: await isOn(redirects),
  }
}

/**
 * Turns forwarding off again, and on for the interfaces that forwarded alone: the kernel gives every interface the new
 * value of ip_forward, and lets the machine take redirects when it does not forward.
 */
export async function stopForwarding({ forwarders = [], redirects: took }: Forwarding): Promise<void> {
  await writeFile(`${ipv4}/ip_forward`, '0\n')
  for (const name of forwarders) if (existsSync(ofInterface(name))) await writeFile(ofInterface(name), '1\n')
  if (took === false) await writeFile(redirects, '0\n')
}

const ofInterface = (name: string): string => `${ipv4}/conf/${name}/forwarding`

const isOn = async (file: string): Promise<boolean> => (await readFile(file, 'utf8').catch(() => '')).trim() === '1'
