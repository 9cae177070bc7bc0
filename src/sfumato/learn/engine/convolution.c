/* Each example's weight gradient of a convolution, with its squared norm: the product of the output
   gradient with the input's patches, one example in one thread, with patches that never leave the
   cache. In torch the same is a grouped convolution, whose groups of one example are too small to be
   fast.

   Compiled at first use by compiled.py; nothing needs it. */

#include <float.h>
#include <stddef.h>
#include <string.h>

#define WIDTH 16 /* floats in a vector */
#define ROWS 96  /* positions taken at a time, at most */
#define ALWAYS static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4)));

/* As compiled.py gives them. The last two: whether channels are the last dimension in memory (of
   inputs, of gradients); examples are then (h, w, c), else (c, h, w). */
typedef struct {
    ptrdiff_t n, c, h, w, p, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, inputs_last, gradients_last;
} geometry;

/* What follows from it. The step between rows of patches is no power of two: they do not fall on
   the same lines of the cache. */
typedef struct {
    ptrdiff_t positions, rows, whole, vectors, wide, step, padded, border;
} sizes;

ALWAYS sizes sizes_of(const geometry *g)
{
    sizes s;
    s.positions = g->oh * g->ow;
    const ptrdiff_t blocks = (s.positions + ROWS - 1) / ROWS;
    s.rows = blocks ? (s.positions + blocks - 1) / blocks : 0;
    s.whole = g->kh * g->kw * g->c;
    s.vectors = s.whole <= WIDTH ? 1 : s.whole <= 2 * WIDTH ? 2 : 4;
    const ptrdiff_t panel = s.vectors * WIDTH;
    s.wide = (s.whole + panel - 1) / panel * panel;
    s.step = s.wide + WIDTH;
    s.padded = (g->h + 2 * g->ph) * (g->w + 2 * g->pw) * g->c;
    s.border = s.rows * s.step + g->p * s.wide + s.rows * g->p;
    return s;
}

/* Floats that each thread needs to work with. */
ptrdiff_t scratch_size(const geometry *g)
{
    const sizes s = sizes_of(g);
    return s.border + s.padded + 64;
}

/* (rows, columns) to (columns, rows) */
ALWAYS void transpose(const float *from, float *to, ptrdiff_t rows, ptrdiff_t columns,
                      ptrdiff_t from_step, ptrdiff_t to_step)
{
    for (ptrdiff_t top = 0; top < rows; top += 16)
        for (ptrdiff_t left = 0; left < columns; left += 16)
            for (ptrdiff_t j = left; j < columns && j < left + 16; j++)
                for (ptrdiff_t i = top; i < rows && i < top + 16; i++)
                    to[j * to_step + i] = from[i * from_step + j];
}

/* One example as (h, w, c) with its border of zeros; the border of `to` is zero already. */
ALWAYS void pad(const geometry *g, const float *input, float *to)
{
    const ptrdiff_t c = g->c, w = g->w, line = (w + 2 * g->pw) * c;
    for (ptrdiff_t y = 0; y < g->h; y++) {
        float *start = to + (y + g->ph) * line + g->pw * c;
        if (g->inputs_last || c == 1)
            memcpy(start, input + y * w * c, (size_t)(w * c) * sizeof *to);
        else
            transpose(input + y * w, start, c, w, g->h * w, c);
    }
}

ALWAYS void copy(float *to, const float *from, ptrdiff_t n)
{
    ptrdiff_t i = 0;
    for (; i + 8 <= n; i += 8)
        memcpy(to + i, from + i, 8 * sizeof *to);
    for (; i < n; i++)
        to[i] = from[i];
}

/* The patches, in the order (kh, kw, c), of the positions from `first`: (rows, step) floats */
ALWAYS void unfold(const geometry *g, const sizes *s, const float *padded, float *patches,
                   ptrdiff_t first, ptrdiff_t rows)
{
    const ptrdiff_t c = g->c, run = g->kw * c, line = (g->w + 2 * g->pw) * c;
    ptrdiff_t y = first / g->ow, x = first % g->ow;
    for (ptrdiff_t r = 0; r < rows; r++) {
        const float *from = padded + y * g->sh * line + x * g->sw * c;
        float *to = patches + r * s->step;
        for (ptrdiff_t i = 0; i < g->kh; i++, from += g->dh * line, to += run) {
            if (g->dw == 1)
                copy(to, from, run);
            else
                for (ptrdiff_t k = 0; k < g->kw; k++)
                    copy(to + k * c, from + k * g->dw * c, c);
        }
        for (ptrdiff_t j = s->whole; j < s->wide; j++)
            patches[r * s->step + j] = 0.0f;
        if (++x == g->ow) {
            x = 0;
            y++;
        }
    }
}

/* product[i] += sum over rows of gradients[r][i] * patches[r], for `tall` channels i */
ALWAYS void tile(const float *gradients, const float *patches, float *product, ptrdiff_t rows,
                 ptrdiff_t p, ptrdiff_t step, ptrdiff_t wide, const int tall, const int vectors)
{
    vector sums[16][4];
    for (int i = 0; i < tall; i++)
        for (int j = 0; j < vectors; j++)
            sums[i][j] = *(const vector *)(product + i * wide + j * WIDTH);
    for (ptrdiff_t r = 0; r < rows; r++) {
        vector row[4];
        for (int j = 0; j < vectors; j++)
            row[j] = *(const vector *)(patches + r * step + j * WIDTH);
        for (int i = 0; i < tall; i++) {
            const float factor = gradients[r * p + i];
            for (int j = 0; j < vectors; j++)
                sums[i][j] += factor * row[j];
        }
    }
    for (int i = 0; i < tall; i++)
        for (int j = 0; j < vectors; j++)
            *(vector *)(product + i * wide + j * WIDTH) = sums[i][j];
}

