/** Cases on which QEMU's TCG does not do what the manual says, and where the manual (Intel SDM) says it. */
export interface QemuDifference {
  readonly cases: RegExp;
  readonly manual: string;
}

const paging: readonly QemuDifference[] = [
  {
    cases: /reserved (address )?bit|bit 62/,
    manual: 'vol. 3, 4.7: RSVD is set only with P; TCG tells RSVD alone',
  },
  {
    cases: /^a load of CR3 keeps a global page$/,
    manual: 'vol. 3, 4.10.4.1: MOV to CR3 invalidates all but global pages; TCG drops those too, as it may',
  },
];

export const QEMU_DIFFERS: Readonly<Record<string, readonly QemuDifference[]>> = {
  protected: [
    { cases: /LOCK before MOV/, manual: 'vol. 2, LOCK: #UD before instructions that it does not list' },
    {
      cases: /no register$|reserved EFER bit|reserved memory type/,
      manual: 'vol. 2, RDMSR and WRMSR: #GP(0) for a reserved register or value',
    },
    { cases: /^a fault saves RF/, manual: 'vol. 3, 17.3.1.1: RF is set in the image that a fault pushes' },
    {
      cases: /SSE division by zero|without CR4.OSXMMEXCPT/,
      manual: 'vol. 1, 11.5: unmasked SIMD exceptions are #XM, or #UD without OSXMMEXCPT; TCG raises none',
    },
    { cases: /^null in FS loads/, manual: 'vol. 3, 3.4.2: #GP(0) when a null selector is used' },
    {
      cases: /a write to a read-only segment|a write through CS/,
      manual: 'vol. 3, 5.5: type checks; TCG makes none on access',
    },
    { cases: /^limit: |EBP beyond the stack segment/, manual: 'vol. 3, 5.3: limit checks; TCG makes none' },
    { cases: /INT1 \(F1\)/, manual: 'vol. 2, INT1: #DB; TCG takes F1 for #UD' },
    { cases: /#AC: a dword/, manual: 'vol. 3, 6.15, #AC; TCG makes no alignment checks' },
    { cases: /DR7.GD/, manual: 'vol. 3, 17.2.4: general detect; TCG has none' },
    { cases: /v86: beyond 64 KiB/, manual: 'vol. 3, 20.1.1: limits of 64 KiB; TCG makes no limit checks' },
  ],
  'paging-32-bit': paging.slice(1),
  'paging-pae': [
    ...paging,
    {
      cases: /page-directory pointer, at the load|directory pointers are loaded/,
      manual: 'vol. 3, 4.4.1: the four registers; TCG walks memory instead',
    },
  ],
  'paging-4-level': paging,
  'long-mode': [
    { cases: /^IST: the stack/, manual: 'vol. 2, INT n: without a change of CPL, SS stays; TCG loads null' },
    {
      cases: /INT through a 16-bit gate type/,
      manual: 'vol. 3, 6.13: the index in an error code is the vector; TCG tells twice that',
    },
    {
      cases: /non-canonical address through RBP|stack that is not canonical/,
      manual: 'vol. 3, 6.15, #SS: a non-canonical stack reference',
    },
    {
      cases: /a jump to a non-canonical/,
      manual: 'vol. 2, JMP: #GP(0) with the address of the jump; TCG faults at the target',
    },
    {
      cases: /reserved bit of CR8|upper half of CR0|non-canonical (LSTAR|FS base)/,
      manual: 'vol. 2, MOV CR and WRMSR: #GP(0) for reserved and non-canonical values',
    },
  ],
  devices: [
    {
      cases: /x2APIC register without/,
      manual: 'vol. 3, 10.12.2: x2APIC registers outside x2APIC mode are #GP',
    },
  ],
};
