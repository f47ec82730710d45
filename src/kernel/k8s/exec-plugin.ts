import { isatty } from 'node:tty'
import { InsituError } from '../errors.ts'
import { run } from '../process/run.ts'

/** What a kubeconfig says of an exec plug-in: https://kubernetes.io/docs/reference/access-authn-authz/authentication/ */
export interface ExecConfig {
  readonly apiVersion?: string
  readonly command: string
  readonly args?: readonly string[] | null
  readonly env?: readonly { readonly name: string; readonly value: string }[] | null
  /** `Never`: it gets no terminal. */
  readonly interactiveMode?: string
}

export interface PluginCredential {
  readonly token?: string
  readonly clientCertificateData?: string
  readonly clientKeyData?: string
  readonly expirationTimestamp?: string
}

/**
 * An exec plug-in as kubectl runs it: what it says to people goes to our standard error, and it gets our input only where
 * that is a terminal. What it answered is kept until it ends.
 * @returns asks the plug-in; the signal ends it.
 */
export function execPlugin(exec: ExecConfig): (signal: AbortSignal) => Promise<PluginCredential> {
  let kept: PluginCredential | undefined
  return async (signal) => {
    if (kept && (kept.expirationTimestamp === undefined || Date.parse(kept.expirationTimestamp) > Date.now()))
      return kept
    const interactive = exec.interactiveMode !== 'Never' && isatty(0)
    const info = { kind: 'ExecCredential', apiVersion: exec.apiVersion, spec: { interactive } }
    const { stdout } = await run(exec.command, exec.args ?? [], {
      env: {
        KUBERNETES_EXEC_INFO: JSON.stringify(info),
        ...Object.fromEntries((exec.env ?? []).map(({ name, value }) => [name, value])),
      },
      signal,
      // The signal is the limit.
      timeout: 0,
      people: interactive ? 'talk' : 'read',
    })
    kept = parse(exec.command, stdout)
    return kept
  }
}

function parse(command: string, text: string): PluginCredential {
  try {
    const { status } = JSON.parse(text) as { readonly status?: PluginCredential }
    if (status) return status
  } catch {
    // What it printed may be half a token: it is not repeated.
  }
  throw new InsituError('PLUGIN_ANSWER', `the plug-in ${command} did not print an ExecCredential with a status`)
}
