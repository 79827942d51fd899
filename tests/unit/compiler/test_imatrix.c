// SPDX-License-Identifier: Apache-2.0
//
// llama.cpp's importance matrices of both kinds: what is read, every cut of a
// file, what is refused.
#include <stdio.h>
#include <string.h>

#include "compiler/statistics.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"
#include "tests/unit/frontend/gguf/gguf_file.h"

// ---- .dat -----------------------------------------------------------------

typedef struct dat_file {
    size_t n;
    uint8_t p[4096];
} dat_file;

static void
add(dat_file *f, const void *p, size_t n)
{
    assert_true(n <= sizeof f->p - f->n);
    memcpy(f->p + f->n, p, n);
    f->n += n;
}

static void
add_i32(dat_file *f, int32_t x)
{
    add(f, &x, sizeof x);
}

static void
add_entry(dat_file *f, const char *name, int32_t calls, const float *x,
          int32_t n)
{
    add_i32(f, (int32_t)strlen(name));
    add(f, name, strlen(name));
    add_i32(f, calls);
    add_i32(f, n);
    add(f, x, (size_t)n * sizeof *x);
}

static const float sums[3] = {2, 0, 8};

static void
make_dat(dat_file *f)
{
    *f = (dat_file){0};
    add_i32(f, 2);
    add_entry(f, "blk.0.attn_q.weight", 4, sums, 3);
    add_entry(f, "blk.0.attn_k.weight", 0, sums, 3); // nothing went through
}

static void
check(const pq_stats *s, double rows)
{
    const pq_stat *q = pq_stats_find(s, PQ_STR("layers.0.q"));
    const pq_stat *k = pq_stats_find(s, PQ_STR("layers.0.k"));
    static const float expected[3] = {0.5f, 0, 2};
    static const float ones[3] = {1, 1, 1};
    assert_non_null(q);
    assert_non_null(k);
    assert_int_equal(q->column_count, 3);
    assert_memory_equal(q->squares, expected, sizeof expected);
    assert_true(q->row_count == rows);
    assert_memory_equal(k->squares, ones, sizeof ones);
}

static void
older_kind(void **state)
{
    (void)state;
    dat_file f;
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    pq_stats *s;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    make_dat(&f);
    size_t whole = f.n;
    add_i32(&f, 3); // chunks and data set
    pq_test_folder_create(&folder);
    pq_test_folder_path(&folder, "imatrix.dat", path);
    pq_test_file_write(path, f.p, f.n);
    assert_int_equal(pq_stats_read(ctx, path, &s), PTQC_OK);
    check(s, 4);
    pq_stats_destroy(s);
    pq_test_folder_remove(&folder);
    for (size_t n = 0; n < whole; n++) {
        pq_test_sink sink = {0};
        ptqc_ctx *other = pq_test_ctx_create(&sink, NULL, 1);
        assert_int_equal(pq_stats_create(other, &s), PTQC_OK);
        assert_int_equal(pq_imatrix_read_dat(other, "x", f.p, n, s),
                         PTQC_E_INPUT);
        assert_int_equal(sink.error_count, 1);
        pq_stats_destroy(s);
        ptqc_ctx_destroy(other);
    }
    ptqc_ctx_destroy(ctx);
}

static void
refuse_dat(const dat_file *f, const char *said)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_stats *s;
    assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
    assert_int_equal(pq_imatrix_read_dat(ctx, "x", f->p, f->n, s),
                     PTQC_E_INPUT);
    assert_non_null(strstr(sink.text, said));
    pq_stats_destroy(s);
    ptqc_ctx_destroy(ctx);
}

static void
refused_dat(void **state)
{
    (void)state;
    static const float negative[1] = {-1};
    dat_file f = {0};
    add_i32(&f, 2);
    add_entry(&f, "w", 1, sums, 3);
    add_entry(&f, "w", 1, sums, 3);
    refuse_dat(&f, "'w' is there twice");
    f = (dat_file){0};
    add_i32(&f, 1);
    add_entry(&f, "w", 1, negative, 1);
    refuse_dat(&f, "expected a mean square");
    f = (dat_file){0};
    add_i32(&f, 1);
    add_i32(&f, 1 << 20);
    refuse_dat(&f, "the length of a name from 1 to 4096, found 1048576");
}

// ---- GGUF -----------------------------------------------------------------

#define TYPE_F32 0

