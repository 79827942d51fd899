// SPDX-License-Identifier: Apache-2.0
//
// matmul and bmm against scalar C, bit for bit, at every level of the
// machine, with one and several workers.
#include "backends/cpu/fixed.h"
#include "backends/cpu/gemm.h"
#include "base/narrow.h"
#include "kernel_reference.h"

#define GUARD 64

typedef struct matmul_case {
    int64_t m, n, k;
    uint32_t format;
    int64_t group;
    uint32_t asymmetric;
    pq_epilogue epilogue;
} matmul_case;

static void *
alloc64(int64_t bytes)
{
    void *p = cpu_host_alloc(NULL, (uint64_t)bytes + GUARD, 64);
    assert_non_null(p);
    memset(p, 0xee, (size_t)bytes + GUARD);
    return p;
}

// Everything of one matmul in plain arrays.
typedef struct matmul_data {
    void *a;         // [m][k]
    float *real;     // [k][n] dequantized weights
    int8_t *code;    // [k][n] S8
    uint8_t *stored; // codes as the source has them
    float *scales;   // [groups][n]
    int32_t *bias;   // [n] S8
    int32_t *start;  // [n] S8: bias and what zero points of weights add
    int32_t *w_zero; // [n rounded up] S8
    void *packed;
    int32_t *init;
} matmul_data;

static int
is_codes(const matmul_case *c)
{
    return pq_weight_is_number(c->format);
}

static pq_weight_shape
shape_of(const matmul_case *c)
{
    return (pq_weight_shape){.k = c->k,
                             .n = c->n,
                             .format = c->format,
                             .asymmetric = c->asymmetric,
                             .group = c->group};
}

static const pq_narrow *
narrow_of(uint32_t format)
{
    return pq_narrow_of(format == PQ_WEIGHT_E4M3   ? PTQC_F8E4M3
                        : format == PQ_WEIGHT_E5M2 ? PTQC_F8E5M2
                        : format == PQ_WEIGHT_E2M1 ? PTQC_F4E2M1
                                                   : PTQC_NF4);
}

// A number that is no NaN (its bits are not defined), as code and as f32.
static float
random_number(pq_test_random *r, const matmul_case *c, uint8_t *out)
{
    const int most = pq_weight_is_4_bit(c->format) ? 15 : 255;
    float x;
    do {
        *out = (uint8_t)pq_test_random_int(r, 0, most);
        x = narrow_of(c->format)->to_f32(*out);
    } while (!isfinite(x));
    return x;
}

// Element i of codes that lie dense.
static void
store_code(uint8_t *stored, uint32_t format, int64_t i, uint8_t code)
{
    if (!pq_weight_is_4_bit(format)) {
        stored[i] = code;
        return;
    }
    int shift = i % 2 == 0 ? 0 : 4;
    unsigned others = stored[i / 2] & (0xf0u >> shift);
    stored[i / 2] = (uint8_t)(others | (unsigned)code << shift);
}

// Numbers of 8 or 4 bits [n][k] (k contiguous, rows padded to an even length)
// with scales per group.
static void
make_codes(pq_test_random *r, const matmul_case *c, matmul_data *d,
           pq_weight_source *source)
{
    int64_t group = c->group == 0 ? c->k : c->group;
    int64_t groups = (c->k + group - 1) / group;
    int64_t row = c->k + c->k % 2;
    d->stored = alloc64(c->n * row);
    d->scales = random_floats(r, groups * c->n, 0.001f, 0.1f);
    for (int64_t n = 0; n < c->n; n++) {
        for (int64_t k = 0; k < c->k; k++) {
            uint8_t code;
            float number = random_number(r, c, &code);
            store_code(d->stored, c->format, n * row + k, code);
            int64_t g = k / group * c->n + n;
            d->real[k * c->n + n] = number * d->scales[g];
        }
    }
    *source = (pq_weight_source){.data = d->stored,
                                 .k_stride = 1,
                                 .n_stride = row,
                                 .scales = d->scales,
                                 .scale_g_stride = c->n,
                                 .scale_n_stride = 1};
}

