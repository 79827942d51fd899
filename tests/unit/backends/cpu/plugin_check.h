// SPDX-License-Identifier: Apache-2.0
//
// One graph in the text form through the whole cpu plugin (check, compile,
// load, run), at every level of the machine and with several workers, against
// the interpreter: bit for bit.
//
// In the text, "$f32[2, 3]" after "const c1: " stands for a constant with
// random elements: floats in [-1, 1), i8, u8, i4, u4, f8 any code, i32 in
// [-500, 500]; "$half[2, 3]" is f32 whose numbers are exactly f16.
#ifndef PTQC_TESTS_PLUGIN_CHECK_H
#define PTQC_TESTS_PLUGIN_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/jit.h"
#include "base/dtype.h"
#include "base/float16.h"
#include "ir/block.h"
#include "ir/interp/interp.h"
#include "ir/text.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/plugin_host.h"
#include "tests/support/random.h"

#define PLUGIN_TEXT_BYTES (1u << 20)
#define PLUGIN_VALUES     16u

ptqc_be_status ptqc_plugin_query_v0(const ptqc_host *offer,
                                    const ptqc_plugin **out);

// A line of quantization in a case's text; all arguments are literals.
#define PLUGIN_QUANT(name, format, kind, axis, group, scales, zeros)           \
    "quant " name " = {format = " format ", granularity = " kind               \
    ", axis = " axis ", group = " group ", symmetric = 0, dynamic = 0, "       \
    "scale = " scales ", zero_point = " zeros "}\n"

typedef struct plugin_case {
    const char *name;
    const char *text;   // after "ptir 1"; names its own stage
    int64_t symbols[4]; // values of the symbols, in order
    int64_t symbol_count;
    int64_t index_limit; // integer inputs are in [-limit, limit)
} plugin_case;

static const char *const plugin_targets[] = {"cpu;avx2", "cpu;avx512",
                                             "cpu;vnni", "cpu"};

// ---- text ------------------------------------------------------------------

static inline size_t
plugin_random_list(char *out, size_t room, const char *type, int64_t count,
                   pq_test_random *r)
{
    size_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        const char *comma = i > 0 ? ", " : "";
        int w;
        if (strcmp(type, "f32") == 0) {
            w = snprintf(out + n, room - n, "%s%.9g", comma,
                         (double)pq_test_random_f32(r, -1.0f, 1.0f));
        } else if (strcmp(type, "half") == 0) {
            w = snprintf(out + n, room - n, "%s%.9g", comma,
                         (double)pq_test_random_int(r, -2047, 2047) / 2048);
        } else {
            int64_t low = strcmp(type, "i8") == 0   ? -127
                          : strcmp(type, "u8") == 0 ? 0
                          : strcmp(type, "i4") == 0 ? -7
                          : strcmp(type, "u4") == 0 ? 0
                                                    : -500;
            int64_t high = strcmp(type, "i8") == 0   ? 127
                           : strcmp(type, "u8") == 0 ? 255
                           : strcmp(type, "i4") == 0 ? 7
                           : strcmp(type, "u4") == 0 ? 15
                                                     : 500;
            w = snprintf(out + n, room - n, "%s%lld", comma,
                         (long long)pq_test_random_int(r, low, high));
        }
        assert_true(w > 0 && n + (size_t)w < room);
        n += (size_t)w;
    }
    return n;
}

