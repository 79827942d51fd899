// SPDX-License-Identifier: Apache-2.0
//
// lstm, gru and rnn against the ONNX equations in double precision: both
// directions, lengths, initial states, peepholes, batch first.
#include "tests/unit/ir/interp/op_case.h"

enum { T = 4, B = 3, I = 5, H = 7, D_MAX = 2 };

typedef struct setup {
    pq_opcode code;
    int gates, directions;
    int64_t direction;
    bool is_linear, is_batch_first, has_bias, has_lens, has_states,
        has_peephole;
} setup;

typedef struct arrays {
    float x[T * B * I]; // [T][B][I]
    float w[D_MAX * 4 * H * I], r[D_MAX * 4 * H * H], b[D_MAX * 8 * H];
    float h0[D_MAX * B * H], c0[D_MAX * B * H], p[D_MAX * 3 * H];
    int32_t lens[B];
    float y[T * D_MAX * B * H], y_h[D_MAX * B * H], y_c[D_MAX * B * H];
} arrays;

static double
sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

// One cell's gate sums: out[g][j] = x w^T (+ b) and separately h r^T (+ b).
typedef struct sums {
    double x[4][H], h[4][H];
} sums;

static void
gate_sums(const setup *s, const arrays *a, int d, const float *x,
          const double *h, sums *out)
{
    for (int g = 0; g < s->gates; g++) {
        for (int j = 0; j < H; j++) {
            int row = (d * s->gates + g) * H + j;
            int bias = d * 2 * s->gates * H + g * H + j;
            double sx = s->has_bias ? (double)a->b[bias] : 0;
            double sh = s->has_bias ? (double)a->b[bias + s->gates * H] : 0;
            for (int i = 0; i < I; i++) {
                sx += (double)x[i] * (double)a->w[row * I + i];
            }
            for (int i = 0; i < H; i++) {
                sh += h[i] * (double)a->r[row * H + i];
            }
            out->x[g][j] = sx;
            out->h[g][j] = sh;
        }
    }
}

static void
lstm_cell(const setup *s, const arrays *a, int d, const sums *u, double *h,
          double *c)
{
    for (int j = 0; j < H; j++) {
        const float *p = a->p + d * 3 * H + j;
        bool use = s->has_peephole;
        double i =
            sigmoid(u->x[0][j] + u->h[0][j] + (use ? (double)p[0] * c[j] : 0));
        double f = sigmoid(u->x[2][j] + u->h[2][j] +
                           (use ? (double)p[2 * H] * c[j] : 0));
        c[j] = f * c[j] + i * tanh(u->x[3][j] + u->h[3][j]);
        double o =
            sigmoid(u->x[1][j] + u->h[1][j] + (use ? (double)p[H] * c[j] : 0));
        h[j] = o * tanh(c[j]);
    }
}

static void
gru_cell(const setup *s, const arrays *a, int d, const float *x, const sums *u,
         double *h)
{
    double z[H], r[H], gated[H], next[H];
    sums v;
    for (int j = 0; j < H; j++) {
        z[j] = sigmoid(u->x[0][j] + u->h[0][j]);
        r[j] = sigmoid(u->x[1][j] + u->h[1][j]);
        gated[j] = r[j] * h[j];
    }
    gate_sums(s, a, d, x, gated, &v);
    for (int j = 0; j < H; j++) {
        double n = s->is_linear ? tanh(u->x[2][j] + r[j] * u->h[2][j])
                                : tanh(v.x[2][j] + v.h[2][j]);
        next[j] = (1 - z[j]) * n + z[j] * h[j];
    }
    memcpy(h, next, sizeof next);
}

static void
reference(const setup *s, arrays *a)
{
    for (int d = 0; d < s->directions; d++) {
        bool is_reverse = s->direction == 1 || d == 1;
        for (int b = 0; b < B; b++) {
            double h[H] = {0}, c[H] = {0};
            int at = (d * B + b) * H;
            for (int j = 0; s->has_states && j < H; j++) {
                h[j] = (double)a->h0[at + j];
                c[j] = (double)a->c0[at + j];
            }
            int len = s->has_lens ? a->lens[b] : T;
            for (int k = 0; k < len; k++) {
                int t = is_reverse ? len - 1 - k : k;
                sums u;
                const float *x = a->x + (t * B + b) * I;
                gate_sums(s, a, d, x, h, &u);
                if (s->code == PQ_OP_LSTM) {
                    lstm_cell(s, a, d, &u, h, c);
                } else if (s->code == PQ_OP_GRU) {
                    gru_cell(s, a, d, x, &u, h);
                } else {
                    for (int j = 0; j < H; j++) {
                        h[j] = tanh(u.x[0][j] + u.h[0][j]);
                    }
                }
                for (int j = 0; j < H; j++) {
                    a->y[((t * s->directions + d) * B + b) * H + j] =
                        (float)h[j];
                }
            }
            for (int j = 0; j < H; j++) {
                a->y_h[at + j] = (float)h[j];
                a->y_c[at + j] = (float)c[j];
            }
        }
    }
}

// [outer][B][inner] <-> [B][outer][inner]
static void
batch_first(const float *x, int outer, int inner, float *out)
{
    for (int o = 0; o < outer; o++) {
        for (int b = 0; b < B; b++) {
            memcpy(out + (b * outer + o) * inner, x + (o * B + b) * inner,
                   (size_t)inner * sizeof *x);
        }
    }
}