// Zero points of S8 weights: 0 unless the epilogue takes them.
static void
make_zeros(pq_test_random *r, const matmul_case *c, int32_t zero,
           matmul_data *d)
{
    static const int32_t ends[4] = {127, -128, 0, -1};
    int has_zeros = (c->epilogue.flags & PQ_EPI_WEIGHT_ZERO) != 0;
    d->w_zero = alloc64(4 * pq_strip_columns(c->n));
    d->start = alloc64(4 * c->n);
    memset(d->w_zero, 0, 4 * (size_t)pq_strip_columns(c->n));
    for (int64_t i = 0; i < c->n; i++) {
        if (has_zeros) {
            d->w_zero[i] =
                i < 4 ? ends[i] : (int32_t)pq_test_random_int(r, -128, 127);
        }
        d->start[i] = d->bias[i] + (int32_t)c->k * zero * d->w_zero[i];
    }
}

static void
make_matmul(pq_test_random *r, const matmul_case *c, int32_t zero,
            matmul_data *d)
{
    pq_weight_shape shape = shape_of(c);
    pq_weight_source source = {.k_stride = c->n, .n_stride = 1};
    *d = (matmul_data){0};
    d->a = alloc64(4 * c->m * c->k);
    pq_test_fill_f32(r, d->a, (size_t)(c->m * c->k), -1.0f, 1.0f);
    d->real = random_floats(r, c->k * c->n, -1.0f, 1.0f);
    d->code = alloc64(c->k * c->n);
    pq_test_fill_bytes(r, d->code, (size_t)(c->k * c->n));
    d->bias = alloc64(4 * c->n);
    for (int64_t i = 0; i < c->n; i++) {
        d->bias[i] = (int32_t)pq_test_random_int(r, -5000, 5000);
    }
    d->init = alloc64(4 * pq_strip_columns(c->n));
    make_zeros(r, c, zero, d);
    source.data = d->real;
    if (c->format == PQ_WEIGHT_S8) {
        pq_test_fill_bytes(r, d->a, (size_t)(c->m * c->k));
        source.data = d->code;
        pq_weight_init(&shape, &source, d->start, zero, d->init);
    } else if (is_codes(c)) {
        make_codes(r, c, d, &source);
    }
    int64_t bytes = pq_weight_bytes(&shape);
    assert_true(bytes > 0 && bytes % 64 == 0);
    d->packed = alloc64(bytes);
    pq_weight_pack(&shape, &source, d->packed);
    for (int i = 0; i < GUARD; i++) {
        assert_int_equal(((uint8_t *)d->packed)[bytes + i], 0xee);
    }
}

static void
free_matmul(matmul_data *d)
{
    free(d->a);
    free(d->real);
    free(d->code);
    free(d->stored);
    free(d->scales);
    free(d->bias);
    free(d->start);
    free(d->w_zero);
    free(d->packed);
    free(d->init);
}

static void
reference_matmul(const matmul_case *c, const matmul_data *d, int32_t zero,
                 const pq_epilogue_args *args, void *out)
{
    for (int64_t i = 0; i < c->m; i++) {
        for (int64_t j = 0; j < c->n; j++) {
            float facc = 0.0f;
            int32_t iacc = c->format == PQ_WEIGHT_S8 ? d->bias[j] : 0;
            for (int64_t k = 0; k < c->k; k++) {
                if (c->format == PQ_WEIGHT_S8) {
                    iacc += (((const uint8_t *)d->a)[i * c->k + k] - zero) *
                            (d->code[k * c->n + j] - d->w_zero[j]);
                } else {
                    facc = fmaf(((const float *)d->a)[i * c->k + k],
                                d->real[k * c->n + j], facc);
                }
            }
            reference_store(&c->epilogue, args, facc, iacc, j, i, i * c->n + j,
                            out);
        }
    }
}

