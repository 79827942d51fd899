// SPDX-License-Identifier: Apache-2.0
//
// Kernels of language models on a device: rope, updates of states, attention,
// against plain loops in double.
#include "base/float16.h"
#include "kernel_host.h"

#define ROOM 40000

static float Q[ROOM], K[ROOM], V[ROOM], MASK[ROOM], KS[ROOM], VS[ROOM];
static float GOT[ROOM], SCALES[ROOM], WANT_SCALES[ROOM];
static uint16_t HALF_K[ROOM], HALF_V[ROOM];
static int8_t CODE_K[ROOM], CODE_V[ROOM], CODES[ROOM], WANT_CODES[ROOM];
static uint16_t STATE[ROOM], WANT_STATE[ROOM];

#define HEADS_OUTSIDE  0x3210 // [b][h][t][d]
#define TOKENS_OUTSIDE 0x3120 // [b][t][h][d]

// Index of (b, h, t, 0) of a tensor with the map.
static int64_t
row_at(int64_t map, const int64_t dims[4], int64_t b, int64_t h, int64_t t)
{
    int64_t row = map == HEADS_OUTSIDE ? (b * dims[1] + h) * dims[2] + t
                                       : (b * dims[2] + t) * dims[1] + h;
    return row * dims[3];
}

static void
physical(int64_t map, const int64_t dims[4], int64_t out[4])
{
    memcpy(out, dims, 4 * sizeof *out);
    if (map == TOKENS_OUTSIDE) {
        out[1] = dims[2];
        out[2] = dims[1];
    }
}

// ---- attention -------------------------------------------------------------

typedef struct attention {
    uint32_t type; // of keys and values
    int64_t batch, heads, key_heads, queries, keys, d, dv;
    int64_t q_map, k_map;
    bool mask, causal, positions;
    float tolerance;
} attention;

static int32_t POSITIONS[64];

static double
element(const attention *a, bool is_key, int64_t at, int64_t scale_at)
{
    if (a->type == PTQC_I8) {
        return is_key ? (double)CODE_K[at] * (double)KS[scale_at]
                      : (double)CODE_V[at] * (double)VS[scale_at];
    }
    if (a->type == PTQC_F32) {
        return (double)(is_key ? K[at] : V[at]);
    }
    uint16_t h = is_key ? HALF_K[at] : HALF_V[at];
    return (double)(a->type == PTQC_F16 ? pq_f16_to_f32(h) : pq_bf16_to_f32(h));
}

static int64_t
seen_by(const attention *a, int64_t b, int64_t t)
{
    int64_t n = a->positions ? POSITIONS[b * a->queries + t] + 1
                : a->causal  ? t + 1 + a->keys - a->queries
                             : a->keys;
    return n < 0 ? 0 : n > a->keys ? a->keys : n;
}

static void
check_row(const attention *a, int64_t b, int64_t h, int64_t t, float scale)
{
    static double p[2000];
    int64_t kd[4] = {a->batch, a->key_heads, a->keys, a->d};
    int64_t vd[4] = {a->batch, a->key_heads, a->keys, a->dv};
    int64_t qd[4] = {a->batch, a->heads, a->queries, a->d};
    int64_t yd[4] = {a->batch, a->heads, a->queries, a->dv};
    int64_t kh = h / (a->heads / a->key_heads), n = seen_by(a, b, t);
    int64_t q = row_at(a->q_map, qd, b, h, t), line = b * a->key_heads + kh;
    double top = -(double)INFINITY, total = 0;
    for (int64_t j = 0; j < n; j++) {
        p[j] = 0;
        int64_t k = row_at(a->k_map, kd, b, kh, j);
        for (int64_t i = 0; i < a->d; i++) {
            p[j] +=
                (double)Q[q + i] * element(a, true, k + i, line * a->keys + j);
        }
        p[j] = p[j] * (double)scale +
               (a->mask ? (double)MASK[(b * a->queries + t) * a->keys + j] : 0);
        top = p[j] > top ? p[j] : top;
    }
    for (int64_t j = 0; j < n; j++) {
        p[j] = exp(p[j] - top);
        total += p[j];
    }
    int64_t y = row_at(TOKENS_OUTSIDE, yd, b, h, t);
    for (int64_t c = 0; c < a->dv; c++) {
        double want = 0;
        for (int64_t j = 0; j < n; j++) {
            int64_t v = row_at(a->k_map, vd, b, kh, j);
            want += p[j] / total * element(a, false, v + c, line * a->keys + j);
        }
        double got = (double)GOT[y + c];
        if (!(fabs(got - want) <= (double)a->tolerance)) {
            print_error("row %d %d %d column %d: expected %.9g, got %.9g\n",
                        (int)b, (int)h, (int)t, (int)c, want, got);
            fail();
        }
    }
}

