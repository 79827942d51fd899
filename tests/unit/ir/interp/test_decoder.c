// SPDX-License-Identifier: Apache-2.0
//
// Attention with positions, and a decoder of one layer that holds its keys
// and values in states: a prompt gives the same bits in one call, in any
// pieces, beside other sequences, and with any capacity.
#include <stdio.h>
#include <stdlib.h>

#include "base/float16.h"
#include "ir/text.h"
#include "tests/unit/ir/interp/op_case.h"

// ---- attention --------------------------------------------------------------

enum { BATCH = 2, HEADS = 6, KV = 2, TQ = 4, TK = 37, DK = 5, DV = 35 };

typedef struct arrays {
    float q[BATCH * HEADS * TQ * DK], k[BATCH * KV * TK * DK];
    float v[BATCH * KV * TK * DV];
    uint16_t k_half[BATCH * KV * TK * DK], v_half[BATCH * KV * TK * DV];
} arrays;

static const int32_t seen[BATCH * TQ] = {0, 36, -1, 15, 16, 1000, 7, -5};

static void
to_half(float *x, uint16_t *half, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        half[i] = pq_f32_to_f16(x[i]);
        x[i] = pq_f16_to_f32(half[i]);
    }
}

static void
fill(arrays *a)
{
    pq_test_random r = pq_test_random_seed(5);
    pq_test_fill_normal(&r, a->q, BATCH * HEADS * TQ * DK, 1);
    pq_test_fill_normal(&r, a->k, BATCH * KV * TK * DK, 1);
    pq_test_fill_normal(&r, a->v, BATCH * KV * TK * DV, 1);
    to_half(a->k, a->k_half, BATCH * KV * TK * DK);
    to_half(a->v, a->v_half, BATCH * KV * TK * DV);
}

// One query over the keys it sees, without positions.
static void
expect_row(const arrays *a, int head, int row, const float *got)
{
    int b = head / HEADS;
    int kv = b * KV + head % HEADS / (HEADS / KV);
    int64_t n = seen[b * TQ + row] < 0 ? 0 : seen[b * TQ + row] + 1;
    n = n > TK ? TK : n;
    op_case c;
    op_case_begin(&c, PQ_OP_ATTENTION);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, DK), a->q + (head * TQ + row) * DK);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, n, DK), a->k + kv * TK * DK);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, n, DV), a->v + kv * TK * DV);
    pq_build_f32(&c.b, PQ_ATTR_SCALE, 0.7f);
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, got, DV * sizeof *got);
    op_case_end(&c);
}

static void
as_many_keys_as_positions_say(void **state)
{
    (void)state;
    static arrays a;
    fill(&a);
    for (int is_half = 0; is_half < 2; is_half++) {
        op_case c;
        ptqc_dtype t = is_half ? PTQC_F16 : PTQC_F32;
        op_case_begin(&c, PQ_OP_ATTENTION);
        op_case_in(&c, PTQC_F32, DIMS(BATCH, HEADS, TQ, DK), a.q);
        op_case_in(&c, t, DIMS(BATCH, KV, TK, DK),
                   is_half ? (void *)a.k_half : a.k);
        op_case_in(&c, t, DIMS(BATCH, KV, TK, DV),
                   is_half ? (void *)a.v_half : a.v);
        op_case_absent(&c);
        op_case_in(&c, PTQC_I32, DIMS(BATCH, TQ), seen);
        pq_build_f32(&c.b, PQ_ATTR_SCALE, 0.7f);
        op_case_try(&c);
        assert_int_equal(c.st, PTQC_OK);
        for (int i = 0; i < BATCH * HEADS * TQ; i++) {
            expect_row(&a, i / TQ, i % TQ, (float *)c.out[0].p + i * DV);
        }
        op_case_end(&c);
    }
}

