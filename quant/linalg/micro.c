// SPDX-License-Identifier: Apache-2.0
//
// Inner loops, see micro.h. The bodies are written once and compiled for each
// instruction set; only the products are written for each, since compilers do
// not keep a tile of sums in registers by themselves.

#include "quant/linalg/micro.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/mathfn.h"
#include "base/narrow.h"

#define INLINE static inline __attribute__((always_inline))

// ---- bodies ---------------------------------------------------------------

// out[j * out_step + l] = p[l * step + j], l and j < 4.
INLINE void
transpose_4(const float *p, ptrdiff_t step, float *out, ptrdiff_t out_step)
{
#if defined(__x86_64__)
    __m128 a = _mm_loadu_ps(p);
    __m128 b = _mm_loadu_ps(p + step);
    __m128 c = _mm_loadu_ps(p + 2 * step);
    __m128 d = _mm_loadu_ps(p + 3 * step);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out, a);
    _mm_storeu_ps(out + out_step, b);
    _mm_storeu_ps(out + 2 * out_step, c);
    _mm_storeu_ps(out + 3 * out_step, d);
#else
    for (int l = 0; l < 4; l++) {
        for (int j = 0; j < 4; j++) {
            out[j * out_step + l] = p[l * step + j];
        }
    }
#endif
}

// out[j * out_step + l] = p[l * step + j], l < lanes, j < n.
INLINE void
transpose_body(const float *p, ptrdiff_t step, int64_t lanes, int64_t n,
               float *out, ptrdiff_t out_step)
{
    int64_t fours = n / 4 * 4;
    int64_t l = 0;
    for (; l + 4 <= lanes; l += 4) {
        for (int64_t j = 0; j < fours; j += 4) {
            transpose_4(p + l * step + j, step, out + j * out_step + l,
                        out_step);
        }
        for (int64_t j = fours; j < n; j++) {
            for (int64_t i = l; i < l + 4; i++) {
                out[j * out_step + i] = p[i * step + j];
            }
        }
    }
    for (; l < lanes; l++) {
        for (int64_t j = 0; j < n; j++) {
            out[j * out_step + l] = p[l * step + j];
        }
    }
}

INLINE void
copy_lanes(int width, const float *p, ptrdiff_t lane_step, ptrdiff_t k_step,
           int lanes, int64_t k, float *out)
{
    for (int64_t i = 0; i < k; i++, p += k_step, out += width) {
        if (lanes == width && lane_step == 1) {
            memcpy(out, p, (size_t)width * sizeof *out);
            continue;
        }
        for (int l = 0; l < lanes; l++) {
            out[l] = p[l * lane_step];
        }
    }
}

INLINE void
pack_body(int width, const float *p, ptrdiff_t lane_step, ptrdiff_t k_step,
          int lanes, int64_t k, const float *weights, float *out)
{
    if (lanes < width) {
        memset(out, 0, (size_t)(k * width) * sizeof *out);
    }
    if (k_step == 1 && lane_step != 1) {
        transpose_body(p, lane_step, lanes, k, out, width);
    } else {
        copy_lanes(width, p, lane_step, k_step, lanes, k, out);
    }
    for (int64_t i = 0; weights != NULL && i < k; i++) {
        for (int l = 0; l < width; l++) {
            out[i * width + l] *= weights[i];
        }
    }
}

INLINE void
add_rows(int nr, const float *restrict tile, int m, int n, float sign,
         float *restrict c, ptrdiff_t c_ld)
{
    for (int i = 0; i < m; i++, c += c_ld, tile += nr) {
        for (int j = 0; j < n; j++) {
            c[j] += sign * tile[j]; // exact: sign is 1 or -1
        }
    }
}

INLINE void
add_body(int nr, const float *tile, int m, int n, bool is_subtracted, float *c,
         ptrdiff_t c_ld)
{
    float sign = is_subtracted ? -1.0f : 1.0f;
    if (n == nr) {
        add_rows(nr, tile, m, nr, sign, c, c_ld); // a constant n is faster
    } else {
        add_rows(nr, tile, m, n, sign, c, c_ld);
    }
}

INLINE void
scale_body(float factor, float *y)
{
    for (int l = 0; l < PQ_LANES; l++) {
        y[l] *= factor;
    }
}

INLINE void
load_body(const float *p, ptrdiff_t ld, int lanes, int64_t cols, float *strip)
{
    if (lanes < PQ_LANES) {
        memset(strip, 0, (size_t)(cols * PQ_LANES) * sizeof *strip);
    }
    transpose_body(p, ld, lanes, cols, strip, PQ_LANES);
}

INLINE void
store_body(const float *strip, int lanes, int64_t cols, float *p, ptrdiff_t ld)
{
    transpose_body(strip, PQ_LANES, cols, lanes, p, ld);
}

