import type { Command } from 'commander'
import { agentCommand } from './agent.ts'
import { askAgentCommand } from './ask-agent.ts'
import { completionCommand } from './completion.ts'
import { cleanWorkspaceCommand } from './clean-workspace.ts'
import { connectCommand } from './connect.ts'
import { convertCommand } from './convert.ts'
import { controllerCommand } from './controller.ts'
import { doctorCommand } from './doctor.ts'
import { duCommand } from './du.ts'
import { gatewayCommand } from './gateway.ts'
import { cleanNodeCommand } from './clean-node.ts'
import { explainCommand } from './explain.ts'
import { installCommand } from './install.ts'
import { logsCommand } from './logs.ts'
import { nodesCommand } from './nodes.ts'
import { pruneCommand } from './prune.ts'
import { policyCommand } from './policy.ts'
import { runBuildCommand } from './run-build.ts'
import { statusCommand } from './status.ts'
import { uninstallCommand } from './uninstall.ts'
import { localCommand } from './local.ts'

/** Every command of the program, in the order of the help text. */
export const commands: readonly (() => Command)[] = [
  installCommand,
  statusCommand,
  uninstallCommand,
  nodesCommand,
  duCommand,
  pruneCommand,
  explainCommand,
  logsCommand,
  connectCommand,
  policyCommand,
  convertCommand,
  localCommand,
  agentCommand,
  gatewayCommand,
  controllerCommand,
  runBuildCommand,
  cleanWorkspaceCommand,
  cleanNodeCommand,
  askAgentCommand,
  doctorCommand,
  completionCommand,
]
