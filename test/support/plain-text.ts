/**
 * What came over a serial line, without control sequences (ECMA-48, CSI). Firmware that shows its screen there sends
 * them at each tick of the clock, in the middle of words too.
 */
export function plainText(said: string): string {
  return said.replace(/\x1b\[[0-9;?]*[@-~]/g, '');
}
