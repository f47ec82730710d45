import { Option } from 'commander'

/** `--log-level` of a role. The last two are for who wants less than errors. */
export const logLevel = (byDefault: string): Option =>
  new Option('--log-level <level>', 'what is logged')
    .choices(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default(byDefault)