// Tensors of zeros, then numbers at their places.
static void
make_gguf(gguf_file *f)
{
    static const float counts[2] = {4, 0};
    gguf_begin(f);
    gguf_pair_string(f, "general.type", "imatrix");
    gguf_tensor(f, "blk.0.attn_q.weight.in_sum2", TYPE_F32, 3, 1);
    gguf_tensor(f, "blk.0.attn_q.weight.counts", TYPE_F32, 1, 1);
    gguf_tensor(f, "blk.0.attn_k.weight.in_sum2", TYPE_F32, 3, 1);
    gguf_tensor(f, "blk.0.attn_k.weight.counts", TYPE_F32, 1, 1);
    gguf_tensor(f, "blk.0.ffn_up_exps.weight.in_sum2", TYPE_F32, 3, 2);
    gguf_tensor(f, "blk.0.ffn_up_exps.weight.counts", TYPE_F32, 1, 2);
    gguf_end(f);
    uint8_t *blob = f->p + f->n - f->blob;
    memcpy(blob, sums, sizeof sums);
    memcpy(blob + 32, &counts[0], 4);
}

static void
newer_kind(void **state)
{
    (void)state;
    static gguf_file f;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_stats *s;
    make_gguf(&f);
    assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
    assert_int_equal(pq_imatrix_read_gguf(ctx, "x", f.p, f.n, s), PTQC_OK);
    check(s, 4);
    assert_int_equal(s->count, 2);
    assert_int_equal(sink.warning_count, 1);
    assert_non_null(strstr(sink.text, "1 matrices of several experts"));
    pq_stats_destroy(s);
    for (size_t n = 0; n < f.n - 24; n += 7) { // the rest is padding
        assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
        assert_int_not_equal(pq_imatrix_read_gguf(ctx, "x", f.p, n, s),
                             PTQC_OK);
        pq_stats_destroy(s);
    }
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

static void
other_gguf(void **state)
{
    (void)state;
    static gguf_file f;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_stats *s;
    gguf_begin(&f);
    gguf_tensor(&f, "blk.0.attn_q.weight", TYPE_F32, 3, 1);
    gguf_end(&f);
    assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
    assert_int_equal(pq_imatrix_read_gguf(ctx, "x", f.p, f.n, s), PTQC_E_INPUT);
    assert_non_null(strstr(sink.text, "without importance matrices"));
    pq_stats_destroy(s);
    gguf_begin(&f);
    gguf_tensor(&f, "w.in_sum2", TYPE_F32, 3, 1);
    gguf_end(&f);
    assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
    assert_int_equal(pq_imatrix_read_gguf(ctx, "x", f.p, f.n, s), PTQC_E_INPUT);
    assert_non_null(strstr(sink.text, "'w': expected f32 sums and counts"));
    pq_stats_destroy(s);
    ptqc_ctx_destroy(ctx);
}

static void
op_names(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"blk.12.ffn_down.weight", "layers.12.down"},
        {"model.layers.3.self_attn.q_proj.weight", "layers.3.q"},
        {"token_embd.weight", "embedding"},
        {"lm_head.weight", "output"},
        {"blk.x.attn_q.weight", NULL},
        {"blk.1.attn_q.bias", NULL},
        {"blk..attn_q.weight", NULL},
        {"blk.1.attn_q", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char out[64];
        bool is_known = pq_llm_op_name(pq_str_of(pairs[i][0]), out, sizeof out);
        assert_int_equal(is_known, pairs[i][1] != NULL);
        if (is_known) {
            assert_string_equal(out, pairs[i][1]);
        }
    }
}

static ptqc_status
sweep_body(ptqc_ctx *ctx, void *user)
{
    const gguf_file *f = user;
    dat_file dat;
    pq_stats *s, *t;
    PQ_TRY(pq_stats_create(ctx, &s));
    ptqc_status st = pq_imatrix_read_gguf(ctx, "x", f->p, f->n, s);
    pq_stats_destroy(s);
    PQ_TRY(st);
    make_dat(&dat);
    PQ_TRY(pq_stats_create(ctx, &t));
    st = pq_imatrix_read_dat(ctx, "x", dat.p, dat.n, t);
    pq_stats_destroy(t);
    return st;
}

static void
failing_allocations(void **state)
{
    (void)state;
    static gguf_file f;
    make_gguf(&f);
    assert_true(pq_test_alloc_sweep(sweep_body, &f) > 8);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(older_kind), cmocka_unit_test(refused_dat),
        cmocka_unit_test(newer_kind), cmocka_unit_test(other_gguf),
        cmocka_unit_test(op_names),   cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
