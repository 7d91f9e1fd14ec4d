// The programs as one static Linux program: `bench NAME SCALE`.
#include "linux.h"

const char *own_path;

__attribute__((noreturn)) static void leave(int status) {
  for (;;) call(SYS_exit, (word)status, 0, 0, 0);
}

void print(const char *text) {
  word left = strlen(text);
  while (left > 0) {
    s64 written = call(SYS_write, 1, (word)text, left, 0);
    if (written <= 0) leave(1);
    text += written;
    left -= (word)written;
  }
}

void fail(const char *what) {
  print("bench: ");
  print(what);
  print("\n");
  leave(1);
}

void *map(word bytes) {
  // PROT_READ | PROT_WRITE | PROT_EXEC; MAP_PRIVATE | MAP_ANONYMOUS
#ifdef __x86_64__
  s64 result;
  register word r10 __asm__("r10") = 0x22;
  register word r8 __asm__("r8") = ~0UL;
  register word r9 __asm__("r9") = 0;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(9), "D"(0), "S"(bytes), "d"(7), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
#else
  word arguments[6] = {0, bytes, 7, 0x22, ~0UL, 0};
  s64 result = call(SYS_mmap, (word)arguments, 0, 0, 0);
#endif
  if (result < 0 && result > -4096) fail("no memory");
  return (void *)(word)result;
}

void *allocate(word bytes) { return map(bytes); }
void *allocate_code(word bytes) { return map(bytes); }

static u64 started;

static u64 nanoseconds(void) {
  word now[2];
  call(SYS_clock_gettime, 1, (word)now, 0, 0);
  return (u64)now[0] * 1000000000 + now[1];
}

static void print_seconds(void) {
  u64 microseconds = (nanoseconds() - started) / 1000;
  char fraction[8];
  fraction[0] = '.';
  fraction[7] = 0;
  for (u32 i = 6, rest = (u32)(microseconds % 1000000); i > 0; i--, rest /= 10) fraction[i] = (char)('0' + rest % 10);
  print(" ");
  print_u64(microseconds / 1000000);
  print(fraction);
}

#ifndef __x86_64__
word system_entry;
// What a kernel without AT_SYSINFO has.
__asm__("plain_entry: int $0x80; ret");
extern u8 plain_entry[];
#endif

__attribute__((noreturn, used)) static void begin(word *stack) {
  word count = stack[0];
  const char **arguments = (const char **)(stack + 1);
#ifndef __x86_64__
  system_entry = (word)plain_entry;
  word *at = stack + 1 + count + 1;
  while (*at != 0) at++;
  for (at++; at[0] != 0; at += 2)
    if (at[0] == 32) system_entry = at[1];
#endif
  // A program of the bench starts this one again, to do nothing.
  if (count == 2 && strcmp(arguments[1], "nothing") == 0) leave(0);
  if (count != 3) fail("takes a program's name and a scale");
  own_path = arguments[0];
  const struct program *program = find_program(arguments[1], strlen(arguments[1]));
  if (program == 0) fail("has no such program");
  const char *scale = arguments[2];
  started = nanoseconds();
  run_program(program, read_number(&scale), print_seconds);
  leave(0);
}

#ifdef __x86_64__
__asm__(".globl _start\n_start: mov %rsp, %rdi; and $-16, %rsp; call begin");
#else
__asm__(".globl _start\n_start: mov %esp, %eax; and $-16, %esp; sub $12, %esp; push %eax; call begin");
#endif
