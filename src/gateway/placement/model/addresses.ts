/** An IPv4 address as a number, any other as its text: for 150,000 pods that is megabytes less. */
export type AddressKey = string | number

export function addressKey(ip: string): AddressKey {
  let [value, part, parts] = [0, -1, 1]
  for (let i = 0; i < ip.length; i++) {
    const code = ip.charCodeAt(i)
    if (code === 46) {
      if (part < 0) return ip
      value = (value << 8) | part
      part = -1
      parts += 1
    } else if (code >= 48 && code <= 57) part = Math.max(0, part) * 10 + code - 48
    else return ip
    if (part > 255) return ip
  }
  return parts === 4 && part >= 0 ? (value << 8) | part : ip
}

export const addressOf = (key: AddressKey): string =>
  typeof key === 'string' ? key : [24, 16, 8, 0].map((shift) => (key >>> shift) & 255).join('.')
