import { describe, expect, it } from 'vitest'
import { undoRules } from './cni-rules.ts'

const own = { bridge: 'buildkit0', subnet: '10.10.0.0/16' }
const undo = (before: string, after: string): string[][] => undoRules(before, after, own)
const firewall = ['-m', 'comment', '--comment', 'CNI firewall plugin rules']
const isolation = 'CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)'

/** What the plug-in firewall makes for a bridge, and for an address behind it. */
const filter = (bridge: string, address: string, more = ''): string => `-P FORWARD ACCEPT
-N CNI-ADMIN
-N CNI-FORWARD
-N CNI-ISOLATION-STAGE-1
-N CNI-ISOLATION-STAGE-2
-A FORWARD -m comment --comment "${isolation}" -j CNI-ISOLATION-STAGE-1
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -d ${address}/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s ${address}/32 -j ACCEPT
-A CNI-ISOLATION-STAGE-1 -i ${bridge} ! -o ${bridge} -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-2
-A CNI-ISOLATION-STAGE-1 -m comment --comment "${isolation}" -j RETURN
-A CNI-ISOLATION-STAGE-2 -o ${bridge} -m comment --comment "${isolation}" -j DROP
-A CNI-ISOLATION-STAGE-2 -m comment --comment "${isolation}" -j RETURN
${more}`

/** What the plug-in bridge makes for one container's address, `A.B.0.N` of `A.B.0.0/16`. */
const masquerade = (chain: string, network: string, address: string): string => `-N ${chain}
-A POSTROUTING -s ${address}/32 -m comment --comment "name: \\"${network}\\" id: \\"x1\\"" -j ${chain}
-A ${chain} -d ${address.replace(/\d+$/, '0')}/16 -m comment --comment "name: \\"${network}\\" id: \\"x1\\"" -j ACCEPT
-A ${chain} ! -d 224.0.0.0/4 -m comment --comment "name: \\"${network}\\" id: \\"x1\\"" -j MASQUERADE
`
const [ours, theirs] = ['CNI-0123456789abcdef01234567', 'CNI-76543210fedcba9876543210']

describe('taking back the rules of CNI plug-ins', () => {
  it('removes what is new and ours, with what leads there', () => {
    const result = undo('-P FORWARD ACCEPT\n', filter('buildkit0', '10.10.0.2'))
    expect(result.filter(([verb]) => verb === '-D')).toEqual([
      ['-D', 'FORWARD', '-m', 'comment', '--comment', isolation, '-j', 'CNI-ISOLATION-STAGE-1'],
      ['-D', 'FORWARD', ...firewall, '-j', 'CNI-FORWARD'],
    ])
    const chains = ['CNI-ADMIN', 'CNI-FORWARD', 'CNI-ISOLATION-STAGE-1', 'CNI-ISOLATION-STAGE-2']
    for (const verb of ['-F', '-X']) {
      expect(result.filter((args) => args[0] === verb).map(([, chain]) => chain)).toEqual(chains)
    }
    expect(undo(filter('buildkit0', '10.10.0.2'), filter('buildkit0', '10.10.0.2'))).toEqual([])
  })

  it('takes chains of its own addresses, and not those of another buildkitd', () => {
    const before = '-P POSTROUTING ACCEPT\n'
    const mine = masquerade(ours, 'buildkit', '10.10.0.2')
    expect(undo(before, before + mine + masquerade(theirs, 'buildkit', '10.99.0.2'))).toEqual([
      [
        ...['-D', 'POSTROUTING', '-s', '10.10.0.2/32', '-m', 'comment', '--comment', 'name: "buildkit" id: "x1"'],
        ...['-j', ours],
      ],
      ['-F', ours],
      ['-X', ours],
    ])
    expect(undo(before, before + masquerade(theirs, 'bridge', '10.4.0.2'))).toEqual([])
    // Without the rule that leads there it is still known by the network that it is for.
    const alone = mine.replace(/^-A POSTROUTING.*\n/m, '')
    expect(undo(before, before + alone)).toEqual([
      ['-F', ours],
      ['-X', ours],
    ])
  })

  it('leaves ports that somebody has published meanwhile', () => {
    const after = `-N CNI-DN-0123456789abcdef01234
-N CNI-HOSTPORT-DNAT
-N CNI-HOSTPORT-MASQ
-N CNI-HOSTPORT-SETMARK
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-DN-0123456789abcdef01234 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.4.0.2:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"bridge\\" id: \\"x1\\"" -m multiport --dports 8080 -j CNI-DN-0123456789abcdef01234
`
    expect(undo('', after)).toEqual([])
  })

  it('takes only its own rules out of chains that others use as well', () => {
    const others = `-A CNI-FORWARD -s 10.4.0.2/32 -j ACCEPT
-A CNI-ISOLATION-STAGE-2 -o nerdctl0 -m comment --comment "${isolation}" -j DROP
`
    const result = undo('', filter('buildkit0', '10.10.0.2', others))
    expect(new Set(result.map(([verb]) => verb))).toEqual(new Set(['-D']))
    expect(result.map(([, chain, ...rule]) => `${chain} ${rule.slice(0, 2).join(' ')}`)).toEqual([
      'CNI-FORWARD -d 10.10.0.2/32',
      'CNI-FORWARD -s 10.10.0.2/32',
      'CNI-ISOLATION-STAGE-1 -i buildkit0',
      'CNI-ISOLATION-STAGE-2 -o buildkit0',
    ])
    // What was there before, of a daemon that runs without us, stays.
    expect(undo(filter('buildkit0', '10.10.0.2'), filter('buildkit0', '10.10.0.2', others))).toEqual([])
  })

  it('leaves what an administrator has written into the chain for that', () => {
    const result = undo('', filter('buildkit0', '10.10.0.2', '-A CNI-ADMIN -s 192.0.2.0/24 -j DROP\n'))
    const gone = result.filter(([verb]) => verb === '-X').map(([, chain]) => chain)
    expect(gone).toEqual(['CNI-ISOLATION-STAGE-1', 'CNI-ISOLATION-STAGE-2'])
    expect(result.flat()).not.toContain('CNI firewall plugin admin overrides')
  })
})
