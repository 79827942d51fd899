// SPDX-License-Identifier: Apache-2.0
//
// The factor of a layer's inputs, see gptq.h: order of columns, guard, damping
// ladder, Cholesky. Deviations from the references: the mean diagonal is that
// of inputs that were seen (dead ones would make the damping smaller), and
// dead inputs need no 1 on the diagonal, the damping is one.

#include "quant/factor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/threads.h"

#define DAMPING_STEP 4.0f // of the ladder
#define DAMPING_MAX  1.0f // its end, unless it begins higher

#define GUARD_TOKENS  4   // per input: fewer always raise the damping
#define FULL_TOKENS   8   // per input: what to ask for
#define SHRINKAGE_MAX 0.9 // damping 9: all but rounding

const char *
pq_column_order_name(pq_column_order order)
{
    switch (order) {
    case PQ_ORDER_GROUP:
        return "group";
    case PQ_ORDER_GIVEN:
        return "given";
    case PQ_ORDER_DIAGONAL:
        return "diagonal";
    }
    return "unknown";
}

// ---- order ----------------------------------------------------------------

// What columns are sorted by, descending; ties keep their order.
typedef struct pq_column_key {
    float group; // largest diagonal of the group
    float diagonal;
    int64_t first; // of the group
    int64_t column;
} pq_column_key;

static int
compare_keys(const void *a, const void *b)
{
    const pq_column_key *x = a;
    const pq_column_key *y = b;
    if (x->group != y->group) { // copies of one number, or different ones
        return x->group > y->group ? -1 : 1;
    }
    if (x->first != y->first) {
        return x->first < y->first ? -1 : 1;
    }
    if (x->diagonal != y->diagonal) {
        return x->diagonal > y->diagonal ? -1 : 1;
    }
    return x->column < y->column ? -1 : 1;
}

static void
set_group_keys(pq_column_key *keys, const pq_factor_desc *desc)
{
    int64_t step = desc->order == PQ_ORDER_GROUP && desc->group > 0
                       ? desc->group
                       : desc->d;
    for (int64_t first = 0; first < desc->d; first += step) {
        int64_t end = desc->d - first < step ? desc->d : first + step;
        float largest = 0;
        for (int64_t i = first; i < end; i++) {
            largest = fmaxf(largest, keys[i].diagonal);
        }
        for (int64_t i = first; i < end; i++) {
            keys[i].group = largest;
            keys[i].first = first;
        }
    }
}

static ptqc_status
sort_columns(ptqc_ctx *ctx, const pq_factor_desc *desc, pq_factor *f)
{
    pq_column_key *keys = pq_alloc_array(ctx, (size_t)desc->d, sizeof *keys);
    PQ_TRY_ALLOC(keys);
    for (int64_t i = 0; i < desc->d; i++) {
        float diagonal = desc->h[i * desc->d + i];
        keys[i].diagonal = isfinite(diagonal) ? diagonal : 0;
        keys[i].column = i;
    }
    if (desc->order != PQ_ORDER_GIVEN) {
        set_group_keys(keys, desc);
        qsort(keys, (size_t)desc->d, sizeof *keys, compare_keys);
    }
    for (int64_t i = 0; i < desc->d; i++) {
        f->order[i] = keys[i].column;
    }
    pq_free(ctx, keys);
    return PTQC_OK;
}

// ---- what the matrix is like ----------------------------------------------

typedef struct pq_rows_job {
    const pq_factor_desc *desc;
    pq_factor *f;
    float damping;   // scaled, added to the diagonal
    double *squares; // [d] sums of squares of the matrix, by rows of its lower
                     // triangle; NaN when a number is not finite
} pq_rows_job;

static void
square_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_rows_job *job = user;
    const float *h = job->desc->h;
    (void)worker;
    for (uint64_t i = begin; i < end; i++) {
        const float *row = h + i * (uint64_t)job->desc->d;
        double diagonal = (double)row[i];
        double sum = 0;
        for (uint64_t j = 0; j < i; j++) {
            sum += (double)row[j] * (double)row[j];
        }
        // 0 * x is NaN when x is not finite.
        sum = 2 * sum + diagonal * diagonal + 0 * sum;
        job->squares[i] = diagonal < 0 ? (double)NAN : sum;
    }
}