static const void *
bytes_of(const attention *a, bool is_key)
{
    return a->type == PTQC_F32  ? (const void *)(is_key ? K : V)
           : a->type == PTQC_I8 ? (const void *)(is_key ? CODE_K : CODE_V)
                                : (const void *)(is_key ? HALF_K : HALF_V);
}

static void
fill_all(uint32_t type)
{
    pq_test_random r = pq_test_random_seed(17);
    pq_test_fill_f32(&r, Q, ROOM, -1.5f, 1.5f);
    pq_test_fill_f32(&r, K, ROOM, -1.5f, 1.5f);
    pq_test_fill_f32(&r, V, ROOM, -1.5f, 1.5f);
    pq_test_fill_f32(&r, MASK, ROOM, -3.0f, 3.0f);
    pq_test_fill_f32(&r, KS, ROOM, 0.005f, 0.02f);
    pq_test_fill_f32(&r, VS, ROOM, 0.005f, 0.02f);
    pq_test_fill_bytes(&r, CODE_K, ROOM);
    pq_test_fill_bytes(&r, CODE_V, ROOM);
    for (uint32_t i = 0; i < ROOM; i++) {
        MASK[i] = i % 7 == 3 ? -INFINITY : MASK[i];
        bool half = type == PTQC_F16;
        HALF_K[i] = half ? pq_f32_to_f16(K[i]) : pq_f32_to_bf16(K[i]);
        HALF_V[i] = half ? pq_f32_to_f16(V[i]) : pq_f32_to_bf16(V[i]);
    }
}

static void
attend(const attention *a)
{
    kernel_step s = {.kind = PQ_STEP_ATTENTION};
    const int64_t q[4] = {a->batch, a->heads, a->queries, a->d};
    const int64_t k[4] = {a->batch, a->key_heads, a->keys, a->d};
    const int64_t v[4] = {a->batch, a->key_heads, a->keys, a->dv};
    const int64_t y[4] = {a->batch, a->heads, a->queries, a->dv};
    int64_t p[4];
    float scale = 1.0f / sqrtf((float)a->d);
    fill_all(a->type);
    physical(a->q_map, q, p);
    kernel_in(&s, PTQC_F32, p, 4, Q);
    physical(a->k_map, k, p);
    kernel_in(&s, a->type, p, 4, bytes_of(a, true));
    physical(a->k_map, v, p);
    kernel_in(&s, a->type, p, 4, bytes_of(a, false));
    if (a->mask) {
        kernel_in(&s, PTQC_F32, KERNEL_DIMS(a->batch, 1, a->queries, a->keys),
                  MASK);
    } else {
        kernel_absent(&s);
    }
    if (a->positions) {
        kernel_in(&s, PTQC_I32, KERNEL_DIMS(a->batch, a->queries), POSITIONS);
    } else {
        kernel_absent(&s);
    }
    if (a->type == PTQC_I8) {
        kernel_in(&s, PTQC_F32, k, 3, KS);
        kernel_in(&s, PTQC_F32, k, 3, VS);
    }
    physical(TOKENS_OUTSIDE, y, p);
    kernel_out(&s, PTQC_F32, p, 4, GOT);
    kernel_param(&s, a->q_map);
    kernel_param(&s, a->k_map);
    kernel_param(&s, a->k_map);
    kernel_param(&s, TOKENS_OUTSIDE);
    kernel_param_f32(&s, scale);
    kernel_param(&s, a->causal);
    assert_true(kernel_bytes(&s.tensors[1]) <= sizeof HALF_K);
    kernel_run(&s);
    for (int64_t i = 0; i < a->batch * a->heads * a->queries; i++) {
        check_row(a, i / a->queries / a->heads, i / a->queries % a->heads,
                  i % a->queries, scale);
    }
}