static void
run_matmul(pq_jit *jit, const matmul_case *c, const matmul_data *d,
           const pq_epilogue_args *args, uint32_t workers, void *out)
{
    pq_matmul_desc desc = {
        .m = c->m, .weight = shape_of(c), .epilogue = c->epilogue};
    pq_matmul *op = NULL;
    assert_int_equal(pq_matmul_prepare(jit, NULL, &desc, &op), PTQC_BE_OK);
    pq_matmul_io io = {
        .a = d->a,
        .a_stride = c->k * (c->format == PQ_WEIGHT_S8 ? 1 : 4),
        .weights = d->packed,
        .init = d->init,
        .out = out,
        .out_stride = c->n * pq_epilogue_out_bytes(&c->epilogue),
        .epilogue = *args,
    };
    io.epilogue.weight_zero = d->w_zero;
    io.epilogue.residual_stride =
        c->n * (c->epilogue.residual == PQ_ELEM_F32 ? 4 : 1);
    void *scratch = alloc64((int64_t)pq_matmul_scratch_bytes(op));
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {w, workers, scratch};
        pq_matmul_run(op, &io, &worker);
    }
    free(scratch);
    pq_matmul_destroy(op);
}

static void
check_matmul(pq_jit *jit, const matmul_case *c)
{
    pq_test_random r =
        pq_test_random_seed((uint64_t)(c->m * 1000003 + c->n * 1009 + c->k));
    int32_t zero = (int32_t)pq_test_random_int(&r, 0, 255);
    matmul_data d;
    reference_data channels;
    make_matmul(&r, c, zero, &d);
    int64_t count = c->m * c->n;
    pq_epilogue_args args = reference_args(
        &r, &c->epilogue, pq_strip_columns(c->n), c->m, count, &channels);
    int64_t size = pq_epilogue_out_bytes(&c->epilogue);
    void *want = alloc64(count * size);
    reference_matmul(c, &d, zero, &args, want);
    char what[160];
    snprintf(what, sizeof what,
             "%s m %d n %d k %d format %u group %d asym %u kind %u act %u",
             pq_isa_name(pq_jit_isa(jit)), (int)c->m, (int)c->n, (int)c->k,
             c->format, (int)c->group, c->asymmetric, c->epilogue.kind,
             c->epilogue.act);
    for (uint32_t workers = 1; workers <= 3; workers += 2) {
        void *got = alloc64(count * size);
        run_matmul(jit, c, &d, &args, workers, got);
        assert_same_bytes(got, want, (size_t)(count * size + GUARD),
                          (size_t)size, what);
        free(got);
    }
    free(want);
    reference_free(&channels);
    free_matmul(&d);
}

static const int64_t odd_shapes[][3] = {
    {1, 1, 1},    {1, 17, 5},   {7, 16, 4},  {13, 33, 31}, {5, 64, 64},
    {25, 100, 9}, {1, 130, 40}, {64, 48, 7}, {3, 200, 67}, {700, 130, 6},
};
#define ODD_COUNT (sizeof odd_shapes / sizeof *odd_shapes)

static void
f32_level(pq_jit *jit)
{
    for (size_t i = 0; i < ODD_COUNT; i++) {
        const int64_t *s = odd_shapes[i];
        matmul_case c = {
            s[0],
            s[1],
            s[2],
            PQ_WEIGHT_F32,
            0,
            0,
            {PQ_EPI_FLOAT, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_F32, 0}};
        check_matmul(jit, &c);
        c.epilogue = (pq_epilogue){PQ_EPI_FLOAT, PQ_ACT_RELU, PQ_ELEM_F32,
                                   PQ_ELEM_F32, PQ_EPI_BIAS | PQ_EPI_SCALE};
        check_matmul(jit, &c);
        c.epilogue = (pq_epilogue){PQ_EPI_FLOAT, PQ_ACT_SILU, PQ_ELEM_F32,
                                   PQ_ELEM_F32, PQ_EPI_GATE};
        check_matmul(jit, &c);
    }
}

