/** One line of /proc/PID/mountinfo; see proc_pid_mountinfo(5). */
export interface Mount {
  readonly id: number
  readonly parent: number
  /** The path inside the filesystem that is mounted: `/` unless it is a bind mount of a part. */
  readonly root: string
  readonly mountPoint: string
  readonly options: readonly string[]
  /** `shared:N`, `master:N`, `propagate_from:N`, `unbindable`. None of them: private. */
  readonly propagation: readonly string[]
  readonly type: string
  readonly source: string
}

/** Parses mountinfo; octal escapes (`\040`) in paths are resolved. Lines that are not mountinfo are left out. */
export function parseMountinfo(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.split(' ')
    const dash = fields.indexOf('-', 6)
    const [id, parent, , root, mountPoint, options] = fields
    if (dash < 0 || !root || !mountPoint || !options) return []
    return [
      {
        id: Number(id),
        parent: Number(parent),
        root: unescapeOctal(root),
        mountPoint: unescapeOctal(mountPoint),
        options: options.split(','),
        propagation: fields.slice(6, dash),
        type: fields[dash + 1] ?? '',
        source: unescapeOctal(fields[dash + 2] ?? ''),
      },
    ]
  })
}

const unescapeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
