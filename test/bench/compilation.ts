import { execFile } from 'node:child_process'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const exec = promisify(execFile)

/** A package of Go's own library: two seconds of work for one processor, and ten times as many for an emulated one. */
const subject = 'go/types'

/** The stage that has the compiler and what it needs, for rounds that are not counted. */
export const preparation = 'toolchain'

/**
 * A context with Go's compiler for each platform, made for that platform, and a step in which it compiles a part of
 * Go's library. Nothing else runs there: no shell, no `go`, no cache.
 * @param architectures as Go and OCI name them.
 */
export async function compilation(directory: string, architectures: readonly string[]): Promise<string> {
  const context = join(directory, 'compile')
  const { stdout } = await exec('go', ['env', 'GOROOT'])
  for (const arch of architectures) await toolchain(stdout.trim(), arch, join(context, arch))
  await writeFile(
    join(context, 'Dockerfile'),
    [
      `FROM scratch AS ${preparation}`,
      'ARG TARGETARCH',
      'COPY $TARGETARCH /',
      `FROM ${preparation}`,
      // Another value makes it another step.
      'ARG NONCE',
      // Go's tools read arguments from a file; `-c=1`: one processor, so that the platforms do not compete for two.
      'RUN ["/compile", "@/arguments"]',
      '',
    ].join('\n'),
  )
  return context
}

/** Go's own cache makes it seconds the second time. */
async function toolchain(root: string, arch: string, into: string): Promise<void> {
  const options = {
    env: { ...process.env, GOOS: 'linux', GOARCH: arch, CGO_ENABLED: '0', GOFLAGS: '', GOTOOLCHAIN: 'local' },
    cwd: join(root, 'src'),
    maxBuffer: 16 << 20,
  }
  await Promise.all([mkdir(join(into, 'lib'), { recursive: true }), mkdir(join(into, 'src'), { recursive: true })])
  await exec('go', ['build', '-o', join(into, 'compile'), 'cmd/compile'], options)
  // What the package imports, compiled already.
  const imports = '{{if .Export}}{{.ImportPath}}={{.Export}}{{end}}'
  const libraries = lines((await exec('go', ['list', '-export', '-deps', '-f', imports, subject], options)).stdout)
  const config: string[] = []
  for (const [i, line] of libraries.entries()) {
    const [name = '', file = ''] = line.split('=')
    if (name === subject) continue
    await copyFile(file, join(into, 'lib', `${i}.a`))
    config.push(`packagefile ${name}=/lib/${i}.a`)
  }
  await writeFile(join(into, 'imports'), `${config.join('\n')}\n`)
  const files = '{{range .GoFiles}}{{$.Dir}}/{{.}}\n{{end}}'
  const sources = lines((await exec('go', ['list', '-f', files, subject], options)).stdout)
  for (const [i, file] of sources.entries()) await copyFile(file, join(into, 'src', `${i}.go`))
  const flags = ['-o', '/package.a', '-p', subject, '-std', '-complete', '-c=1', '-importcfg', '/imports']
  const all = [...flags, ...sources.map((_, i) => `/src/${i}.go`)]
  await writeFile(join(into, 'arguments'), `${all.join('\n')}\n`)
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')
