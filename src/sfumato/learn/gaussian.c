/* Gaussian noise on a tensor in one pass over it, the same as noise.py makes in torch, up to a few
   units in the last place of float64. Box and Muller's method, with the logarithm, sine and cosine
   as minimax polynomials (within 1e-16 of them, as good as Taylor's with 4, 1 and 2 more terms):
   compilers make vector code of it without relaxing the rules of arithmetic.

   add_gaussian takes its words from the caller. add_fresh_gaussian makes them itself, in the cache
   and in all threads: AES-256 in counter mode (FIPS 197, SP 800-38A) by the processor's AES
   instructions, under a key that comes from the operating system for this call and is wiped at its
   end. There is no state: nothing to store, nothing that a forked child could replay.

   Compiled at first use by compiled.py; nothing needs it. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#include <sys/random.h>
#endif

#define BLOCK 512

/* (double)word, rounded once; processors without AVX-512 convert halves, but not words, in bulk */
static inline __attribute__((always_inline)) double as_double(int64_t word, int whole)
{
    if (whole)
        return (double)word;
    const int32_t high = (int32_t)((uint64_t)word >> 32);
    const int32_t low = (int32_t)((uint32_t)word ^ 0x80000000u);
    return (double)high * 4294967296.0 + ((double)low + 2147483648.0);
}

/* values <- rint((values + stddev * z) * inverse) * scale, with z from as many words as values (one
   more if that is odd): those of the radii, then those of the angles. Values i and pairs + i share
   a radius. */
static inline __attribute__((always_inline)) void body(const int64_t *words, float *values,
                                                       size_t n, double stddev, double inverse,
                                                       double scale, int whole)
{
    const double pi = 3.14159265358979323846, ln2 = 0.69314718055994530942;
    const size_t pairs = (n + 1) / 2;
    double first[BLOCK], second[BLOCK];
    for (size_t start = 0; start < pairs; start += BLOCK) {
        const size_t m = pairs - start < BLOCK ? pairs - start : BLOCK;
        const int64_t *radii = words + start, *angles = words + pairs + start;
        for (size_t j = 0; j < m; j++) {
            /* u = 2^e x with x = (1 + f) / (1 - f) in [sqrt(1/2), sqrt(2)), by the bits of u */
            double u = (fabs(as_double(radii[j], whole)) + 0.5) * 0x1p-63;
            int64_t bits, shifted;
            memcpy(&bits, &u, 8);
            shifted = bits - 0x3fe6a09e667f3bcdLL;
            double e = (double)((int32_t)((uint64_t)shifted >> 32) >> 20);
            bits = (shifted & 0x000fffffffffffffLL) + 0x3fe6a09e667f3bcdLL;
            double x;
            memcpy(&x, &bits, 8);
            double f = (x - 1.0) / (x + 1.0), g = f * f;
            double p = 0x1.5a0b93769dd9ep-4;
            p = p * g + 0x1.730714b71f146p-4;
            p = p * g + 0x1.c723c0ffa4d50p-4;
            p = p * g + 0x1.24923ed164ce6p-3;
            p = p * g + 0x1.999999a78875dp-3;
            p = p * g + 0x1.5555555551f89p-2;
            double log = e * ln2 + (2.0 * f + 2.0 * f * g * p);
            double radius = stddev * sqrt(fabs(-2.0 * log));
            /* angle = pi * turn; quarters of a circle and what is left, at most pi / 4 */
            double turn = as_double(angles[j], whole) * 0x1p-63;
            double quarters = rint(2.0 * turn);
            double t = pi * (turn - 0.5 * quarters), t2 = t * t;
            double s = 0x1.5d875b9d4c0a8p-33;
            s = s * t2 - 0x1.ae5e4c07395ddp-26;
            s = s * t2 + 0x1.71de356f10fb5p-19;
            s = s * t2 - 0x1.a01a019c3050bp-13;
            s = s * t2 + 0x1.111111110fb4dp-7;
            s = s * t2 - 0x1.555555555554dp-3;
            double sine = t + t * t2 * s;
            double c = 0x1.1b8ae96a31a39p-29;
            c = c * t2 - 0x1.27df52e5cd3fdp-22;
            c = c * t2 + 0x1.a019f87270c78p-16;
            c = c * t2 - 0x1.6c16c164c27e1p-10;
            c = c * t2 + 0x1.55555555503cbp-5;
            c = c * t2 - 0x1.fffffffffffbep-2;
            double cosine = 1.0 + t2 * c;
            double odd = fabs(quarters) == 1.0 ? 1.0 : 0.0;
            double sign_c = fabs(quarters) == 2.0 ? -1.0 : 1.0;
            double swap_s = quarters == 1.0 ? -1.0 : 1.0;
            first[j] = radius * (odd ? swap_s * sine : sign_c * cosine);
            second[j] = radius * (odd ? quarters * cosine : sign_c * sine);
        }
        float *one = values + start, *other = values + pairs + start;
        for (size_t j = 0; j < m; j++)
            one[j] = (float)(rint((first[j] + one[j]) * inverse) * scale);
        const size_t k = n - pairs > start ? (n - pairs - start < m ? n - pairs - start : m) : 0;
        for (size_t j = 0; j < k; j++)
            other[j] = (float)(rint((second[j] + other[j]) * inverse) * scale);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma,prefer-vector-width=512")))
static void wide(const int64_t *words, float *values, size_t n, double stddev, double inverse,
                 double scale)
{
    body(words, values, n, stddev, inverse, scale, 1);
}
__attribute__((target("avx2,fma")))
static void middle(const int64_t *words, float *values, size_t n, double stddev, double inverse,
                   double scale)
{
    body(words, values, n, stddev, inverse, scale, 0);
}
#endif

void add_gaussian(const int64_t *words, float *values, size_t n, double stddev, double inverse,
                  double scale)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw")) {
        wide(words, values, n, stddev, inverse, scale);
        return;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        middle(words, values, n, stddev, inverse, scale);
        return;
    }
#endif
    body(words, values, n, stddev, inverse, scale, 0);
}

