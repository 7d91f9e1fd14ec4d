// Integer arithmetic: mixed operations, 64-bit multiplication and rotation, division, bits, matrices.
#include "../host/bench.h"

/// Additions, shifts, logic, multiplication and branches on what they give, in registers.
PROGRAM(alu) {
  u32 a = 0x12345678, b = 0x9abcdef0, c = 0xdeadbeef, sum = 0;
  for (u32 i = 0; i < scale * 100000; i++) {
    a += b ^ (c >> 3);
    b = (b << 5 | b >> 27) - i;
    c ^= a * 5 + (b & 0xff);
    if ((c & 7) == 3) a -= c >> 1;
    sum += a > b ? c : a & b;
    c += (s32)a < (s32)sum ? 17 : i;
  }
  return mix(mix(sum, a), mix(b, c));
}

/// A hash in the manner of the fast ones: 64-bit multiplications and rotations over a buffer.
PROGRAM(hash64) {
  u64 *data = allocate(65536);
  u32 seed = 1;
  for (u32 i = 0; i < 8192; i++) data[i] = (u64)next_random(&seed) << 32 | next_random(&seed);
  u64 a = 0x9e3779b185ebca87, b = 0xc2b2ae3d27d4eb4f, c = 0x165667b19e3779f9;
  for (u32 turn = 0; turn < scale * 10; turn++) {
    for (u32 i = 0; i < 8192; i += 2) {
      a += data[i] * 0xc2b2ae3d27d4eb4f;
      a = (a << 31 | a >> 33) * 0x9e3779b185ebca87;
      b ^= data[i + 1] * 0x27d4eb2f165667c5;
      b = (b << 27 | b >> 37) + a;
      c = (c ^ (a >> 29)) * 0xff51afd7ed558ccd + b;
    }
  }
  return mix(mix(a, b), c);
}

/// The upper half of a 64-bit product and remainders by a modulus, as big-number code has them.
PROGRAM(multiply) {
  u64 x = 0x0123456789abcdef, y = 0xfedcba9876543210, sum = 0;
  for (u32 i = 0; i < scale * 50000; i++) {
#ifdef __x86_64__
    unsigned __int128 product = (unsigned __int128)x * y;
    u64 low = (u64)product, high = (u64)(product >> 64);
#else
    u64 ll = (u64)(u32)x * (u32)y, lh = (u64)(u32)x * (u32)(y >> 32);
    u64 hl = (x >> 32) * (u32)y, hh = (x >> 32) * (y >> 32);
    u64 middle = (ll >> 32) + (u32)lh + (u32)hl;
    u64 low = middle << 32 | (u32)ll, high = hh + (lh >> 32) + (hl >> 32) + (middle >> 32);
#endif
    sum += low ^ high;
    x = high | 1;
    y = low + i;
    x += (y >> 7) << 32;
  }
  return mix(sum, x ^ y);
}

/// Division: 32 and 64 bits, signed and unsigned, by what changes.
PROGRAM(divide) {
  u32 seed = 7;
  u64 sum = 0;
  for (u32 i = 0; i < scale * 20000; i++) {
    u32 a = next_random(&seed), b = (next_random(&seed) >> (i & 15)) | 1;
    u64 wide = (u64)a << 20 | b;
    sum += a / b + a % b;
    sum ^= wide / b;
    sum += wide % ((u64)b << 12 | 5);
    sum += (u64)(s64)((s32)a / ((s32)b | 1));
  }
  return sum;
}

/// Counting and finding bits: queens on a board by masks.
static u32 queens(u32 all, u32 columns, u32 left, u32 right) {
  if (columns == all) return 1;
  u32 free = all & ~(columns | left | right), found = 0;
  while (free != 0) {
    u32 bit = free & -free;
    free ^= bit;
    found += queens(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
  }
  return found;
}

PROGRAM(queens) {
  u64 sum = 0;
  for (u32 i = 0; i < scale; i++) sum = mix(sum, queens((1u << (8 + (i & 1))) - 1, 0, 0, 0));
  return sum;
}

/// Integer matrices, the plain triple loop.
PROGRAM(matrix) {
  enum { N = 96 };
  u32(*a)[N] = allocate(3 * N * N * 4), (*b)[N] = a + N, (*c)[N] = b + N;
  for (u32 i = 0; i < N; i++)
    for (u32 j = 0; j < N; j++) a[i][j] = i * 3 + j, b[i][j] = i ^ (j * 7);
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    for (u32 i = 0; i < N; i++)
      for (u32 j = 0; j < N; j++) {
        u32 cell = 0;
        for (u32 k = 0; k < N; k++) cell += a[i][k] * b[k][j];
        c[i][j] = cell;
      }
    sum = mix(sum, c[turn % N][turn % 7]);
    a[turn % N][0] ^= c[1][turn % N];
  }
  return sum;
}

/// CRC-32, a table's entry for each byte.
PROGRAM(crc32) {
  u32 table[256];
  for (u32 i = 0; i < 256; i++) {
    u32 rest = i;
    for (int bit = 0; bit < 8; bit++) rest = rest & 1 ? rest >> 1 ^ 0xedb88320 : rest >> 1;
    table[i] = rest;
  }
  u8 *data = allocate(65536);
  for (u32 i = 0; i < 65536; i++) data[i] = (u8)(i * 31 + (i >> 8));
  u32 crc = ~0u;
  for (u32 turn = 0; turn < scale * 2; turn++)
    for (u32 i = 0; i < 65536; i++) crc = crc >> 8 ^ table[(crc ^ data[i]) & 0xff];
  return crc;
}

static inline u32 rotate(u32 value, u32 by) { return value >> by | value << (32 - by); }

/// SHA-256's rounds (FIPS 180-4, 6.2) over blocks of a counter; the constants come from a generator of ours.
PROGRAM(sha256) {
  u32 constants[64], h[8], w[64], seed = 0x428a2f98;
  for (u32 i = 0; i < 64; i++) constants[i] = next_random(&seed);
  for (u32 i = 0; i < 8; i++) h[i] = next_random(&seed);
  for (u32 block = 0; block < scale * 200; block++) {
    for (u32 i = 0; i < 16; i++) w[i] = block * 16 + i;
    for (u32 i = 16; i < 64; i++) {
      u32 s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
      u32 s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    u32 a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
    for (u32 i = 0; i < 64; i++) {
      u32 t1 = k + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + constants[i] + w[i];
      u32 t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      k = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += k;
  }
  u64 sum = 0;
  for (u32 i = 0; i < 8; i++) sum = mix(sum, h[i]);
  return sum;
}
