import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Work } from '../api/builds/work.ts'
import { namespaceEndPath, type NamespaceEndResponse } from '../api/workspace.ts'
import { describeError } from '../kernel/errors.ts'
import { postJson } from '../kernel/grpc/json.ts'
import { aborted, terminationSignal } from '../kernel/process/termination.ts'

export interface NamespaceEndQuestion {
  /** File of a Work: where the gateway is. */
  readonly work: string
  readonly tokenFile: string
  readonly say: (line: string) => void
  /** Milliseconds in which a gateway must have answered. A pod that is told to end has no time to lose. */
  readonly patience?: number
}

/**
 * Waits until this process is told to end, and asks a gateway whether that is because its namespace is deleted.
 * @returns false also when nobody says so: then another pod needs the directory, or removes it.
 */
export async function endsWithNamespace(question: NamespaceEndQuestion): Promise<boolean> {
  const { work: file, tokenFile, say, patience = 8000 } = question
  const signal = terminationSignal()
  // Nothing else keeps the process up.
  const idle = setInterval(() => undefined, 2 ** 30)
  say('waits for the end of its pod')
  await aborted(signal)
  clearInterval(idle)
  const end = Date.now() + patience
  for (;;) {
    try {
      const { gateway, ca } = JSON.parse(await readFile(file, 'utf8')) as Work
      const token = (await readFile(tokenFile, 'utf8')).trim()
      const { status, body } = await postJson({
        ...gateway,
        ca,
        path: namespaceEndPath,
        token,
        body: {},
        timeout: 3000,
      })
      const said = body as Partial<NamespaceEndResponse & { readonly message: string }> | undefined
      if (status === 200) return said?.ends === true
      say(`a gateway does not say whether the namespace ends: ${said?.message ?? `HTTP ${status}`}`)
      if (status !== 503) return false
    } catch (error) {
      say(describeError(error))
    }
    if (Date.now() > end) return false
    await sleep(300)
  }
}
