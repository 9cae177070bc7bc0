/* What each example adds to the gradients of a group norm's scale and shift, in one pass over input
   and output gradient; in torch the input is normalised again, multiplied and summed, which is five.

   Compiled at first use by compiled.py; nothing needs it. */

#include <stddef.h>
#include <string.h>

#define WIDTH 16
#define SPAN 64 /* positions summed apart before they are added: sums of many lose digits */
#define MOST 2048 /* channels */
#define ALWAYS static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4)));

/* inputs, gradients: (n, positions, c) if last, else (n, c, positions); mean, inverse: (n, groups);
   scale, shift: (n, c) */
typedef struct {
    const float *inputs, *gradients, *mean, *inverse;
    float *scale, *shift;
    ptrdiff_t n, c, positions, groups, last;
} affine;

ALWAYS void channels_last(const affine *a, ptrdiff_t i)
{
    const ptrdiff_t c = a->c, wide = c / a->groups;
    const float *x = a->inputs + i * a->positions * c, *g = a->gradients + i * a->positions * c;
    float *scale = a->scale + i * c, *shift = a->shift + i * c;
    float mean[MOST], products[MOST], sums[MOST];
    for (ptrdiff_t k = 0; k < c; k++) {
        mean[k] = a->mean[i * a->groups + k / wide];
        scale[k] = shift[k] = 0.0f;
    }
    for (ptrdiff_t start = 0; start < a->positions; start += SPAN) {
        const ptrdiff_t stop = start + SPAN < a->positions ? start + SPAN : a->positions;
        memset(products, 0, (size_t)c * sizeof *products);
        memset(sums, 0, (size_t)c * sizeof *sums);
        for (ptrdiff_t r = start; r < stop; r++)
            for (ptrdiff_t k = 0; k < c; k++) {
                products[k] += g[r * c + k] * (x[r * c + k] - mean[k]);
                sums[k] += g[r * c + k];
            }
        for (ptrdiff_t k = 0; k < c; k++) {
            scale[k] += products[k];
            shift[k] += sums[k];
        }
    }
    for (ptrdiff_t k = 0; k < c; k++)
        scale[k] *= a->inverse[i * a->groups + k / wide];
}

ALWAYS void channels_first(const affine *a, ptrdiff_t i)
{
    const ptrdiff_t c = a->c, wide = c / a->groups, m = a->positions;
    for (ptrdiff_t k = 0; k < c; k++) {
        const ptrdiff_t group = i * a->groups + k / wide;
        const float *x = a->inputs + (i * c + k) * m, *g = a->gradients + (i * c + k) * m;
        const float mean = a->mean[group];
        vector products = {0}, sums = {0};
        float product = 0.0f, sum = 0.0f;
        ptrdiff_t j = 0;
        for (; j + WIDTH <= m; j += WIDTH) {
            const vector v = *(const vector *)(g + j);
            products += v * (*(const vector *)(x + j) - mean);
            sums += v;
        }
        for (int s = 0; s < WIDTH; s++) {
            product += products[s];
            sum += sums[s];
        }
        for (; j < m; j++) {
            product += g[j] * (x[j] - mean);
            sum += g[j];
        }
        a->scale[i * c + k] = product * a->inverse[group];
        a->shift[i * c + k] = sum;
    }
}

ALWAYS void one(const affine *a, ptrdiff_t i)
{
    if (a->last)
        channels_last(a, i);
    else
        channels_first(a, i);
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma,prefer-vector-width=512")))
static void one_wide(const affine *a, ptrdiff_t i) { one(a, i); }
__attribute__((target("avx2,fma"))) static void one_middle(const affine *a, ptrdiff_t i)
{
    one(a, i);
}
#endif
static void one_plain(const affine *a, ptrdiff_t i) { one(a, i); }

/* 0; or 1, and nothing was done, if there are too many channels */
int affine_examples(const affine *a, int threads)
{
    void (*run)(const affine *, ptrdiff_t) = one_plain;
    if (a->c > MOST)
        return 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        run = one_wide;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        run = one_middle;
#endif
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (ptrdiff_t i = 0; i < a->n; i++)
        run(a, i);
    return 0;
}
