import { Option, type Command } from 'commander';
import { settingKeys } from '../platform/settings-keys.ts';
import { formats, type Format } from './output.ts';

/** Flags by their names without dashes, as `loadSettings` takes them. */
export type SettingFlags = Readonly<Record<string, string | boolean | undefined>>;

/** Shown by `--help`; every other setting is a flag too, and `config/defaults.yaml` lists them all. */
const commonFlags = new Set([
  'config-db', 'data-dir', 'cluster', 'git-url', 'git-branch', 'namespace', 'kubeconfig', 'poll-interval', 'log-level', 'http-port', 'enable-monitor', 'apply',
]);

/** Gives a command every setting as a flag. */
export function settingsOptions(command: Command): Command {
  command.option('--config <file>', 'settings as YAML; every setting in it is also a flag and an environment variable');
  for (const { flag, path, description } of settingKeys) {
    if (flag === null) continue;
    const isSwitch = path === 'enableMonitor' || path === 'managedPool.gpu' || path === 'ssa.adopt' || path === 'ssa.system';
    const option = new Option(isSwitch ? `--${flag}` : `--${flag} <value>`, description);
    command.addOption(commonFlags.has(flag) ? option : option.hideHelp());
  }
  return command;
}

/** The flags that were given, by name. */
export function settingFlags(command: Command): SettingFlags {
  const options = command.opts<Record<string, string | boolean | undefined>>();
  const given = command.options.map((option) => [option.name(), options[option.attributeName()]] as const);
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
}

export function formatOption(command: Command): Command {
  return command.addOption(new Option('-o, --output <format>', 'how to print').choices(formats).default('table'));
}

export interface FormatFlags {
  readonly output: Format;
}
