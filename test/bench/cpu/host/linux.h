// System calls of Linux, without a C library.
#pragma once
#include "bench.h"

#ifdef __x86_64__
enum {
  SYS_read = 0,
  SYS_write = 1,
  SYS_open = 2,
  SYS_close = 3,
  SYS_munmap = 11,
  SYS_pipe = 22,
  SYS_fork = 57,
  SYS_execve = 59,
  SYS_exit = 60,
  SYS_wait4 = 61,
  SYS_getppid = 110,
  SYS_clock_gettime = 228,
};

static inline s64 call(word number, word a, word b, word c, word d) {
  s64 result;
  register word r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}
#else
enum {
  SYS_exit = 1,
  SYS_fork = 2,
  SYS_read = 3,
  SYS_write = 4,
  SYS_open = 5,
  SYS_close = 6,
  SYS_execve = 11,
  SYS_pipe = 42,
  SYS_getppid = 64,
  SYS_mmap = 90,
  SYS_munmap = 91,
  SYS_wait4 = 114,
  SYS_clock_gettime = 265,
};

/// The kernel's own way in (AT_SYSINFO): SYSENTER where the processor has it. C libraries use it too.
extern word system_entry;

static inline s64 call(word number, word a, word b, word c, word d) {
  long result;
  __asm__ volatile("call *system_entry"
                   : "=a"(result)
                   : "0"(number), "b"(a), "c"(b), "d"(c), "S"(d)
                   : "memory");
  return result;
}
#endif

/// Anonymous memory that can be read, written and run; ends the process when there is none.
void *map(word bytes);
/// Ends the process with a line that says why.
__attribute__((noreturn)) void fail(const char *what);
/// The path of this program, for execve.
extern const char *own_path;
