// Adds up vitest's JSON reports in a folder and prints `N passed, N failed, N skipped`. Exit code 1 when any failed
// or a stage collected no test at all.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = process.argv[2]
let passed = 0
let failed = 0
let skipped = 0
let empty = false
for (const name of readdirSync(folder)) {
  const report = JSON.parse(readFileSync(join(folder, name), 'utf8'))
  passed += report.numPassedTests
  // A file that does not load has no failed test in it, but it has failed.
  failed +=
    report.numFailedTests +
    report.testResults.filter((f) => f.status === 'failed' && f.assertionResults.length === 0).length
  skipped += report.numPendingTests + report.numTodoTests
  empty ||= report.numTotalTests === 0
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = failed > 0 || empty ? 1 : 0