#if defined(__x86_64__)
#define ROUNDS 14
#define LANES 8                /* blocks of the cipher in flight */
#define NUMBERS (2 * BLOCK)    /* numbers made at a time */

typedef struct {
    __m128i round[ROUNDS + 1];
} schedule;

#define EVEN(i, rcon)                                                                             \
    assist = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(k->round[i - 1], rcon), 0xff);            \
    k->round[i] = _mm_xor_si128(mixed(k->round[i - 2]), assist)
#define ODD(i)                                                                                    \
    assist = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(k->round[i - 1], 0), 0xaa);               \
    k->round[i] = _mm_xor_si128(mixed(k->round[i - 2]), assist)

__attribute__((target("aes,sse4.1"))) static inline __m128i mixed(__m128i word)
{
    word = _mm_xor_si128(word, _mm_slli_si128(word, 4));
    return _mm_xor_si128(word, _mm_slli_si128(word, 8));
}

/* FIPS 197, section 5.2, for keys of 32 bytes */
__attribute__((target("aes,sse4.1"))) static void expand(const uint8_t *key, schedule *k)
{
    __m128i assist;
    k->round[0] = _mm_loadu_si128((const __m128i *)key);
    k->round[1] = _mm_loadu_si128((const __m128i *)(key + 16));
    EVEN(2, 0x01);
    ODD(3);
    EVEN(4, 0x02);
    ODD(5);
    EVEN(6, 0x04);
    ODD(7);
    EVEN(8, 0x08);
    ODD(9);
    EVEN(10, 0x10);
    ODD(11);
    EVEN(12, 0x20);
    ODD(13);
    EVEN(14, 0x40);
}

/* The cipher of the counters first, first + 1, ...; blocks is a multiple of LANES */
__attribute__((target("aes,sse4.1"))) static void stream(const schedule *k, uint64_t first,
                                                         uint8_t *out, size_t blocks)
{
    for (size_t start = 0; start < blocks; start += LANES) {
        __m128i state[LANES];
        for (int i = 0; i < LANES; i++)
            state[i] = _mm_xor_si128(_mm_set_epi64x(0, (int64_t)(first + start + i)), k->round[0]);
        for (int r = 1; r < ROUNDS; r++)
            for (int i = 0; i < LANES; i++)
                state[i] = _mm_aesenc_si128(state[i], k->round[r]);
        for (int i = 0; i < LANES; i++)
            _mm_storeu_si128((__m128i *)(out + 16 * (start + i)),
                             _mm_aesenclast_si128(state[i], k->round[ROUNDS]));
    }
}

