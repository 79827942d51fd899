// SPDX-License-Identifier: Apache-2.0
//
// Damage: a model cut at every byte, with every bit flipped, with every
// length made hostile; and an import in which every allocation fails once.
// Whatever comes of it is a verified graph or one error.
#include "tests/support/random.h"
#include "tests/unit/frontend/onnx/onnx_test.h"

static onnx_model m;

// A small model with a bit of everything: convolution, shape chain, If,
// function, quantization, typed and raw data.
static void
make_model(void)
{
    model_begin(&m, 17);
    model_input(&m, "x", T_F32, "N,2,6,6");
    model_output(&m, "z");
    model_output(&m, "q");
    model_floats(&m, "w", "3,2,3,3", 0.01f);
    model_scalar(&m, "s", 0.25f);
    model_weight(&m, "zp", T_U8, "", "\x80", 1);
    model_weight(&m, "c", T_BOOL, "", "\x01", 1);
    model_ints(&m, "tail", "-1");
    model_ints(&m, "zero", "0");
    model_node(&m, "Conv", "x,w", "a", "pads:I=1,1,1,1 strides:I=2,2");
    model_node(&m, "Shape", "a", "shape", "");
    model_node(&m, "Gather", "shape,zero", "n", "");
    model_node(&m, "Concat", "n,tail", "to", "axis:i=0");
    model_node(&m, "Reshape", "a,to", "flat", "");
    model_node(&m, "QuantizeLinear", "flat,s,zp", "q", "");
    model_node(&m, "DequantizeLinear", "q,s,zp", "d", "");
    pb info = {.n = 0}, yes = {.n = 0}, no = {.n = 0};
    pb relu = node_proto("Relu", "d", "r", "");
    pb neg = node_proto("my.ops:F", "d", "r", "slope:f=0.5");
    pb_text(&info, 1, "r");
    pb_message(&yes, 1, &neg);
    pb_message(&yes, 12, &info);
    pb_message(&no, 1, &relu);
    pb_message(&no, 12, &info);
    pb node = node_proto("If", "c", "z", "");
    const pb *branches[2] = {&yes, &no};
    for (int i = 0; i < 2; i++) {
        pb a = {.n = 0};
        pb_text(&a, 1, i == 0 ? "then_branch" : "else_branch");
        pb_message(&a, 6, branches[i]);
        pb_int(&a, 20, 5);
        pb_message(&node, 5, &a);
    }
    pb_message(&m.graph, 1, &node);
    pb f = {.n = 0}, base = opset_proto("", 17),
       mine = opset_proto("my.ops", 1);
    pb body = node_proto("LeakyRelu", "i", "o", "");
    pb ref = {.n = 0};
    pb_text(&ref, 1, "alpha");
    pb_text(&ref, 21, "slope");
    pb_int(&ref, 20, 1);
    pb_message(&body, 5, &ref);
    pb_text(&f, 1, "F");
    pb_text(&f, 4, "i");
    pb_text(&f, 5, "o");
    pb_text(&f, 6, "slope");
    pb_message(&f, 7, &body);
    pb_message(&f, 9, &base);
    pb_text(&f, 10, "my.ops");
    pb_message(&m.extra, 8, &mine);
    pb_message(&m.extra, 25, &f);
    model_finish(&m);
}

// Imports an exact copy, so that reading past it is seen by sanitizers.
static ptqc_status
import_copy(ptqc_ctx *ctx, const uint8_t *p, size_t n, pq_model **out)
{
    const pq_import_options options = {.no_hash = true};
    uint8_t *copy = malloc(n == 0 ? 1 : n);
    assert_non_null(copy);
    memcpy(copy, p, n);
    ptqc_status st =
        pq_import_check_bytes(ctx, "damaged", copy, n, &options, out);
    if (st == PTQC_OK && (*out)->graph != NULL) {
        st = pq_graph_verify((*out)->graph); // E_INTERNAL is a failure below
    }
    pq_model_destroy(*out);
    free(copy);
    return st;
}