// Numbers of narrow formats: one by one.
static void
round_narrow(const pq_rounding *r, const float *t, const float *w,
             uint8_t *codes, float *e, float *squares)
{
    for (int l = 0; l < PQ_LANES; l++) {
        codes[l] = r->narrow->from_f32(t[l] / r->scales[l]);
        float x = r->narrow->to_f32(codes[l]) * r->scales[l];
        float d = (t[l] - x) * r->root;
        e[l] = w[l] - x;
        squares[l] = __builtin_fmaf(d, d, squares[l]);
    }
}

// Constant counts and no aliases make vectors of these loops.
INLINE void
round_integers(const pq_rounding *r, const float *restrict t,
               const float *restrict w, uint8_t *restrict codes,
               float *restrict e, float *restrict squares)
{
    const float *restrict scales = r->scales;
    const float *restrict zeros = r->zeros;
    float min = r->min;
    float max = r->max;
    float root = r->root;
    for (int l = 0; l < PQ_LANES; l++) {
        int32_t q =
            pq_round_code(t[l] / scales[l], min - zeros[l], max - zeros[l]);
        float x = (float)q * scales[l];
        float d = (t[l] - x) * root;
        e[l] = w[l] - x;
        squares[l] = __builtin_fmaf(d, d, squares[l]);
        codes[l] = (uint8_t)(q + (int32_t)zeros[l]);
    }
}

INLINE void
round_body(const pq_rounding *r, const float *t, const float *w, uint8_t *codes,
           float *e, float *squares)
{
    if (r->narrow != NULL) {
        round_narrow(r, t, w, codes, e, squares);
    } else {
        round_integers(r, t, w, codes, e, squares);
    }
}

#define ERROR_LANES 16

INLINE void
add_errors(const float *restrict w, const float *restrict factors, int n,
           float scale, float lo, float hi, float *restrict lanes)
{
    for (int l = 0; l < n; l++) {
        float t = w[l] / scale;
        float d = t - (float)pq_round_code(t, lo, hi);
        float factor = factors != NULL ? factors[l] * d : d;
        lanes[l] = __builtin_fmaf(factor, d, lanes[l]);
    }
}

INLINE float
rounding_error_body(const float *w, const float *factors, int64_t n,
                    float scale, float lo, float hi)
{
    float lanes[ERROR_LANES] = {0};
    int64_t i = 0;
    for (; factors == NULL && i + ERROR_LANES <= n; i += ERROR_LANES) {
        add_errors(w + i, NULL, ERROR_LANES, scale, lo, hi, lanes);
    }
    for (; factors != NULL && i + ERROR_LANES <= n; i += ERROR_LANES) {
        add_errors(w + i, factors + i, ERROR_LANES, scale, lo, hi, lanes);
    }
    add_errors(w + i, factors != NULL ? factors + i : NULL, (int)(n - i), scale,
               lo, hi, lanes);
    for (int width = ERROR_LANES / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            lanes[l] += lanes[l + width];
        }
    }
    return lanes[0];
}

INLINE void
residues_body(const float *restrict w, int64_t n, float scale, float lo,
              float hi, float *restrict e)
{
    for (int64_t i = 0; i < n; i++) {
        e[i] = w[i] - (float)pq_round_code(w[i] / scale, lo, hi) * scale;
    }
}

#define DOT_LANES 16

INLINE void
add_products(const float *restrict a, const float *restrict b, int n,
             double *restrict lanes)
{
    for (int l = 0; l < n; l++) {
        lanes[l] += (double)a[l] * (double)b[l];
    }
}

INLINE double
dot_body(const float *a, const float *b, int64_t n)
{
    double lanes[DOT_LANES] = {0};
    int64_t i = 0;
    for (; i + DOT_LANES <= n; i += DOT_LANES) {
        add_products(a + i, b + i, DOT_LANES, lanes);
    }
    add_products(a + i, b + i, (int)(n - i), lanes);
    for (int width = DOT_LANES / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            lanes[l] += lanes[l + width];
        }
    }
    return lanes[0];
}

// ---- products -------------------------------------------------------------

#define PLAIN_MR 4
#define PLAIN_NR 16

static void
product_plain(int64_t k, const float *a, const float *b, float *tile)
{
    float sums[PLAIN_MR][PLAIN_NR] = {{0}};
    for (; k > 0; k--, a += PLAIN_MR, b += PLAIN_NR) {
        for (int i = 0; i < PLAIN_MR; i++) {
            for (int j = 0; j < PLAIN_NR; j++) {
                sums[i][j] = __builtin_fmaf(a[i], b[j], sums[i][j]);
            }
        }
    }
    memcpy(tile, sums, sizeof sums);
}

