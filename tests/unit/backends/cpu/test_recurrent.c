// SPDX-License-Identifier: Apache-2.0
//
// lstm, gru and rnn against a scalar reference, bit for bit, at every level,
// with one worker and with threads that meet at a real barrier.
#include <math.h>
#include <pthread.h>

#include "backends/cpu/recurrent.h"
#include "base/mathfn.h"
#include "cpu_host.h"

typedef struct problem {
    pq_recurrent_desc desc;
    int has_bias, has_state, has_peephole;
    float *x, *w, *r, *bias, *peephole, *h0, *c0;
    float *y, *y_h, *y_c;          // ours
    float *want, *want_h, *want_c; // the reference's
    int64_t gates, directions;
} problem;

static float *
make(int64_t n, uint32_t seed, float scale)
{
    float *p = malloc((size_t)(n + 1) * sizeof *p);
    assert_non_null(p);
    p[n] = 0.0f; // a guard
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = ((float)(seed >> 8 & 0xffff) - 32768.0f) * scale / 32768.0f;
    }
    return p;
}

static void
problem_init(problem *p)
{
    const pq_recurrent_desc *d = &p->desc;
    p->gates = d->kind == PQ_RECURRENT_LSTM  ? 4
               : d->kind == PQ_RECURRENT_GRU ? 3
                                             : 1;
    p->directions = d->direction == 2 ? 2 : 1;
    int64_t rows = p->directions * p->gates * d->hidden;
    int64_t state = p->directions * d->batch * d->hidden;
    p->x = make(d->steps * d->batch * d->input, 1, 2.0f);
    p->w = make(rows * d->input, 2, 0.7f);
    p->r = make(rows * d->hidden, 3, 0.7f);
    p->bias = make(rows * 2, 4, 0.5f);
    p->peephole = make(p->directions * 3 * d->hidden, 5, 0.5f);
    p->h0 = make(state, 6, 1.0f);
    p->c0 = make(state, 7, 1.0f);
    p->y = make(state * d->steps, 8, 0.0f);
    p->y_h = make(state, 8, 0.0f);
    p->y_c = make(state, 8, 0.0f);
    p->want = make(state * d->steps, 8, 0.0f);
    p->want_h = make(state, 8, 0.0f);
    p->want_c = make(state, 8, 0.0f);
    p->desc.peephole = p->has_peephole != 0;
}

