/**
 * The agent's port 2376, mTLS, only for clients whose certificate names a gateway. ALPN decides: `h2` (or none) is
 * piped byte for byte to buildkitd's unix socket; `http/1.1` is the agent's own small API below.
 */
export const agentPaths = {
  /** GET: `{ [variable]: value }`, the proxy variables of the agent's environment, credentials included. */
  proxy: '/v1/proxy',
} as const
