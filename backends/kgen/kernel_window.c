// SPDX-License-Identifier: Apache-2.0
//
// POOL steps (skeletons/pool.kg): channels last, f32 and codes. Maxima and
// averages are those of docs/numerics.md bit for bit, taps in its order.
#include "module.h"
#include "params.h"

// Parameters: lower_window.c.
#define INCLUDE_PAD 1
#define SPATIAL     2
#define FIRST_LIST  3 // kernel, strides, dilations, pads, pads at the end
#define X_SCALE     18
#define Y_SCALE     19
#define X_ZERO      20
#define Y_ZERO      21
#define CODE_LOW    22
#define CODE_HIGH   23

static bool
is_code(uint32_t dtype)
{
    return dtype == PTQC_U8 || dtype == PTQC_I8;
}

// Why there is no such pooling; NULL: there is.
static const char *
pool_fault(const pq_kg_job *job)
{
    const pq_kg_tensor *x = pq_kg_in(job, 0), *y = pq_kg_out(job, 0);
    int64_t kind = pq_kg_i64(job, 0), spatial = pq_kg_i64(job, SPATIAL);
    if (x == NULL || y == NULL ||
        !(is_code(x->dtype) || x->dtype == PTQC_F32)) {
        return "pooling of this type";
    }
    // Averages are requantized: signed codes may become unsigned ones.
    bool are_codes = is_code(x->dtype) && is_code(y->dtype);
    if (x->dtype != y->dtype && !(are_codes && kind == PQ_POOL_AVG)) {
        return "pooling of this type";
    }
    bool fits = (kind == PQ_POOL_MAX || kind == PQ_POOL_AVG) && spatial >= 1 &&
                spatial <= 3 && x->rank == spatial + 2 && y->rank == x->rank;
    return fits ? NULL : "pooling of this rank";
}

// What becomes of acc: `result`.
static const char *
finish_text(bool is_average, bool codes)
{
    return !is_average ? "ACC result = acc;\n"
           : codes     ? "i32 sum = acc - I32(inside) * x_zero;\n"
                         "PRECISE f32 m = ratio * div_exact(1.0f, F32(taps));\n"
                         "PRECISE f32 t = F32(sum) * m;\n"
                         "t = taps > 0u ? t : 0.0f;\n"
                         "i32 result = code_of(t, code_low, code_high, y_zero);\n"
                       : "f32 result = div_exact(acc, F32(taps));\n";
}

static const char *
start_text(const pq_kg_job *job)
{
    uint32_t dtype = pq_kg_in(job, 0)->dtype;
    return pq_kg_i64(job, 0) == PQ_POOL_AVG ? (is_code(dtype) ? "0" : "0.0f")
                                            : (dtype == PTQC_F32  ? "-INF_F32"
                                               : dtype == PTQC_I8 ? "-128"
                                                                  : "0");
}

void
pq_kg_source_pool(pq_kg_module *m)
{
    static const char *const LISTS[] = {"in_size", "out_size", "window",
                                        "step_of", "dilation", "pad",
                                        "pad_end"};
    const char *why = pool_fault(m->job);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    uint32_t dtype = pq_kg_in(m->job, 0)->dtype;
    bool average = pq_kg_i64(m->job, 0) == PQ_POOL_AVG, codes = is_code(dtype);
    bool include = average && pq_kg_i64(m->job, INCLUDE_PAD) != 0;
    pq_kg_module_name(m, "%s_pool_%s%s", average ? "avg" : "max",
                      pq_kg_dtype_name(dtype), include ? "_padded" : "");
    m->uses |= PQ_KG_USES_VALUES | PQ_KG_USES_EXACT;
    pq_kg_module_define(m, "ACC", "%s", codes ? "i32" : "f32");
    pq_kg_module_define(m, "START", "%s", start_text(m->job));
    pq_kg_module_define(m, "LOAD(i)",
                        codes ? "I32(LD_%s(x, i))" : "LD_%s(x, i)",
                        pq_kg_dtype_name(dtype));
    pq_kg_module_define(m, "MERGE(a, b)", "%s",
                        average ? "(a) + (b)"
                        : codes ? "((a) > (b) ? (a) : (b))"
                                : "max_f32(a, b)");
    pq_kg_module_define(m, "INCLUDE_PAD", "%d", include ? 1 : 0);
    pq_kg_module_word(m, "count");
    pq_kg_module_word(m, "words_out");
    pq_kg_module_word(m, "channels");
    for (uint32_t i = 0; i < 7; i++) {
        pq_kg_module_words(m, LISTS[i], 3);
    }
    if (average && codes) {
        pq_kg_module_define(m, "ratio", "AS_F32(ratio_bits)");
        pq_kg_module_word(m, "ratio_bits");
        static const char *const CODES[] = {"x_zero", "y_zero", "code_low",
                                            "code_high"};
        pq_kg_module_words(m, "code_words", 4);
        for (uint32_t i = 0; i < 4; i++) {
            pq_kg_module_define(m, CODES[i], "I32(code_words(%uu))", i);
        }
    }
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_module_buffer(m, 1, "y", PQ_KG_WRITES);
    pq_kg_module_hook(m, "finish", finish_text(average, codes));
    pq_kg_module_store(m, pq_kg_out(m->job, 0)->dtype, "result");
    pq_kg_module_body(m, pq_kg_text_pool);
}

