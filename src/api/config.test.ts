import { describe, expect, test } from 'vitest'
import { agentConfig, defaultAgentConfig } from './agent-config.ts'
import { clusterGateway, gatewayConfig, transparentGateway } from './config.ts'
import { controllerConfig } from './controller-config.ts'

test('an empty file leaves what holds anyway', () => {
  expect(gatewayConfig({}, clusterGateway)).toEqual(clusterGateway)
  expect(gatewayConfig({ agent: { whatever: 1 } }, transparentGateway)).toEqual(transparentGateway)
})

test('every key changes its field', () => {
  const gateway = {
    plaintext: { loopback: false, namespaces: ['ci'], cidrs: ['10.0.0.0/8', '::1'] },
    defaults: true,
    proxy: true,
    recordOwner: true,
    statusVertex: true,
    delivery: { to: 3, required: true, timeout: '90s', perSource: 5 },
    push: { plainHttp: ['registry.test:5000'] },
    limits: {
      ...{ messageSize: '1GiB', headerSize: '8KiB', streamsPerConnection: 5, connectionsPerIdentity: 6 },
      ...{
        messagesPerIdentity: '2MiB',
        pendingHandshakes: 7,
        handshakeTimeout: '8s',
        keepalive: '0s',
        keepaliveTimeout: '1m',
      },
    },
    maxBuildDuration: '90m',
  }
  const delivery = { to: 3, required: true, timeout: 90, perSource: 5 }
  const limits = {
    ...{ messageSize: 2 ** 30, headerSize: 8192, streamsPerConnection: 5, connectionsPerIdentity: 6 },
    ...{ messagesPerIdentity: 2 ** 21, pendingHandshakes: 7, handshakeTimeout: 8, keepalive: 0, keepaliveTimeout: 60 },
  }
  expect(gatewayConfig({ gateway }, transparentGateway)).toEqual({
    ...gateway,
    delivery,
    limits,
    maxBuildDuration: 5400,
  })
})

test.for([
  [{ gateway: { defauts: true } }, 'there is no key gateway.defauts'],
  [{ gateway: { plaintext: { cidr: [] } } }, 'there is no key gateway.plaintext.cidr'],
  [{ gateway: true }, 'gateway must be a table'],
  [{ gateway: { proxy: 'yes' } }, 'gateway.proxy must be true or false'],
  [{ gateway: { plaintext: { cidrs: ['10.0.0.0/33'] } } }, 'gateway.plaintext.cidrs must be a list of addresses'],
  [{ gateway: { plaintext: { namespaces: 'ci' } } }, 'gateway.plaintext.namespaces must be a list of namespace names'],
  [{ gateway: { delivery: { to: 'some' } } }, 'gateway.delivery.to must be "targets", "all", "none" or a number'],
  [{ gateway: { push: { plainHttp: ['http://x'] } } }, 'gateway.push.plainHttp must be a list of registries'],
  [{ gateway: { delivery: { perSource: 0 } } }, 'gateway.delivery.perSource must be a whole number from 1'],
  [{ gateway: { limits: { messageSize: 5 } } }, 'gateway.limits.messageSize must be a size'],
  [{ gateway: { limits: { messageSize: '9GiB' } } }, 'gateway.limits.messageSize must be a size'],
  [{ gateway: { limits: { handshakes: 5 } } }, 'there is no key gateway.limits.handshakes'],
  [{ gateway: { maxBuildDuration: 90 } }, 'gateway.maxBuildDuration must be a duration'],
  // A timer of more than 2^31-1 milliseconds is over at once.
  [{ gateway: { maxBuildDuration: '597h' } }, 'gateway.maxBuildDuration must be a duration of at most "596h"'],
  [{ gateway: { delivery: { timeout: '600h' } } }, 'gateway.delivery.timeout must be a duration of at most "596h"'],
  [{ gateway: { limits: { keepalive: '36000m' } } }, 'gateway.limits.keepalive must be a duration of at most "596h"'],
] as const)('%j is refused: %s', ([table, says]) => {
  expect(() => gatewayConfig(table, clusterGateway)).toThrow(says)
})

