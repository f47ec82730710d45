import type { Duplex } from 'node:stream'
import type { NodeReport } from '../../api/node-report.ts'

/** A node whose daemon builds can go to. */
export interface BuildNode {
  readonly name: string
  /** Absent for fixed nodes (`--node`), which report nothing. */
  readonly report: NodeReport | undefined
  /** Platforms that a fixed node runs without an emulator, where that is known. */
  readonly native?: readonly string[] | undefined
  /** False while it must get no new builds. */
  readonly ready: boolean
  /** Which of the agents that a node has after one another is there now; another one is dialled anew. Absent for fixed nodes. */
  readonly instance?: (() => string) | undefined
  /** A fresh byte stream to the node's buildkitd that speaks HTTP/2 cleartext (h2c); transport security is done. */
  dial(signal?: AbortSignal): Promise<Duplex>
  /** Whether somebody is there: rejects when not, within seconds. Absent where nothing but the daemon could be asked. */
  readonly answers?: (() => Promise<unknown>) | undefined
  /** Why its daemon ended a moment ago, as a sentence; undefined when nobody can say it within a second or so. */
  readonly fate?: (() => Promise<string | undefined>) | undefined
  /** The proxy variables (either case, as in the agent's environment) that RUN steps on this node should have. */
  proxy(): Promise<Readonly<Record<string, string>>>
}

/** Who can build. Implementations: fixed nodes from the command line, and agents watched in Kubernetes. */
export interface Directory {
  /** All nodes known now, sorted by name, ready or not. */
  nodes(): readonly BuildNode[]
  node(name: string): BuildNode | undefined
  /** Nodes that are not among them since a moment ago: between two pods of an agent there is none. Absent where none come and go. */
  lately?(): readonly string[]
}
