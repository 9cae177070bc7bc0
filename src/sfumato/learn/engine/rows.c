/* Squared norms and weighted sums of rows, all tensors of a chunk in one call: on small networks the
   calls cost more than the arithmetic.

   Compiled at first use by compiled.py; nothing needs it. */

#include <float.h>
#include <stddef.h>
#include <string.h>

#define WIDTH 16
#define SPAN 2048 /* columns that one thread sums at a time: they stay in its cache */
#define ALWAYS static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4)));

/* n rows of `width` numbers, and where a result goes */
typedef struct {
    const float *values;
    ptrdiff_t width;
    const float *factors; /* (n,) */
    float *total;         /* (width,) */
} rows;

/* Never too small: squares that are below all numbers count as the smallest normal one. */
ALWAYS float square(const float *values, ptrdiff_t n)
{
    vector sums[4] = {{0}, {0}, {0}, {0}};
    float total = (float)n * FLT_MIN;
    ptrdiff_t i = 0;
    for (; i + 4 * WIDTH <= n; i += 4 * WIDTH)
        for (int j = 0; j < 4; j++) {
            const vector v = *(const vector *)(values + i + j * WIDTH);
            sums[j] += v * v;
        }
    sums[0] += sums[1] + sums[2] + sums[3];
    for (int j = 0; j < WIDTH; j++)
        total += sums[0][j];
    for (; i < n; i++)
        total += values[i] * values[i];
    return total;
}

/* total += sum of factor times row, over columns from `start` */
ALWAYS void weigh(const rows *r, ptrdiff_t n, ptrdiff_t start, ptrdiff_t stop)
{
    ptrdiff_t i = 0;
    float *total = r->total;
    for (; i + 4 <= n; i += 4) {
        const float *v = r->values + i * r->width, *f = r->factors + i;
        const float *v1 = v + r->width, *v2 = v1 + r->width, *v3 = v2 + r->width;
        const float f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3];
        ptrdiff_t j = start;
        for (; j + WIDTH <= stop; j += WIDTH)
            *(vector *)(total + j) += f0 * *(const vector *)(v + j) + f1 * *(const vector *)(v1 + j) +
                                      f2 * *(const vector *)(v2 + j) + f3 * *(const vector *)(v3 + j);
        for (; j < stop; j++)
            total[j] += f0 * v[j] + f1 * v1[j] + f2 * v2[j] + f3 * v3[j];
    }
    for (; i < n; i++) {
        const float *v = r->values + i * r->width, f = r->factors[i];
        for (ptrdiff_t j = start; j < stop; j++)
            total[j] += f * v[j];
    }
}

#if defined(__x86_64__)
#define WIDE                                                                                       \
    __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma,prefer-vector-width=512")))
#define MIDDLE __attribute__((target("avx2,fma")))
WIDE static float square_wide(const float *values, ptrdiff_t n) { return square(values, n); }
MIDDLE static float square_middle(const float *values, ptrdiff_t n) { return square(values, n); }
WIDE static void weigh_wide(const rows *r, ptrdiff_t n, ptrdiff_t start, ptrdiff_t stop)
{
    weigh(r, n, start, stop);
}
MIDDLE static void weigh_middle(const rows *r, ptrdiff_t n, ptrdiff_t start, ptrdiff_t stop)
{
    weigh(r, n, start, stop);
}
#endif
static float square_plain(const float *values, ptrdiff_t n) { return square(values, n); }
static void weigh_plain(const rows *r, ptrdiff_t n, ptrdiff_t start, ptrdiff_t stop)
{
    weigh(r, n, start, stop);
}

static int level(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return 1;
#endif
    return 0;
}

/* total[i] of each tensor's row i is its squared norm */
void squared_norms(const rows *tensors, ptrdiff_t count, ptrdiff_t n, int threads)
{
    float (*run)(const float *, ptrdiff_t) = square_plain;
#if defined(__x86_64__)
    const int found = level();
    run = found == 2 ? square_wide : found == 1 ? square_middle : square_plain;
#endif
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t k = 0; k < count; k++) {
            const rows *r = tensors + k;
            r->total[i] = run(r->values + i * r->width, r->width);
        }
}

/* total += sum over i of factors[i] times row i, of each tensor */
void add_weighted(const rows *tensors, ptrdiff_t count, ptrdiff_t n, int threads)
{
    void (*run)(const rows *, ptrdiff_t, ptrdiff_t, ptrdiff_t) = weigh_plain;
    ptrdiff_t spans = 0;
#if defined(__x86_64__)
    const int found = level();
    run = found == 2 ? weigh_wide : found == 1 ? weigh_middle : weigh_plain;
#endif
    for (ptrdiff_t k = 0; k < count; k++)
        spans += (tensors[k].width + SPAN - 1) / SPAN;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1 && spans > 1)
    for (ptrdiff_t span = 0; span < spans; span++) {
        ptrdiff_t left = span, k = 0;
        for (; left >= (tensors[k].width + SPAN - 1) / SPAN; k++)
            left -= (tensors[k].width + SPAN - 1) / SPAN;
        const ptrdiff_t start = left * SPAN, width = tensors[k].width;
        run(tensors + k, n, start, start + SPAN < width ? start + SPAN : width);
    }
}