static void
s8_level(pq_jit *jit)
{
    for (size_t i = 0; i < ODD_COUNT; i++) {
        const int64_t *s = odd_shapes[i];
        matmul_case c = {
            s[0],
            s[1],
            s[2],
            PQ_WEIGHT_S8,
            0,
            0,
            {PQ_EPI_INTEGER, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_U8, 0}};
        check_matmul(jit, &c);
        c.epilogue.flags = PQ_EPI_SATURATE;
        check_matmul(jit, &c);
        c.epilogue.residual = PQ_ELEM_U8;
        check_matmul(jit, &c);
        c.epilogue = (pq_epilogue){PQ_EPI_REAL, PQ_ACT_NONE, PQ_ELEM_F32,
                                   PQ_ELEM_F32, PQ_EPI_BIAS | PQ_EPI_ROW_SCALE};
        check_matmul(jit, &c);
        c.epilogue.flags |= PQ_EPI_WEIGHT_ZERO;
        check_matmul(jit, &c);
        c.epilogue.flags |= PQ_EPI_GATE;
        check_matmul(jit, &c);
        c.epilogue.act = PQ_ACT_GELU; // long: finished in a loop
        check_matmul(jit, &c);
        c.epilogue =
            (pq_epilogue){PQ_EPI_INTEGER, PQ_ACT_NONE, PQ_ELEM_U8, PQ_ELEM_U8,
                          PQ_EPI_SATURATE | PQ_EPI_WEIGHT_ZERO};
        check_matmul(jit, &c);
        c.epilogue = (pq_epilogue){PQ_EPI_REAL, PQ_ACT_LEAKY_RELU, PQ_ELEM_U8,
                                   PQ_ELEM_U8, PQ_EPI_BIAS};
        check_matmul(jit, &c);
    }
}

static void
numbers_level(pq_jit *jit)
{
    static const int64_t groups[] = {0, 8, 32};
    static const uint32_t formats[] = {PQ_WEIGHT_E4M3, PQ_WEIGHT_E5M2,
                                       PQ_WEIGHT_E2M1, PQ_WEIGHT_NF4};
    for (size_t i = 0; i < ODD_COUNT * 4 * 3; i++) {
        const int64_t *s = odd_shapes[i % ODD_COUNT];
        size_t kind = i / ODD_COUNT;
        matmul_case c = {s[0],
                         s[1],
                         s[2],
                         formats[kind % 4],
                         groups[kind / 4],
                         0,
                         {PQ_EPI_FLOAT, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_F32,
                          PQ_EPI_BIAS}};
        check_matmul(jit, &c);
    }
}

static void
acts_level(pq_jit *jit)
{
    for (uint32_t act = 0; act < PQ_ACT_COUNT; act++) {
        matmul_case c = {
            9,
            35,
            20,
            PQ_WEIGHT_F32,
            0,
            0,
            {PQ_EPI_FLOAT, act, PQ_ELEM_NONE, PQ_ELEM_F32, PQ_EPI_BIAS}};
        check_matmul(jit, &c);
        c.epilogue.out = PQ_ELEM_U8;
        check_matmul(jit, &c);
        c.epilogue.flags |= PQ_EPI_SATURATE;
        check_matmul(jit, &c);
    }
}

// 255 * -128 and 255 * 127 in every product: saturating byte forms would
// show.
static void
extremes_level(pq_jit *jit)
{
    enum { M = 2, N = 20, K = 96 };
    static uint8_t a[M * K];
    static int8_t w[K * N];
    memset(a, 255, sizeof a);
    for (int i = 0; i < K * N; i++) {
        w[i] = i % N < N / 2 ? -128 : 127;
    }
    matmul_case c = {M,
                     N,
                     K,
                     PQ_WEIGHT_S8,
                     0,
                     0,
                     {PQ_EPI_REAL, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_F32, 0}};
    pq_weight_shape shape = shape_of(&c);
    pq_weight_source source = {.data = w, .k_stride = N, .n_stride = 1};
    matmul_data d = {.a = a};
    d.packed = alloc64(pq_weight_bytes(&shape));
    d.init = alloc64(4 * pq_strip_columns(N));
    pq_weight_pack(&shape, &source, d.packed);
    pq_weight_init(&shape, &source, NULL, 0, d.init);
    float mult[32], out[M * N];
    for (int i = 0; i < 32; i++) {
        mult[i] = 1.0f;
    }
    pq_epilogue_args args = {.mult = mult};
    run_matmul(jit, &c, &d, &args, 1, out);
    for (int i = 0; i < M * N; i++) {
        int32_t want = 255 * K * (i % N < N / 2 ? -128 : 127);
        assert_int_equal((int32_t)out[i], want);
    }
    free(d.packed);
    free(d.init);
}

