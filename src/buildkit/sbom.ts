/** Both spellings that BuildKit knows: v0.33.1, frontend/attestations/parse.go. */
const sbom = /^(?:attest:|build-arg:BUILDKIT_ATTEST_)sbom$/i
/** Fields are those of CSV, so one may be in quotes. The last one counts. */
const generator = /^"?generator=/
const byDefault = 'docker/buildkit-syft-scanner:stable-1'

/** Images of the scanners that a frontend with these options runs. */
export const scannersIn = (options: Readonly<Record<string, string>>): string[] =>
  Object.entries(options)
    .filter(([key]) => sbom.test(key))
    .map(([, value]) => {
      const said = value.split(',').findLast((part) => generator.test(part))
      return said?.replace(generator, '').replace(/"$/, '') ?? byDefault
    })
