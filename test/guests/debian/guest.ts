import type { ShellCommands } from '../../support/shell-commands.ts';
import type { BootFiles } from './booted.ts';
import type { Report } from './report.ts';

/** A guest with something to check in it. */
export interface DebianGuest {
  /** Fetches and builds what it boots from; a line for people says what that is. */
  prepare(): Promise<{ readonly boots: readonly BootFiles[]; readonly about: string }>;
  /**
   * Uses the shell and reports.
   * @param selection names on the command line; none means all
   */
  check(shell: ShellCommands, report: Report, selection: readonly string[]): Promise<void>;
}