ALWAYS void multiply(const float *gradients, const float *patches, float *product, ptrdiff_t rows,
                     ptrdiff_t p, ptrdiff_t step, ptrdiff_t wide, const int tall,
                     const int vectors)
{
    for (ptrdiff_t left = 0; left < wide; left += vectors * WIDTH) {
        ptrdiff_t i = 0;
        for (; i + tall <= p; i += tall)
            tile(gradients + i, patches + left, product + i * wide + left, rows, p, step, wide,
                 tall, vectors);
        for (; i < p; i++)
            tile(gradients + i, patches + left, product + i * wide + left, rows, p, step, wide, 1,
                 vectors);
    }
}

/* Never too small: squares that are below all numbers count as the smallest normal one. */
ALWAYS float squares_of(const float *values, ptrdiff_t n)
{
    vector sums[2] = {{0}, {0}};
    ptrdiff_t i = 0;
    float total = (float)n * FLT_MIN;
    for (; i + 2 * WIDTH <= n; i += 2 * WIDTH)
        for (int j = 0; j < 2; j++) {
            const vector v = *(const vector *)(values + i + j * WIDTH);
            sums[j] += v * v;
        }
    for (int j = 0; j < WIDTH; j++)
        total += sums[0][j] + sums[1][j];
    for (; i < n; i++)
        total += values[i] * values[i];
    return total;
}

/* tiles: how many vectors make a tile; registers hold 16 of them, or 4 */
ALWAYS void one(const geometry *g, const float *input, const float *gradient, float *scratch,
                float *formed, float *bias, float *square, float *bias_square, const int tiles)
{
    const sizes s = sizes_of(g);
    const ptrdiff_t p = g->p, wide = s.wide;
    float *patches = scratch, *product = patches + s.rows * s.step, *turned = product + p * wide;
    float *padded = scratch + s.border;
    if (g->ph || g->pw || !(g->inputs_last || g->c == 1)) {
        pad(g, input, padded);
        input = padded;
    }
    memset(product, 0, (size_t)(p * wide) * sizeof *product);
    if (bias)
        memset(bias, 0, (size_t)p * sizeof *bias);
    for (ptrdiff_t first = 0; first < s.positions; first += s.rows) {
        const ptrdiff_t m = s.positions - first < s.rows ? s.positions - first : s.rows;
        const float *block = gradient + first * p;
        if (!g->gradients_last && p > 1) {
            transpose(gradient + first, turned, p, m, s.positions, p);
            block = turned;
        }
        unfold(g, &s, input, patches, first, m);
        if (tiles == 16 && s.vectors == 4)
            multiply(block, patches, product, m, p, s.step, wide, 4, 4);
        else if (tiles == 16 && s.vectors == 2)
            multiply(block, patches, product, m, p, s.step, wide, 8, 2);
        else if (tiles == 16)
            multiply(block, patches, product, m, p, s.step, wide, 16, 1);
        else
            multiply(block, patches, product, m, p, s.step, wide, 4, 1);
        if (bias)
            for (ptrdiff_t r = 0; r < m; r++)
                for (ptrdiff_t i = 0; i < p; i++)
                    bias[i] += block[r * p + i];
    }
    double total = 0.0;
    for (ptrdiff_t i = 0; i < p; i++) {
        total += squares_of(product + i * wide, s.whole);
        if (formed)
            memcpy(formed + i * s.whole, product + i * wide, (size_t)s.whole * sizeof *formed);
    }
    *square = (float)total;
    if (bias)
        *bias_square = squares_of(bias, p);
}

#define ONE                                                                                        \
    (const geometry *g, const float *input, const float *gradient, float *scratch, float *formed,  \
     float *bias, float *square, float *bias_square)
#define GIVEN g, input, gradient, scratch, formed, bias, square, bias_square

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma,prefer-vector-width=512")))
static void one_wide ONE
{
    one(GIVEN, 16);
}
__attribute__((target("avx2,fma"))) static void one_middle ONE
{
    one(GIVEN, 4);
}
#endif
static void one_plain ONE
{
    one(GIVEN, 4);
}

/* formed: (n, p, kh, kw, c), squares: (n,), bias: (n, p) and bias_squares: (n,); formed may be NULL,
   and bias with bias_squares. scratch: threads times scratch_size. */
void convolution_examples(const geometry *g, const float *inputs, const float *gradients,
                          float *scratch, float *formed, float *bias, float *squares,
                          float *bias_squares, int threads)
{
    const sizes s = sizes_of(g);
    const ptrdiff_t size = scratch_size(g), inputs_step = g->c * g->h * g->w;
    const ptrdiff_t gradients_step = g->p * g->oh * g->ow, step = g->p * s.whole;
    void(*run) ONE = one_plain;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        run = one_wide;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        run = one_middle;
#endif
    if (threads < 1)
        threads = 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        const ptrdiff_t from = g->n * t / threads, to = g->n * (t + 1) / threads;
        float *own = scratch + t * size;
        memset(own + s.border, 0, (size_t)s.padded * sizeof *own);
        for (ptrdiff_t i = from; i < to; i++)
            run(g, inputs + i * inputs_step, gradients + i * gradients_step, own,
                formed ? formed + i * step : NULL, bias ? bias + i * g->p : NULL, squares + i,
                bias ? bias_squares + i : NULL);
    }
}