// ---- bmm ------------------------------------------------------------------

static void
check_bmm(pq_jit *jit, int64_t m, int64_t n, int64_t k, int is_transposed)
{
    // 2 x 3 batches, b shared by the inner axis, mask by the outer one
    pq_test_random r = pq_test_random_seed((uint64_t)(m * 31 + n * 7 + k));
    float *a = random_floats(&r, 6 * m * k, -1.0f, 1.0f);
    float *b = random_floats(&r, 2 * n * k, -1.0f, 1.0f);
    float *mask = random_floats(&r, 3 * n, -1.0f, 1.0f);
    float *want = random_floats(&r, 6 * m * n, 0.0f, 1.0f);
    pq_bmm_desc desc = {
        .m = m,
        .n = n,
        .k = k,
        .batch_rank = 2,
        .batch = {2, 3},
        .a_batch_stride = {12 * m * k, 4 * m * k},
        .b_batch_stride = {4 * n * k, 0},
        .out_batch_stride = {12 * m * n, 4 * m * n},
        .residual_batch_stride = {0, 4 * n},
        .a_stride = 4 * k,
        .b_k_stride = is_transposed ? 4 : 4 * n,
        .b_n_stride = is_transposed ? 4 * k : 4,
        .out_stride = 4 * n,
        .epilogue = {PQ_EPI_FLOAT, PQ_ACT_NONE, PQ_ELEM_F32, PQ_ELEM_F32,
                     PQ_EPI_SCALE},
    };
    for (int64_t batch = 0; batch < 6; batch++) {
        for (int64_t at = 0; at < m * n; at++) {
            float acc = 0.0f;
            const float *bb = b + batch / 3 * n * k;
            for (int64_t i = 0; i < k; i++) {
                acc = fmaf(a[batch * m * k + at / n * k + i],
                           is_transposed ? bb[at % n * k + i]
                                         : bb[i * n + at % n],
                           acc);
            }
            want[batch * m * n + at] =
                acc * 0.125f + mask[batch % 3 * n + at % n];
        }
    }
    pq_bmm *op = NULL;
    assert_int_equal(pq_bmm_prepare(jit, NULL, &desc, &op), PTQC_BE_OK);
    for (uint32_t workers = 1; workers <= 4; workers += 3) {
        float *got = alloc64(24 * m * n);
        pq_bmm_io io = {a, b, got, {.residual = mask, .scale = 0.125f}};
        void *scratch = alloc64((int64_t)pq_bmm_scratch_bytes(op));
        for (uint32_t w = 0; w < workers; w++) {
            pq_worker worker = {w, workers, scratch};
            pq_bmm_run(op, &io, &worker);
        }
        assert_same_bytes(got, want, (size_t)(24 * m * n), 4, "bmm");
        free(scratch);
        free(got);
    }
    pq_bmm_destroy(op);
    free(a);
    free(b);
    free(mask);
    free(want);
}

static void
bmm_level(pq_jit *jit)
{
    for (size_t i = 0; i < ODD_COUNT; i++) {
        const int64_t *s = odd_shapes[i];
        check_bmm(jit, s[0], s[1], s[2], 0);
        check_bmm(jit, s[0], s[1], s[2], 1);
    }
}

