import { endWhenOutputBreaks } from './cli/broken-output.ts'
import { runCli } from './cli/cli.ts'

endWhenOutputBreaks()
const code = await runCli(process.argv.slice(2))
// What has been said already holds: output that broke.
process.exitCode ??= code
