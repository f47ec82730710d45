import type { Finding } from '../../api/node-report.ts'

/** The first patch release of each supported line without the known holes that matter to builds. */
const floors: readonly (readonly [number, number, number])[] = [
  [1, 7, 33],
  [2, 0, 10],
  [2, 1, 9],
  [2, 2, 5],
  [2, 3, 2],
]

/** Judges containerd's version: below 1.7 it lacks what insitu needs; below a floor it has known holes. */
export function checkContainerdVersion(version: string): Finding[] {
  const match = /^(\d+)\.(\d+)\.(\d+)/.exec(version)
  if (!match) {
    return [{ code: 'CONTAINERD_VERSION_UNKNOWN', severity: 'warning', message: `containerd calls itself ${version}` }]
  }
  const [major, minor, patch] = [Number(match[1]), Number(match[2]), Number(match[3])]
  if (major < 1 || (major === 1 && minor < 7)) {
    return [
      {
        code: 'CONTAINERD_TOO_OLD',
        severity: 'fatal',
        message: `containerd ${version} is older than 1.7`,
        fix: 'upgrade containerd on this node to 2.x, or at least to the newest 1.7',
      },
    ]
  }
  const line = floors.find(([a, b]) => a === major && b === minor)
  if (!line || patch >= line[2]) return []
  return [
    {
      code: 'CONTAINERD_VULNERABLE',
      severity: 'warning',
      message: `containerd ${version} has known security holes; the first good release of its line is ${line.join('.')}`,
      fix: `upgrade containerd on this node to ${line.join('.')} or newer`,
    },
  ]
}