// f16 or bf16 in (-1, 1), or any bytes of f8, f4, nf4, u4 and i4 (rows of even
// length).
static inline size_t
plugin_random_bytes(char *out, size_t room, const char *type, int64_t count,
                    pq_test_random *r)
{
    bool is_half = strcmp(type, "f16") == 0, is_bf = strcmp(type, "bf16") == 0;
    bool is_f8 = strstr(type, "f8") != NULL;
    size_t bytes = (size_t)(is_half || is_bf ? 2 * count
                            : is_f8          ? count
                                             : count / 2);
    uint8_t *p = malloc(bytes + 1);
    assert_non_null(p);
    pq_test_fill_bytes(r, p, bytes);
    for (size_t i = 0; (is_half || is_bf) && i < bytes; i += 2) {
        float x = pq_test_random_f32(r, -1.0f, 1.0f);
        uint16_t half = is_half ? pq_f32_to_f16(x) : pq_f32_to_bf16(x);
        memcpy(p + i, &half, 2);
    }
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0, whole = (bytes + 2) / 3 * 4;
    assert_true(whole + 16 < room);
    n += (size_t)snprintf(out, room, "base64 \"");
    for (size_t i = 0; i < bytes; i += 3) {
        uint32_t bits = (uint32_t)p[i] << 16;
        bits |= i + 1 < bytes ? (uint32_t)p[i + 1] << 8 : 0;
        bits |= i + 2 < bytes ? p[i + 2] : 0;
        out[n++] = digits[bits >> 18];
        out[n++] = digits[bits >> 12 & 63];
        out[n++] = i + 1 < bytes ? digits[bits >> 6 & 63] : '=';
        out[n++] = i + 2 < bytes ? digits[bits & 63] : '=';
    }
    out[n++] = '"';
    free(p);
    return n;
}

// Replaces "$type[dims]" by "type[dims] = [...]", or base64.
static inline size_t
plugin_expand(const char *from, char *out, size_t room)
{
    pq_test_random r = pq_test_random_seed(11);
    size_t n = 0;
    while (*from != '\0') {
        if (*from != '$') {
            out[n++] = *from++;
            assert_true(n < room);
            continue;
        }
        const char *end = strchr(from, ']');
        const char *open = strchr(from, '[');
        assert_true(end != NULL && open != NULL && open < end);
        char type[8];
        snprintf(type, sizeof type, "%.*s", (int)(open - from - 1), from + 1);
        int64_t count = 1, last = 1;
        for (const char *p = open + 1; p < end;) {
            last = strtoll(p, NULL, 10);
            count *= last;
            p += strcspn(p, ",]") + 1;
        }
        if (strstr("u4 i4 f4e2m1 nf4", type) != NULL && last % 2 != 0) {
            count = count / last * (last + 1); // rows start on a byte
        }
        n += (size_t)snprintf(out + n, room - n, "%s%.*s = ",
                              strcmp(type, "half") == 0 ? "f32" : type,
                              (int)(end + 1 - open), open);
        from = end + 1;
        if (strstr("f16 bf16 u4 i4 f8e4m3 f8e5m2 f4e2m1 nf4", type) != NULL) {
            n += plugin_random_bytes(out + n, room - n, type, count, &r);
            continue;
        }
        out[n++] = '[';
        n += plugin_random_list(out + n, room - n, type, count, &r);
        out[n++] = ']';
    }
    out[n] = '\0';
    return n;
}

// ---- tensors ---------------------------------------------------------------

static inline void
plugin_fill(pq_tensor *t, int64_t limit, pq_test_random *r)
{
    size_t n = t->bytes;
    if (t->dtype == PTQC_F32) {
        pq_test_fill_normal(r, t->p, n / 4, 1.0f);
    } else if (t->dtype == PTQC_I64) {
        for (size_t i = 0; i < n / 8; i++) {
            ((int64_t *)t->p)[i] = pq_test_random_int(r, -limit, limit - 1);
        }
    } else if (t->dtype == PTQC_I32) {
        for (size_t i = 0; i < n / 4; i++) {
            ((int32_t *)t->p)[i] =
                (int32_t)pq_test_random_int(r, -limit, limit - 1);
        }
    } else {
        pq_test_fill_bytes(r, t->p, n);
        for (size_t i = 0; t->dtype == PTQC_BOOL && i < n; i++) {
            ((uint8_t *)t->p)[i] &= 1;
        }
    }
}

static inline void
plugin_tensor(pq_graph *g, pq_value_id v, const int64_t *symbols,
              pq_tensor *out)
{
    const pq_value *value = pq_graph_value(g, v);
    int64_t count = 1;
    out->dtype = value->type.dtype;
    out->rank = value->type.rank;
    for (uint32_t i = 0; i < out->rank; i++) {
        assert_int_equal(
            pq_dim_eval(g, value->type.dims[i], symbols, &out->dims[i]),
            PTQC_OK);
        count *= out->dims[i];
    }
    out->bytes = (size_t)count * (pq_dtype_bits(out->dtype) / 8);
    out->p = aligned_alloc(64, out->bytes / 64 * 64 + 128);
    assert_non_null(out->p);
}