// With scales that are powers of two, factors of scores and weights round as
// factors of the elements do.
static void
codes_with_scales(void **state)
{
    (void)state;
    enum { KEYS = 9, D = 6 };
    int8_t codes[KV * KEYS * D];
    float scales[KV * KEYS], real[KV * KEYS * D], q[HEADS * 2 * D];
    pq_test_random r = pq_test_random_seed(7);
    pq_test_fill_normal(&r, q, HEADS * 2 * D, 1);
    pq_test_fill_bytes(&r, codes, sizeof codes);
    for (int i = 0; i < KV * KEYS; i++) {
        scales[i] = i % 4 == 0 ? 0.25f : 0.0078125f;
    }
    for (int i = 0; i < KV * KEYS * D; i++) {
        real[i] = (float)codes[i] * scales[i / D];
    }
    op_case c[2];
    for (int k = 0; k < 2; k++) {
        op_case_begin(&c[k], PQ_OP_ATTENTION);
        op_case_in(&c[k], PTQC_F32, DIMS(1, HEADS, 2, D), q);
        for (int i = 0; i < 2; i++) {
            op_case_in(&c[k], k == 0 ? PTQC_F32 : PTQC_I8, DIMS(1, KV, KEYS, D),
                       k == 0 ? (void *)real : codes);
        }
        op_case_absent(&c[k]);
        op_case_in(&c[k], PTQC_I32, DIMS(1, 2), (int32_t[]){4, 8});
        for (int i = 0; i < 2 * k; i++) {
            op_case_in(&c[k], PTQC_F32, DIMS(1, KV, KEYS), scales);
        }
        op_case_run(&c[k]);
    }
    op_case_expect_bytes(&c[1], 0, c[0].out[0].p, HEADS * 2 * D * 4);
    op_case_end(&c[0]);
    op_case_end(&c[1]);
}

// Keys that are not seen may hold anything.
static void
unseen_keys(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_ATTENTION);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 1), (float[]){1});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 3, 1), (float[]){0, 0, NAN});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 3, 1), (float[]){2, 4, INFINITY});
    op_case_in(&c, PTQC_F32, DIMS(3), (float[]){0, 0, NAN});
    op_case_in(&c, PTQC_I32, DIMS(1, 1), (int32_t[]){1});
    op_case_run(&c);
    EXPECT_F32(&c, 3);
    op_case_end(&c);
}

static void
positions_are_integers(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_ATTENTION);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 1), (float[]){1});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 1), (float[]){1});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 1), (float[]){1});
    op_case_in(&c, PTQC_I32, DIMS(1, 1), (int32_t[]){1}); // a mask
    op_case_build(&c);
    assert_non_null(pq_interp_declines(c.g, pq_graph_op(c.g, c.op)));
    op_case_end(&c);
}

// ---- a decoder --------------------------------------------------------------

enum { VOCABULARY = 11, LENGTH = 13, SEQUENCES = 3, WEIGHTS = 7 };

// Tied table, four query heads over two key heads, five of six elements'
// pairs turned; %s: the states' type.
static const char decoder[] =
    "ptir 1\ngraph \"d\" stage float\n"
    "symbol B = [1, inf]\nsymbol T = [1, inf]\nsymbol C = [1, 64]\n"
    "const c1: f32[2] = [1, 0.1]\n"
    "input %%tokens: i32[B, T]\ninput %%p: i32[B, T]\n"
    "input %%table: f16[11, 12]\ninput %%norm: f32[12]\n"
    "input %%wq: f32[24, 12]\ninput %%wk: f32[12, 12]\n"
    "input %%wv: f32[12, 12]\ninput %%wo: f32[12, 24]\n"
    "input %%wg: f32[12, 12]\n"
    "state %%k: %s[B, 2, C, 6]\nstate %%v: %s[B, 2, C, 6]\n"
    "%%f: f32[2] = c1\n"
    "%%e: f16[B, T, 12] = gather(%%table, %%tokens)\n"
    "%%h: f32[B, T, 12] = cast(%%e) {to = f32}\n"
    "%%n: f32[B, T, 12] = rms_norm(%%h, %%norm) {epsilon = 1e-06}\n"
    "%%q1: f32[B, T, 24] = matmul(%%n, %%wq) {trans_b = 1}\n"
    "%%k1: f32[B, T, 12] = matmul(%%n, %%wk) {trans_b = 1}\n"
    "%%v1: f32[B, T, 12] = matmul(%%n, %%wv) {trans_b = 1}\n"
    "%%q2: f32[B, T, 4, 6] = reshape(%%q1) {shape = [B, T, 4, 6]}\n"
    "%%k2: f32[B, T, 2, 6] = reshape(%%k1) {shape = [B, T, 2, 6]}\n"
    "%%v2: f32[B, T, 2, 6] = reshape(%%v1) {shape = [B, T, 2, 6]}\n"
    "%%q3: f32[B, 4, T, 6] = transpose(%%q2) {perm = [0, 2, 1, 3]}\n"
    "%%k3: f32[B, 2, T, 6] = transpose(%%k2) {perm = [0, 2, 1, 3]}\n"
    "%%v3: f32[B, 2, T, 6] = transpose(%%v2) {perm = [0, 2, 1, 3]}\n"
    "%%q4: f32[B, 4, T, 6] = rope(%%q3, %%p, %%f)\n"
    "%%k4: f32[B, 2, T, 6] = rope(%%k3, %%p, %%f)\n"
    "%%k5: %s[B, 2, C, 6] = kv_update(%%k, %%k4, %%p)\n"
    "%%v5: %s[B, 2, C, 6] = kv_update(%%v, %%v3, %%p)\n"
    "%%a: f32[B, 4, T, 6] = attention(%%q4, %%k5, %%v5, _, %%p) "
    "{scale = 0.408}\n"
    "%%a1: f32[B, T, 4, 6] = transpose(%%a) {perm = [0, 2, 1, 3]}\n"
    "%%a2: f32[B, T, 24] = reshape(%%a1) {shape = [B, T, 24]}\n"
    "%%h1: f32[B, T, 12] = matmul(%%a2, %%wo, _, %%h) {trans_b = 1}\n"
    "%%n1: f32[B, T, 12] = rms_norm(%%h1, %%norm) {epsilon = 1e-06}\n"
    "%%g: f32[B, T, 12] = matmul(%%n1, %%wg) {act = silu, trans_b = 1}\n"
    "%%h2: f32[B, T, 12] = matmul(%%g, %%wg, _, %%h1) {trans_b = 1}\n"
    "%%logits: f32[B, T, 11] = matmul(%%h2, %%table) {trans_b = 1}\n"
    "output %%logits\n";

