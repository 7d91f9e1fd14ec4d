#include "bench.h"

typedef long long v2di __attribute__((vector_size(16), aligned(1), may_alias));

// As C libraries do it: 16 bytes at a time, and the last ones over again.
void *memcpy(void *to, const void *from, word bytes) {
  u8 *d = to;
  const u8 *s = from;
  if (bytes < 16) {
    for (word i = 0; i < bytes; i++) {
      d[i] = s[i];
      BARRIER();
    }
    return to;
  }
  v2di last = *(const v2di *)(s + bytes - 16);
  u8 *end = d + bytes - 16;
  for (; d < end; d += 16, s += 16) *(v2di *)d = *(const v2di *)s;
  *(v2di *)end = last;
  return to;
}

void *memmove(void *to, const void *from, word bytes) {
  u8 *d = to;
  const u8 *s = from;
  if (d <= s || d >= s + bytes) {
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(bytes)::"memory");
    return to;
  }
  while (bytes-- > 0) {
    d[bytes] = s[bytes];
    BARRIER();
  }
  return to;
}

void *memset(void *to, int value, word bytes) {
  void *d = to;
  __asm__ volatile("rep stosb" : "+D"(d), "+c"(bytes) : "a"(value) : "memory");
  return to;
}

int memcmp(const void *a, const void *b, word bytes) {
  const u8 *x = a, *y = b;
  for (word i = 0; i < bytes; i++)
    if (x[i] != y[i]) return x[i] - y[i];
  return 0;
}

word strlen(const char *text) {
  const char *at = text;
  while (*at != 0) {
    at++;
    BARRIER();
  }
  return (word)(at - text);
}

int strcmp(const char *a, const char *b) {
  while (*a != 0 && *a == *b) a++, b++;
  return (u8)*a - (u8)*b;
}

extern const struct program __start_programs[], __stop_programs[];

const struct program *find_program(const char *name, word length) {
  for (const struct program *program = __start_programs; program < __stop_programs; program++)
    if (strlen(program->name) == length && memcmp(program->name, name, length) == 0) return program;
  return 0;
}

void run_program(const struct program *program, u32 scale, void (*finish)(void)) {
  print("begin ");
  print(program->name);
  print("\n");
  u64 sum = program->run(scale);
  print("end ");
  print(program->name);
  print(" ");
  print_hex(sum);
  if (finish != 0) finish();
  print("\n");
}

u32 read_number(const char **text) {
  u32 number = 0;
  while (**text >= '0' && **text <= '9') number = number * 10 + (u32)(*(*text)++ - '0');
  return number;
}

void print_u64(u64 value) {
  char digits[24], *at = digits + sizeof digits;
  *--at = 0;
  do {
    *--at = (char)('0' + value % 10);
    value /= 10;
  } while (value != 0);
  print(at);
}

void print_hex(u64 value) {
  char digits[17];
  for (int i = 0; i < 16; i++) digits[i] = "0123456789abcdef"[(value >> (60 - 4 * i)) & 15];
  digits[16] = 0;
  print(digits);
}

#ifndef __x86_64__
// The compiler calls these for 64-bit division; its own library for 32 bits need not be installed.

static u64 divide(u64 a, u64 b, u64 *rest) {
  u32 high = (u32)(b >> 32);
  if (high == 0) {
    u32 divisor = (u32)b, top = (u32)(a >> 32), bottom, left;
    u32 quotient = top / divisor;
    __asm__("divl %4" : "=a"(bottom), "=d"(left) : "0"((u32)a), "1"(top % divisor), "r"(divisor));
    *rest = left;
    return (u64)quotient << 32 | bottom;
  }
  if (b > a) {
    *rest = a;
    return 0;
  }
  // Knuth's D for one digit: estimated from the highest 32 bits of the divisor, then at most one too large.
  u32 shift = (u32)__builtin_clz(high);
  u32 divisor = (u32)((b << shift) >> 32), quotient, left;
  u64 half = a >> 1;
  __asm__("divl %4" : "=a"(quotient), "=d"(left) : "0"((u32)half), "1"((u32)(half >> 32)), "r"(divisor));
  u64 q = ((u64)quotient << shift) >> 31;
  if (q != 0) q--;
  u64 r = a - q * b;
  if (r >= b) {
    q++;
    r -= b;
  }
  *rest = r;
  return q;
}

u64 __udivdi3(u64 a, u64 b) {
  u64 rest;
  return divide(a, b, &rest);
}

u64 __umoddi3(u64 a, u64 b) {
  u64 rest;
  divide(a, b, &rest);
  return rest;
}

u64 __udivmoddi4(u64 a, u64 b, u64 *rest) {
  u64 r, q = divide(a, b, &r);
  if (rest != 0) *rest = r;
  return q;
}

s64 __divdi3(s64 a, s64 b) {
  u64 rest, q = divide(a < 0 ? -(u64)a : (u64)a, b < 0 ? -(u64)b : (u64)b, &rest);
  return (s64)((a < 0) != (b < 0) ? -q : q);
}

s64 __moddi3(s64 a, s64 b) {
  u64 rest;
  divide(a < 0 ? -(u64)a : (u64)a, b < 0 ? -(u64)b : (u64)b, &rest);
  return (s64)(a < 0 ? -rest : rest);
}

s64 __divmoddi4(s64 a, s64 b, s64 *rest) {
  *rest = __moddi3(a, b);
  return __divdi3(a, b);
}
#endif
