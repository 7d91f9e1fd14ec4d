// What the guest's kernel does for programs: system calls, memory, processes, pipes. Linux only.
#include "../host/linux.h"

PROGRAM(syscalls) {
  u64 sum = 0;
  s64 parent = call(SYS_getppid, 0, 0, 0, 0);
  for (u32 i = 0; i < scale * 1000; i++) sum += call(SYS_getppid, 0, 0, 0, 0) == parent;
  return sum;
}

/// Reads of 4 KiB from /dev/zero, opened anew for every ten.
PROGRAM(reads) {
  u8 buffer[4096];
  u64 sum = 0;
  for (u32 i = 0; i < scale * 20; i++) {
    s64 file = call(SYS_open, (word) "/dev/zero", 0, 0, 0);
    if (file < 0) fail("cannot open /dev/zero");
    for (u32 j = 0; j < 10; j++) sum += (u64)call(SYS_read, (word)file, (word)buffer, sizeof buffer, 0);
    call(SYS_close, (word)file, 0, 0, 0);
  }
  return sum;
}

/// New memory touched for the first time, a page after another, and given back.
PROGRAM(faults) {
  enum { PAGES = 512 };
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    u8 *memory = map(PAGES * 4096);
    for (u32 i = 0; i < PAGES; i++) {
      sum += memory[i * 4096];
      memory[i * 4096] = (u8)i;
    }
    for (u32 i = 0; i < PAGES; i++) sum += memory[i * 4096];
    call(SYS_munmap, (word)memory, PAGES * 4096, 0, 0);
  }
  return sum;
}

static u32 wait_for(s64 child) {
  int status = 0;
  if (call(SYS_wait4, (word)child, (word)&status, 0, 0) != child) fail("cannot wait for a child");
  return (u32)status >> 8 & 255;
}

/// Children that write to 64 pages of what they share with their parent, and end.
PROGRAM(forks) {
  u8 *memory = map(64 * 4096);
  for (u32 i = 0; i < 64; i++) memory[i * 4096] = (u8)i;
  u64 sum = 0;
  for (u32 i = 0; i < scale * 5; i++) {
    s64 child = call(SYS_fork, 0, 0, 0, 0);
    if (child < 0) fail("cannot fork");
    if (child == 0) {
      for (u32 j = 0; j < 64; j++) memory[j * 4096] += (u8)i;
      call(SYS_exit, memory[(i & 63) * 4096], 0, 0, 0);
    }
    sum = mix(sum, wait_for(child));
  }
  return sum;
}

/// Children that become another program, which ends at once.
PROGRAM(execs) {
  const char *arguments[] = {own_path, "nothing", 0}, *environment[] = {0};
  u64 sum = 0;
  for (u32 i = 0; i < scale * 5; i++) {
    s64 child = call(SYS_fork, 0, 0, 0, 0);
    if (child < 0) fail("cannot fork");
    if (child == 0) {
      call(SYS_execve, (word)own_path, (word)arguments, (word)environment, 0);
      call(SYS_exit, 99, 0, 0, 0);
    }
    sum = mix(sum, wait_for(child) + 1);
  }
  return sum;
}

static void read_all(int file, u8 *buffer, u32 bytes) {
  while (bytes > 0) {
    s64 got = call(SYS_read, (word)file, (word)buffer, bytes, 0);
    if (got <= 0) fail("a pipe ended early");
    buffer += got;
    bytes -= (u32)got;
  }
}

static void write_all(int file, const u8 *buffer, u32 bytes) {
  while (bytes > 0) {
    s64 put = call(SYS_write, (word)file, (word)buffer, bytes, 0);
    if (put <= 0) fail("a pipe cannot be written");
    buffer += put;
    bytes -= (u32)put;
  }
}

/// Sends `bytes` there and back between two processes.
static u64 ping(u32 bytes, u32 times) {
  int there[2], back[2];
  u8 *buffer = map(bytes);
  if (call(SYS_pipe, (word)there, 0, 0, 0) < 0 || call(SYS_pipe, (word)back, 0, 0, 0) < 0) fail("cannot make pipes");
  s64 child = call(SYS_fork, 0, 0, 0, 0);
  if (child < 0) fail("cannot fork");
  if (child == 0) {
    for (u32 i = 0; i < times; i++) {
      read_all(there[0], buffer, bytes);
      buffer[i % bytes]++;
      write_all(back[1], buffer, bytes);
    }
    call(SYS_exit, 7, 0, 0, 0);
  }
  u64 sum = 0;
  for (u32 i = 0; i < times; i++) {
    buffer[i * 7 % bytes] += (u8)i;
    write_all(there[1], buffer, bytes);
    read_all(back[0], buffer, bytes);
    sum = mix(sum, buffer[i % bytes]);
  }
  for (u32 i = 0; i < 2; i++) call(SYS_close, (word)there[i], 0, 0, 0), call(SYS_close, (word)back[i], 0, 0, 0);
  return mix(sum, wait_for(child));
}

/// One byte there and back: a change of process each way.
PROGRAM(pipes) { return ping(1, scale * 100); }
/// 32 KiB there and back.
PROGRAM(pipes_bulk) { return ping(32768, scale * 5); }