static void
add_inputs(op_case *c, const setup *s, const arrays *a)
{
    static float swapped[T * B * I];
    int64_t n = s->directions, g = s->gates;
    if (s->is_batch_first) {
        batch_first(a->x, T, I, swapped);
        op_case_in(c, PTQC_F32, DIMS(B, T, I), swapped);
    } else {
        op_case_in(c, PTQC_F32, DIMS(T, B, I), a->x);
    }
    op_case_in(c, PTQC_F32, DIMS(n, g * H, I), a->w);
    op_case_in(c, PTQC_F32, DIMS(n, g * H, H), a->r);
    if (s->has_bias) {
        op_case_in(c, PTQC_F32, DIMS(n, 2 * g * H), a->b);
    } else {
        op_case_absent(c);
    }
    if (s->has_lens) {
        op_case_in(c, PTQC_I32, DIMS(B), a->lens);
    } else {
        op_case_absent(c);
    }
    if (s->has_states) {
        op_case_in(c, PTQC_F32, DIMS(n, B, H), a->h0);
    } else {
        op_case_absent(c);
    }
    if (s->code == PQ_OP_LSTM && s->has_states) {
        op_case_in(c, PTQC_F32, DIMS(n, B, H), a->c0);
    } else if (s->code == PQ_OP_LSTM) {
        op_case_absent(c);
    }
    if (s->has_peephole) {
        op_case_in(c, PTQC_F32, DIMS(n, 3 * H), a->p);
    }
}

static void
run_case(const setup *s, uint64_t seed)
{
    static arrays a;
    memset(&a, 0, sizeof a);
    pq_test_random r = pq_test_random_seed(seed);
    pq_test_fill_normal(&r, a.x, T * B * I, 1);
    pq_test_fill_normal(&r, a.w, D_MAX * 4 * H * I, 0.5f);
    pq_test_fill_normal(&r, a.r, D_MAX * 4 * H * H, 0.5f);
    pq_test_fill_normal(&r, a.b, D_MAX * 8 * H, 0.5f);
    pq_test_fill_normal(&r, a.h0, D_MAX * B * H, 0.5f);
    pq_test_fill_normal(&r, a.c0, D_MAX * B * H, 0.5f);
    pq_test_fill_normal(&r, a.p, D_MAX * 3 * H, 0.5f);
    a.lens[0] = T;
    a.lens[1] = 1;
    a.lens[2] = T - 1;
    reference(s, &a);
    op_case c;
    op_case_begin(&c, s->code);
    add_inputs(&c, s, &a);
    pq_build_i64(&c.b, PQ_ATTR_DIRECTION, s->direction);
    pq_build_i64(&c.b, PQ_ATTR_HIDDEN, H);
    pq_build_i64(&c.b, PQ_ATTR_BATCH_FIRST, s->is_batch_first);
    pq_build_i64(&c.b, PQ_ATTR_LINEAR_BEFORE_RESET, s->is_linear);
    op_case_run(&c);
    static float y[T * D_MAX * B * H];
    const pq_test_tolerance close = {.ulp = 16, .absolute = 2e-6};
    size_t n = (size_t)(s->directions * H);
    memcpy(y, a.y, sizeof y);
    if (s->is_batch_first) { // one direction in these cases
        batch_first(a.y, T, H, y);
    }
    op_case_expect_f32(&c, 0, y, T * B * n, close);
    op_case_expect_f32(&c, 1, a.y_h, B * n, close);
    if (s->code == PQ_OP_LSTM) {
        op_case_expect_f32(&c, 2, a.y_c, B * n, close);
    }
    op_case_end(&c);
}

static void
lstm(void **state)
{
    (void)state;
    setup s = {.code = PQ_OP_LSTM, .gates = 4, .directions = 1};
    run_case(&s, 1);
    s.has_bias = s.has_states = s.has_peephole = s.has_lens = true;
    run_case(&s, 2);
    s.direction = 1;
    run_case(&s, 3);
    s.direction = 2;
    s.directions = 2;
    run_case(&s, 4);
    s = (setup){.code = PQ_OP_LSTM,
                .gates = 4,
                .directions = 1,
                .is_batch_first = true,
                .has_bias = true};
    run_case(&s, 5);
}

static void
gru(void **state)
{
    (void)state;
    for (int linear = 0; linear < 2; linear++) {
        setup s = {.code = PQ_OP_GRU,
                   .gates = 3,
                   .directions = 1,
                   .is_linear = linear != 0};
        run_case(&s, 6);
        s.has_bias = s.has_states = s.has_lens = true;
        run_case(&s, 7);
        s.direction = 2;
        s.directions = 2;
        run_case(&s, 8);
    }
}

static void
rnn(void **state)
{
    (void)state;
    setup s = {
        .code = PQ_OP_RNN, .gates = 1, .directions = 1, .has_bias = true};
    run_case(&s, 9);
    s.direction = 1;
    s.has_states = s.has_lens = true;
    run_case(&s, 10);
}

static void
bad_length(void **state)
{
    (void)state;
    static const float zeros[64] = {0};
    op_case c;
    op_case_begin(&c, PQ_OP_RNN);
    op_case_in(&c, PTQC_F32, DIMS(2, 1, 1), zeros);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1), zeros);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1), zeros);
    op_case_absent(&c);
    op_case_in(&c, PTQC_I32, DIMS(1), (int32_t[]){3});
    pq_build_i64(&c.b, PQ_ATTR_HIDDEN, 1);
    op_case_try(&c);
    assert_int_equal(c.st, PTQC_E_INPUT);
    assert_non_null(strstr(c.sink.text, "length 3 of 2"));
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lstm),
        cmocka_unit_test(gru),
        cmocka_unit_test(rnn),
        cmocka_unit_test(bad_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
