/* A 3x3 convolution of pictures with max-pooling and ReLU behind it, forwards and backwards, one
   picture at a time so that nothing between the three leaves the cache.

   What makes the way back cheap: of the four positions of a window only the largest has a gradient,
   and where it is not positive none has. Only those are looked at, a fourth or less of what the
   gradient of a convolution by itself has to multiply.

   Pictures are (h, w, c) floats, windows 2x2; where h or w is odd the last window is smaller. One
   thread: whoever has several gives each a network of its own.

   Compiled at first use by compiled.py, for the processor it runs on; nothing needs it. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* WIDTH: floats in a vector; MOST: neighbours in a tile, of two vectors each, as registers allow */
#if defined(__AVX512F__)
#define WIDTH 16
#define MOST 14
#elif defined(__AVX2__)
#define WIDTH 8
#define MOST 6
#else
#define WIDTH 4
#define MOST 6
#endif
#define KERNEL 9                    /* weights of a channel */
#define NOBODY 4                    /* for the position in its window, where ReLU is 0 */
#define CHANNELS (MOST > 6 ? 3 : 1) /* whose weight gradients are held in registers at once */
#define LANES 16                    /* what the outputs are a multiple of */
#define ALWAYS static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef int32_t chosen __attribute__((vector_size(4 * WIDTH), aligned(4)));

/* As pooled.py gives them: pictures, and their size before. p is a multiple of LANES. */
typedef struct {
    ptrdiff_t n, c, h, w, p;
} shape;

ALWAYS ptrdiff_t windows(ptrdiff_t length)
{
    return (length + 1) / 2;
}

/* Floats from one line of a picture with its border to the next. */
ALWAYS ptrdiff_t line_of(const shape *s)
{
    return (2 * windows(s->w) + 2) * s->c;
}

ALWAYS ptrdiff_t padded_size(const shape *s)
{
    return (2 * windows(s->h) + 2) * line_of(s);
}

/* One picture inside its border; the border of `to` is zero already. */
ALWAYS void pad(const shape *s, const float *picture, float *to)
{
    const ptrdiff_t line = line_of(s), run = s->w * s->c;
    for (ptrdiff_t y = 0; y < s->h; y++)
        memcpy(to + (y + 1) * line + s->c, picture + y * run, (size_t)run * sizeof *to);
}

/* `tall` sums of products: of rows of `run` numbers, c floats from one sum to the next, with
   weights (rows, run, p). Every second sum goes to `half` floats behind the one before it, `step`
   floats behind the one before that. */
ALWAYS void tile(const float *from, const float *weight, const float *bias, float *to,
                 ptrdiff_t half, ptrdiff_t step, ptrdiff_t line, ptrdiff_t run, ptrdiff_t c,
                 ptrdiff_t p, const int rows, const int tall, const int vectors)
{
    vector sums[MOST][2];
    for (int i = 0; i < tall; i++)
        for (int j = 0; j < vectors; j++)
            sums[i][j] = bias ? *(const vector *)(bias + j * WIDTH) : (vector){0};
    for (int y = 0; y < rows; y++)
        for (ptrdiff_t k = 0; k < run; k++) {
            vector row[2];
            for (int j = 0; j < vectors; j++)
                row[j] = *(const vector *)(weight + (y * run + k) * p + j * WIDTH);
            for (int i = 0; i < tall; i++) {
                const float factor = from[y * line + i * c + k];
                for (int j = 0; j < vectors; j++)
                    sums[i][j] += factor * row[j];
            }
        }
    for (int i = 0; i < tall; i++)
        for (int j = 0; j < vectors; j++)
            *(vector *)(to + i % 2 * half + i / 2 * step + j * WIDTH) = sums[i][j];
}

/* An even number of such sums, for all outputs */
ALWAYS void multiply(const float *from, const float *weight, const float *bias, float *to,
                     ptrdiff_t sums, ptrdiff_t half, ptrdiff_t step, ptrdiff_t line, ptrdiff_t run,
                     ptrdiff_t c, ptrdiff_t p, const int rows, const int vectors)
{
    const ptrdiff_t tiles = (sums + MOST - 1) / MOST;
    const ptrdiff_t even = (sums + 2 * tiles - 1) / (2 * tiles) * 2;
    for (ptrdiff_t left = 0; left < p; left += vectors * WIDTH)
        for (ptrdiff_t x = 0; x < sums; x += even) {
            const ptrdiff_t tall = sums - x < even ? sums - x : even;
            const float *some = from + x * c, *w = weight + left, *b = bias ? bias + left : bias;
            float *out = to + x / 2 * step + left;
#define TALL(i)                                                                                    \
    case i:                                                                                        \
        if (i <= MOST)                                                                             \
            tile(some, w, b, out, half, step, line, run, c, p, rows, i, vectors);                  \
        break;
            switch (tall) {
                TALL(2) TALL(4) TALL(6) TALL(8) TALL(10) TALL(12) TALL(14)
            }
#undef TALL
        }
}

