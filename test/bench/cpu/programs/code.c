// Code that writes code, as just-in-time compilers and patched loops do it.
#include "../host/bench.h"

/// Calls code that takes and gives EAX and ECX and may use EDX.
static inline u32 enter(const void *code, u32 a, u32 c) {
  __asm__ volatile("call *%2" : "+a"(a), "+c"(c) : "r"(code) : "edx", "cc", "memory");
  return a ^ c;
}

static u8 *emit32(u8 *at, u32 value) {
  memcpy(at, &value, 4);
  return at + 4;
}

/// Some arithmetic of random kind on EAX and ECX. The bytes mean the same with 32 and 64 bits.
static u8 *emit_step(u8 *at, u32 random) {
  switch (random & 7) {
    case 0: *at++ = 0x05; return emit32(at, random);                          // add eax, imm32
    case 1: *at++ = 0x35; return emit32(at, random);                          // xor eax, imm32
    case 2: *at++ = 0x01, *at++ = 0xc1; return at;                            // add ecx, eax
    case 3: *at++ = 0xc1, *at++ = 0xc0, *at++ = random >> 8 & 31; return at;  // rol eax, imm8
    case 4: *at++ = 0x69, *at++ = 0xc0; return emit32(at, random | 1);        // imul eax, eax, imm32
    case 5: *at++ = 0x31, *at++ = 0xc8; return at;                            // xor eax, ecx
    case 6: *at++ = 0x0f, *at++ = 0xaf, *at++ = 0xc8; return at;              // imul ecx, eax
    default: *at++ = 0x89, *at++ = 0xca, *at++ = 0x01, *at++ = 0xd0; return at; // mov edx, ecx; add eax, edx
  }
}

/// A compiler: writes 32 functions, runs each a hundred times, writes others in their place.
PROGRAM(jit) {
  enum { FUNCTIONS = 32, EACH = 256 };
  u8 *code = allocate_code(FUNCTIONS * EACH);
  u32 seed = 61, value = 1;
  for (u32 turn = 0; turn < scale; turn++) {
    for (u32 i = 0; i < FUNCTIONS; i++) {
      u8 *at = code + i * EACH;
      for (u32 steps = 20; steps > 0; steps--) at = emit_step(at, next_random(&seed));
      *at = 0xc3; // ret
    }
    BARRIER();
    for (u32 call = 0; call < FUNCTIONS * 100; call++) value = enter(code + (call % FUNCTIONS) * EACH, value, call);
  }
  return value;
}

/// A compiler that does not write over what it wrote: 1 MiB of ever new code, each function run ten times.
PROGRAM(jit_new) {
  enum { BYTES = 1 << 20 };
  u8 *code = allocate_code(BYTES), *at = code;
  u32 seed = 62, value = 1;
  for (u32 turn = 0; turn < scale * 100; turn++) {
    if (at + 512 > code + BYTES) at = code;
    u8 *start = at;
    for (u32 steps = 30; steps > 0; steps--) at = emit_step(at, next_random(&seed));
    *at++ = 0xc3;
    BARRIER();
    for (u32 call = 0; call < 10; call++) value = enter(start, value, call);
  }
  return value;
}

/// A loop whose constant is patched before every run of fifty turns: the write hits the page that runs.
PROGRAM(patch) {
  u8 *code = allocate_code(4096), *at = code;
  *at++ = 0xba, at = emit32(at, 50);        // mov edx, 50
  u8 *loop = at, *constant = at + 1;
  *at++ = 0x05, at = emit32(at, 0);         // add eax, imm32
  *at++ = 0x31, *at++ = 0xc1;               // xor ecx, eax
  *at++ = 0xc1, *at++ = 0xc0, *at++ = 3;    // rol eax, 3
  *at++ = 0x83, *at++ = 0xea, *at++ = 1;    // sub edx, 1
  *at++ = 0x75, *at = (u8)(loop - at - 1);  // jnz loop
  at[1] = 0xc3;
  u32 value = 1, seed = 63;
  for (u32 turn = 0; turn < scale * 500; turn++) {
    emit32(constant, next_random(&seed));
    BARRIER();
    value = enter(code, value, turn);
  }
  return value;
}

/// Data that lies on the page of the code that writes it: no code changes.
PROGRAM(data_by_code) {
  u8 *code = allocate_code(4096), *at = code;
  u32 *data = (u32 *)(code + 2048);
  for (u32 i = 0; i < 16; i++) data[i] = i;
  for (u32 steps = 4; steps > 0; steps--) *at++ = 0x01, *at++ = 0xc8; // add eax, ecx
  *at = 0xc3;
  BARRIER();
  u32 value = 1;
  for (u32 turn = 0; turn < scale * 5000; turn++) {
    value = enter(code, value, turn);
    data[turn & 15] += value;
    BARRIER();
  }
  return mix(value, data[3]);
}
