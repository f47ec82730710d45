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
import { rebuildCommand } from './rebuild.ts'
import { runBuildCommand } from './run-build.ts'
import { statusCommand } from './status.ts'
import { uninstallCommand } from './uninstall.ts'
import { localCommand } from './local.ts'

/** What people call, in the order of the help text. */
const forPeople: readonly (() => Command)[] = [
  installCommand,
  statusCommand,
  uninstallCommand,
  nodesCommand,
  duCommand,
  pruneCommand,
  explainCommand,
  logsCommand,
  rebuildCommand,
  connectCommand,
  policyCommand,
  convertCommand,
  localCommand,
  doctorCommand,
  completionCommand,
]

/** What the manifests call. */
const forPods: readonly (() => Command)[] = [
  agentCommand,
  gatewayCommand,
  controllerCommand,
  runBuildCommand,
  cleanWorkspaceCommand,
  cleanNodeCommand,
  askAgentCommand,
]

/** Every command of the program, in the order of the help text. */
export const commands: readonly (() => Command)[] = [
  ...forPeople,
  ...forPods.map((command) => () => command().helpGroup('Commands that run in pods of insitu:')),
]