// tr(h h); NaN when a number is not finite or the diagonal is negative
// somewhere.
static ptqc_status
sum_squares(ptqc_ctx *ctx, const pq_factor_desc *desc, double *out_sum)
{
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    double *squares = pq_alloc_array(ctx, (size_t)desc->d, sizeof *squares);
    PQ_TRY_ALLOC(squares);
    pq_rows_job job = {.desc = desc, .squares = squares};
    pq_pool_for(pool, (uint64_t)desc->d, 16, square_rows, &job);
    *out_sum = 0;
    for (int64_t i = 0; i < desc->d; i++) {
        *out_sum += squares[i];
    }
    pq_free(ctx, squares);
    return PTQC_OK;
}

// Mean diagonal of the inputs that were seen; 0 when none was.
static double
measure_diagonal(const pq_factor_desc *desc, pq_factor *f)
{
    double sum = 0;
    for (int64_t i = 0; i < desc->d; i++) {
        float diagonal = desc->h[i * desc->d + i];
        f->is_dead[i] = diagonal == 0; // exact: a sum of squares
        f->report.dead_count += f->is_dead[i];
        sum += (double)diagonal;
    }
    int64_t seen = desc->d - f->report.dead_count;
    return seen > 0 ? sum / (double)seen : 0;
}

// ---- factor ---------------------------------------------------------------

// Rows of scaling * (h + damping I) in order, upper triangle.
static void
copy_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_rows_job *job = user;
    const pq_factor *f = job->f;
    float scaling = (float)f->scaling;
    (void)worker;
    for (int64_t i = (int64_t)begin; i < (int64_t)end; i++) {
        float *out = f->r + i * f->d;
        int64_t row = f->order[i];
        for (int64_t j = i; j < f->d; j++) {
            int64_t col = f->order[j];
            const float *h = row > col ? job->desc->h + row * f->d + col
                                       : job->desc->h + col * f->d + row;
            out[j] = *h * scaling;
        }
        out[i] += job->damping;
    }
}

static void
measure_gain(pq_factor *f, double mean)
{
    double kept = 0;
    double whole = 0;
    for (int64_t i = 0; i < f->d; i++) {
        double root = (double)f->r[i * f->d + i];
        kept += root * root;
    }
    whole = (double)(f->d - f->report.dead_count) * mean * f->scaling +
            (double)f->d * f->damping * f->scaling;
    f->report.gain = kept / whole;
}

// Dampings until the factor exists. *out_is_done: one was enough.
static ptqc_status
climb(ptqc_ctx *ctx, const pq_factor_desc *desc, double mean, pq_factor *f,
      bool *out_is_done)
{
    pq_rows_job job = {.desc = desc, .f = f};
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    float damping = f->report.damping;
    float last = fmaxf(damping, DAMPING_MAX);
    for (*out_is_done = false; damping <= last; damping *= DAMPING_STEP) {
        int64_t bad;
        job.damping = (float)((double)damping * mean * f->scaling);
        pq_pool_for(pool, (uint64_t)f->d, 16, copy_rows, &job);
        PQ_TRY(pq_cholesky(ctx, f->r, f->d, &bad));
        if (bad < 0) {
            f->report.damping = damping;
            f->damping = (double)job.damping / f->scaling;
            *out_is_done = true;
            return PTQC_OK;
        }
        f->report.ladder_steps++;
    }
    return PTQC_OK;
}

static void
become_plain(ptqc_ctx *ctx, pq_factor *f)
{
    pq_free(ctx, f->r);
    f->r = NULL;
    f->damping = 0;
    f->report.gain = 1;
    f->report.is_plain = true;
}

double
pq_shrinking_damping(double n, double d, double trace, double squares)
{
    double spread = squares - trace * trace / d;
    double above = (1 - 2 / d) * squares + trace * trace;
    double below = (n + 1 - 2 / d) * spread;
    double p = below > 0 ? above / below : 1;
    p = p < SHRINKAGE_MAX ? p : SHRINKAGE_MAX;
    return p / (1 - p);
}

