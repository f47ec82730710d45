// The end of `make test`: of a long run often only the end of the output is kept, so it must name what failed.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'insitu-count-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

const passing = { status: 'passed', ancestorTitles: ['a door'], title: 'opens', failureMessages: [] }
const failing = {
  status: 'failed',
  ancestorTitles: ['a door', 'at night'],
  title: 'is shut',
  failureMessages: [
    `AssertionError: expected open to be shut\n    at /x/door.test.ts:2:65\n    at file:///x/node_modules/vitest/run.js:1:2\n${'  line\n'.repeat(30)}`,
  ],
}

function report(stage: string, ...files: { status: string; message?: string; assertionResults: object[] }[]): void {
  const tests = files.flatMap((f) => f.assertionResults)
  const passed = tests.filter((t) => t === passing).length
  writeFileSync(
    join(folder, `${stage}.json`),
    JSON.stringify({
      numTotalTests: tests.length,
      numPassedTests: passed,
      numPendingTests: 0,
      numTodoTests: 0,
      testResults: files.map((f) => ({ name: join(process.cwd(), 'src/door.test.ts'), message: '', ...f })),
    }),
  )
}

function count(): { code: number | null; lines: string[] } {
  const { status, stdout } = spawnSync(process.execPath, ['scripts/count-tests.mjs', folder], { encoding: 'utf8' })
  return { code: status, lines: stdout.trimEnd().split('\n') }
}

describe('the end of a run', () => {
  test('is one line when nothing failed', () => {
    report('unit', { status: 'passed', assertionResults: [passing] })
    report('cluster', { status: 'passed', assertionResults: [passing, passing] })
    expect(count()).toEqual({ code: 0, lines: ['3 passed, 0 failed, 0 skipped'] })
  })

  test('names each failed test with the first lines of its error, and no frames of the runner', () => {
    report('unit', { status: 'failed', assertionResults: [passing, failing] })
    const { code, lines } = count()
    expect(code).toBe(1)
    expect(lines[1]).toBe('FAILED  unit > src/door.test.ts > a door > at night > is shut')
    expect(lines[2]).toContain('expected open to be shut')
    expect(lines.join('\n')).not.toContain('node_modules')
    expect(lines.length).toBeLessThan(22)
    expect(lines.at(-1)).toBe('1 passed, 1 failed, 0 skipped')
  })

  test('names a file that does not load, and is no success without any test', () => {
    report('unit', { status: 'failed', message: 'Cannot find module', assertionResults: [] })
    expect(count()).toMatchObject({
      code: 1,
      lines: ['', 'FAILED  unit > src/door.test.ts', '    Cannot find module', '', '0 passed, 1 failed, 0 skipped'],
    })
    report('unit')
    expect(count().code).toBe(1)
  })

  test('shows the output of a stage that failed without a test that says why', () => {
    report('unit', { status: 'passed', assertionResults: [passing] })
    writeFileSync(join(folder, 'unit.failed'), '')
    writeFileSync(join(folder, 'unit.log'), 'Unhandled Rejection\nError: lost\n')
    writeFileSync(join(folder, 'check.failed'), '')
    writeFileSync(join(folder, 'check.log'), `${'ok\n'.repeat(100)}error TS2322\n`)
    const { lines } = count()
    expect(lines).toContain('    error TS2322')
    expect(lines).toContain('    Error: lost')
    expect(lines.length).toBeLessThan(60)
    expect(lines.at(-1)).toBe('1 passed, 0 failed, 0 skipped')
  })
})
