// What the programs of the bench stand on. They use no C library: one source gives a 64-bit and a 32-bit program, on
// Linux (linux.c) and on a bare machine (bare.c), with nothing installed but the compiler.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;
typedef signed long long s64;
/// As wide as a pointer.
typedef unsigned long word;

struct program {
  const char *name;
  u64 (*run)(u32 scale);
};

/// Defines a program: does `scale` units of work and returns a checksum of what it computed, the same at either
/// width. The host finds it by its name.
#define PROGRAM(id)                                                                                      \
  static u64 run_##id(u32 scale);                                                                        \
  static const struct program program_##id                                                               \
      __attribute__((used, section("programs"), aligned(sizeof(word)))) = {#id, run_##id};               \
  static u64 run_##id(u32 scale)

#define NOINLINE __attribute__((noinline))
/// Keeps the compiler from moving memory accesses over this line, and from knowing what memory holds behind it.
#define BARRIER() __asm__ volatile("" ::: "memory")
/// Makes a value unknown to the compiler.
#define OPAQUE(value) __asm__ volatile("" : "+r"(value))

/// Memory of the program's own until it ends, at a multiple of 4096 bytes; what it holds is undefined.
void *allocate(word bytes);
/// The same, and code in it can be run.
void *allocate_code(word bytes);

/// Writes to the console.
void print(const char *text);
void print_u64(u64 value);
void print_hex(u64 value);

void *memcpy(void *to, const void *from, word bytes);
void *memmove(void *to, const void *from, word bytes);
void *memset(void *to, int value, word bytes);
int memcmp(const void *a, const void *b, word bytes);
word strlen(const char *text);
int strcmp(const char *a, const char *b);

/// Finds a program by name, or gives 0.
const struct program *find_program(const char *name, word length);
/// Runs a program between a line `begin NAME` and a line `end NAME CHECKSUM`, to which `finish` may add.
void run_program(const struct program *program, u32 scale, void (*finish)(void));
/// Reads decimal digits and moves the pointer behind them.
u32 read_number(const char **text);

/// Adds a value to a checksum.
static inline u64 mix(u64 sum, u64 value) {
  sum ^= value;
  sum ^= sum << 13;
  sum ^= sum >> 7;
  return sum ^ (sum << 17);
}

/// Marsaglia's xorshift, 32 bits: random numbers that every width computes alike.
static inline u32 next_random(u32 *state) {
  u32 x = *state;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return *state = x;
}

/// A double's bits as a checksum's input.
static inline u64 double_bits(double value) {
  union {
    double value;
    u64 bits;
  } both = {value};
  return both.bits;
}
