import { inCidr } from '../../kernel/cidr.ts'

/** What tells the rules of RUN steps from those of other CNI networks on the same machine. */
export interface OwnNetwork {
  readonly bridge: string
  /** `A.B.C.D/N`; undefined: not known, and no address is ours. */
  readonly subnet: string | undefined
}

interface Rule {
  /** As `iptables -S` writes it. */
  readonly line: string
  readonly chain: string
  readonly words: readonly string[]
}

/** Chains of the plug-in firewall, which all networks share; those of a group lead into each other. */
const groups: readonly (readonly string[])[] = [
  ['CNI-ADMIN', 'CNI-FORWARD'],
  ['CNI-ISOLATION-STAGE-1', 'CNI-ISOLATION-STAGE-2'],
]

/** The plug-in bridge makes one for each address, named by a hash; all others are of plug-ins that BuildKit does not use. */
const ofAddress = /^CNI-[0-9a-f]{24}$/

/**
 * What takes back the rules that CNI plug-ins made for RUN steps: arguments for iptables, in order. Both texts are
 * `iptables -S` of one table. Other networks of the machine have chains of the same kinds, and share some: what was there
 * before stays, and so does what is not ours.
 */
export function undoRules(before: string, after: string, own: OwnNetwork): string[][] {
  const [old, rules] = [chainsOf(before), rulesOf(after)]
  const fresh = chainsOf(after).filter((chain) => !old.includes(chain))
  const isForUs = (group: readonly string[]): boolean =>
    !group.some((chain) => old.includes(chain)) &&
    rules.every((rule) => !group.includes(rule.chain) || isOwn(rule, own) || isFrame(rule, group))
  const shared = groups.flat()
  const gone = fresh.filter((chain) =>
    ofAddress.test(chain)
      ? rules.some((rule) => (rule.chain === chain || targetOf(rule) === chain) && isOwn(rule, own))
      : groups.some((group) => group.includes(chain) && isForUs(group)),
  )
  const known = new Set(before.split('\n'))
  const single = rules.filter(
    (rule) =>
      !gone.includes(rule.chain) &&
      (gone.includes(targetOf(rule)) || (shared.includes(rule.chain) && !known.has(rule.line) && isOwn(rule, own))),
  )
  return [
    ...single.map(({ chain, words }) => ['-D', chain, ...words]),
    ...gone.map((chain) => ['-F', chain]),
    ...gone.map((chain) => ['-X', chain]),
  ]
}

/** Chains of CNI plug-ins in the text of `iptables -S`. */
export const chainsOf = (text: string): string[] => [...text.matchAll(/^-N (CNI-\S+)$/gm)].map(([, name]) => name ?? '')

const rulesOf = (text: string): Rule[] =>
  text.split('\n').flatMap((line) => {
    const [verb, chain, ...words] = splitRule(line)
    return verb === '-A' && chain !== undefined ? [{ line, chain, words }] : []
  })

/** The word after an option. */
const wordAfter = (words: readonly string[], option: string): string | undefined =>
  words.includes(option) ? words[words.indexOf(option) + 1] : undefined

const targetOf = ({ words }: Rule): string => wordAfter(words, '-j') ?? ''

/** Whether a rule is about our bridge or addresses behind it, and about nothing else. */
function isOwn({ words }: Rule, { bridge, subnet }: OwnNetwork): boolean {
  const values = (...options: string[]): string[] => words.filter((_, i) => options.includes(words[i - 1] ?? ''))
  const isOurs = [
    ...values('-i', '-o').map((device) => device === bridge),
    ...values('-s', '-d').map((address) => subnet !== undefined && inCidr(address.split('/')[0] ?? '', subnet)),
  ]
  return isOurs.length > 0 && isOurs.every(Boolean)
}

/** What the plug-in puts into a group of chains for all networks: the way from one into the other, and out. */
function isFrame(rule: Rule, group: readonly string[]): boolean {
  const [first, second, , , ...rest] = rule.words
  const words = first === '-m' && second === 'comment' ? rest : rule.words
  return words.length === 2 && words[0] === '-j' && ['RETURN', ...group].includes(words[1] ?? '')
}

/** Splits a line of `iptables -S`, whose comments are in double quotes with backslash escapes. */
const splitRule = (line: string): string[] =>
  [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map((match) => match[1]?.replace(/\\(.)/g, '$1') ?? match[2] ?? '')
