// Memory: chains of pointers, the sieve, copies, bytes, sorting, a tree.
#include "../host/bench.h"

struct node {
  struct node *next;
  u32 value;
};

/// Follows a random circle through `count` nodes that lie `stride` bytes apart.
static u64 chase(u32 count, u32 stride, u32 steps) {
  u8 *memory = allocate((word)count * stride);
  u32 *order = allocate((word)count * 4), seed = 99;
  for (u32 i = 0; i < count; i++) order[i] = i;
  for (u32 i = count - 1; i > 0; i--) {
    u32 j = next_random(&seed) % (i + 1), kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
  for (u32 i = 0; i < count; i++) {
    struct node *node = (struct node *)(memory + (word)order[i] * stride);
    node->next = (struct node *)(memory + (word)order[i + 1 == count ? 0 : i + 1] * stride);
    node->value = i * 2654435761u;
  }
  u64 sum = 0;
  const struct node *node = (struct node *)memory;
  for (u32 i = 0; i < steps; i++) {
    sum += node->value;
    node = node->next;
  }
  return mix(sum, node->value);
}

/// Within reach of any TLB: 128 KiB.
PROGRAM(chase_near) { return chase(2048, 64, scale * 200000); }
/// Beyond the reach of any: 16384 pages, 64 MiB.
PROGRAM(chase_far) { return chase(16384, 4096 + 64, scale * 50000); }

/// The primes below a million, one byte a number.
PROGRAM(sieve) {
  enum { LIMIT = 1000000 };
  u8 *composite = allocate(LIMIT);
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    memset(composite, 0, LIMIT);
    u32 found = 0;
    for (u32 i = 2; i < LIMIT; i++) {
      if (composite[i]) continue;
      found++;
      for (u32 j = i * 2; j < LIMIT; j += i) composite[j] = 1;
    }
    sum = mix(sum, found);
  }
  return sum;
}

/// Copies of 8 bytes to 1 MiB as a C library makes them: 16 bytes at a time.
PROGRAM(copy) {
  u8 *from = allocate(1 << 20), *to = allocate((1 << 20) + 64);
  for (u32 i = 0; i < 1 << 20; i++) from[i] = (u8)(i * 7 + (i >> 9));
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    for (u32 size = 8; size <= 1 << 20; size <<= 1) {
      u32 times = (1 << 20) / size;
      if (times > 8192) times = 8192;
      for (u32 i = 0; i < times; i++) {
        memcpy(to + (i & 15), from + (i & 7), size - (i & 7));
        BARRIER();
      }
      sum = mix(sum, to[size / 2] + (u32)to[20]);
    }
  }
  return sum;
}

/// The same by string instructions: REP MOVSB, MOVS of machine words, and REP STOSB.
PROGRAM(copy_rep) {
  u8 *from = allocate(1 << 20), *to = allocate((1 << 20) + 64);
  for (u32 i = 0; i < 1 << 20; i++) from[i] = (u8)(i * 5 + (i >> 10));
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    for (u32 size = 16; size <= 1 << 20; size <<= 2) {
      u32 times = (1 << 20) / size;
      if (times > 4096) times = 4096;
      for (u32 i = 0; i < times; i++) {
        void *d = to + (i & 15);
        const void *s = from;
        word count = size;
        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(count)::"memory");
        d = to, s = from, count = size / 4;
        __asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(count)::"memory");
        d = to + size / 2, count = size / 4;
        __asm__ volatile("rep stosb" : "+D"(d), "+c"(count) : "a"(i) : "memory");
      }
      sum = mix(sum, to[size / 2] + (u32)to[size - 1]);
    }
  }
  return sum;
}

/// strlen, memchr and strcmp, byte after byte.
PROGRAM(bytes) {
  char *text = allocate(65536);
  u32 seed = 5;
  for (u32 i = 0; i < 65536; i++) text[i] = (next_random(&seed) & 63) == 0 ? 0 : (char)('a' + (i & 15));
  text[65535] = 0;
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    for (const char *at = text; at < text + 65536;) {
      const char *end = at;
      while (*end != 0) end++;
      const char *found = at;
      while (found < end && *found != 'g') found++;
      const char *other = text + (turn & 15), *here = at;
      while (*here != 0 && *here == *other) here++, other++;
      sum += (u64)(end - at) * 3 + (u64)(found - at) + (u64)(here - at);
      at = end + 1;
    }
    sum = mix(sum, turn);
  }
  return sum;
}

typedef char v16qi __attribute__((vector_size(16)));
typedef char v16qu __attribute__((vector_size(16), aligned(1), may_alias));

/// strlen and memchr 16 bytes at a time, by PCMPEQB and PMOVMSKB.
PROGRAM(bytes_sse) {
  char *text = allocate(65536 + 16);
  u32 seed = 6;
  for (u32 i = 0; i < 65552; i++) text[i] = (next_random(&seed) & 127) == 0 ? 0 : (char)('a' + (i & 15));
  text[65535] = 0;
  u64 sum = 0;
  v16qi zero = {0}, wanted = {'k', 'k', 'k', 'k', 'k', 'k', 'k', 'k', 'k', 'k', 'k', 'k', 'k', 'k', 'k', 'k'};
  for (u32 turn = 0; turn < scale * 4; turn++) {
    for (u32 at = 0; at < 65536;) {
      u32 end = at, mask, where = 0;
      for (;; end += 16) {
        v16qi block = *(const v16qu *)(text + end);
        mask = (u32)__builtin_ia32_pmovmskb128((v16qi)(block == zero));
        where += (u32)__builtin_ia32_pmovmskb128((v16qi)(block == wanted));
        if (mask != 0) break;
      }
      end += (u32)__builtin_ctz(mask);
      sum += end - at + where;
      at = end + 1;
    }
    sum = mix(sum, turn);
  }
  return sum;
}

