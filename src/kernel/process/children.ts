import { readdir, readFile } from 'node:fs/promises'

/** Process ids of the children of all threads of a process; none when it is gone. proc_pid_task(5). */
export async function childrenOf(pid: number | undefined): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => [])
  const lists = await Promise.all(
    threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '')),
  )
  return lists.join(' ').split(' ').map(Number).filter(Boolean)
}
