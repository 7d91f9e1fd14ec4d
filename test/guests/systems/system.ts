import type { Report } from '../debian/report.ts';

/** A whole operating system that starts from firmware, looked at from outside. */
export interface WholeSystem {
  /** A line for people. */
  readonly about: string;
  /**
   * Fetches what it takes, boots it, and reports.
   * @param selection names on the command line; none means all
   * @throws SetupError where its files cannot be made
   */
  readonly check: (report: Report, selection: readonly string[]) => Promise<void>;
}
