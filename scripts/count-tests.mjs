// Says again what failed, because of a long run often only the end of the output is kept, and ends with
// `N passed, N failed, N skipped`. Reads a folder that has, for each stage of test.sh, vitest's STAGE.json, the output
// as STAGE.log (none on a terminal), and STAGE.failed if it failed. Exit code 1 when a test failed or a stage
// collected none.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'

const ERROR_LINES = 15
const LOG_LINES = 40

const folder = process.argv[2]
const names = readdirSync(folder).toSorted()
let passed = 0
let failed = 0
let skipped = 0
let empty = false
/** Stages of which a failure was said with its error. */
const said = new Set()

function sayFailure(stage, file, test, message) {
  failed++
  console.log(`\nFAILED  ${[stage, relative(process.cwd(), file), ...test].join(' > ')}`)
  if (message.trim() === '') return
  said.add(stage)
  // Frames of the test runner tell nothing, and there are many.
  const lines = message.split('\n').filter((l) => l.trim() !== '' && !/^\s+at (.*node_modules|new Promise)/.test(l))
  for (const line of lines.slice(0, ERROR_LINES)) console.log(`    ${line}`)
  if (lines.length > ERROR_LINES) console.log(`    … ${lines.length - ERROR_LINES} more lines`)
}

for (const name of names.filter((n) => n.endsWith('.json'))) {
  const stage = basename(name, '.json')
  const report = JSON.parse(readFileSync(join(folder, name), 'utf8'))
  for (const file of report.testResults) {
    const tests = file.assertionResults.filter((t) => t.status === 'failed')
    for (const t of tests) sayFailure(stage, file.name, [...t.ancestorTitles, t.title], t.failureMessages.join('\n'))
    // A file that does not load and a hook that fails are not failed tests, but have failed.
    if (file.status === 'failed' && tests.length === 0) sayFailure(stage, file.name, [], file.message)
  }
  passed += report.numPassedTests
  skipped += report.numPendingTests + report.numTodoTests
  empty ||= report.numTotalTests === 0
}
// Types, lint, errors in hooks, promises that nobody waited for: they are in the output only.
for (const stage of names.filter((n) => n.endsWith('.failed')).map((n) => basename(n, '.failed'))) {
  const log = join(folder, `${stage}.log`)
  if (said.has(stage) || !existsSync(log)) continue
  console.log(`\nFAILED  ${stage}, which ended with`)
  for (const line of readFileSync(log, 'utf8').trimEnd().split('\n').slice(-LOG_LINES)) console.log(`    ${line}`)
}
if (failed > 0) console.log()
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = failed > 0 || empty ? 1 : 0