// Windows and positions that 31 bits cannot hold fail the launch.
static void
need_small(pq_kg_launcher *l, const pq_kg_tensor *y, uint32_t spatial)
{
    const int64_t most = INT32_MAX / 4;
    for (uint32_t i = 0; i < 3; i++) {
        int64_t out = i + spatial >= 3 ? y->dims[i + spatial - 2] : 1;
        int64_t v[5];
        for (uint32_t k = 0; k < 5; k++) {
            v[k] = pq_kg_i64(l->job, FIRST_LIST + 3 * k + i);
            PQ_KG_NEED(l, v[k] >= (k < 3 ? 1 : 0) && v[k] <= most);
        }
        if (l->st == PTQC_BE_OK) { // products of numbers below 2^31
            PQ_KG_NEED(l, v[0] * v[2] <= most && out * v[1] <= most);
        }
    }
}

// Sizes of the three axes of [N][spatial][C].
static void
put_sizes(pq_kg_launcher *l, const pq_kg_tensor *t, uint32_t spatial)
{
    for (uint32_t i = 0; i < 3; i++) {
        pq_kg_put(l, i + spatial >= 3 ? t->dims[i + spatial - 2] : 1);
    }
}

void
pq_kg_launch_pool(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    const char *why = pool_fault(l->job);
    int64_t count;
    if (!pq_kg_launch_need(l, why == NULL, why) ||
        !PQ_KG_NEED(l, x->dims[0] == y->dims[0] &&
                           x->dims[x->rank - 1] == y->dims[y->rank - 1])) {
        return;
    }
    uint32_t spatial = (uint32_t)pq_kg_i64(l->job, SPATIAL);
    need_small(l, y, spatial);
    (void)pq_kg_count(y, &count);
    int64_t words = pq_kg_words_of(y->dtype, count);
    pq_kg_put(l, count);
    pq_kg_put(l, words);
    pq_kg_put(l, x->dims[x->rank - 1]);
    put_sizes(l, x, spatial);
    put_sizes(l, y, spatial);
    for (uint32_t i = 0; i < 15; i++) {
        pq_kg_put(l, pq_kg_i64(l->job, FIRST_LIST + i));
    }
    if (pq_kg_i64(l->job, 0) == PQ_POOL_AVG && is_code(x->dtype)) {
        pq_kg_put_f32(l,
                      pq_kg_f32(l->job, X_SCALE) / pq_kg_f32(l->job, Y_SCALE));
        for (uint32_t i = X_ZERO; i <= CODE_HIGH; i++) {
            pq_kg_put_i32(l, pq_kg_i64(l->job, i));
        }
    }
    pq_kg_launch_items(l, words, pq_kg_flat_local(l->limits));
    int64_t window[3];
    for (uint32_t i = 0; i < 3; i++) {
        window[i] = pq_kg_i64(l->job, FIRST_LIST + i);
        window[i] = window[i] < 1 << 20 ? window[i] : 1 << 20;
    }
    int64_t taps = window[0] * window[1] * window[2]; // below 2^61
    int64_t lines = window[0] + window[1] + window[2] + 6;
    int64_t lanes = 4 / pq_kg_element_bytes(y->dtype);
    pq_kg_launch_turns(l, lanes * (taps + window[0] * window[1] + lines));
    l->out->work_ops = (uint64_t)count * (uint64_t)taps;
}