static void
import_damaged(const uint8_t *p, size_t n)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *model = NULL;
    ptqc_status st = import_copy(ctx, p, n, &model);
    if (st == PTQC_OK) {
        assert_int_equal(sink.error_count, 0);
    } else {
        if (st != PTQC_E_INPUT && st != PTQC_E_UNSUPPORTED) {
            fail_msg("status %d: %s", (int)st, sink.text);
        }
        assert_int_equal(sink.error_count, 1);
    }
    ptqc_ctx_destroy(ctx);
}

static void
whole(void **state)
{
    (void)state;
    make_model();
    expect_graph(&m, "conv f32[N,3,3,3]; reshape f32[N,27]; quantize "
                     "u8*[N,27]; dequantize f32[N,27]; leaky_relu f32[N,27]");
}

static void
cut_at_every_byte(void **state)
{
    (void)state;
    make_model();
    for (size_t n = 0; n < m.file.n; n++) {
        import_damaged(m.file.p, n);
    }
}

static void
every_bit_flipped(void **state)
{
    (void)state;
    make_model();
    for (size_t bit = 0; bit < 8 * m.file.n; bit++) {
        m.file.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        import_damaged(m.file.p, m.file.n);
        m.file.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void
hostile_bytes(void **state)
{
    (void)state;
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
    make_model();
    for (size_t i = 0; i < m.file.n; i++) {
        uint8_t before = m.file.p[i];
        for (size_t k = 0; k < sizeof values; k++) {
            m.file.p[i] = values[k];
            import_damaged(m.file.p, m.file.n);
        }
        m.file.p[i] = before;
    }
}

static void
random_damage(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(11);
    make_model();
    uint8_t copy[sizeof m.file.p];
    for (int round = 0; round < 3000; round++) {
        memcpy(copy, m.file.p, m.file.n);
        for (int64_t k = pq_test_random_int(&r, 1, 6); k > 0; k--) {
            size_t at =
                (size_t)pq_test_random_int(&r, 0, (int64_t)m.file.n - 1);
            copy[at] = (uint8_t)pq_test_random_u64(&r);
        }
        import_damaged(copy, m.file.n);
    }
}

static ptqc_status
sweep_body(ptqc_ctx *ctx, void *user)
{
    (void)user;
    pq_model *model = NULL;
    return import_copy(ctx, m.file.p, m.file.n, &model);
}

static void
every_allocation_fails(void **state)
{
    (void)state;
    make_model();
    assert_true(pq_test_alloc_sweep(sweep_body, NULL) > 20);
}

// Subgraphs inside subgraphs, deeper than anyone needs.
static void
deep_nesting(void **state)
{
    (void)state;
    static uint8_t file[1 << 16];
    for (int depth = 10; depth <= 5000; depth *= 10) {
        // From the inside out: graph(node(attribute(graph(...)))).
        size_t at = sizeof file, inner = 0;
        for (int i = 0; i < depth && at > 64; i++) {
            static const uint8_t fields[3] = {0x32, 0x2a, 0x0a}; // g attr node
            for (int k = 0; k < 3; k++) {
                uint8_t head[4] = {fields[k]};
                size_t n = 1, length = inner;
                do {
                    head[n++] = (uint8_t)((length & 0x7f) |
                                          (length >= 0x80 ? 0x80 : 0));
                    length >>= 7;
                } while (length != 0);
                at -= n;
                memcpy(file + at, head, n);
                inner += n;
            }
        }
        pb whole_file = {.n = 0};
        if (inner < sizeof whole_file.p - 16) {
            pb_bytes(&whole_file, 7, file + at, inner);
            import_damaged(whole_file.p, whole_file.n);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(every_bit_flipped),
        cmocka_unit_test(hostile_bytes),
        cmocka_unit_test(random_damage),
        cmocka_unit_test(every_allocation_fails),
        cmocka_unit_test(deep_nesting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
