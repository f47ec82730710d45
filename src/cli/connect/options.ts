/** The options of `insitu connect`, as commander hands them over. */
export interface ConnectFlags {
  readonly namespace: string
  readonly kubeconfig?: string
  readonly context?: string
  readonly serviceAccount?: string
  readonly tokenFile?: string
  readonly address?: string
  readonly serverName?: string
  readonly caFile?: string
  readonly directory?: string
  readonly watch?: true
  readonly output: 'shell' | 'json'
}

/** What a client needs to know to build. */
export interface Connection {
  /** `tcp://HOST:PORT` of the gateway; undefined when only `socket` leads there. */
  readonly address: string | undefined
  /** The name in the gateway's certificate. */
  readonly serverName: string
  /** Directory with ca.pem, cert.pem and key.pem. */
  readonly directory: string
  /** A socket that needs no certificate, while `insitu connect` runs. */
  readonly socket: string | undefined
  readonly notAfter: string
}
