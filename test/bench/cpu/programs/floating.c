// Floating point: doubles in SSE registers, one by one and packed, and x87 at 80 bits.
#include "../host/bench.h"

struct body {
  double x, y, z, vx, vy, vz, mass;
};

/// Five bodies that attract one another: scalar doubles, square roots, divisions.
PROGRAM(nbody) {
  struct body bodies[5];
  u32 seed = 51;
  for (u32 i = 0; i < 5; i++) {
    double *fields = &bodies[i].x;
    for (u32 j = 0; j < 7; j++) fields[j] = (double)(s32)(next_random(&seed) >> 8) / 16777216.0 + i * (j < 3);
  }
  for (u32 turn = 0; turn < scale * 1000; turn++) {
    for (u32 i = 0; i < 5; i++)
      for (u32 j = i + 1; j < 5; j++) {
        struct body *a = &bodies[i], *b = &bodies[j];
        double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
        double square = dx * dx + dy * dy + dz * dz + 0.01;
        double magnitude = 0.001 / (square * __builtin_sqrt(square));
        a->vx -= dx * b->mass * magnitude, a->vy -= dy * b->mass * magnitude, a->vz -= dz * b->mass * magnitude;
        b->vx += dx * a->mass * magnitude, b->vy += dy * a->mass * magnitude, b->vz += dz * a->mass * magnitude;
      }
    for (u32 i = 0; i < 5; i++) {
      struct body *a = &bodies[i];
      a->x += 0.001 * a->vx, a->y += 0.001 * a->vy, a->z += 0.001 * a->vz;
    }
  }
  u64 sum = 0;
  for (u32 i = 0; i < 5; i++) sum = mix(mix(sum, double_bits(bodies[i].x)), double_bits(bodies[i].vz));
  return sum;
}

/// Points of the Mandelbrot set: scalar doubles and compares.
PROGRAM(mandelbrot) {
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++)
    for (u32 row = 0; row < 32; row++)
      for (u32 column = 0; column < 32; column++) {
        double cr = -2.0 + column * (2.5 / 32) + turn * 0.0001, ci = -1.25 + row * (2.5 / 32), x = 0, y = 0;
        u32 i = 0;
        for (; i < 200 && x * x + y * y <= 4.0; i++) {
          double next = x * x - y * y + cr;
          y = 2 * x * y + ci;
          x = next;
        }
        sum += i * (row + 1);
      }
  return sum;
}

typedef double v2df __attribute__((vector_size(16)));

/// A product of matrices, two doubles at a time: MULPD, ADDPD, UNPCKLPD.
PROGRAM(matrix_double) {
  enum { N = 64 };
  v2df(*a)[N / 2] = allocate(3 * N * N * 8), (*b)[N / 2] = a + N, (*c)[N / 2] = b + N;
  for (u32 i = 0; i < N; i++)
    for (u32 j = 0; j < N / 2; j++) {
      a[i][j] = (v2df){1.0 + i * 0.01, 2.0 - j * 0.02};
      b[i][j] = (v2df){0.5 - i * 0.003, j * 0.01};
    }
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    for (u32 i = 0; i < N; i++) {
      const double *row = (const double *)a[i];
      for (u32 j = 0; j < N / 2; j += 2) {
        v2df left = {0, 0}, right = {0, 0};
        for (u32 k = 0; k < N; k++) {
          v2df factor = {row[k], row[k]};
          left += factor * b[k][j];
          right += factor * b[k][j + 1];
        }
        c[i][j] = left;
        c[i][j + 1] = right;
      }
    }
    sum = mix(sum, double_bits(c[turn % N][turn % 8][turn & 1]));
    a[turn % N][turn % (N / 2)] += c[1][1] * 0.0000001;
  }
  return sum;
}

/// Additions of scaled vectors and their products, two doubles at a time over 32 KiB.
PROGRAM(vector_double) {
  enum { COUNT = 2048 };
  v2df *x = allocate(COUNT * 8), *y = allocate(COUNT * 8);
  for (u32 i = 0; i < COUNT / 2; i++) x[i] = (v2df){i * 0.5, 1.0 - i}, y[i] = (v2df){3.0, i * 0.25};
  v2df product = {0, 0}, scale_by = {0.999, 0.998};
  for (u32 turn = 0; turn < scale * 10; turn++)
    for (u32 i = 0; i < COUNT / 2; i++) {
      y[i] = y[i] * scale_by + x[i];
      product += y[i] * x[i];
    }
  return mix(double_bits(product[0]), double_bits(product[1] + y[COUNT / 4][0]));
}

/// Conversions between integers, floats and doubles, and compares of what comes out.
PROGRAM(convert) {
  u32 seed = 53;
  u64 sum = 0;
  double total = 0;
  for (u32 i = 0; i < scale * 10000; i++) {
    s32 whole = (s32)next_random(&seed) >> (i & 15);
    double value = whole * 0.37;
    float single = (float)value;
    s32 back = (s32)(value * 0.5);
    if (single > value) sum += 3;
    sum += (u32)back ^ (u32)(s32)single;
    total = total * 0.9 + (double)single;
  }
  return mix(sum, double_bits(total));
}

