import { Option } from 'commander'
import { logLevels } from './manifests/options.ts'

/** `--log-level` of a role. The last two are for who wants less than errors. */
export const logLevel = (byDefault: string): Option =>
  new Option('--log-level <level>', 'what is logged').choices([...logLevels, 'fatal', 'silent']).default(byDefault)
