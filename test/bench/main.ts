import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { benches, benchFlags } from './benches.ts'
import { table } from './report.ts'

const usage = `Usage: npm run -s bench -- NAME [--runs N] [--size MIB] [--nodes N] [--pods N] [--builds N] [--images N] [--direct] [--only PART]... [--json FILE]

Prints a table; --json also writes it to FILE. Ratios are against the reference named in the case, in the same run.

${Object.entries(benches)
  .map(([name, bench]) => `  ${name.padEnd(8)} ${bench.what}`)
  .join('\n')}`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: benchFlags,
})
const [name] = positionals
const bench = name === undefined ? undefined : benches[name]
const runs = Number(values.runs)
const size = Number(values.size)
if (values.help) {
  console.log(usage)
} else if (!bench || positionals.length !== 1 || !Number.isInteger(runs) || runs < 1 || !(size >= 1)) {
  console.error(name !== undefined && !bench ? `bench: no such benchmark: ${name}\n\n${usage}` : usage)
  process.exitCode = 2
} else {
  const started = Date.now()
  const report = await (
    await bench.load()
  )({
    runs,
    size,
    nodes: Number(values.nodes),
    pods: Number(values.pods),
    builds: Number(values.builds),
    images: Number(values.images),
    direct: values.direct,
    only: values.only,
    progress: (text) => console.error(`[${((Date.now() - started) / 1000).toFixed(0).padStart(4)}s] ${text}`),
  })
  console.log(table(report))
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
}