typedef struct model {
    ptqc_ctx *ctx;
    pq_graph *g;
    pq_runner *r;
    pq_tensor in[2 + WEIGHTS];
    float weights[WEIGHTS][24 * 12];
    uint16_t table[VOCABULARY * 12];
    int32_t tokens[SEQUENCES][LENGTH];
    int64_t length[SEQUENCES];
    const float *logits; // of the call at hand
} model;

static void
set_inputs(model *m)
{
    pq_test_random r = pq_test_random_seed(11);
    for (uint32_t i = 0; i < WEIGHTS; i++) {
        const pq_value *v = pq_graph_value(m->g, pq_graph_input(m->g, 2 + i));
        pq_tensor *t = &m->in[2 + i];
        *t = (pq_tensor){.dtype = v->type.dtype, .rank = v->type.rank};
        for (uint32_t a = 0; a < t->rank; a++) {
            assert_true(pq_dim_is_const(m->g, v->type.dims[a], &t->dims[a]));
        }
        assert_true(pq_dtype_bytes(t->dtype, t->dims, t->rank, &t->bytes));
        pq_test_fill_normal(&r, m->weights[i], 24 * 12, 0.5f);
        t->p = m->weights[i];
        if (t->dtype == PTQC_F16) {
            to_half(m->weights[i], m->table, VOCABULARY * 12);
            t->p = m->table;
        }
    }
    for (int s = 0; s < SEQUENCES; s++) {
        m->length[s] = LENGTH - 4 * s;
        for (int i = 0; i < LENGTH; i++) {
            m->tokens[s][i] =
                (int32_t)pq_test_random_int(&r, 0, VOCABULARY - 1);
        }
    }
}

static void
open_model(model *m, const char *dtype, int64_t capacity)
{
    static char text[8192];
    memset(m, 0, sizeof *m);
    int n = snprintf(text, sizeof text, decoder, dtype, dtype, dtype, dtype);
    m->ctx = pq_test_ctx_create(NULL, NULL, 1);
    assert_int_equal(
        pq_graph_parse(m->ctx, "d", (pq_str){text, (size_t)n}, &m->g), PTQC_OK);
    assert_int_equal(pq_interp_make(m->ctx, m->g, NULL, 0, &m->r), PTQC_OK);
    assert_int_equal(pq_interp_set_symbol(m->r, PQ_STR("C"), capacity),
                     PTQC_OK);
    set_inputs(m);
}

static void
close_model(model *m)
{
    m->r->destroy(m->r);
    pq_graph_destroy(m->g);
    ptqc_ctx_destroy(m->ctx);
}