static void quicksort(u32 *low, u32 *high) {
  while (high - low > 12) {
    u32 pivot = low[(high - low) / 2], *i = low, *j = high;
    for (;;) {
      while (*i < pivot) i++;
      while (*j > pivot) j--;
      if (i >= j) break;
      u32 kept = *i;
      *i++ = *j;
      *j-- = kept;
    }
    if (j - low < high - j) {
      quicksort(low, j);
      low = j + 1;
    } else {
      quicksort(j + 1, high);
      high = j;
    }
  }
  for (u32 *i = low + 1; i <= high; i++) {
    u32 value = *i, *j = i;
    for (; j > low && j[-1] > value; j--) *j = j[-1];
    *j = value;
  }
}

PROGRAM(quicksort) {
  enum { COUNT = 50000 };
  u32 *data = allocate(COUNT * 4), seed = 11;
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    for (u32 i = 0; i < COUNT; i++) data[i] = next_random(&seed);
    quicksort(data, data + COUNT - 1);
    for (u32 i = 1; i < COUNT; i++)
      if (data[i - 1] > data[i]) return 0;
    sum = mix(sum, data[COUNT / 3]);
  }
  return sum;
}

static void sift(u32 *heap, u32 at, u32 count) {
  u32 value = heap[at];
  for (u32 child; (child = at * 2 + 1) < count; at = child) {
    if (child + 1 < count && heap[child + 1] > heap[child]) child++;
    if (heap[child] <= value) break;
    heap[at] = heap[child];
  }
  heap[at] = value;
}

PROGRAM(heapsort) {
  enum { COUNT = 50000 };
  u32 *heap = allocate(COUNT * 4), seed = 12;
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    for (u32 i = 0; i < COUNT; i++) heap[i] = next_random(&seed);
    for (u32 i = COUNT / 2; i-- > 0;) sift(heap, i, COUNT);
    for (u32 left = COUNT; --left > 0;) {
      u32 kept = heap[0];
      heap[0] = heap[left];
      heap[left] = kept;
      sift(heap, 0, left);
    }
    sum = mix(sum, heap[COUNT / 2]);
  }
  return sum;
}

struct tree {
  struct tree *left, *right;
  u32 key, count;
};

/// An unbalanced search tree: insertion and look-up of random keys.
PROGRAM(tree) {
  enum { NODES = 20000 };
  struct tree *nodes = allocate(NODES * sizeof(struct tree));
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    u32 seed = 13 + turn, used = 0;
    struct tree *root = 0;
    for (u32 i = 0; i < NODES; i++) {
      u32 key = next_random(&seed) >> 12;
      struct tree **at = &root;
      while (*at != 0 && (*at)->key != key) at = key < (*at)->key ? &(*at)->left : &(*at)->right;
      if (*at == 0) {
        *at = &nodes[used++];
        **at = (struct tree){0, 0, key, 0};
      }
      (*at)->count++;
    }
    for (u32 i = 0; i < NODES * 2; i++) {
      u32 key = next_random(&seed) >> 12, depth = 0;
      const struct tree *at = root;
      while (at != 0 && at->key != key) at = key < at->key ? at->left : at->right, depth++;
      sum += at == 0 ? depth : at->count * 1000;
    }
    sum = mix(sum, used);
  }
  return sum;
}

/// Compression in the manner of LZ: matches found by a hash of four bytes, then unpacked and compared.
PROGRAM(lz) {
  enum { SIZE = 65536, BUCKETS = 4096 };
  u8 *text = allocate(SIZE + 8), *packed = allocate(SIZE * 2), *unpacked = allocate(SIZE + 8);
  u16 *heads = allocate(BUCKETS * 2);
  u32 seed = 21;
  for (u32 i = 0; i < SIZE + 8; i++) {
    u32 random = next_random(&seed);
    text[i] = i > 300 && (random & 15) != 0 ? text[i - 37 - (random >> 30) * 64] : (u8)('a' + (random >> 8 & 15));
  }
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    text[turn % SIZE] ^= 1;
    memset(heads, 0, BUCKETS * 2);
    u32 out = 0;
    for (u32 at = 0; at < SIZE;) {
      u32 four = text[at] | (u32)text[at + 1] << 8 | (u32)text[at + 2] << 16 | (u32)text[at + 3] << 24;
      u32 bucket = four * 2654435761u >> 20, before = heads[bucket], length = 0;
      heads[bucket] = (u16)at;
      if (before < at)
        while (length < 255 && at + length < SIZE && text[before + length] == text[at + length]) length++;
      if (length >= 4) {
        u32 back = at - before;
        packed[out] = (u8)length, packed[out + 1] = (u8)back, packed[out + 2] = (u8)(back >> 8);
        out += 3;
        at += length;
      } else {
        packed[out] = 0, packed[out + 1] = text[at++];
        out += 2;
      }
    }
    u32 made = 0;
    for (u32 in = 0; in < out;) {
      u32 length = packed[in];
      if (length == 0) {
        unpacked[made++] = packed[in + 1];
        in += 2;
      } else {
        u32 from = made - (packed[in + 1] | (u32)packed[in + 2] << 8);
        in += 3;
        while (length-- > 0) unpacked[made++] = unpacked[from++];
      }
    }
    if (made != SIZE || memcmp(text, unpacked, SIZE) != 0) return 0;
    sum = mix(sum, out);
  }
  return sum;
}
