import { runLab } from './commands.ts'

process.exitCode = await runLab(process.argv.slice(2))
