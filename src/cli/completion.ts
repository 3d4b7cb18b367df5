import { Argument, Command } from 'commander';
import { bashScript } from './completion/bash';
import { fishScript } from './completion/fish';
import { commandModel } from './completion/model';
import { zshScript } from './completion/zsh';
import type { Output } from './output';
import { run, status } from './run';

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** `vfio completion SHELL`: a script for the shell; it starts no vfio when a key is pressed. */
export function completionCommand(
  loadAll: () => Promise<Command>,
  output: Output = process.stdout,
): Command {
  return new Command('completion')
    .description('print a script that completes commands, options and PCI addresses')
    .addArgument(new Argument('<SHELL>', 'for which shell').choices(Object.keys(scripts)))
    .addHelpText('after', help)
    .action((shell: keyof typeof scripts) =>
      run({ output }, async () => {
        output.write(scripts[shell](commandModel(await loadAll())));
        return status.ok;
      }),
    );
}

const help = `
bash: echo 'source <(vfio completion bash)' >> ~/.bashrc
zsh:  vfio completion zsh > "\${fpath[1]}/_vfio"
fish: vfio completion fish > ~/.config/fish/completions/vfio.fish`;
