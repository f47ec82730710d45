import { Argument, Command } from 'commander'
import type { Question } from './disk/ask-agent.ts'

/** Run in the agent's pod by `insitu du` and `insitu prune`: hands the agent's answer on, line by line. */
export const askAgentCommand = (): Command =>
  new Command('ask-agent')
    .description('Ask the agent of this machine. Run in its pod by `insitu du`, `prune` and `rebuild`.')
    .addArgument(new Argument('<question>', 'what').choices(['usage', 'origins', 'prune'] satisfies Question[]))
    .requiredOption('--socket <path>', "the agent's socket")
    .option('--body <json>', 'the request')
    .action(async (question: Question, flags: { readonly socket: string; readonly body?: string }) => {
      const { askAgent } = await import('./disk/ask-agent.ts')
      await askAgent(flags.socket, question, flags.body, (line) => void process.stdout.write(`${line}\n`))
    })
