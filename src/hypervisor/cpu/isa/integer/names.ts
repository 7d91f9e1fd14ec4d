/** Mnemonic suffixes of the condition codes, in the order of Jcc's opcode bits (SDM vol. 1, appendix B). */
export const CONDITION_NAMES = [
  'o',
  'no',
  'b',
  'ae',
  'e',
  'ne',
  'be',
  'a',
  's',
  'ns',
  'p',
  'np',
  'l',
  'ge',
  'le',
  'g',
] as const;

/** An opcode byte as rows write it. */
export const opcodeHex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0');
