/* Gaussian noise on a tensor in one pass over it, the same as noise.py makes in torch, up to a few
   units in the last place of float64. Box and Muller's method, with the logarithm, sine and cosine
   as series: compilers make vector code of it without relaxing the rules of arithmetic.

   Compiled at first use by compiled.py; nothing needs it. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 512

/* (double)word, rounded once; processors without AVX-512 convert halves, but not words, in bulk */
static inline __attribute__((always_inline)) double as_double(int64_t word)
{
    const int32_t high = (int32_t)((uint64_t)word >> 32);
    const int32_t low = (int32_t)((uint32_t)word ^ 0x80000000u);
    return (double)high * 4294967296.0 + ((double)low + 2147483648.0);
}

/* values <- rint((values + stddev * z) * inverse) * scale, with z from as many words as values (one
   more if that is odd): those of the radii, then those of the angles. Values i and pairs + i share
   a radius. */
static inline __attribute__((always_inline)) void body(const int64_t *words, float *values,
                                                       size_t n, double stddev, double inverse,
                                                       double scale)
{
    const double pi = 3.14159265358979323846, ln2 = 0.69314718055994530942;
    const size_t pairs = (n + 1) / 2;
    double first[BLOCK], second[BLOCK];
    for (size_t start = 0; start < pairs; start += BLOCK) {
        const size_t m = pairs - start < BLOCK ? pairs - start : BLOCK;
        const int64_t *radii = words + start, *angles = words + pairs + start;
        for (size_t j = 0; j < m; j++) {
            /* u = 2^e x with x = (1 + f) / (1 - f) in [sqrt(1/2), sqrt(2)), by the bits of u */
            double u = (fabs(as_double(radii[j])) + 0.5) * 0x1p-63;
            int64_t bits, shifted;
            memcpy(&bits, &u, 8);
            shifted = bits - 0x3fe6a09e667f3bcdLL;
            double e = (double)((int32_t)((uint64_t)shifted >> 32) >> 20);
            bits = (shifted & 0x000fffffffffffffLL) + 0x3fe6a09e667f3bcdLL;
            double x;
            memcpy(&x, &bits, 8);
            double f = (x - 1.0) / (x + 1.0), g = f * f;
            double p = 1.0 / 21;
            p = p * g + 1.0 / 19;
            p = p * g + 1.0 / 17;
            p = p * g + 1.0 / 15;
            p = p * g + 1.0 / 13;
            p = p * g + 1.0 / 11;
            p = p * g + 1.0 / 9;
            p = p * g + 1.0 / 7;
            p = p * g + 1.0 / 5;
            p = p * g + 1.0 / 3;
            double log = e * ln2 + (2.0 * f + 2.0 * f * g * p);
            double radius = stddev * sqrt(fabs(-2.0 * log));
            /* angle = pi * turn; quarters of a circle and what is left, at most pi / 4 */
            double turn = as_double(angles[j]) * 0x1p-63;
            double quarters = rint(2.0 * turn);
            double t = pi * (turn - 0.5 * quarters), t2 = t * t;
            double s = -1.0 / 1307674368000.0;
            s = s * t2 + 1.0 / 6227020800.0;
            s = s * t2 - 1.0 / 39916800.0;
            s = s * t2 + 1.0 / 362880.0;
            s = s * t2 - 1.0 / 5040.0;
            s = s * t2 + 1.0 / 120.0;
            s = s * t2 - 1.0 / 6.0;
            double sine = t + t * t2 * s;
            double c = 1.0 / 20922789888000.0;
            c = c * t2 - 1.0 / 87178291200.0;
            c = c * t2 + 1.0 / 479001600.0;
            c = c * t2 - 1.0 / 3628800.0;
            c = c * t2 + 1.0 / 40320.0;
            c = c * t2 - 1.0 / 720.0;
            c = c * t2 + 1.0 / 24.0;
            c = c * t2 - 0.5;
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
    body(words, values, n, stddev, inverse, scale);
}
__attribute__((target("avx2,fma")))
static void middle(const int64_t *words, float *values, size_t n, double stddev, double inverse,
                   double scale)
{
    body(words, values, n, stddev, inverse, scale);
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
    body(words, values, n, stddev, inverse, scale);
}