/* Two lines of the convolution, as pool takes them, patch by patch: of few channels */
ALWAYS void convolve(const shape *s, const float *padded, const float *weight, const float *bias,
                     float *lines, ptrdiff_t c)
{
    const ptrdiff_t line = line_of(s), p = s->p, half = windows(s->w) * p;
    for (ptrdiff_t row = 0; row < 2; row++)
        multiply(padded + row * line, weight, bias, lines + row * 2 * half, 2 * windows(s->w), half,
                 p, line, 3 * c, c, p, 3, 1);
}

/* Of many channels a window is computed as a whole, from its 4x4 patch, by Winograd's minimal
   filtering F(2x2, 3x3): 16 products a channel in place of 36. Three transformations. */

/* weight: (3, 3, c, p) to (16, c, p) */
ALWAYS void turn_weights(const shape *s, const float *weight, float *turned)
{
    const ptrdiff_t whole = s->c * s->p;
    for (ptrdiff_t at = 0; at < whole; at += WIDTH) {
        vector half[4][3];
        for (int x = 0; x < 3; x++) {
            const vector a = *(const vector *)(weight + x * whole + at);
            const vector b = *(const vector *)(weight + (3 + x) * whole + at);
            const vector c = *(const vector *)(weight + (6 + x) * whole + at);
            half[0][x] = a;
            half[1][x] = 0.5f * (a + b + c);
            half[2][x] = 0.5f * (a - b + c);
            half[3][x] = c;
        }
        for (int y = 0; y < 4; y++) {
            const vector a = half[y][0], b = half[y][1], c = half[y][2];
            float *to = turned + 4 * y * whole + at;
            *(vector *)to = a;
            *(vector *)(to + whole) = 0.5f * (a + b + c);
            *(vector *)(to + 2 * whole) = 0.5f * (a - b + c);
            *(vector *)(to + 3 * whole) = c;
        }
    }
}

/* A patch at `from` to 16 times c numbers, `step` floats from one to the next */
ALWAYS void turn_patch(const float *from, float *turned, ptrdiff_t line, ptrdiff_t c,
                       ptrdiff_t step)
{
    for (ptrdiff_t left = 0; left < c; left += WIDTH) {
        vector half[4][4];
        for (int x = 0; x < 4; x++) {
            vector d[4];
            for (int y = 0; y < 4; y++)
                d[y] = *(const vector *)(from + y * line + x * c + left);
            half[0][x] = d[0] - d[2];
            half[1][x] = d[1] + d[2];
            half[2][x] = d[2] - d[1];
            half[3][x] = d[1] - d[3];
        }
        for (int y = 0; y < 4; y++) {
            float *to = turned + 4 * y * step + left;
            *(vector *)to = half[y][0] - half[y][2];
            *(vector *)(to + step) = half[y][1] + half[y][2];
            *(vector *)(to + 2 * step) = half[y][2] - half[y][1];
            *(vector *)(to + 3 * step) = half[y][1] - half[y][3];
        }
    }
}

/* 16 times p sums, `step` floats apart, to the four positions of a window, `half` floats apart */
ALWAYS void turn_back(const float *sums, const float *bias, float *to, ptrdiff_t p, ptrdiff_t step,
                      ptrdiff_t half)
{
    for (ptrdiff_t left = 0; left < p; left += WIDTH) {
        const vector shift = *(const vector *)(bias + left);
        vector rows[2][4];
        for (int x = 0; x < 4; x++) {
            vector m[4];
            for (int y = 0; y < 4; y++)
                m[y] = *(const vector *)(sums + (4 * y + x) * step + left);
            rows[0][x] = m[0] + m[1] + m[2];
            rows[1][x] = m[1] - m[2] - m[3];
        }
        for (int y = 0; y < 2; y++) {
            const vector *m = rows[y];
            *(vector *)(to + 2 * y * half + left) = m[0] + m[1] + m[2] + shift;
            *(vector *)(to + (2 * y + 1) * half + left) = m[1] - m[2] - m[3] + shift;
        }
    }
}

