/**
 * The characters of code page 437, which a PC's fonts have, as Unicode; those
 * of the codes below 32 and of 127 are the graphics that fonts have there
 * (unicode.org, MAPPINGS/VENDORS/MICSFT/PC/CP437.TXT and MISC/IBMGRAPH.TXT).
 */
export const CP437: readonly string[] = [
  ...' ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼',
  ...Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)),
  ...'⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐',
  ...'└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ',
];