static void
test_attention(void **state)
{
    (void)state;
    static const uint32_t types[] = {PTQC_F32, PTQC_F16, PTQC_BF16, PTQC_I8};
    for (uint32_t i = 0; i < 64; i++) {
        POSITIONS[i] = (int32_t)(i * 13 % 70) - 1;
    }
    for (uint32_t t = 0; t < 4; t++) {
        attention a = {.type = types[t],
                       .batch = 2,
                       .heads = 4,
                       .key_heads = 2,
                       .queries = 1,
                       .keys = 70,
                       .d = 16,
                       .dv = 16,
                       .q_map = TOKENS_OUTSIDE,
                       .k_map = HEADS_OUTSIDE,
                       .positions = true,
                       .tolerance = 2e-5f};
        attend(&a);
        a.queries = 5;
        attend(&a);
        a = (attention){.type = types[t],
                        .batch = 1,
                        .heads = 3,
                        .key_heads = 3,
                        .queries = 9,
                        .keys = 9,
                        .d = 8,
                        .dv = 12,
                        .q_map = HEADS_OUTSIDE,
                        .k_map = TOKENS_OUTSIDE,
                        .causal = true,
                        .tolerance = 2e-5f};
        attend(&a);
        a = (attention){.type = types[t],
                        .batch = 2,
                        .heads = 2,
                        .key_heads = 1,
                        .queries = 3,
                        .keys = 130,
                        .d = 7,
                        .dv = 5,
                        .q_map = HEADS_OUTSIDE,
                        .k_map = HEADS_OUTSIDE,
                        .mask = true,
                        .tolerance = 2e-5f};
        attend(&a);
        a = (attention){.type = types[t],
                        .batch = 1,
                        .heads = 1,
                        .key_heads = 1,
                        .queries = 1,
                        .keys = 1,
                        .d = 1,
                        .dv = 1,
                        .q_map = HEADS_OUTSIDE,
                        .k_map = HEADS_OUTSIDE,
                        .tolerance = 1e-6f};
        attend(&a);
        a = (attention){.type = types[t],
                        .batch = 1,
                        .heads = 2,
                        .key_heads = 1,
                        .queries = 20,
                        .keys = 65,
                        .d = 128,
                        .dv = 128,
                        .q_map = TOKENS_OUTSIDE,
                        .k_map = HEADS_OUTSIDE,
                        .causal = true,
                        .tolerance = 5e-5f};
        attend(&a);
        // several tiles of keys and of rows, and items that share the keys
        a = (attention){.type = types[t],
                        .batch = 1,
                        .heads = 8,
                        .key_heads = 2,
                        .queries = 33,
                        .keys = 150,
                        .d = 64,
                        .dv = 48,
                        .q_map = TOKENS_OUTSIDE,
                        .k_map = HEADS_OUTSIDE,
                        .causal = true,
                        .tolerance = 5e-5f};
        attend(&a);
        a.queries = 1;
        a.heads = 2;
        attend(&a);
    }
}

// ---- rope ------------------------------------------------------------------

static void
rope(int64_t tokens, int64_t heads, int64_t d, int64_t pairs, int64_t mode,
     int64_t map)
{
    kernel_step s = {.kind = PQ_STEP_ROPE};
    const int64_t dims[4] = {2, heads, tokens, d};
    int64_t p[4];
    float f[64];
    fill_all(PTQC_F16);
    for (int64_t i = 0; i < pairs; i++) {
        f[i] = powf(10000.0f, -(float)i / (float)pairs);
    }
    physical(map, dims, p);
    kernel_in(&s, PTQC_F32, p, 4, Q);
    kernel_in(&s, PTQC_I32, KERNEL_DIMS(2, tokens), POSITIONS);
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(pairs), f);
    kernel_out(&s, PTQC_F32, p, 4, GOT);
    kernel_param(&s, map);
    kernel_param(&s, mode);
    kernel_run(&s);
    for (int64_t i = 0; i < 2 * heads * tokens * d; i++) {
        int64_t e = i % d, t = i / d % tokens, h = i / d / tokens % heads;
        int64_t b = i / d / tokens / heads;
        int64_t row = row_at(map, dims, b, h, t);
        int64_t pair = mode ? e / 2 : e % (pairs > 0 ? pairs : 1);
        bool second = mode ? e % 2 == 1 : e >= pairs;
        double want = (double)Q[row + e];
        if (e < 2 * pairs) {
            float angle = (float)POSITIONS[b * tokens + t] * f[pair];
            int64_t other = mode ? (second ? e - 1 : e + 1)
                                 : (second ? e - pairs : e + pairs);
            double x = (double)Q[row + other];
            want = want * cos((double)angle) +
                   (second ? x : -x) * sin((double)angle);
        }
        assert_true(fabs((double)GOT[row + e] - want) < 1e-6);
    }
}