static void
combine_plain(const float *x, const float *factors, ptrdiff_t step, int64_t n,
              bool is_subtracted, float *y)
{
    float sign = is_subtracted ? -1.0f : 1.0f;
    for (; n > 0; n--, x += PQ_LANES, factors += step) {
        float factor = sign * *factors;
        for (int l = 0; l < PQ_LANES; l++) {
            y[l] = __builtin_fmaf(x[l], factor, y[l]);
        }
    }
}

#if defined(__x86_64__)

// Vectors of a tile by name: arrays of vectors would be left in memory.
#define TIMES_4(X)  X(0) X(1) X(2) X(3)
#define TIMES_6(X)  TIMES_4(X) X(4) X(5)
#define TIMES_8(X)  TIMES_6(X) X(6) X(7)
#define TIMES_12(X) TIMES_8(X) X(8) X(9) X(10) X(11)

#define AVX2    __attribute__((target("avx2,fma")))
#define AVX2_MR 6
#define AVX2_NR 16
#define AVX2_ZERO(i)                                                           \
    __m256 s##i = _mm256_setzero_ps();                                         \
    __m256 t##i = _mm256_setzero_ps();
#define AVX2_STEP(i)                                                           \
    x = _mm256_broadcast_ss(a + i);                                            \
    s##i = _mm256_fmadd_ps(x, b0, s##i);                                       \
    t##i = _mm256_fmadd_ps(x, b1, t##i);