// Few tokens estimate a Gram matrix badly, and the damping must make up for it
// (algorithms 1.4). A damping that was asked for is kept where they are not
// few.
static void
choose_damping(ptqc_ctx *ctx, const pq_factor_desc *desc, const char *name,
               double mean, double squares, pq_factor *f)
{
    double seen = (double)(desc->d - f->report.dead_count);
    double n = desc->tokens;
    bool is_few = n > 0 && n < GUARD_TOKENS * (double)desc->d;
    f->report.damping = desc->damping > 0 ? desc->damping : PQ_DAMPING;
    if (is_few || (n > 0 && !(desc->damping > 0))) {
        double least = pq_shrinking_damping(n, seen, mean * seen, squares);
        f->report.damping = fmaxf(f->report.damping, (float)least);
    }
    if (is_few) {
        f->report.tokens_needed = FULL_TOKENS * (double)desc->d;
    }
    if (is_few && !desc->is_warned) {
        pq_say(ctx, PTQC_SEVERITY_WARNING,
               "%s: %.0f calibration tokens are few for %lld inputs, damping "
               "%.2g is used; %.0f tokens are enough",
               name, n, (long long)desc->d, (double)f->report.damping,
               f->report.tokens_needed);
    }
}

static ptqc_status
fill(ptqc_ctx *ctx, const pq_factor_desc *desc, pq_factor *f)
{
    const char *name = desc->name != NULL ? desc->name : "layer";
    double squares;
    PQ_TRY(sort_columns(ctx, desc, f));
    PQ_TRY(sum_squares(ctx, desc, &squares));
    double mean = measure_diagonal(desc, f);
    if (!isfinite(squares) || !(mean > 0)) {
        pq_say(ctx, PTQC_SEVERITY_WARNING,
               isfinite(squares)
                   ? "%s: its inputs were always 0 in calibration: its weights "
                     "are rounded one by one"
                   : "%s: the Gram matrix of its inputs has numbers that are "
                     "not finite: its weights are rounded one by one",
               name);
        become_plain(ctx, f);
        return PTQC_OK;
    }
    choose_damping(ctx, desc, name, mean, squares, f);
    f->scaling = ldexp(1, -ilogb(fmin(fmax(mean, 0x1p-126), 0x1p126)));
    bool is_done;
    PQ_TRY(climb(ctx, desc, mean, f, &is_done));
    if (!is_done) {
        pq_say(ctx, PTQC_SEVERITY_WARNING,
               "%s: the Gram matrix of its inputs has no Cholesky factor even "
               "with damping %g: its weights are rounded one by one",
               name, (double)DAMPING_MAX);
        become_plain(ctx, f);
        return PTQC_OK;
    }
    measure_gain(f, mean);
    if (f->report.ladder_steps > 0) {
        pq_say(ctx, PTQC_SEVERITY_WARNING,
               "%s: damping raised to %g, below it the Gram matrix of its "
               "inputs has no Cholesky factor",
               name, (double)f->report.damping);
    }
    return PTQC_OK;
}

static ptqc_status
create(ptqc_ctx *ctx, const pq_factor_desc *desc, pq_factor *f)
{
    size_t d = (size_t)desc->d;
    size_t row_bytes;
    f->d = desc->d;
    f->scaling = 1;
    if (desc->d <= 0 || !pq_mul_size(d, sizeof *f->r, &row_bytes)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE, "a layer of %lld inputs",
                       (long long)desc->d);
    }
    f->order = pq_alloc_array(ctx, d, sizeof *f->order);
    PQ_TRY_ALLOC(f->order);
    f->is_dead = pq_alloc_array(ctx, d, sizeof *f->is_dead);
    PQ_TRY_ALLOC(f->is_dead);
    f->r = pq_alloc_array(ctx, d, row_bytes);
    PQ_TRY_ALLOC(f->r);
    return fill(ctx, desc, f);
}

ptqc_status
pq_factor_create(ptqc_ctx *ctx, const pq_factor_desc *desc, pq_factor **out)
{
    *out = NULL;
    pq_factor *f = pq_alloc(ctx, sizeof *f);
    PQ_TRY_ALLOC(f);
    ptqc_status st = create(ctx, desc, f);
    if (st != PTQC_OK) {
        pq_factor_destroy(ctx, f);
        return st;
    }
    *out = f;
    return PTQC_OK;
}

void
pq_factor_destroy(ptqc_ctx *ctx, pq_factor *f)
{
    if (f != NULL) {
        pq_free(ctx, f->order);
        pq_free(ctx, f->is_dead);
        pq_free(ctx, f->r);
        pq_free(ctx, f);
    }
}

const pq_factor_report *
pq_factor_get_report(const pq_factor *f)
{
    return &f->report;
}

double
pq_factor_damping(const pq_factor *f)
{
    return f->damping;
}
