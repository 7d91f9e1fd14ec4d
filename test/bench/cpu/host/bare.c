// The programs on a machine without an operating system: a multiboot kernel that runs the list `bench=NAME:SCALE,…` of
// its command line, with 4 KiB pages, SSE and x87 on, interrupts off, and COM1 as its console.
#include "bench.h"

/// What a program may allocate lies between these; the machine has 512 MiB.
#define HEAP_START 0x2000000
#define HEAP_END 0x1c000000
#define COM1 0x3f8

static word heap = HEAP_START;

static void out(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }

static u8 in(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

void print(const char *text) {
  for (; *text != 0; text++) {
    while ((in(COM1 + 5) & 0x20) == 0) continue;
    out(COM1, (u8)*text);
  }
}

void *allocate(word bytes) {
  word at = heap;
  heap += (bytes + 4095) & ~4095UL;
  if (heap > HEAP_END) {
    print("bench: no memory\n");
    for (;;) __asm__ volatile("hlt");
  }
  return (void *)at;
}

void *allocate_code(word bytes) { return allocate(bytes); }

/// Runs what the command line lists; a loader may put the kernel's path before it.
__attribute__((used)) void bare_main(const char *line) {
  for (; *line != 0 && memcmp(line, "bench=", 6) != 0; line++) continue;
  if (*line != 0) line += 6;
  while (*line != 0 && *line != ' ') {
    const char *name = line;
    while (*line != 0 && *line != ':' && *line != ' ') line++;
    const struct program *program = find_program(name, (word)(line - name));
    if (*line == ':') line++;
    u32 scale = read_number(&line);
    if (*line == ',') line++;
    heap = HEAP_START;
    if (program == 0)
      print("bench: has no such program\n");
    else
      run_program(program, scale, 0);
  }
  print("bench done\n");
}
