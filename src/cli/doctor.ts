import { Command, Option } from 'commander'
import { doctorVariables } from '../api/names.ts'
import type { DoctorFlags } from './run-doctor.ts'

/** `insitu doctor`: what an agent would say about this machine. In an agent's pod it looks where that agent does. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description(
      'Check whether this machine can build. Run it on a node or in the agent’s pod. Exit code 0: it can; 1: not.',
    )
    .option('--config <file>', "the user's buildkitd.toml", '/etc/buildkit/buildkitd.toml')
    .addOption(
      new Option('--root <directory>', "buildkitd's root").default('/var/lib/buildkit').env(doctorVariables.root),
    )
    .addOption(new Option('--rootless', 'as an agent without privilege').env(doctorVariables.rootless))
    .addOption(
      new Option('--containerd-address <socket>', "containerd's socket (default: where the distribution has it)").env(
        doctorVariables.containerdAddress,
      ),
    )
    .option('--containerd-namespace <name>', "containerd's namespace", 'k8s.io')
    .option('--snapshotter <name>', "the kubelet's snapshotter (default: asked from containerd)")
    .addOption(
      new Option('-o, --output <format>', 'what goes to standard output').choices(['text', 'json']).default('text'),
    )
    .action(async (flags: DoctorFlags) => {
      const { runDoctor } = await import('./run-doctor.ts')
      await runDoctor(flags)
    })
}
