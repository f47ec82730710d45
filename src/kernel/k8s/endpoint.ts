import type { RequestOptions } from 'node:https'
import type { Env } from '../config/env.ts'

/** Where an API server is and how to prove who we are to it. */
export interface Endpoint {
  /** `https://10.96.0.1:443`, without a slash at the end. May carry a path prefix. */
  readonly server: string
  /** The namespace of the kubeconfig's context or of our own pod; `default` where neither says one. */
  readonly namespace: string
  /** Credentials for one request: TLS options and headers. Called for each one, since tokens rotate. */
  credentials(): Promise<RequestOptions>
}

export interface EndpointOptions {
  /** A kubeconfig file. Default: `$KUBECONFIG`, `~/.kube/config`, the pod's service account, in this order. */
  readonly kubeconfig?: string | undefined
  /** A context of the kubeconfig other than its current one. */
  readonly context?: string | undefined
  /** Milliseconds in which the kubeconfig's way to log in has to give credentials. Default five minutes. */
  readonly credentialsLimit?: number | undefined
  readonly env?: Env
}
