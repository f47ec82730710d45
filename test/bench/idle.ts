import { setTimeout as sleep } from 'node:timers/promises'
import { ensureInstalled, type Installed } from '../e2e/fixtures/insitu.ts'
import type { BenchOptions } from './benches.ts'
import { type Report, summarize } from './report.ts'

/** Kernel ticks of CPU time per second, as /proc counts them on Linux (`getconf CLK_TCK`). */
const ticks = 100
const window = 20_000

/**
 * What insitu costs a node that builds nothing: the agent's resident memory and processor share, and for comparison
 * the share of buildkitd, which would be there anyway. One value per window of 20 s.
 */
export async function benchIdle({ runs, progress }: BenchOptions): Promise<Report> {
  progress('lab and install')
  const insitu = await ensureInstalled()
  const values = {
    agent: { memory: [] as number[], cpu: [] as number[] },
    buildkitd: { memory: [] as number[], cpu: [] as number[] },
  }
  const pids = { agent: await pidOf(insitu, /main\.(js|ts) agent/), buildkitd: await pidOf(insitu, /^\S*buildkitd /) }
  progress('one quiet window first')
  await sleep(window)
  for (let round = 1; round <= runs; round++) {
    const before = { agent: await usage(insitu, pids.agent), buildkitd: await usage(insitu, pids.buildkitd) }
    await sleep(window)
    for (const subject of ['agent', 'buildkitd'] as const) {
      const now = await usage(insitu, pids[subject])
      values[subject].memory.push(now.resident / 2 ** 20)
      values[subject].cpu.push(((now.ticks - before[subject].ticks) / ticks / (window / 1000)) * 100)
    }
    progress(
      `window ${round}/${runs}: agent ${values.agent.memory.at(-1)!.toFixed(1)} MiB, ${values.agent.cpu.at(-1)!.toFixed(2)} % of a core`,
    )
  }
  return summarize('idle', 'buildkitd', [
    { case: 'resident memory', subject: 'agent', unit: 'MiB', values: values.agent.memory },
    { case: 'resident memory', subject: 'buildkitd', unit: 'MiB', values: values.buildkitd.memory },
    { case: 'share of one core', subject: 'agent', unit: '%', values: values.agent.cpu },
    { case: 'share of one core', subject: 'buildkitd', unit: '%', values: values.buildkitd.cpu },
  ])
}

async function pidOf(insitu: Installed, what: RegExp): Promise<string> {
  const { stdout } = await insitu.lab.exec('node1', ['ps', '-eo', 'pid=,args='])
  for (const line of stdout.split('\n')) {
    const [, pid, args] = /^\s*(\d+) (.*)$/.exec(line) ?? []
    if (pid !== undefined && args !== undefined && what.test(args)) return pid
  }
  throw new Error(`no process on node1 looks like ${what.source}`)
}

/** See proc_pid_stat(5): utime and stime are fields 14 and 15, counted after the name in parentheses. */
async function usage(insitu: Installed, pid: string): Promise<{ resident: number; ticks: number }> {
  const { stdout } = await insitu.lab.exec('node1', ['cat', `/proc/${pid}/stat`, `/proc/${pid}/status`])
  const fields = stdout.slice(stdout.lastIndexOf(')', stdout.indexOf('\n')) + 2).split(' ')
  return {
    ticks: Number(fields[11]) + Number(fields[12]),
    resident: Number(/^VmRSS:\s+(\d+) kB$/m.exec(stdout)?.[1]) * 1024,
  }
}
