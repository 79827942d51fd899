// SPDX-License-Identifier: Apache-2.0
//
// attention: equal bits to the unfused ops, grouped heads, masks, causal.
#include "tests/unit/ir/interp/op_case.h"

enum { BATCH = 2, HEADS = 4, KV = 2, TQ = 5, TK = 7, DK = 9, DV = 3 };

typedef struct arrays {
    float q[BATCH * HEADS * TQ * DK], k[BATCH * KV * TK * DK];
    float v[BATCH * KV * TK * DV], mask[TQ * TK];
    float want[BATCH * HEADS * TQ * DV];
} arrays;

static void
fill(arrays *a)
{
    pq_test_random r = pq_test_random_seed(5);
    pq_test_fill_normal(&r, a->q, BATCH * HEADS * TQ * DK, 1);
    pq_test_fill_normal(&r, a->k, BATCH * KV * TK * DK, 1);
    pq_test_fill_normal(&r, a->v, BATCH * KV * TK * DV, 1);
    pq_test_fill_normal(&r, a->mask, TQ * TK, 1);
}

// In double precision; keys beyond `limit(i)` take no part.
static void
reference(arrays *a, double scale, bool has_mask, bool is_causal)
{
    for (int i = 0; i < BATCH * HEADS * TQ; i++) {
        int head = i / TQ, row = i % TQ;
        int kv = head / HEADS * KV + head % HEADS / (HEADS / KV);
        int n = is_causal ? row + TK - TQ + 1 : TK;
        double s[TK], sum = 0;
        for (int j = 0; j < n; j++) {
            s[j] = 0;
            for (int d = 0; d < DK; d++) {
                s[j] += (double)a->q[i * DK + d] *
                        (double)a->k[(kv * TK + j) * DK + d];
            }
            s[j] = s[j] * scale;
            s[j] += has_mask ? (double)a->mask[row * TK + j] : 0;
            s[j] = exp(s[j]);
            sum += s[j];
        }
        for (int d = 0; d < DV; d++) {
            double y = 0;
            for (int j = 0; j < n; j++) {
                y += s[j] / sum * (double)a->v[(kv * TK + j) * DV + d];
            }
            a->want[i * DV + d] = (float)y;
        }
    }
}

static void
masks_and_causal(void **state)
{
    (void)state;
    static arrays a;
    fill(&a);
    for (int variant = 0; variant < 4; variant++) {
        bool has_mask = (variant & 1) != 0, is_causal = (variant & 2) != 0;
        reference(&a, 0.25, has_mask, is_causal);
        op_case c;
        op_case_begin(&c, PQ_OP_ATTENTION);
        op_case_in(&c, PTQC_F32, DIMS(BATCH, HEADS, TQ, DK), a.q);
        op_case_in(&c, PTQC_F32, DIMS(BATCH, KV, TK, DK), a.k);
        op_case_in(&c, PTQC_F32, DIMS(BATCH, KV, TK, DV), a.v);
        if (has_mask) {
            op_case_in(&c, PTQC_F32, DIMS(1, TQ, TK), a.mask);
        }
        pq_build_f32(&c.b, PQ_ATTR_SCALE, 0.25f);
        pq_build_i64(&c.b, PQ_ATTR_CAUSAL, is_causal);
        op_case_run(&c);
        op_case_expect_f32(&c, 0, a.want, BATCH * HEADS * TQ * DV,
                           (pq_test_tolerance){.ulp = 32, .absolute = 1e-6});
        op_case_end(&c);
    }
}

static void
default_scale(void **state)
{
    (void)state;
    static arrays a;
    fill(&a);
    reference(&a, 1.0 / 3.0, false, false); // 1 / sqrt(9)
    op_case c;
    op_case_begin(&c, PQ_OP_ATTENTION);
    op_case_in(&c, PTQC_F32, DIMS(BATCH, HEADS, TQ, DK), a.q);
    op_case_in(&c, PTQC_F32, DIMS(BATCH, KV, TK, DK), a.k);
    op_case_in(&c, PTQC_F32, DIMS(BATCH, KV, TK, DV), a.v);
    op_case_run(&c);
    op_case_expect_f32(&c, 0, a.want, BATCH * HEADS * TQ * DV,
                       (pq_test_tolerance){.ulp = 32, .absolute = 1e-6});
    op_case_end(&c);
}

// Output of a one-op graph, copied; the caller's buffers hold it.
static void
run_op(op_case *c, float *out)
{
    op_case_run(c);
    memcpy(out, c->out[0].p, c->out[0].bytes);
    op_case_end(c);
}

static void
same_bits_as_unfused(void **state)
{
    (void)state;
    static arrays a;
    static float s[TQ * TK], y[TQ * DV];
    const float scale = 0.3f;
    fill(&a);
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_in(&c, PTQC_F32, DIMS(TQ, DK), a.q);
    op_case_in(&c, PTQC_F32, DIMS(TK, DK), a.k);
    pq_build_i64(&c.b, PQ_ATTR_TRANS_B, 1);
    run_op(&c, s);
    op_case_begin(&c, PQ_OP_MUL);
    op_case_in(&c, PTQC_F32, DIMS(TQ, TK), s);
    op_case_in(&c, PTQC_F32, NO_DIMS, &scale);
    run_op(&c, s);
    op_case_begin(&c, PQ_OP_ADD);
    op_case_in(&c, PTQC_F32, DIMS(TQ, TK), s);
    op_case_in(&c, PTQC_F32, DIMS(TQ, TK), a.mask);
    run_op(&c, s);
    op_case_begin(&c, PQ_OP_SOFTMAX);
    op_case_in(&c, PTQC_F32, DIMS(TQ, TK), s);
    run_op(&c, s);
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_in(&c, PTQC_F32, DIMS(TQ, TK), s);
    op_case_in(&c, PTQC_F32, DIMS(TK, DV), a.v);
    run_op(&c, y);

    op_case_begin(&c, PQ_OP_ATTENTION);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, TQ, DK), a.q);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, TK, DK), a.k);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, TK, DV), a.v);
    op_case_in(&c, PTQC_F32, DIMS(TQ, TK), a.mask);
    pq_build_f32(&c.b, PQ_ATTR_SCALE, scale);
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, y, sizeof y);
    op_case_end(&c);
}

// tq > tk: the first rows see no key at all.
static void
causal_without_keys(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_ATTENTION);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 2, 1), (float[]){1, 1});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 1), (float[]){1});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 1), (float[]){5});
    pq_build_i64(&c.b, PQ_ATTR_CAUSAL, 1);
    op_case_run(&c);
    EXPECT_F32(&c, 0, 5);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_and_causal),
        cmocka_unit_test(default_scale),
        cmocka_unit_test(same_bits_as_unfused),
        cmocka_unit_test(causal_without_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
