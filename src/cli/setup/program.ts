import { SetupError, say } from './bootstrap.js';

/**
 * Runs a set-up program's body: what it throws as a SetupError is told in one message and ends it with status 1.
 */
export async function runProgram(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
    process.exitCode = 1;
  }
}
