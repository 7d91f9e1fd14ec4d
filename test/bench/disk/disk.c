// Reads and writes of 4 KiB on a disk: `disk DEVICE JOB:COUNT,…`. Each job is told of by a line `begin JOB` and a line
// `end JOB CHECKSUM SECONDS`; what is written is on the disk before the second one.
#include "../cpu/host/linux.h"

enum { BLOCK = 4096 };
enum { SYS_lseek = 8, SYS_pread64 = 17, SYS_pwrite64 = 18, SYS_fdatasync = 75 };
enum { O_RDWR = 2, O_DIRECT = 0x4000, SEEK_END = 2 };

__attribute__((noreturn)) static void leave(int status) {
  for (;;) call(SYS_exit, (word)status, 0, 0, 0);
}

word strlen(const char *text) {
  word length = 0;
  while (text[length] != 0) {
    length++;
    BARRIER();
  }
  return length;
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

void print_u64(u64 value) {
  char digits[21];
  char *at = digits + 20;
  *at = 0;
  do *--at = (char)('0' + value % 10);
  while ((value /= 10) != 0);
  print(at);
}

void fail(const char *what) {
  print("disk: ");
  print(what);
  print("\n");
  leave(1);
}

static u64 nanoseconds(void) {
  word now[2];
  call(SYS_clock_gettime, 1, (word)now, 0, 0);
  return (u64)now[0] * 1000000000 + now[1];
}

static void print_seconds(u64 elapsed) {
  char fraction[8] = {'.', '0', '0', '0', '0', '0', '0', 0};
  u32 rest = (u32)(elapsed / 1000 % 1000000);
  for (u32 i = 6; i > 0; i--, rest /= 10) fraction[i] = (char)('0' + rest % 10);
  print_u64(elapsed / 1000000000);
  print(fraction);
}

static u8 block[BLOCK] __attribute__((aligned(BLOCK)));

/// What a block is to hold that is written.
static void fill(u64 number) {
  u64 *words = (u64 *)block;
  for (u32 i = 0; i < BLOCK / 8; i++) words[i] = number * 0x9e3779b97f4a7c15 + i;
}

/// One job: its name is KIND-OPERATION, with KIND of `sequential`, `random` (past the guest's page cache, one at a
/// time) and `cached` (sequential, through it).
static void run(const char *device, const char *name, u32 count) {
  int cached = name[0] == 'c';
  int random = name[0] == 'r';
  const char *operation = name;
  while (*operation != '-') operation++;
  int writes = operation[1] == 'w';
  s64 file = call(SYS_open, (word)device, O_RDWR | (cached ? 0 : O_DIRECT), 0, 0);
  if (file < 0) fail("cannot open the disk");
  u64 blocks = (u64)call(SYS_lseek, (word)file, 0, SEEK_END, 0) / BLOCK;
  if (blocks == 0 || (!random && blocks < count)) fail("the disk is too small");
  print("begin ");
  print(name);
  print("\n");
  u64 sum = 0, place = 88172645463325252;
  u64 started = nanoseconds();
  for (u32 i = 0; i < count; i++) {
    place ^= place << 13;
    place ^= place >> 7;
    place ^= place << 17;
    u64 number = random ? place % blocks : i;
    if (writes) fill(number);
    s64 moved = call(writes ? SYS_pwrite64 : SYS_pread64, (word)file, (word)block, BLOCK, number * BLOCK);
    if (moved != BLOCK) fail(writes ? "a write failed" : "a read failed");
    sum = mix(sum, ((u64 *)block)[number % (BLOCK / 8)]);
  }
  if (writes && call(SYS_fdatasync, (word)file, 0, 0, 0) < 0) fail("a flush failed");
  u64 elapsed = nanoseconds() - started;
  call(SYS_close, (word)file, 0, 0, 0);
  print("end ");
  print(name);
  print(" ");
  print_u64(sum);
  print(" ");
  print_seconds(elapsed);
  print("\n");
}

__attribute__((noreturn, used)) static void begin(word *stack) {
  if (stack[0] != 3) fail("takes a device and a list of jobs");
  char *at = (char *)stack[3];
  while (*at != 0) {
    const char *name = at;
    while (*at != ':' && *at != 0) at++;
    if (*at == 0) fail("a job without a count");
    *at++ = 0;
    u32 count = 0;
    while (*at >= '0' && *at <= '9') count = count * 10 + (u32)(*at++ - '0');
    run((const char *)stack[2], name, count);
    if (*at == ',') at++;
  }
  print("bench done\n");
  leave(0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi; and $-16, %rsp; call begin");
