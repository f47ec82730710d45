import { type Child, start } from '../../src/kernel/process/start.ts'
import { nodeCommand } from '../lab/lab.ts'

/** Runs a command on a node of the lab until it is stopped, and is given each line that it says. */
export async function nodeLines(
  node: string,
  command: readonly string[],
  onLine: (line: string) => void,
): Promise<Child> {
  // nsenter leaves its child behind: the kernel ends that one with it.
  const [file = '', ...args] = await nodeCommand(node, ['setpriv', '--pdeathsig', 'SIGKILL', '--', ...command])
  return start(file, args, { env: { PATH: process.env['PATH'] ?? '' }, onLine })
}