static void
problem_deinit(problem *p)
{
    float *all[] = {p->x, p->w,   p->r,   p->bias, p->peephole, p->h0,    p->c0,
                    p->y, p->y_h, p->y_c, p->want, p->want_h,   p->want_c};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

// ---- reference -----------------------------------------------------------

static float
dot(const float *a, const float *w, int64_t n)
{
    float acc = 0.0f;
    for (int64_t k = 0; k < n; k++) {
        acc = fmaf(a[k], w[k], acc);
    }
    return acc;
}

// (x part + (wb + rb)) + h part
static float
gate(const problem *p, int64_t dir, int64_t g, int64_t j, const float *x,
     const float *h)
{
    const pq_recurrent_desc *d = &p->desc;
    int64_t row = (dir * p->gates + g) * d->hidden + j;
    const float *b = p->bias + dir * 2 * p->gates * d->hidden;
    float wb = p->has_bias ? b[g * d->hidden + j] : 0.0f;
    float rb = p->has_bias ? b[(p->gates + g) * d->hidden + j] : 0.0f;
    float bias = wb + rb;
    float sum = dot(x, p->w + row * d->input, d->input) + bias;
    return sum + dot(h, p->r + row * d->hidden, d->hidden);
}

static void
ref_lstm(const problem *p, int64_t dir, const float *x, const float *h,
         float *c, float *h_next)
{
    int64_t n = p->desc.hidden;
    const float *q = p->peephole + dir * 3 * n;
    for (int64_t j = 0; j < n; j++) {
        float i = gate(p, dir, 0, j, x, h), o = gate(p, dir, 1, j, x, h);
        float f = gate(p, dir, 2, j, x, h), g = gate(p, dir, 3, j, x, h);
        if (p->has_peephole) {
            i = fmaf(q[j], c[j], i);
            f = fmaf(q[2 * n + j], c[j], f);
        }
        float ig = pq_sigmoidf(i) * pq_tanhf(g);
        c[j] = fmaf(pq_sigmoidf(f), c[j], ig);
        o = p->has_peephole ? fmaf(q[n + j], c[j], o) : o;
        h_next[j] = pq_sigmoidf(o) * pq_tanhf(c[j]);
    }
}

static float
ref_linear(const problem *p, int64_t dir, int64_t j, float r, const float *x,
           const float *h)
{
    const pq_recurrent_desc *d = &p->desc;
    int64_t row = (dir * 3 + 2) * d->hidden + j;
    const float *b = p->bias + dir * 6 * d->hidden;
    float wb = p->has_bias ? b[2 * d->hidden + j] : 0.0f;
    float rb = p->has_bias ? b[5 * d->hidden + j] : 0.0f;
    float rec = dot(h, p->r + row * d->hidden, d->hidden) + rb;
    float reset = r * rec;
    return pq_tanhf((dot(x, p->w + row * d->input, d->input) + wb) + reset);
}

static void
ref_gru(const problem *p, int64_t dir, const float *x, const float *h,
        float *h_next)
{
    int64_t n = p->desc.hidden;
    float *rh = make(n, 0, 0.0f);
    for (int64_t j = 0; j < n; j++) {
        rh[j] = pq_sigmoidf(gate(p, dir, 1, j, x, h)) * h[j];
    }
    for (int64_t j = 0; j < n; j++) {
        float z = pq_sigmoidf(gate(p, dir, 0, j, x, h));
        float r = pq_sigmoidf(gate(p, dir, 1, j, x, h));
        float v = p->desc.linear_before_reset
                      ? ref_linear(p, dir, j, r, x, h)
                      : pq_tanhf(gate(p, dir, 2, j, x, rh));
        h_next[j] = fmaf(z, h[j] - v, v);
    }
    free(rh);
}

static void
reference(problem *p)
{
    const pq_recurrent_desc *d = &p->desc;
    size_t bytes = (size_t)d->hidden * sizeof(float);
    float *next = make(d->hidden, 0, 0.0f);
    for (int64_t i = 0; i < p->directions * d->batch; i++) {
        int64_t dir = i / d->batch, b = i % d->batch;
        float *h = p->want_h + i * d->hidden, *c = p->want_c + i * d->hidden;
        memset(h, 0, bytes);
        memset(c, 0, bytes);
        if (p->has_state) {
            memcpy(h, p->h0 + i * d->hidden, bytes);
            memcpy(c, p->c0 + i * d->hidden, bytes);
        }
        for (int64_t s = 0; s < d->steps; s++) {
            int64_t t = d->direction == 1 || dir == 1 ? d->steps - 1 - s : s;
            const float *x = p->x + (t * d->batch + b) * d->input;
            if (d->kind == PQ_RECURRENT_LSTM) {
                ref_lstm(p, dir, x, h, c, next);
            } else if (d->kind == PQ_RECURRENT_GRU) {
                ref_gru(p, dir, x, h, next);
            } else {
                for (int64_t j = 0; j < d->hidden; j++) {
                    next[j] = pq_tanhf(gate(p, dir, 0, j, x, h));
                }
            }
            memcpy(h, next, bytes);
            memcpy(p->want +
                       ((t * p->directions + dir) * d->batch + b) * d->hidden,
                   next, bytes);
        }
    }
    free(next);
}

// ---- running -------------------------------------------------------------

typedef struct thread_work {
    const pq_recurrent *cell;
    const pq_recurrent_io *io;
    pq_worker worker;
    pthread_barrier_t *barrier;
} thread_work;

static void
meet(void *region)
{
    pthread_barrier_wait(region);
}

static void *
thread_main(void *user)
{
    thread_work *t = user;
    pq_recurrent_run(t->cell, t->io, &t->worker, meet, t->barrier);
    return NULL;
}

static void
run_workers(const pq_recurrent *cell, const pq_recurrent_io *io, uint32_t count)
{
    thread_work work[4];
    pthread_t threads[4];
    pthread_barrier_t barrier;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, count), 0);
    for (uint32_t i = 0; i < count; i++) {
        work[i] =
            (thread_work){cell, io, {.index = i, .count = count}, &barrier};
        assert_int_equal(
            pthread_create(&threads[i], NULL, thread_main, &work[i]), 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
}

static void
check_problem(pq_jit *jit, problem *p, uint32_t workers)
{
    const pq_recurrent_desc *d = &p->desc;
    problem_init(p);
    reference(p);
    pq_recurrent_weights weights = {.w = p->w,
                                    .r = p->r,
                                    .bias = p->has_bias ? p->bias : NULL,
                                    .peephole =
                                        p->has_peephole ? p->peephole : NULL};
    uint64_t bytes = pq_recurrent_weight_bytes(d);
    assert_int_equal(bytes % 64, 0);
    void *blob = cpu_host_alloc(NULL, bytes, 64);
    pq_recurrent_weight_pack(d, &weights, blob);
    pq_recurrent *cell = NULL;
    assert_int_equal(pq_recurrent_prepare(jit, NULL, d, &cell), PTQC_BE_OK);
    uint64_t shared_bytes = pq_recurrent_shared_bytes(cell);
    void *shared = cpu_host_alloc(NULL, shared_bytes, 64);
    memset(shared, 0xff, shared_bytes); // NaN, where something is not set
    pq_recurrent_io io = {.weights = blob,
                          .x = p->x,
                          .h0 = p->has_state ? p->h0 : NULL,
                          .c0 = p->has_state ? p->c0 : NULL,
                          .y = p->y,
                          .y_h = p->y_h,
                          .y_c = p->y_c,
                          .shared = shared};
    run_workers(cell, &io, workers);
    size_t state =
        (size_t)(p->directions * d->batch * d->hidden) * sizeof(float);
    assert_memory_equal(p->y, p->want, state * (size_t)d->steps + 1);
    assert_memory_equal(p->y_h, p->want_h, state + 1);
    if (d->kind == PQ_RECURRENT_LSTM) {
        assert_memory_equal(p->y_c, p->want_c, state + 1);
    }
    pq_recurrent_destroy(cell);
    free(shared);
    free(blob);
    problem_deinit(p);
}

static void
cells(pq_jit *jit)
{
    // steps, batch, input, hidden
    static const int64_t sizes[][4] = {{5, 1, 7, 10}, {3, 5, 16, 16},
                                       {4, 2, 1, 33}, {2, 9, 40, 50},
                                       {1, 1, 3, 1},  {0, 2, 3, 20}};
    for (uint32_t i = 0; i < 6; i++) {
        for (uint32_t form = 0; form < 4 * 3 * 2; form++) {
            problem p = {.desc = {.kind = form % 4 % 3,
                                  .direction = form / 4 % 3,
                                  .linear_before_reset = form % 4 == 3,
                                  .steps = sizes[i][0],
                                  .batch = sizes[i][1],
                                  .input = sizes[i][2],
                                  .hidden = sizes[i][3]},
                         .has_bias = form / 12 == 0,
                         .has_state = form / 12 == 0,
                         .has_peephole = form / 12 == 0};
            if (form % 4 == 3) {
                p.desc.kind = PQ_RECURRENT_GRU;
            }
            check_problem(jit, &p, 1);
            check_problem(jit, &p, 3);
        }
    }
}

static void
test_cells(void **state)
{
    (void)state;
    cpu_host_each_level(cells);
}

static void
refusals(pq_jit *jit)
{
    pq_recurrent *cell = NULL;
    pq_recurrent_desc d = {.steps = 1, .batch = 1, .input = 0, .hidden = 4};
    assert_int_equal(pq_recurrent_weight_bytes(&d), 0);
    assert_int_equal(pq_recurrent_prepare(jit, NULL, &d, &cell),
                     PTQC_BE_UNSUPPORTED);
    d.input = INT64_MAX;
    assert_int_equal(pq_recurrent_weight_bytes(&d), 0);
    assert_null(cell);
}

static void
test_refusals(void **state)
{
    (void)state;
    cpu_host_each_level(refusals);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
