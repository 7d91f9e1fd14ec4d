/** Elements of the interpreter's table from here on are regions; a record has 16 bits for them. */
export const FIRST_SLOT = 0x8000;