#define AVX2_STORE(i)                                                          \
    _mm256_storeu_ps(tile + i * AVX2_NR, s##i);                                \
    _mm256_storeu_ps(tile + i * AVX2_NR + 8, t##i);

AVX2 static void
product_avx2(int64_t k, const float *a, const float *b, float *tile)
{
    TIMES_6(AVX2_ZERO)
    for (; k > 0; k--, a += AVX2_MR, b += AVX2_NR) {
        __m256 b0 = _mm256_loadu_ps(b);
        __m256 b1 = _mm256_loadu_ps(b + 8);
        __m256 x;
        TIMES_6(AVX2_STEP)
    }
    TIMES_6(AVX2_STORE)
}

#define AVX2_LOAD(i) __m256 s##i = _mm256_loadu_ps(y + i * 8);
#define AVX2_FMA(i)                                                            \
    s##i = _mm256_fmadd_ps(_mm256_loadu_ps(x + i * 8), factor, s##i);
#define AVX2_BACK(i) _mm256_storeu_ps(y + i * 8, s##i);

AVX2 static void
combine_avx2(const float *x, const float *factors, ptrdiff_t step, int64_t n,
             bool is_subtracted, float *y)
{
    float sign = is_subtracted ? -1.0f : 1.0f;
    TIMES_8(AVX2_LOAD)
    for (; n > 0; n--, x += PQ_LANES, factors += step) {
        __m256 factor = _mm256_set1_ps(sign * *factors);
        TIMES_8(AVX2_FMA)
    }
    TIMES_8(AVX2_BACK)
}

#define AVX512    __attribute__((target("avx512f,avx512vl,avx512dq")))
#define AVX512_MR 12
#define AVX512_NR 32
#define AVX512_ZERO(i)                                                         \
    __m512 s##i = _mm512_setzero_ps();                                         \
    __m512 t##i = _mm512_setzero_ps();
#define AVX512_STEP(i)                                                         \
    x = _mm512_set1_ps(a[i]);                                                  \
    s##i = _mm512_fmadd_ps(x, b0, s##i);                                       \
    t##i = _mm512_fmadd_ps(x, b1, t##i);
#define AVX512_STORE(i)                                                        \
    _mm512_storeu_ps(tile + i * AVX512_NR, s##i);                              \
    _mm512_storeu_ps(tile + i * AVX512_NR + 16, t##i);

AVX512 static void
product_avx512(int64_t k, const float *a, const float *b, float *tile)
{
    TIMES_12(AVX512_ZERO)
    for (; k > 0; k--, a += AVX512_MR, b += AVX512_NR) {
        __m512 b0 = _mm512_loadu_ps(b);
        __m512 b1 = _mm512_loadu_ps(b + 16);
        __m512 x;
        TIMES_12(AVX512_STEP)
    }
    TIMES_12(AVX512_STORE)
}

#define AVX512_LOAD(i) __m512 s##i = _mm512_loadu_ps(y + i * 16);
#define AVX512_FMA(i)                                                          \
    s##i = _mm512_fmadd_ps(_mm512_loadu_ps(x + i * 16), factor, s##i);
#define AVX512_BACK(i) _mm512_storeu_ps(y + i * 16, s##i);

AVX512 static void
combine_avx512(const float *x, const float *factors, ptrdiff_t step, int64_t n,
               bool is_subtracted, float *y)
{
    float sign = is_subtracted ? -1.0f : 1.0f;
    TIMES_4(AVX512_LOAD)
    for (; n > 0; n--, x += PQ_LANES, factors += step) {
        __m512 factor = _mm512_set1_ps(sign * *factors);
        TIMES_4(AVX512_FMA)
    }
    TIMES_4(AVX512_BACK)
}

#endif

// ---- sets -----------------------------------------------------------------

#define SET(suffix, attributes, MR, NR)                                        \
    attributes static void pack_mr_##suffix(                                   \
        const float *p, ptrdiff_t lane_step, ptrdiff_t k_step, int lanes,      \
        int64_t k, const float *weights, float *out)                           \
    {                                                                          \
        pack_body(MR, p, lane_step, k_step, lanes, k, weights, out);           \
    }                                                                          \
    attributes static void pack_nr_##suffix(                                   \
        const float *p, ptrdiff_t lane_step, ptrdiff_t k_step, int lanes,      \
        int64_t k, const float *weights, float *out)                           \
    {                                                                          \
        pack_body(NR, p, lane_step, k_step, lanes, k, weights, out);           \
    }                                                                          \
    attributes static void add_##suffix(const float *tile, int m, int n,       \
                                        bool is_subtracted, float *c,          \
                                        ptrdiff_t c_ld)                        \
    {                                                                          \
        add_body(NR, tile, m, n, is_subtracted, c, c_ld);                      \
    }                                                                          \
    attributes static void scale_##suffix(float factor, float *y)              \
    {                                                                          \
        scale_body(factor, y);                                                 \
    }                                                                          \
    attributes static void load_##suffix(                                      \
        const float *p, ptrdiff_t ld, int lanes, int64_t cols, float *strip)   \
    {                                                                          \
        load_body(p, ld, lanes, cols, strip);                                  \
    }                                                                          \
    attributes static void store_##suffix(                                     \
        const float *strip, int lanes, int64_t cols, float *p, ptrdiff_t ld)   \
    {                                                                          \
        store_body(strip, lanes, cols, p, ld);                                 \
    }                                                                          \
    attributes static void round_##suffix(                                     \
        const pq_rounding *r, const float *t, const float *w, uint8_t *codes,  \
        float *e, float *squares)                                              \
    {                                                                          \
        round_body(r, t, w, codes, e, squares);                                \
    }                                                                          \
    attributes static float rounding_error_##suffix(                           \
        const float *w, const float *factors, int64_t n, float scale,          \
        float lo, float hi)                                                    \
    {                                                                          \
        return rounding_error_body(w, factors, n, scale, lo, hi);              \
    }                                                                          \
    attributes static void residues_##suffix(                                  \
        const float *w, int64_t n, float scale, float lo, float hi, float *e)  \
    {                                                                          \
        residues_body(w, n, scale, lo, hi, e);                                 \
    }                                                                          \
    attributes static double dot_##suffix(const float *a, const float *b,      \
                                          int64_t n)                           \
    {                                                                          \
        return dot_body(a, b, n);                                              \
    }                                                                          \
    static const pq_micro micro_##suffix = {.name = #suffix,                   \
                                            .mr = MR,                          \
                                            .nr = NR,                          \
                                            .product = product_##suffix,       \
                                            .pack_mr = pack_mr_##suffix,       \
                                            .pack_nr = pack_nr_##suffix,       \
                                            .add = add_##suffix,               \
                                            .combine = combine_##suffix,       \
                                            .scale = scale_##suffix,           \
                                            .load = load_##suffix,             \
                                            .store = store_##suffix,           \
                                            .round = round_##suffix,           \
                                            .rounding_error =                  \
                                                rounding_error_##suffix,       \
                                            .residues = residues_##suffix,     \
                                            .dot = dot_##suffix};

SET(plain, , PLAIN_MR, PLAIN_NR)
#if defined(__x86_64__)
SET(avx2, AVX2, AVX2_MR, AVX2_NR)
SET(avx512, AVX512, AVX512_MR, AVX512_NR)
#endif

const pq_micro *
pq_micro_variant(unsigned index)
{
    const pq_micro *found[3] = {&micro_plain, NULL, NULL};
    unsigned count = 1;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        found[count++] = &micro_avx2;
    }
    if (__builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        found[count++] = &micro_avx512;
    }
#endif
    return index < count ? found[index] : NULL;
}

const pq_micro *
pq_micro_best(void)
{
    unsigned last = 0;
    while (pq_micro_variant(last + 1) != NULL) {
        last++;
    }
    return pq_micro_variant(last);
}
