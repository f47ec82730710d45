import { nodeCommand, openLab } from './lab.ts'
import { logFile } from './layout.ts'
import { startDetached } from './processes.ts'
import { waitFor } from './wait.ts'

/** systemd-logind of a node: who tells its kubelet that the node shuts down. */
export interface Logind extends AsyncDisposable {
  /**
   * What `systemctl poweroff` asks logind for: programs that wanted time before it (the kubelet) are told and waited for, and then
   * systemd starts poweroff.target. That of a lab's node is empty, so the node stays, and programs hear that it does.
   */
  powerOff(): Promise<void>
}

const units = '/run/insitu-lab-units'
const runtime = '/run/insitu-lab-systemd'
const bus = '/run/dbus/system_bus_socket'
const config = '/etc/systemd/logind.conf.d/insitu-lab.conf'

const unit = (lines: readonly string[]): string => `[Unit]\nDefaultDependencies=no\n${lines.join('\n')}\n`

/** logind, the bus it is asked through, and the target it starts in the end. Pure. */
const unitFiles: Readonly<Record<string, string>> = {
  'dbus.socket': unit(['[Socket]', `ListenStream=${bus}`]),
  'dbus.service': unit([
    'Requires=dbus.socket',
    '[Service]',
    'ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation',
  ]),
  'systemd-logind.service': unit([
    'Requires=dbus.service',
    'After=dbus.service',
    '[Service]',
    'ExecStart=/lib/systemd/systemd-logind',
  ]),
  'default.target': unit(['Requires=systemd-logind.service']),
  'poweroff.target': unit([]),
}

/**
 * Starts the machine's own systemd, bus and logind in a node. systemd runs as the manager of a user, because only a first process
 * can be that of a system; on the bus it is the same.
 * @param delay seconds that programs may ask for; a kubelet whose `shutdownGracePeriod` is longer would want another setting
 */
export async function startLogind(node: string, { delay }: { delay: number }): Promise<Logind> {
  const lab = openLab()
  const exec = (...command: string[]) => lab.exec(node, command)
  const call = (...words: string[]) =>
    exec('dbus-send', '--system', '--print-reply', '--dest=org.freedesktop.login1', '/org/freedesktop/login1', ...words)
  const end = async (): Promise<void> => {
    for (const program of ['/lib/systemd/systemd', '/usr/bin/dbus-daemon']) {
      await lab.exec(node, ['pkill', '-KILL', '-f', `^${program}`], { allow: [0, 1] })
    }
    await exec('rm', '-rf', units, runtime, config, bus)
  }

  await end()
  await exec('mkdir', '-p', units, runtime, '/run/dbus', '/etc/systemd/logind.conf.d', '/run/systemd/system')
  const files = Object.entries(unitFiles).map(([name, text]) => [`${units}/${name}`, text] as const)
  for (const [path, input] of [...files, [config, `[Login]\nInhibitDelayMaxSec=${delay}\n`] as const]) {
    await lab.exec(node, ['tee', path], { input })
  }
  const [file = '', ...args] = await nodeCommand(node, [
    ...['env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', `DBUS_SESSION_BUS_ADDRESS=unix:path=${bus}`],
    ...[`SYSTEMD_UNIT_PATH=${units}`, `XDG_RUNTIME_DIR=${runtime}`, '/lib/systemd/systemd', '--user'],
  ])
  await startDetached(file, args, { log: logFile('systemd', node) })
  const property = ['string:org.freedesktop.login1.Manager', 'string:InhibitDelayMaxUSec']
  const answered = async (): Promise<true> => {
    const { stdout } = await call('org.freedesktop.DBus.Properties.Get', ...property)
    if (!stdout.includes(String(delay * 1_000_000))) throw new Error(stdout)
    return true
  }
  await waitFor(`systemd-logind of ${node}`, answered, { timeout: 30_000 })
  // systemd refused to start without it; other programs of the node would take it for a sign that systemd runs the node.
  await exec('rmdir', '/run/systemd/system')

  return {
    async powerOff() {
      await call('org.freedesktop.login1.Manager.PowerOff', 'boolean:false')
    },
    [Symbol.asyncDispose]: end,
  }
}
