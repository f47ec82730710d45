import { describe, expect, it } from 'vitest'
import { UsageError } from '../../kernel/errors.ts'
import { installCommand } from '../install.ts'
import type { InstallFlags } from './flags.ts'
import { defaultOptions } from '../manifests/options.ts'
import { optionsFrom } from './install-options.ts'

/** What commander makes of a command line. */
function flags(...args: string[]): InstallFlags {
  const command = installCommand().exitOverride()
  command.action(() => {})
  command.parse(args, { from: 'user' })
  return command.opts<InstallFlags>()
}

describe('optionsFrom', () => {
  it('gives the defaults for an empty command line', async () => {
    expect(await optionsFrom(flags(), 'kubeadm')).toEqual(defaultOptions())
  })

  it.each<[string[], object]>([
    [['--image', 'x/y:z'], { image: 'x/y:z' }],
    [['--namespace', 'builds'], { namespace: 'builds' }],
    [['--replicas', '5'], { replicas: 5 }],
    [['--allow-plaintext', '10.0.0.0/8', '--allow-plaintext', '::1'], { allowPlaintext: ['10.0.0.0/8', '::1'] }],
    [['--http-proxy', 'http://p:1', '--no-proxy', 'a,b'], { agentEnv: { HTTP_PROXY: 'http://p:1', NO_PROXY: 'a,b' } }],
    [['--https-proxy', 'http://p:1'], { agentEnv: { HTTPS_PROXY: 'http://p:1' } }],
    [['--node-selector', 'a=b'], { nodeSelector: { a: 'b' } }],
    [['--node-selector', 'example.com/Pool='], { nodeSelector: { 'example.com/Pool': '' } }],
    [['--http-proxy', ''], { agentEnv: { HTTP_PROXY: '' } }],
    [['--image', `r.example:5000/x@sha256:${'0'.repeat(64)}`], { image: `r.example:5000/x@sha256:${'0'.repeat(64)}` }],
    [['--toleration', '*'], { tolerations: [{ operator: 'Exists' }] }],
    [['--agent-priority-class', 'high'], { agentPriorityClass: 'high' }],
    [['--image-pull-secret', 'a', '--image-pull-secret', 'b.c'], { imagePullSecrets: ['a', 'b.c'] }],
    [['--log-level', 'debug'], { logLevel: 'debug' }],
    [
      ['--containerd-root', '/a/b', '--containerd-state', '/c/d', '--buildkit-root', '/e/f'],
      { paths: { containerdRoot: '/a/b', containerdState: '/c/d', buildkitRoot: '/e/f' } },
    ],
  ])('%j', async (args, expected) => {
    expect(await optionsFrom(flags(...args), 'kubeadm')).toEqual({ ...defaultOptions(), ...expected })
  })

  it('takes the paths of the distribution', async () => {
    expect((await optionsFrom(flags(), 'k3s')).paths.containerdRoot).toBe('/var/lib/rancher/k3s/agent/containerd')
  })

  it.each<[string[], RegExp]>([
    [['--allow-plaintext', 'everybody'], /--allow-plaintext "everybody"/],
    [['--replicas', '0'], /--replicas/],
    [['--namespace', 'Upper'], /--namespace/],
    [['--buildkit-root', '/'], /--buildkit-root/],
    [['--http-proxy', 'http://user:secret@proxy:3128'], /holds credentials/],
    [['--buildkitd-toml', '/nowhere'], /\/nowhere cannot be read/],
    [['--http-proxy', 'user:secret@proxy:3128'], /holds credentials/],
    [['--http-proxy', 'not a url'], /--http-proxy holds white space/],
    [['--https-proxy', 'gopher://p:1'], /--https-proxy has the scheme gopher:/],
    [['--image', 'BAD IMAGE'], /--image: "BAD IMAGE" is not an image name/],
    [['--node-selector', 'a b=c'], /--node-selector "a b=c" .* label/],
    [['--node-selector', 'a=b c'], /--node-selector "a=b c" .* label/],
    [['--toleration', 'Bad key'], /--toleration "Bad key" .* label/],
    [['--image-pull-secret', 'Bad Name'], /--image-pull-secret "Bad Name"/],
    [['--agent-priority-class', 'Bad Name'], /--agent-priority-class "Bad Name"/],
  ])('%j is refused', async (args, message) => {
    const refused = optionsFrom(flags(...args), 'kubeadm')
    await expect(refused).rejects.toThrow(message)
    await expect(refused).rejects.toBeInstanceOf(UsageError)
  })

  it('a level of the log that there is not is refused', () => {
    expect(() => flags('--log-level', 'loud')).toThrow(/'loud' is invalid.*trace, debug, info, warn, error/)
  })

  it('does not repeat the password it refuses', async () => {
    const refused = optionsFrom(flags('--http-proxy', 'http://user:secret@proxy:3128'), 'kubeadm')
    await expect(refused).rejects.not.toThrow('secret@')
  })
})
