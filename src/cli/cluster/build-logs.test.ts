import { PassThrough, Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { Build, BuildStatus } from '../../api/builds/builds.ts'
import type { KubernetesClient } from '../../kernel/k8s/client.ts'
import { writeBuildLogs, writeFormerAttempts } from './build-logs.ts'
import { jsonWriter, textWriter } from './log-writer.ts'

const over = { completionTime: '2026-01-01T00:00:00Z', startTime: '2026-01-01T00:00:00Z' }
const pod = {
  spec: { initContainers: [{ name: 'build' }], containers: [{ name: 'tell' }] },
  status: {
    phase: 'Succeeded',
    initContainerStatuses: [{ name: 'build', state: { terminated: {} } }],
    containerStatuses: [{ name: 'tell', state: { terminated: {} } }],
  },
}

/** @param states of the Build, one look after the other; the last one stays. */
function logsOf(states: readonly BuildStatus[], there: object | undefined = pod) {
  const asked: object[] = []
  const said: string[] = []
  const out = new PassThrough()
  let look = 0
  const client = {
    get: () => Promise.resolve({ spec: {}, status: states[Math.min(look++, states.length - 1)] } as Build),
    find: () => Promise.resolve(there),
    openLog: (_: object, options: { readonly container: string }) => {
      asked.push(options)
      return Promise.resolve(Readable.from([Buffer.from(`${options.container} speaks\n`)]))
    },
  } as unknown as KubernetesClient
  const say = (line: string) => said.push(line)
  const options = { client, namespace: 'n', name: 'b', follow: false, out: textWriter(out), say }
  return {
    ...{ asked, said, out, options: { ...options, interval: 1 } },
    text: () => String((out.read() as Buffer | null) ?? ''),
  }
}

describe('insitu logs', () => {
  it('prints all containers in their order, or the one that is asked for', async () => {
    const all = logsOf([{ ...over, pod: 'p' }])
    await writeBuildLogs(all.options)
    expect(all.text()).toBe('build speaks\ntell speaks\n')
    const one = logsOf([{ ...over, pod: 'p' }])
    await writeBuildLogs({ ...one.options, container: 'tell', tail: 5, timestamps: true })
    expect(one.text()).toBe('tell speaks\n')
    expect(one.asked).toEqual([{ container: 'tell', follow: false, tail: 5, timestamps: true }])
    const none = logsOf([{ ...over, pod: 'p' }])
    await expect(writeBuildLogs({ ...none.options, container: 'x' })).rejects.toMatchObject({
      fix: 'it has build, tell',
    })
  })

  it('says what a Build waits for that has not started, and waits with it only when it is told to follow', async () => {
    const waits: BuildStatus = { phase: 'Queued', message: 'waits: 4 Builds run already' }
    await expect(writeBuildLogs(logsOf([waits]).options)).rejects.toMatchObject({
      message: 'Build n/b has no pod with logs (Queued: waits: 4 Builds run already)',
      fix: '-f waits for it',
    })
    const followed = logsOf([waits, waits, { phase: 'Running', pod: 'p' }, { ...over, phase: 'Succeeded', pod: 'p' }])
    await writeBuildLogs({ ...followed.options, follow: true })
    expect(followed.text()).toBe('build speaks\ntell speaks\n')
    expect(followed.said[0]).toBe('Build n/b is Queued: waits: 4 Builds run already')
    expect(followed.said.filter((line) => line.includes('Queued'))).toHaveLength(1)
  })

  it('prints JSON, a line each, with where it is from', async () => {
    const objects = (text: string): unknown[] =>
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown)
    const all = logsOf([{ ...over, pod: 'p' }])
    await writeBuildLogs({ ...all.options, out: jsonWriter(all.out) })
    expect(objects(all.text())).toEqual([
      { pod: 'p', container: 'build', line: 'build speaks' },
      { pod: 'p', container: 'tell', line: 'tell speaks' },
    ])
    const split = new PassThrough()
    const cut = Buffer.from('t1 grün\nt2 rest')
    await jsonWriter(split).stream({ pod: 'p' }, Readable.from([cut.subarray(0, 6), cut.subarray(6)]), true)
    expect(objects(String(split.read()))).toEqual([
      { pod: 'p', time: 't1', line: 'grün' },
      { pod: 'p', time: 't2', line: 'rest' },
    ])
    const former = logsOf([{ phase: 'Running', former: [{ attempt: 1, pod: 'p-1', message: 'lost' }] }])
    await writeFormerAttempts({ ...former.options, out: jsonWriter(former.out) })
    expect(objects(former.text())).toEqual([{ pod: 'p-1', attempt: 1, line: 'lost' }])
  })

  it('follows over attempts', async () => {
    const states: BuildStatus[] = [
      { phase: 'Running', pod: 'p-1' },
      { phase: 'Running', pod: 'p-2' },
      { ...over, phase: 'Succeeded', pod: 'p-2' },
    ]
    const followed = logsOf(states)
    await writeBuildLogs({ ...followed.options, follow: true })
    expect(followed.said).toEqual(['p-1', 'p-2'].flatMap((name) => [`--- ${name}: build`, `--- ${name}: tell`]))
  })

  it('has the last lines of a Build whose pod is gone', async () => {
    const gone = logsOf([{ ...over, phase: 'Failed', pod: 'p', message: 'one\ntwo\nerror: exit code: 3' }])
    const options = { ...gone.options, client: { ...gone.options.client, find: () => Promise.resolve(undefined) } }
    await writeBuildLogs({ ...options, tail: 2 })
    expect(gone.text()).toBe('two\nerror: exit code: 3\n')
    expect(gone.said[0]).toContain('p is gone')
  })

  it('has the last lines of attempts that were lost', async () => {
    const former = [{ attempt: 1, pod: 'p-1', node: 'n1', message: 'a\nnode n1 was lost' }]
    const logs = logsOf([{ phase: 'Running', pod: 'p-2', former }])
    await writeFormerAttempts(logs.options)
    expect(logs.text()).toBe('a\nnode n1 was lost\n')
    expect(logs.said).toEqual(['--- attempt 1 (p-1, node n1): its last lines'])
    await expect(writeFormerAttempts(logsOf([{ phase: 'Running' }]).options)).rejects.toThrow('no other attempt')
  })
})