typedef struct plugin_want {
    pq_graph *g;
    pq_tensor *outputs;
} plugin_want;

static inline ptqc_status
plugin_observe(void *user, pq_value_id value, const pq_tensor *tensor)
{
    const plugin_want *w = user;
    for (uint32_t i = 0; i < pq_graph_output_count(w->g); i++) {
        if (pq_graph_output(w->g, i).index == value.index) {
            memcpy(w->outputs[i].p, tensor->p, tensor->bytes);
        }
    }
    return PTQC_OK;
}

// The same bits, but for NaN.
static inline bool
plugin_same(const char *what, const pq_tensor *want, const void *got)
{
    if (want->dtype != PTQC_F32) {
        if (memcmp(want->p, got, want->bytes) == 0) {
            return true;
        }
        const uint8_t *a = want->p, *b = got;
        size_t i = 0;
        while (a[i] == b[i]) {
            i++;
        }
        print_error("%s: byte %zu of %zu: expected %d, got %d\n", what, i,
                    want->bytes, a[i], b[i]);
        return false;
    }
    const float *a = want->p, *b = got;
    for (size_t i = 0; i < want->bytes / 4; i++) {
        bool both_nan = isnan(a[i]) && isnan(b[i]);
        if (!both_nan && memcmp(&a[i], &b[i], 4) != 0) {
            print_error("%s: element %zu of %zu: expected %.9g, got %.9g\n",
                        what, i, want->bytes / 4, (double)a[i], (double)b[i]);
            return false;
        }
    }
    return true;
}

// ---- running ---------------------------------------------------------------

static inline const void *
plugin_constant(void *user, uint64_t id, uint64_t *out_bytes)
{
    pq_graph *g = user;
    const pq_constant *c = pq_graph_constant(g, (pq_const_id){(uint32_t)id});
    *out_bytes = c != NULL ? c->bytes : 0;
    return c != NULL ? c->p : NULL;
}

// Everything about one parsed case.
typedef struct plugin_run {
    const plugin_case *c;
    pq_graph *g;
    ptqc_bytes block;
    pq_tensor inputs[PLUGIN_VALUES], wants[PLUGIN_VALUES];
    uint32_t input_count, output_count;
} plugin_run;

static inline bool
plugin_run_at(const plugin_run *run, const char *target, pq_pool *pool)
{
    pq_test_plugin *p = pq_test_plugin_open(ptqc_plugin_query_v0, pool);
    char what[160];
    snprintf(what, sizeof what, "%s at %s, %u threads", run->c->name, target,
             pq_pool_width(pool));
    bool good =
        pq_test_plugin_check(p, target, run->block, plugin_constant, run->g) ==
            0 &&
        pq_test_plugin_compile(p, target, run->block, plugin_constant,
                               run->g) == PTQC_BE_OK &&
        pq_test_plugin_load(p, (ptqc_bytes){NULL, 0}, run->c->symbols,
                            (uint64_t)run->c->symbol_count) == PTQC_BE_OK;
    ptqc_binding bindings[2 * PLUGIN_VALUES] = {{0}};
    uint32_t n = run->input_count;
    for (uint32_t i = 0; good && i < n + run->output_count; i++) {
        const pq_tensor *t = i < n ? &run->inputs[i] : &run->wants[i - n];
        assert_int_equal(pq_test_plugin_need(p, i), t->bytes);
        bindings[i].bytes = t->bytes;
        bindings[i].host = t->p;
        if (i >= n) {
            bindings[i].host = aligned_alloc(64, t->bytes / 64 * 64 + 128);
            assert_non_null(bindings[i].host);
            memset(bindings[i].host, 0xa5, t->bytes / 64 * 64 + 128);
        }
    }
    good = good && pq_test_plugin_run(p, bindings, n + run->output_count, NULL,
                                      NULL) == PTQC_BE_OK;
    if (!good) {
        print_error("%s: %s\n", what, pq_test_plugin_message(p));
    }
    for (uint32_t i = 0; i < run->output_count; i++) {
        good = good && plugin_same(what, &run->wants[i], bindings[n + i].host);
        free(bindings[n + i].host);
    }
    pq_test_plugin_close(p);
    return good;
}