// logits[sequence][position][VOCABULARY]
typedef float logits[SEQUENCES][LENGTH][VOCABULARY];

typedef struct call {
    model *m;
    int64_t first, batch, count; // sequences first .. , tokens per sequence
    int32_t tokens[SEQUENCES * LENGTH], positions[SEQUENCES * LENGTH];
    float (*out)[LENGTH][VOCABULARY];
} call;

static ptqc_status
keep_logits(void *user, pq_value_id v, const pq_tensor *t)
{
    call *c = user;
    (void)v;
    const float *p = t->p;
    for (int64_t i = 0; i < c->batch * c->count; i++, p += VOCABULARY) {
        if (c->positions[i] >= 0) {
            memcpy(c->out[c->first + i / c->count][c->positions[i]], p,
                   VOCABULARY * sizeof *p);
        }
    }
    return PTQC_OK;
}

static void
run_call(call *c)
{
    model *m = c->m;
    size_t bytes = (size_t)(c->batch * c->count) * 4;
    m->in[0] = (pq_tensor){PTQC_I32, 2, {c->batch, c->count}, c->tokens, bytes};
    m->in[1] =
        (pq_tensor){PTQC_I32, 2, {c->batch, c->count}, c->positions, bytes};
    assert_int_equal(m->r->run(m->r, m->in, keep_logits, c), PTQC_OK);
}

// Sequences first .. first + batch - 1 together, in pieces of random lengths
// with padding at random places; piece 0: all at once.
static void
run_prompts(model *m, int64_t first, int64_t batch, int64_t piece,
            pq_test_random *r, float (*out)[LENGTH][VOCABULARY])
{
    int64_t done[SEQUENCES] = {0};
    int64_t left = 1;
    while (left > 0) {
        call c = {.m = m, .first = first, .batch = batch, .out = out};
        c.count = piece == 0 ? LENGTH : pq_test_random_int(r, 1, piece);
        left = 0;
        for (int64_t s = 0; s < batch; s++) {
            int64_t length = m->length[first + s];
            for (int64_t i = 0; i < c.count; i++) {
                bool is_padding =
                    done[s] == length ||
                    (piece != 0 && pq_test_random_int(r, 0, 3) == 0);
                int64_t at = is_padding ? 0 : done[s];
                c.tokens[s * c.count + i] = m->tokens[first + s][at];
                c.positions[s * c.count + i] = is_padding ? -1 : (int32_t)at;
                done[s] += !is_padding;
            }
            left += length - done[s];
        }
        run_call(&c);
    }
}

static void
expect_same(const model *m, float (*got)[LENGTH][VOCABULARY],
            float (*want)[LENGTH][VOCABULARY])
{
    for (int s = 0; s < SEQUENCES; s++) {
        assert_true(pq_test_same_bytes("logits", got[s], want[s],
                                       (size_t)m->length[s] * VOCABULARY *
                                           sizeof(float)));
    }
}

static void
check_decoder(const char *dtype)
{
    static logits want, got;
    const int64_t capacities[] = {LENGTH, 16, 64};
    model m;
    pq_test_random r = pq_test_random_seed(17);
    open_model(&m, dtype, LENGTH);
    run_prompts(&m, 0, SEQUENCES, 0, &r, want);
    close_model(&m);
    assert_true(want[0][3][0] != want[0][4][0]); // something happens
    for (int k = 0; k < 3; k++) {
        open_model(&m, dtype, capacities[k]);
        for (int trial = 0; trial < 40; trial++) {
            memset(got, 0xff, sizeof got);
            run_prompts(&m, 0, SEQUENCES, trial % 8, &r, got);
            expect_same(&m, got, want); // old rows of the states do not matter
        }
        memset(got, 0xff, sizeof got);
        for (int s = 0; s < SEQUENCES; s++) { // each alone
            run_prompts(&m, s, 1, 3, &r, got);
        }
        expect_same(&m, got, want);
        close_model(&m);
    }
}

static void
prompts_in_pieces(void **state)
{
    (void)state;
    check_decoder("f16");
    check_decoder("f32");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_keys_as_positions_say),
        cmocka_unit_test(codes_with_scales),
        cmocka_unit_test(unseen_keys),
        cmocka_unit_test(positions_are_integers),
        cmocka_unit_test(prompts_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