/* Lines of windows whose sums are made at once. */
ALWAYS ptrdiff_t lines_at_once(const shape *s)
{
    const ptrdiff_t some = MOST / windows(s->w);
    return some < 1 ? 1 : some;
}

/* The windows of these lines, an even number. */
ALWAYS ptrdiff_t at_once(const shape *s)
{
    return (lines_at_once(s) * windows(s->w) + 1) / 2 * 2;
}

/* 16 sums of products for each window of `down` lines; turned: (16, at_once, c) to work with */
ALWAYS void filter(const shape *s, const float *padded, const float *weights, float *turned,
                   float *sums, ptrdiff_t down, ptrdiff_t c)
{
    const ptrdiff_t line = line_of(s), p = s->p, across = windows(s->w), all = at_once(s);
    for (ptrdiff_t y = 0; y < down; y++)
        for (ptrdiff_t x = 0; x < across; x++)
            turn_patch(padded + 2 * y * line + 2 * x * c, turned + (y * across + x) * c, line, c,
                       all * c);
    const ptrdiff_t even = (down * across + 1) / 2 * 2;
    for (int k = 0; k < 16; k++) {
        const float *from = turned + k * all * c, *w = weights + k * c * p;
        float *to = sums + k * all * p;
        if (p % (2 * WIDTH) == 0)
            multiply(from, w, NULL, to, even, p, 2 * p, 0, c, c, p, 1, 2);
        else
            multiply(from, w, NULL, to, even, p, 2 * p, 0, c, c, p, 1, 1);
    }
}

/* One line of windows, `numbers` floats: the largest of each, and which it was; the first of
   equals, and NaN before all, as in torch. lines: the four positions of a window, one after the
   other. */
__attribute__((noinline)) static void pool(const float *restrict lines, ptrdiff_t numbers,
                                           float *restrict out, uint8_t *restrict which)
{
    for (ptrdiff_t i = 0; i < numbers; i++) {
        const float a = lines[i], b = lines[i + numbers], c = lines[i + 2 * numbers];
        const float d = lines[i + 3 * numbers];
        float best = a;
        int where = 0, more;
        more = (b > best) | (b != b);
        best = more ? b : best;
        where = more ? 1 : where;
        more = (c > best) | (c != c);
        best = more ? c : best;
        where = more ? 2 : where;
        more = (d > best) | (d != d);
        best = more ? d : best;
        where = more ? 3 : where;
        out[i] = best <= 0.0f ? 0.0f : best;
        which[i] = best <= 0.0f ? NOBODY : where;
    }
}

ALWAYS void fill(float *to, ptrdiff_t numbers)
{
    for (ptrdiff_t i = 0; i < numbers; i++)
        to[i] = -INFINITY;
}

/* What of a vector of gradients belongs to position `at` of its window; or, with NOBODY, does not
   belong to it. */
ALWAYS void share(const float *gradient, const int32_t *which, int at, vector *own)
{
    const chosen where = *(const chosen *)which;
    const chosen mask = at == NOBODY ? where != at : where == at;
    *own = (vector)(mask & (chosen)*(const vector *)gradient);
}

/* Floats that are needed to work with: a bordered picture, two lines before pooling and what
   `filter` takes; or, on the way back, two bordered pictures and the lists of windows. */
ptrdiff_t pooled_scratch(const shape *s)
{
    const ptrdiff_t all = windows(s->h) * windows(s->w), c = s->c, p = s->p;
    const ptrdiff_t there = 4 * windows(s->w) * p + 16 * (at_once(s) * (p + c) + c * p);
    const ptrdiff_t back = padded_size(s) + (3 * all + 2) * p;
    return padded_size(s) + (there > back ? there : back);
}

/* inputs: (n, h, w, c), weight: (3, 3, c, p), bias: (p,), out and which: (n, h/2, w/2, p), rounded
   up; scratch: pooled_scratch. */