// The graph and its block.
static inline void
plugin_parse_run(ptqc_ctx *ctx, const pq_test_sink *sink, const plugin_case *c,
                 plugin_run *run)
{
    char *text = malloc(PLUGIN_TEXT_BYTES);
    assert_non_null(text);
    size_t n = (size_t)snprintf(text, PLUGIN_TEXT_BYTES, "ptir 1\n");
    n += plugin_expand(c->text, text + n, PLUGIN_TEXT_BYTES - n);
    run->c = c;
    ptqc_status st = pq_graph_parse(ctx, c->name, (pq_str){text, n}, &run->g);
    free(text);
    if (st != PTQC_OK) {
        print_error("%s: %s\n", c->name, sink->text);
    }
    assert_int_equal(st, PTQC_OK);
    void *bytes;
    size_t count;
    assert_int_equal(pq_block_write(run->g, NULL, &bytes, &count), PTQC_OK);
    run->block = (ptqc_bytes){bytes, count};
}

static inline void
plugin_make_run(ptqc_ctx *ctx, const pq_test_sink *sink, const plugin_case *c,
                plugin_run *run)
{
    plugin_parse_run(ctx, sink, c, run);
    pq_test_random r = pq_test_random_seed(5);
    run->input_count = pq_graph_input_count(run->g);
    run->output_count = pq_graph_output_count(run->g);
    for (uint32_t i = 0; i < run->input_count; i++) {
        plugin_tensor(run->g, pq_graph_input(run->g, i), c->symbols,
                      &run->inputs[i]);
        plugin_fill(&run->inputs[i], c->index_limit > 0 ? c->index_limit : 100,
                    &r);
    }
    for (uint32_t i = 0; i < run->output_count; i++) {
        plugin_tensor(run->g, pq_graph_output(run->g, i), c->symbols,
                      &run->wants[i]);
    }
    pq_runner *runner;
    plugin_want want = {run->g, run->wants};
    assert_int_equal(pq_interp_make(ctx, run->g, NULL, 0, &runner), PTQC_OK);
    ptqc_status st = runner->run(runner, run->inputs, plugin_observe, &want);
    if (st != PTQC_OK) {
        print_error("%s: %s\n", c->name, sink->text);
    }
    assert_int_equal(st, PTQC_OK);
    runner->destroy(runner);
}

static inline void
plugin_end_run(ptqc_ctx *ctx, plugin_run *run)
{
    for (uint32_t i = 0; i < run->input_count; i++) {
        free(run->inputs[i].p);
    }
    for (uint32_t i = 0; i < run->output_count; i++) {
        free(run->wants[i].p);
    }
    void *block;
    memcpy(&block, &run->block.p, sizeof block);
    pq_free(ctx, block);
    pq_graph_destroy(run->g);
}

static inline void
plugin_check_cases(const plugin_case *cases, size_t count)
{
    static pq_test_sink sink;
    if (pq_isa_detect() < 0) {
        print_message("skipped: this machine has no AVX2 and FMA\n");
        skip();
    }
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_pool *pools[2];
    assert_int_equal(pq_pool_create(ctx, 1, &pools[0]), PTQC_OK);
    assert_int_equal(pq_pool_create(ctx, 3, &pools[1]), PTQC_OK);
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        plugin_run run = {0};
        pq_test_sink_clear(&sink);
        plugin_make_run(ctx, &sink, &cases[i], &run);
        // All levels on one worker; the best level also on three.
        bool good = true;
        for (size_t t = 0; t < 4 && good; t++) {
            good = plugin_run_at(&run, plugin_targets[t], pools[0]);
        }
        good = good && plugin_run_at(&run, "cpu", pools[1]);
        bad += !good;
        plugin_end_run(ctx, &run);
    }
    pq_pool_destroy(pools[0]);
    pq_pool_destroy(pools[1]);
    ptqc_ctx_destroy(ctx);
    assert_int_equal(bad, 0);
}

#define PLUGIN_CHECK(cases)                                                    \
    plugin_check_cases((cases), sizeof(cases) / sizeof(cases)[0])

#endif