/* The same, four blocks in a register */
__attribute__((target("aes,vaes,avx512f,avx512vl"))) static void
wide_stream(const schedule *k, uint64_t first, uint8_t *out, size_t blocks)
{
    const __m512i four = _mm512_set_epi64(0, 4, 0, 4, 0, 4, 0, 4);
    const __m512i here = _mm512_set1_epi64((int64_t)first);
    const __m512i low = _mm512_set_epi64(0, -1, 0, -1, 0, -1, 0, -1);
    __m512i counter = _mm512_add_epi64(_mm512_and_epi64(here, low),
                                       _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0));
    for (size_t start = 0; start < blocks; start += 4 * LANES) {
        __m512i state[LANES];
        const __m512i begin = _mm512_broadcast_i32x4(k->round[0]);
        for (int i = 0; i < LANES; i++) {
            state[i] = _mm512_xor_si512(counter, begin);
            counter = _mm512_add_epi64(counter, four);
        }
        for (int r = 1; r < ROUNDS; r++) {
            const __m512i key = _mm512_broadcast_i32x4(k->round[r]);
            for (int i = 0; i < LANES; i++)
                state[i] = _mm512_aesenc_epi128(state[i], key);
        }
        const __m512i end = _mm512_broadcast_i32x4(k->round[ROUNDS]);
        for (int i = 0; i < LANES; i++)
            _mm512_storeu_si512(out + 16 * (start + 4 * i),
                                _mm512_aesenclast_epi128(state[i], end));
    }
}

static void fill(const schedule *k, uint64_t first, uint8_t *out, size_t blocks)
{
    if (__builtin_cpu_supports("vaes") && __builtin_cpu_supports("avx512vl"))
        wide_stream(k, first, out, blocks);
    else
        stream(k, first, out, blocks);
}

static void wipe(void *memory, size_t n)
{
    memset(memory, 0, n);
    __asm__ __volatile__("" : : "r"(memory) : "memory"); /* not to be optimised away */
}
#endif

/* The key stream itself, for tests: 0, or 1 where the processor has no AES instructions. blocks is a
   multiple of 32. */
int key_stream(const uint8_t *key, uint64_t first, uint8_t *out, size_t blocks)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("aes")) {
        schedule k;
        expand(key, &k);
        fill(&k, first, out, blocks);
        wipe(&k, sizeof k);
        return 0;
    }
#endif
    (void)key, (void)first, (void)out, (void)blocks;
    return 1;
}

/* As add_gaussian, in stretches of NUMBERS, with words of the key stream; key is NULL but in tests.
   0; or 1, and nothing was done, where there are no AES instructions or no entropy. */
int add_fresh_gaussian(const uint8_t *key, float *values, size_t n, double stddev, double inverse,
                       double scale, int threads)
{
#if defined(__x86_64__)
    uint8_t fresh[32];
    schedule k;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("aes"))
        return 1;
    if (key == NULL) {
        if (getentropy(fresh, sizeof fresh) != 0)
            return 1;
        key = fresh;
    }
    expand(key, &k);
    wipe(fresh, sizeof fresh);
    const ptrdiff_t stretches = (ptrdiff_t)((n + NUMBERS - 1) / NUMBERS);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && stretches > 8)
    for (ptrdiff_t s = 0; s < stretches; s++) {
        int64_t words[NUMBERS];
        const size_t start = (size_t)s * NUMBERS, m = n - start < NUMBERS ? n - start : NUMBERS;
        fill(&k, (uint64_t)s * (NUMBERS / 2), (uint8_t *)words, NUMBERS / 2);
        add_gaussian(words, values + start, m, stddev, inverse, scale);
    }
    wipe(&k, sizeof k);
    return 0;
#else
    (void)key, (void)values, (void)n, (void)stddev, (void)inverse, (void)scale, (void)threads;
    return 1;
#endif
}
