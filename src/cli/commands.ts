import type { Command } from 'commander'
import { completionCommand } from './completion.ts'

/** Every command of the program, in the order of the help text. */
export const commands: readonly (() => Command)[] = [completionCommand]