static void
refuses_level(pq_jit *jit)
{
    pq_matmul *op = NULL;
    pq_matmul_desc desc = {
        .m = 0,
        .weight = {.k = 4, .n = 4},
        .epilogue = {PQ_EPI_FLOAT, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_F32, 0}};
    assert_int_equal(pq_matmul_prepare(jit, NULL, &desc, &op),
                     PTQC_BE_INTERNAL);
    desc.m = 1;
    desc.epilogue.kind = PQ_EPI_INTEGER;
    assert_int_equal(pq_matmul_prepare(jit, NULL, &desc, &op),
                     PTQC_BE_INTERNAL);
    assert_null(op);
    pq_weight_shape shape = {.k = INT64_MAX / 2, .n = 16};
    assert_int_equal(pq_weight_bytes(&shape), 0);
    shape = (pq_weight_shape){
        .k = 64, .n = 16, .format = PQ_WEIGHT_FIXED4, .group = 12};
    assert_int_equal(pq_weight_bytes(&shape), 0);
}

// Bytes of which any four are a finite f32.
static void *
small_bytes(pq_test_random *r, int64_t n)
{
    uint8_t *p = alloc64(n);
    for (int64_t i = 0; i < n; i++) {
        p[i] = (uint8_t)pq_test_random_int(r, 0, 0x3f);
    }
    return p;
}

static void
run_fixed(pq_jit *jit, const pq_matmul_desc *desc, int64_t row_bytes,
          const void *a, const void *weights, float *out)
{
    pq_matmul *op = NULL;
    assert_int_equal(pq_matmul_prepare(jit, NULL, desc, &op), PTQC_BE_OK);
    pq_matmul_io io = {.a = a,
                       .a_stride = row_bytes,
                       .weights = weights,
                       .out = out,
                       .out_stride = desc->weight.n * 4};
    void *scratch = alloc64((int64_t)pq_matmul_scratch_bytes(op));
    pq_matmul_run(op, &io, &(pq_worker){0, 1, scratch});
    free(scratch);
    pq_matmul_destroy(op);
}

// Asking for lines ahead of time changes no bit.
static void
ahead_level(pq_jit *jit)
{
    pq_test_random r = pq_test_random_seed(11);
    const uint32_t here = pq_jit_read_ahead(jit);
    pq_matmul_desc desc = {
        .weight = {.k = 100, .n = 40, .format = PQ_WEIGHT_FIXED4, .group = 32},
        .digits = 2,
        .epilogue = {.kind = PQ_EPI_FLOAT, .out = PQ_ELEM_F32}};
    const pq_fixed_shape rows = {.k = 100, .group = 32, .digits = 2};
    for (desc.m = 1; desc.m <= 3; desc.m++) {
        desc.weight.asymmetric = desc.m & 1;
        void *a = small_bytes(&r, desc.m * pq_fixed_row_bytes(&rows));
        void *weights = small_bytes(&r, (int64_t)pq_weight_bytes(&desc.weight));
        float out[2][3 * 40] = {{0}};
        for (uint32_t i = 0; i < 2; i++) {
            pq_jit_set_read_ahead(jit, 4096 * i);
            run_fixed(jit, &desc, pq_fixed_row_bytes(&rows), a, weights,
                      out[i]);
        }
        assert_true(out[0][0] != 0.0f);
        assert_memory_equal(out[0], out[1], sizeof out[0]);
        free(a);
        free(weights);
    }
    pq_jit_set_read_ahead(jit, here);
}

#define EACH_LEVEL(name)                                                       \
    static void test_##name(void **state)                                      \
    {                                                                          \
        (void)state;                                                           \
        cpu_host_each_level(name##_level);                                     \
    }
EACH_LEVEL(f32)
EACH_LEVEL(s8)
EACH_LEVEL(numbers)
EACH_LEVEL(acts)
EACH_LEVEL(extremes)
EACH_LEVEL(bmm)
EACH_LEVEL(refuses)
EACH_LEVEL(ahead)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),      cmocka_unit_test(test_s8),
        cmocka_unit_test(test_acts),     cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_bmm),
        cmocka_unit_test(test_refuses),  cmocka_unit_test(test_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