typedef float v4sf __attribute__((vector_size(16)));

/// Filters a line of samples, four floats at a time.
PROGRAM(filter_float) {
  enum { COUNT = 4096, TAPS = 8 };
  v4sf *in = allocate(COUNT * 4 + 64 * 4), *out = allocate(COUNT * 4);
  float *samples = (float *)in;
  for (u32 i = 0; i < COUNT + 64; i++) samples[i] = (float)(s32)(i * 37 % 101) - 50.0f;
  u64 sum = 0;
  for (u32 turn = 0; turn < scale; turn++) {
    for (u32 i = 0; i < COUNT / 4; i++) {
      v4sf value = {0, 0, 0, 0};
      for (u32 tap = 0; tap < TAPS; tap++) {
        float weight = 0.125f - tap * 0.01f;
        value += in[i + tap] * (v4sf){weight, weight, weight, weight};
      }
      out[i] = value;
    }
    v4sf shown = out[turn % (COUNT / 4)];
    sum = mix(sum, (u32)(s32)(shown[0] * 100) + (u32)(s32)(shown[3] * 7));
    samples[turn % COUNT] += shown[1] * 0.001f;
  }
  return sum;
}

typedef u16 v8hu __attribute__((vector_size(16)));
typedef u8 v16qu __attribute__((vector_size(16)));

/// Blends two pictures: packed 16-bit multiplications and shifts, and bytes.
PROGRAM(blend) {
  enum { COUNT = 4096 };
  v8hu *a = allocate(COUNT * 2), *b = allocate(COUNT * 2);
  for (u32 i = 0; i < COUNT; i++) ((u16 *)a)[i] = (u16)(i * 7 & 255), ((u16 *)b)[i] = (u16)(i * 13 & 255);
  u64 sum = 0;
  for (u32 turn = 0; turn < scale * 10; turn++) {
    u16 alpha = (u16)(turn & 255), rest = (u16)(255 - alpha);
    v8hu left = {alpha, alpha, alpha, alpha, alpha, alpha, alpha, alpha};
    v8hu right = {rest, rest, rest, rest, rest, rest, rest, rest};
    for (u32 i = 0; i < COUNT / 8; i++) {
      v8hu mixed = (a[i] * left + b[i] * right) >> 8;
      v16qu bytes = (v16qu)mixed ^ (v16qu)b[i];
      a[i] = (v8hu)bytes & 255;
    }
    sum = mix(sum, ((u16 *)a)[turn % COUNT]);
  }
  return sum;
}

static u64 wide_bits(long double value) {
  union {
    long double value;
    struct {
      u64 significand;
      u16 exponent;
    } parts;
  } both = {value};
  return mix(both.parts.significand, both.parts.exponent);
}

/// Polynomials in long double: FLD, FMUL, FADD on the register stack.
PROGRAM(x87_polynomial) {
  long double coefficients[12], sum = 0;
  for (u32 i = 0; i < 12; i++) coefficients[i] = 1.0L / (long double)(s32)(i * i + 1);
  for (u32 i = 0; i < scale * 2000; i++) {
    long double x = (long double)(s32)(i & 1023) / 1024.0L, value = 0;
    for (u32 j = 0; j < 12; j++) value = value * x + coefficients[j];
    sum = sum * 0.75L + value;
  }
  return wide_bits(sum);
}

/// Square roots, divisions and compares in long double: roots by Newton's method.
PROGRAM(x87_newton) {
  long double sum = 0;
  for (u32 i = 1; i <= scale * 500; i++) {
    long double wanted = (long double)(s32)i * 1.7L, x = wanted * 0.4L + 1.0L;
    for (u32 turn = 0; turn < 40; turn++) {
      long double next = (x + wanted / x) * 0.5L, change = next - x;
      x = next;
      if (change < 1e-12L && change > -1e-12L) break;
    }
    sum += x + __builtin_sqrtl(wanted);
  }
  return wide_bits(sum);
}

/// Doubles by way of x87, as 32-bit code without SSE computes them: loads, stores and exchanges with memory.
PROGRAM(x87_double) {
  enum { COUNT = 512 };
  double *x = allocate(COUNT * 8), *y = allocate(COUNT * 8);
  for (u32 i = 0; i < COUNT; i++) x[i] = (double)(s32)i * 0.5, y[i] = 100.0 - (double)(s32)i;
  for (u32 turn = 0; turn < scale * 4; turn++)
    for (u32 i = 0; i < COUNT; i++) {
      long double a = x[i], b = y[i];
      y[i] = (double)(a * 0.001L + b * 0.998L);
      x[i] = (double)(a - b * 0.0005L);
    }
  u64 sum = 0;
  for (u32 i = 0; i < COUNT; i++) sum = mix(sum, double_bits(x[i]) ^ double_bits(y[i]));
  return sum;
}
