import type { Command } from 'commander'
import { agentCommand } from './agent.ts'
import { completionCommand } from './completion.ts'
import { gatewayCommand } from './gateway.ts'
import { localCommand } from './local.ts'

/** Every command of the program, in the order of the help text. */
export const commands: readonly (() => Command)[] = [localCommand, agentCommand, gatewayCommand, completionCommand]
