/** What a test kernel said of one case. */
export interface TapResult {
  readonly number: number;
  readonly name: string;
  readonly verdict: 'ok' | 'not ok' | 'skipped';
  /** What differed: `field is X, not Y`. */
  readonly differences: readonly string[];
}

/**
 * Reads TAP as the test kernels print it.
 *
 * @throws Error when there is no plan, or cases are missing or out of order
 */
export function parseTap(text: string): TapResult[] {
  const results: { number: number; name: string; verdict: TapResult['verdict']; differences: string[] }[] =
    [];
  let plan: number | undefined;
  for (const line of text.split('\n')) {
    const [, last] = /^1\.\.(\d+)$/.exec(line) ?? [];
    if (last !== undefined) plan = Number(last);
    const [, not, number, name, skip] = /^(not )?ok (\d+) - (.*?)( # SKIP.*)?$/.exec(line) ?? [];
    if (number !== undefined) {
      results.push({
        number: Number(number),
        name: name ?? '',
        verdict: skip ? 'skipped' : not ? 'not ok' : 'ok',
        differences: [],
      });
    } else if (line.startsWith('# ')) {
      results.at(-1)?.differences.push(line.slice(2));
    }
  }
  if (plan === undefined) throw new Error('the kernel printed no plan');
  results.forEach(({ number }, index) => {
    if (number !== index + 1) throw new Error(`case ${index + 1} is missing: ${number} comes in its place`);
  });
  if (results.length !== plan)
    throw new Error(`${results.length} of ${plan} cases; the last was ${results.at(-1)?.name ?? 'none'}`);
  return results;
}

/** The verdicts alone, as they are kept in `expected/`: addresses in the details change with every case added. */
export function verdicts(results: readonly TapResult[]): string {
  const line = ({ number, name, verdict }: TapResult): string =>
    `${verdict === 'skipped' ? 'ok' : verdict} ${number} - ${name}${verdict === 'skipped' ? ' # SKIP' : ''}`;
  return `1..${results.length}\n${results.map(line).join('\n')}\n`;
}
