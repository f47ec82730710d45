import { BlockList, isIP } from 'node:net'

/** Whether a text is an IP address or a range such as `10.0.0.0/8` or `fd00::/8`. */
export function isCidr(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

/** Whether an address is the one that `text` says, or in its range. False for what is neither. */
export function inCidr(address: string, text: string): boolean {
  if (isIP(address) === 0 || !isCidr(text)) return false
  const [network = '', bits] = text.split('/')
  const family = (ip: string): 'ipv4' | 'ipv6' => (isIP(ip) === 4 ? 'ipv4' : 'ipv6')
  const list = new BlockList()
  if (bits === undefined) list.addAddress(network, family(network))
  else list.addSubnet(network, Number(bits), family(network))
  return list.check(address, family(address))
}

/** Whether two addresses or ranges have one in common. */
export const overlaps = (a: string, b: string): boolean =>
  inCidr(a.split('/')[0] ?? '', b) || inCidr(b.split('/')[0] ?? '', a)