void pooled_forward(const shape *s, const float *inputs, const float *weight, const float *bias,
                    float *scratch, float *out, uint8_t *which)
{
    const ptrdiff_t line = line_of(s), down = windows(s->h), across = windows(s->w), p = s->p;
    const ptrdiff_t half = across * p, all = at_once(s), some = lines_at_once(s);
    float *padded = scratch, *lines = scratch + padded_size(s), *sums = lines + 4 * half;
    float *turned = sums + 16 * all * p, *weights = turned + 16 * all * s->c;
    const int many = s->c % LANES == 0;
    memset(padded, 0, (size_t)padded_size(s) * sizeof *padded);
    if (many) {
        memset(turned, 0, (size_t)(16 * all * s->c) * sizeof *turned);
        turn_weights(s, weight, weights);
    }
    for (ptrdiff_t i = 0; i < s->n; i++) {
        pad(s, inputs + i * s->h * s->w * s->c, padded);
        for (ptrdiff_t y = 0; y < down; y++) {
            const ptrdiff_t at = (i * down + y) * half, left = down - y < some ? down - y : some;
            const float *from = padded + 2 * y * line;
            /* numbers of channels that are known beforehand make the addresses cheap */
            if (many && y % some == 0 && s->c == LANES)
                filter(s, from, weights, turned, sums, left, LANES);
            else if (many && y % some == 0)
                filter(s, from, weights, turned, sums, left, s->c);
            else if (s->c == 1)
                convolve(s, from, weight, bias, lines, 1);
            else if (!many)
                convolve(s, from, weight, bias, lines, s->c);
            if (many)
                for (ptrdiff_t x = 0; x < across; x++)
                    turn_back(sums + (y % some * across + x) * p, bias, lines + x * p, p, all * p,
                              half);
            if (s->w % 2)
                for (ptrdiff_t row = 0; row < 2; row++)
                    fill(lines + (2 * row + 2) * half - p, p);
            if (s->h - 2 * y < 2)
                fill(lines + 2 * half, 2 * half);
            pool(lines, half, out + at, which + at);
        }
    }
}

/* Of few channels: each window by vectors of outputs. Adds to `sums`, (3, 3, c, p), for `some`
   channels from `first`. */
ALWAYS void gather(const shape *s, const float *padded, const float *gradient, const int32_t *which,
                   float *sums, ptrdiff_t first, const int some)
{
    const ptrdiff_t line = line_of(s), c = s->c, p = s->p, across = windows(s->w);
    for (ptrdiff_t left = 0; left < p; left += WIDTH) {
        vector held[KERNEL * CHANNELS];
        for (int k = 0; k < KERNEL; k++)
            for (int z = 0; z < some; z++)
                held[k * some + z] = *(vector *)(sums + (k * c + first + z) * p + left);
        for (ptrdiff_t y = 0; y < windows(s->h); y++)
            for (ptrdiff_t x = 0; x < across; x++) {
                const ptrdiff_t place = (y * across + x) * p + left;
                for (int j = 0; j < 4; j++) {
                    vector own;
                    share(gradient + place, which + place, j, &own);
                    const float *patch =
                        padded + (2 * y + j / 2) * line + (2 * x + j % 2) * c + first;
                    for (int k = 0; k < KERNEL; k++)
                        for (int z = 0; z < some; z++)
                            held[k * some + z] += patch[k / 3 * line + k % 3 * c + z] * own;
                }
            }
        for (int k = 0; k < KERNEL; k++)
            for (int z = 0; z < some; z++)
                *(vector *)(sums + (k * c + first + z) * p + left) = held[k * some + z];
    }
}

/* A gradient, and the patch of a bordered picture that it belongs to. */
typedef struct {
    int32_t place;
    float factor;
} entry;

/* For each output the windows where it has a gradient: lists as long as there are windows, and
   their ends. Every second window first: what is added to a patch is not waited for by the next,
   which would share it. */
ALWAYS void list(const shape *s, const float *restrict gradient, const int32_t *restrict which,
                 entry *restrict entries, entry **restrict ends)
{
    const ptrdiff_t line = line_of(s), down = windows(s->h), across = windows(s->w), p = s->p;
    const int32_t shifts[NOBODY + 1] = {0, (int32_t)s->c, (int32_t)line, (int32_t)(line + s->c), 0};
    for (ptrdiff_t i = 0; i < p; i++)
        ends[i] = entries + i * down * across;
    for (ptrdiff_t first = 0; first < 2; first++)
        for (ptrdiff_t y = 0; y < down; y++)
            for (ptrdiff_t x = first; x < across; x += 2) {
                const ptrdiff_t at = (y * across + x) * p;
                const int32_t corner = (int32_t)(2 * y * line + 2 * x * s->c);
                for (ptrdiff_t i = 0; i < p; i++) {
                    const int32_t where = which[at + i];
                    *ends[i] = (entry){corner + shifts[where], gradient[at + i]};
                    ends[i] += where != NOBODY;
                }
            }
}

