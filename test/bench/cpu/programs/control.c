// Control flow: recursion, calls through pointers, an interpreter of bytecode, formatting of text.
#include "../host/bench.h"

static NOINLINE u32 fib(u32 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

PROGRAM(fib) {
  u64 sum = 0;
  for (u32 i = 0; i < scale; i++) sum = mix(sum, fib(20 + (i & 1)));
  return sum;
}

static NOINLINE u32 ackermann(u32 m, u32 n) {
  if (m == 0) return n + 1;
  return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

/// Deep recursion: the stack grows to some thousand frames.
PROGRAM(ackermann) {
  u64 sum = 0;
  for (u32 i = 0; i < scale; i++) sum = mix(sum, ackermann(2 + (i & 1), 5 + (i & 1)));
  return sum;
}

typedef u32 (*step)(u32 a, u32 b);
static u32 step_add(u32 a, u32 b) { return a + b; }
static u32 step_sub(u32 a, u32 b) { return a - b * 3; }
static u32 step_xor(u32 a, u32 b) { return a ^ b << 1; }
static u32 step_mul(u32 a, u32 b) { return a * (b | 1); }
static u32 step_rotate(u32 a, u32 b) { return (a << 7 | a >> 25) + b; }
static u32 step_max(u32 a, u32 b) { return a > b ? a - 1 : b + 1; }
static u32 step_swap(u32 a, u32 b) { return __builtin_bswap32(a) - b; }
static u32 step_not(u32 a, u32 b) { return ~a + (b >> 3); }

/// Calls through a table, whose entry changes every time.
PROGRAM(table_calls) {
  static const step steps[8] = {step_add, step_sub, step_xor, step_mul, step_rotate, step_max, step_swap, step_not};
  u32 a = 1, seed = 31;
  for (u32 i = 0; i < scale * 20000; i++) {
    u32 random = next_random(&seed);
    a = steps[random >> 13 & 7](a, random);
    a = steps[i & 7](a, i);
  }
  return a;
}

struct shape;
struct methods {
  u32 (*area)(const struct shape *);
  void (*grow)(struct shape *, u32);
};
struct shape {
  const struct methods *methods;
  u32 width, height;
};
static u32 square_area(const struct shape *s) { return s->width * s->width; }
static u32 box_area(const struct shape *s) { return s->width * s->height; }
static u32 wedge_area(const struct shape *s) { return s->width * s->height / 2; }
static void square_grow(struct shape *s, u32 by) { s->width = (s->width + by) & 0xfff; }
static void box_grow(struct shape *s, u32 by) { s->width = (s->width + by) & 0x7ff, s->height = (s->height ^ by) & 0xff; }

/// Objects of three kinds, called by way of their tables of methods.
PROGRAM(virtual_calls) {
  static const struct methods kinds[3] = {
      {square_area, square_grow}, {box_area, box_grow}, {wedge_area, box_grow}};
  enum { COUNT = 1000 };
  struct shape *shapes = allocate(COUNT * sizeof(struct shape));
  u32 seed = 32;
  for (u32 i = 0; i < COUNT; i++) {
    u32 random = next_random(&seed);
    shapes[i] = (struct shape){&kinds[random % 3], random >> 5 & 0xff, random >> 15 & 0xff};
  }
  u64 sum = 0;
  for (u32 turn = 0; turn < scale * 20; turn++)
    for (u32 i = 0; i < COUNT; i++) {
      struct shape *s = &shapes[i];
      s->methods->grow(s, turn + i);
      sum += s->methods->area(s);
    }
  return sum;
}

enum op { PUSH, LOAD, STORE, ADD, SUB, MUL, AND, LESS, JUMP, BRANCH, DUP, DROP, GET, PUT, END };

/// A stack machine with a switch in a loop, running a small program over an array.
static NOINLINE u64 interpret(const s32 *code, s32 *variables, u32 *array) {
  s32 stack[32], *top = stack;
  u64 steps = 0;
  for (const s32 *pc = code;;) {
    steps++;
    switch (*pc++) {
      case PUSH: *top++ = *pc++; break;
      case LOAD: *top++ = variables[*pc++]; break;
      case STORE: variables[*pc++] = *--top; break;
      case ADD: top--, top[-1] = (s32)((u32)top[-1] + (u32)top[0]); break;
      case SUB: top--, top[-1] = (s32)((u32)top[-1] - (u32)top[0]); break;
      case MUL: top--, top[-1] = (s32)((u32)top[-1] * (u32)top[0]); break;
      case AND: top--, top[-1] &= top[0]; break;
      case LESS: top--, top[-1] = top[-1] < top[0]; break;
      case JUMP: pc = code + *pc; break;
      case BRANCH: pc = *--top ? code + *pc : pc + 1; break;
      case DUP: top[0] = top[-1], top++; break;
      case DROP: top--; break;
      case GET: top[-1] = (s32)array[top[-1] & 255]; break;
      case PUT: top -= 2, array[top[0] & 255] = (u32)top[1]; break;
      case END: return steps;
      default: return 0;
    }
  }
}

PROGRAM(bytecode) {
  // for (i = 0; i < n; i++) { array[i & 255] = array[(i * 7) & 255] + i * x; x = x * 5 + array[i & 255] - 3; }
  static const s32 code[] = {
      PUSH, 0,  STORE, 0,                                                            // i = 0
      LOAD, 0,  PUSH, 255, AND,                                                      // 4:
      LOAD, 0,  PUSH, 7,   MUL,   GET, LOAD, 0,    LOAD, 2, MUL, ADD, PUT,            //
      LOAD, 2,  PUSH, 5,   MUL,   LOAD, 0,   GET,  ADD,  PUSH, 3, SUB, STORE, 2,      //
      LOAD, 0,  PUSH, 1,   ADD,   DUP, STORE, 0,   LOAD, 1, LESS, BRANCH, 4, END};
  u32 array[256];
  u64 sum = 0;
  for (u32 i = 0; i < 256; i++) array[i] = i * i;
  for (u32 turn = 0; turn < scale * 10; turn++) {
    s32 variables[3] = {0, 1000, (s32)turn};
    sum += interpret(code, variables, array);
    sum = mix(sum, (u32)variables[2] ^ array[turn & 255]);
  }
  return sum;
}

struct output {
  char *at, *end;
};
static void put(struct output *out, char c) {
  if (out->at < out->end) *out->at++ = c;
}

/// printf's %d, %u, %x, %s and %c with widths, zeros and the left side.
static NOINLINE u32 format(char *buffer, u32 size, const char *text, ...) {
  __builtin_va_list values;
  __builtin_va_start(values, text);
  struct output out = {buffer, buffer + size - 1};
  for (; *text != 0; text++) {
    if (*text != '%') {
      put(&out, *text);
      continue;
    }
    int left = 0, zero = 0, negative = 0;
    u32 width = 0, length = 0;
    for (text++; *text == '-' || *text == '0'; text++) *text == '-' ? (left = 1) : (zero = 1);
    while (*text >= '0' && *text <= '9') width = width * 10 + (u32)(*text++ - '0');
    char digits[16], *shown = digits + sizeof digits;
    if (*text == 's') {
      shown = __builtin_va_arg(values, char *);
      while (shown[length] != 0) length++;
    } else if (*text == 'c') {
      *--shown = (char)__builtin_va_arg(values, int);
      length = 1;
    } else {
      u32 value = __builtin_va_arg(values, u32), base = *text == 'x' ? 16 : 10;
      if (*text == 'd' && (s32)value < 0) negative = 1, value = -value;
      do *--shown = "0123456789abcdef"[value % base];
      while ((value /= base) != 0);
      length = (u32)(digits + sizeof digits - shown);
    }
    if (negative && zero) put(&out, '-');
    u32 total = length + (u32)negative;
    if (!left)
      for (u32 i = total; i < width; i++) put(&out, zero ? '0' : ' ');
    if (negative && !zero) put(&out, '-');
    for (u32 i = 0; i < length; i++) put(&out, shown[i]);
    if (left)
      for (u32 i = total; i < width; i++) put(&out, ' ');
  }
  *out.at = 0;
  __builtin_va_end(values);
  return (u32)(out.at - buffer);
}

PROGRAM(format) {
  static const char *const names[] = {"alder", "birch", "chestnut", "elm"};
  char line[128];
  u64 sum = 0;
  u32 seed = 41;
  for (u32 i = 0; i < scale * 1000; i++) {
    u32 a = next_random(&seed), b = a >> (i & 31);
    u32 length = format(line, sizeof line, "%8u|%-6d|%08x %s=%c, %05d of %u", i, (s32)a, b, names[i & 3], 'a' + (i & 15),
                        (s32)b - 5000, a % 1000);
    for (u32 j = 0; j < length; j++) sum = sum * 31 + (u8)line[j];
  }
  return sum;
}
