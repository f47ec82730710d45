import { describeError } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import { run } from '../../kernel/process/run.ts'

const rule = (bridge: string): string[] => [
  ...['FORWARD', '-i', bridge, '-p', 'tcp', '--tcp-flags', 'SYN,RST', 'SYN'],
  ...['-j', 'TCPMSS', '--clamp-mss-to-pmtu'],
]

const iptables = (verb: string, bridge: string) => run('iptables', ['-w', '-t', 'mangle', verb, ...rule(bridge)])

const isClamped = (bridge: string): Promise<boolean> =>
  iptables('-C', bridge).then(
    () => true,
    () => false,
  )

/**
 * Makes TCP connections of RUN steps ask for segments that fit the way out. BuildKit's bridge has an MTU of 1500 and no
 * setting for it, pods of overlay networks have 1450 or 1400: without this a small answer arrives in a RUN step and a
 * large one never does, because the packets that ask the sender for smaller ones are lost on many networks.
 */
export async function clampSegments(bridge: string, log: Logger): Promise<void> {
  try {
    if (!(await isClamped(bridge))) await iptables('-A', bridge)
  } catch (error) {
    const message = 'RUN steps may wait forever for large downloads where the MTU is below 1500'
    log.warn({ err: describeError(error) }, message)
  }
}

/** Takes the rule back. An agent that was killed left it too, so it is looked for and not remembered. */
export async function unclampSegments(bridge: string): Promise<void> {
  if (await isClamped(bridge)) await iptables('-D', bridge)
}