static void
test_rope(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 64; i++) {
        POSITIONS[i] = (int32_t)(i * i * 37 % 5000) - 1;
    }
    for (int64_t mode = 0; mode < 2; mode++) {
        rope(3, 2, 8, 4, mode, TOKENS_OUTSIDE);
        rope(1, 1, 64, 32, mode, HEADS_OUTSIDE);
        rope(7, 3, 11, 3, mode, HEADS_OUTSIDE);
    }
}

// ---- updates ---------------------------------------------------------------

static void
update(uint32_t type, int64_t tokens, int64_t d)
{
    kernel_step s = {.kind = PQ_STEP_KV_UPDATE};
    const int64_t capacity = 12, heads = 3;
    const int64_t dims[4] = {2, heads, tokens, d};
    int64_t p[4];
    bool codes = type == PTQC_I8;
    fill_all(PTQC_F16);
    Q[row_at(TOKENS_OUTSIDE, dims, 1, 1, 0) + 1] = 90.0f;
    for (int64_t i = 0; i < d; i++) {
        Q[row_at(TOKENS_OUTSIDE, dims, 0, 2, 0) + i] = 0.0f;
    }
    for (int64_t i = 0; i < 2 * tokens; i++) { // twice 4, one beyond, one none
        POSITIONS[i] = (int32_t)(i % tokens == 3 ? 4
                                 : i == 2        ? 12
                                 : i == 1        ? -1
                                                 : 4 + i % tokens);
    }
    void *got = codes ? (void *)CODES : STATE;
    void *want = codes ? (void *)WANT_CODES : WANT_STATE;
    memset(got, 0x11, ROOM);
    memset(want, 0x11, ROOM);
    memset(SCALES, 0, sizeof SCALES);
    memset(WANT_SCALES, 0, sizeof WANT_SCALES);
    for (int64_t i = 0; i < 2 * heads * tokens; i++) {
        int64_t t = i / heads % tokens, b = i / heads / tokens, h = i % heads;
        int64_t position = POSITIONS[b * tokens + t];
        const float *x = Q + row_at(TOKENS_OUTSIDE, dims, b, h, t);
        if (position < 0 || position >= capacity) {
            continue;
        }
        int64_t to = (b * heads + h) * capacity + position;
        float largest = 0.0f;
        for (int64_t k = 0; k < d; k++) {
            largest = fabsf(x[k]) > largest ? fabsf(x[k]) : largest;
            WANT_STATE[codes ? 0 : to * d + k] = pq_f32_to_f16(x[k]);
        }
        float scale = largest / 127.0f;
        float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
        for (int64_t k = 0; codes && k < d; k++) {
            WANT_CODES[to * d + k] = (int8_t)nearbyintf(x[k] * inverse);
        }
        WANT_SCALES[to] = scale;
    }
    physical(TOKENS_OUTSIDE, dims, p);
    kernel_in(&s, type, KERNEL_DIMS(2, heads, capacity, d), got);
    if (codes) {
        kernel_in(&s, PTQC_F32, KERNEL_DIMS(2, heads, capacity), SCALES);
    } else {
        kernel_absent(&s);
    }
    kernel_in(&s, PTQC_F32, p, 4, Q);
    kernel_in(&s, PTQC_I32, KERNEL_DIMS(2, tokens), POSITIONS);
    kernel_out(&s, type, KERNEL_DIMS(2, heads, capacity, d), got);
    kernel_out(&s, PTQC_F32, KERNEL_DIMS(2, heads, capacity), SCALES);
    s.is_absent[5] = !codes;
    kernel_param(&s, TOKENS_OUTSIDE);
    kernel_param(&s, 0);
    kernel_param(&s, 0);
    kernel_run(&s);
    size_t bytes = (size_t)(2 * heads * capacity * d) * (codes ? 1 : 2);
    assert_memory_equal(got, want, bytes);
    if (codes) {
        assert_memory_equal(SCALES, WANT_SCALES, sizeof SCALES);
    }
}

static void
test_update(void **state)
{
    (void)state;
    update(PTQC_F16, 1, 8);
    update(PTQC_F16, 6, 66);
    update(PTQC_I8, 1, 8);
    update(PTQC_I8, 5, 36);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_update),
        cmocka_unit_test(test_attention),
    };
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
