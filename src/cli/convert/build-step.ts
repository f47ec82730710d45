import { truthOf } from '../../buildkit/truth.ts'
import { UsageError } from '../../kernel/errors.ts'
import { type Attestations, readAttestation } from './attestations.ts'

/** A container of an old object, as far as it is read. */
export interface OldStep {
  readonly name?: string
  readonly image?: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly volumeMounts?: readonly { readonly name: string }[]
  readonly [field: string]: unknown
}

/** What a step does that is ours to do. */
export interface BuildAction {
  readonly names: readonly string[]
  readonly push: boolean
  /** False: it only pushes what an earlier step built. */
  readonly builds: boolean
  /** The registry may speak plain HTTP or have any certificate. */
  readonly insecure: boolean
  readonly dockerfile?: string
  readonly subPath?: string
  readonly target?: string
  readonly noCache?: true
  readonly attestations?: Attestations
  readonly args: readonly { readonly name: string; readonly value: string }[]
}

type Meaning = 'name' | 'file' | 'target' | 'arg' | 'context' | 'attest' | 'no-cache' | 'drop' | 'flag'

/** Options of `docker build`, `img build`, `buildah bud` and kaniko that say something to us; the rest are refused. */
const meanings: Readonly<Record<string, Meaning>> = {
  ...{ t: 'name', tag: 'name', destination: 'name', d: 'name' },
  ...{ f: 'file', file: 'file', dockerfile: 'file' },
  ...{ target: 'target', 'build-arg': 'arg', context: 'context', c: 'context' },
  ...{ provenance: 'attest', sbom: 'attest', attest: 'attest' },
  ...{ 'no-cache': 'no-cache', cache: 'flag', pull: 'flag', rm: 'flag', 'force-rm': 'flag', q: 'flag', quiet: 'flag' },
  ...{ 'insecure-registry': 'drop', progress: 'drop', verbosity: 'drop', 'cache-repo': 'drop', 'cache-ttl': 'drop' },
  ...{ 'skip-tls-verify': 'flag', insecure: 'flag', 'tls-verify': 'flag', reproducible: 'flag' },
}

/** kaniko's options, img's `--insecure-registry` and buildah's `--tls-verify=false`. */
const insecure = /^--((insecure|skip-tls-verify|insecure-registry)(=(?!false$).*)?|tls-verify=false)$/
const kaniko = /kaniko(-project)?\/executor$/

/**
 * Reads a step that builds or pushes an image with docker, img, buildah or kaniko.
 * @returns undefined for a container that does something else.
 * @throws UsageError for an option whose meaning would be lost
 */
export function buildAction(step: OldStep): BuildAction | undefined {
  const words = [...(step.command ?? []), ...(step.args ?? [])]
  const image = (step.image ?? '').replace(/[:@].*$/, '')
  // img's --insecure-registry has no value, kaniko's has.
  const found = readStep(step, image, kaniko.test(image) ? words : words.filter((word) => !insecure.test(word)))
  return found && { ...found, insecure: words.some((word) => insecure.test(word)) }
}

type Read = Omit<BuildAction, 'insecure'>

function readStep(step: OldStep, image: string, words: readonly string[]): Read | undefined {
  if (kaniko.test(image)) return readKaniko(step, words)
  if (!/(^|\/)(docker|img|buildah|podman)(\/stable)?$/.test(image)) return undefined
  const [verb, ...rest] = /^(docker|img|buildah|podman)$/.test(words[0] ?? '') ? words.slice(1) : words
  if (verb === 'push') {
    const names = rest.filter((word) => !word.startsWith('-'))
    return { names: names.slice(0, 1), push: true, builds: false, args: [] }
  }
  if (verb !== 'build' && verb !== 'bud') return undefined
  return read(step, rest, false)
}

const readKaniko = (step: OldStep, words: readonly string[]): Read => {
  const push = !words.some((word) => /^--no-push(=true)?$/.test(word))
  return read(
    step,
    words.filter((word) => !word.startsWith('--no-push')),
    push,
  )
}

function read(step: OldStep, words: readonly string[], push: boolean): Read {
  const found: Record<string, string[]> = {}
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? ''
    const [, dashes, option = '', , given] = /^(--?)([^=]+)(=(.*))?$/s.exec(word) ?? []
    if (dashes === undefined) {
      found['context'] = [word]
      continue
    }
    const meaning = meanings[option]
    if (meaning === undefined) throw lost(step, word)
    if (meaning === 'flag') continue
    const value = given ?? (meaning === 'no-cache' ? 'true' : (words[++i] ?? ''))
    ;(found[meaning] ??= []).push(meaning === 'attest' ? `${option}=${value}` : value)
  }
  const [dockerfile] = found['file'] ?? []
  const [target] = found['target'] ?? []
  const subPath = directory(found['context']?.[0])
  return {
    ...{ names: found['name'] ?? [], push, builds: true },
    ...(dockerfile === undefined ? {} : { dockerfile: directory(dockerfile) ?? dockerfile }),
    ...(target === undefined ? {} : { target }),
    ...(subPath === undefined ? {} : { subPath }),
    ...(readNoCache(step, found['no-cache']) ? { noCache: true } : {}),
    ...readAttestations(step, found['attest']),
    args: (found['arg'] ?? []).map((text) => {
      const [name = '', ...value] = text.split('=')
      return { name, value: value.join('=') }
    }),
  }
}

const lost = (step: OldStep, word: string): UsageError =>
  new UsageError(`step ${step.name ?? step.image}: what ${word} means would be lost`, {
    fix: 'take it out of the file, and see docs/templates.md for what a BuildTemplate can say',
  })

/** The last one counts. A parameter cannot say it: it is no text in a template. */
function readNoCache(step: OldStep, said: readonly string[] = ['false']): boolean {
  const text = said.at(-1) ?? ''
  const truth = truthOf(text)
  if (truth === undefined) throw lost(step, `--no-cache=${text}`)
  return truth
}

function readAttestations(step: OldStep, said: readonly string[] = []): Pick<Read, 'attestations'> {
  let all: Attestations = {}
  for (const text of said) {
    const one = readAttestation(text)
    if (one === undefined) throw lost(step, `--${text}`)
    all = { ...all, ...one }
  }
  const { provenance, sbom } = all
  if (provenance === undefined && sbom === undefined) return {}
  return { attestations: { ...(provenance && { provenance }), ...(sbom && { sbom }) } }
}

/** A path below the source; undefined for the source itself. */
function directory(path: string | undefined): string | undefined {
  const below = (path ?? '').replace(/^(dir:\/\/)?(\/workspace\/?)?(\.\/)?/, '').replace(/\/+$/, '')
  return below === '' || below === '.' ? undefined : below
}