/* Of many channels: each output's windows by vectors of inputs. Adds to `sums`, (p, 3, 3, c), and
   to `back`, a bordered picture; weights: (p, 3, 3, c). */
ALWAYS void scatter(const shape *s, const float *padded, const float *weight, float *sums,
                    float *back, const entry *entries, entry *const *ends, ptrdiff_t c,
                    const int wanted)
{
    const ptrdiff_t line = line_of(s), all = windows(s->h) * windows(s->w);
    for (ptrdiff_t output = 0; output < s->p; output++) {
        for (ptrdiff_t left = 0; left < c; left += WIDTH) {
            float *own = sums + output * KERNEL * c + left;
            const float *w = weight + output * KERNEL * c + left;
            vector held[KERNEL], factor[KERNEL];
            for (int k = 0; k < KERNEL; k++) {
                held[k] = *(vector *)(own + k * c);
                factor[k] = *(const vector *)(w + k * c);
            }
            for (const entry *e = entries + output * all; e < ends[output]; e++) {
                for (int k = 0; k < KERNEL; k++) {
                    const ptrdiff_t at = e->place + k / 3 * line + k % 3 * c + left;
                    held[k] += e->factor * *(const vector *)(padded + at);
                    if (wanted)
                        *(vector *)(back + at) += e->factor * factor[k];
                }
            }
            for (int k = 0; k < KERNEL; k++)
                *(vector *)(own + k * c) = held[k];
        }
    }
}

ALWAYS void shift(const shape *s, const float *gradient, const int32_t *which, float *sums)
{
    for (ptrdiff_t left = 0; left < s->p; left += WIDTH) {
        vector held = *(vector *)(sums + left);
        for (ptrdiff_t window = 0; window < windows(s->h) * windows(s->w); window++) {
            const ptrdiff_t place = window * s->p + left;
            vector own;
            share(gradient + place, which + place, NOBODY, &own);
            held += own;
        }
        *(vector *)(sums + left) = held;
    }
}

/* gradients and which: of the outputs, as in pooled_forward. Adds to weight_sums, (3, 3, c, p)
   where c is no multiple of LANES and (p, 3, 3, c) where it is, and to bias_sums, (p,). Only in the
   second case is weight, (p, 3, 3, c), read and back, (n, h, w, c), written; back may be NULL. */
void pooled_backward(const shape *s, const float *inputs, const float *gradients,
                     const uint8_t *which, const float *weight, float *scratch, float *weight_sums,
                     float *bias_sums, float *back)
{
    const ptrdiff_t line = line_of(s), run = s->w * s->c, all = windows(s->h) * windows(s->w);
    const ptrdiff_t size = padded_size(s);
    float *padded = scratch, *bordered = scratch + size;
    entry *entries = (entry *)(bordered + size), **ends = (entry **)(entries + s->p * all);
    int32_t *restrict largest = (int32_t *)(ends + s->p);
    memset(padded, 0, (size_t)size * sizeof *padded);
    for (ptrdiff_t i = 0; i < s->n; i++) {
        const float *gradient = gradients + i * all * s->p;
        for (ptrdiff_t j = 0; j < all * s->p; j++)
            largest[j] = which[i * all * s->p + j];
        pad(s, inputs + i * s->h * run, padded);
        shift(s, gradient, largest, bias_sums);
        if (s->c % LANES) {
            ptrdiff_t first = 0;
            for (; first + CHANNELS <= s->c; first += CHANNELS)
                gather(s, padded, gradient, largest, weight_sums, first, CHANNELS);
            for (; first < s->c; first++)
                gather(s, padded, gradient, largest, weight_sums, first, 1);
            continue;
        }
        list(s, gradient, largest, entries, ends);
        if (!back) {
            scatter(s, padded, weight, weight_sums, bordered, entries, ends, s->c, 0);
            continue;
        }
        memset(bordered, 0, (size_t)size * sizeof *bordered);
        if (s->c == LANES)
            scatter(s, padded, weight, weight_sums, bordered, entries, ends, LANES, 1);
        else
            scatter(s, padded, weight, weight_sums, bordered, entries, ends, s->c, 1);
        for (ptrdiff_t y = 0; y < s->h; y++)
            memcpy(back + (i * s->h + y) * run, bordered + (y + 1) * line + s->c,
                   (size_t)run * sizeof *back);
    }
}