test('the longest duration is one that a timer can take', () => {
  const { maxBuildDuration } = gatewayConfig({ gateway: { maxBuildDuration: '596h' } }, clusterGateway)
  expect(maxBuildDuration * 1000).toBeLessThan(2 ** 31)
})

test.for([
  [{ gatway: { defaults: true } }, 'there is no key gatway'],
  [{ mirror: { serve: 'all' } }, 'there is no key mirror'],
] as const)('%j is refused by every role: %s', ([table, says]) => {
  expect(() => gatewayConfig(table, clusterGateway)).toThrow(says)
  expect(() => agentConfig(table)).toThrow(says)
  expect(() => controllerConfig(table)).toThrow(says)
})

describe('[agent.disk]', () => {
  const disk = { highPercent: 70, lowPercent: 60, inodesHighPercent: 80, inodesLowPercent: 75 }
  test('every key changes its field', () => {
    expect(agentConfig({ agent: { disk: { ...disk, maxCacheBytes: '20GB' } }, gateway: { x: 1 } })).toEqual({
      disk: { ...disk, maxCacheBytes: 20e9 },
      images: { keep: 3, keepFor: 7 * 86_400 },
      mirror: { serve: 'built', bases: ['docker.io'] },
      emulators: defaultAgentConfig.emulators,
    })
    expect(agentConfig({})).toEqual(defaultAgentConfig)
    expect(agentConfig({ agent: { images: { keep: 1, keepFor: '2h' } } }).images).toEqual({ keep: 1, keepFor: 7200 })
    // No timer runs for so long: images are asked for their age.
    expect(agentConfig({ agent: { images: { keepFor: '720h' } } }).images.keepFor).toBe(720 * 3600)
    const mirror = { serve: 'all', bases: ['registry.example:5000', 'localhost', 'ghcr.io'] }
    expect(agentConfig({ agent: { mirror } }).mirror).toEqual(mirror)
    expect(agentConfig({ agent: { mirror: { bases: [] } } }).mirror).toEqual({ serve: 'built', bases: [] })
    for (const host of ['team', 'https://ghcr.io', 'ghcr.io/team', '']) {
      expect(() => agentConfig({ agent: { mirror: { bases: [host] } } })).toThrow(
        'agent.mirror.bases must be a list of',
      )
    }
    expect(() => agentConfig({ agent: { mirror: { serve: 'some' } } })).toThrow('agent.mirror.serve must be "built" or')
    const emulators = { platforms: ['linux/arm/v7'], credentials: true }
    expect(agentConfig({ agent: { emulators } }).emulators).toEqual(emulators)
    expect(() => agentConfig({ agent: { emulators: { platforms: ['linux/vax'] } } })).toThrow('platforms out of linux/')
    expect(() => agentConfig({ agent: { images: { keepfor: '2h' } } })).toThrow('agent.images.keepfor')
    expect(agentConfig({ agent: { disk: { maxCacheBytes: '1.5 GiB' } } }).disk.maxCacheBytes).toBe(1.5 * 2 ** 30)
  })
  test.for([
    [{ high: 5 }, 'there is no key agent.disk.high'],
    [{ highPercent: '70%' }, 'agent.disk.highPercent must be a percentage'],
    [{ lowPercent: 0 }, 'agent.disk.lowPercent must be a percentage'],
    [{ maxCacheBytes: 5 }, 'agent.disk.maxCacheBytes must be a size'],
    [{ maxCacheBytes: '5 apples' }, 'agent.disk.maxCacheBytes must be a size'],
  ] as const)('%j is refused: %s', ([table, says]) => {
    expect(() => agentConfig({ agent: { disk: table } })).toThrow(says)
  })
})
