// SPDX-License-Identifier: Apache-2.0
//
// States of a graph: text, clone, what the verifier refuses, graph blocks of
// the whole, of parts and of the interface.
#include <string.h>

#include "ir/block.h"
#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

static const char good[] =
    "ptir 1\ngraph \"\" stage legal\n"
    "symbol B = [1, inf]\nsymbol T = [1, inf]\nsymbol C = [1, 4096]\n"
    "input %x: f32[B, 2, T, 4]\ninput %p: i32[B, T]\n"
    "state %k.0: f16[B, 2, C, 4]\nstate %v.0: f16[B, 2, C, 4]\n"
    "state %old: f32[B, 2, C, 4]\n"
    "%K: f16[B, 2, C, 4] = kv_update(%k.0, %x, %p)\n"
    "%V: f16[B, 2, C, 4] = kv_update(%v.0, %x, %p)\n"
    "%a: f32[B, 2, T, 4] = attention(%x, %K, %V, _, %p)\n"
    "%b: f32[B, 2, T, 4] = attention(%x, %old, %old, _, %p)\n"
    "%y: f32[B, 2, T, 4] = add(%a, %b)\n"
    "output %y\n";

static pq_graph *
parse(ptqc_ctx *ctx, const char *text)
{
    pq_graph *g = NULL;
    assert_int_equal(pq_graph_parse(ctx, "text", pq_str_of(text), &g), PTQC_OK);
    return g;
}

static void
assert_prints(const pq_graph *g, const char *text)
{
    pq_strbuf out;
    pq_strbuf_init(&out, pq_graph_ctx(g));
    assert_int_equal(pq_graph_print(g, 0, &out), PTQC_OK);
    assert_string_equal(out.p, text);
    pq_strbuf_deinit(&out);
}

static pq_value_id
value(const pq_graph *g, const char *name)
{
    pq_value_id v = pq_graph_find_value(g, pq_str_of(name));
    assert_false(pq_value_is_none(v));
    return v;
}

static void
text_and_clone(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = parse(ctx, good);
    pq_graph *copy;
    assert_prints(g, good);
    assert_int_equal(pq_graph_state_count(g), 3);
    assert_int_equal(pq_graph_state(g, 1).index, value(g, "v.0").index);
    assert_true(pq_value_is_none(pq_graph_state(g, 3)));
    assert_true(pq_graph_value(g, value(g, "k.0"))->is_state);
    assert_false(pq_graph_value(g, value(g, "K"))->is_state);
    assert_int_equal(pq_graph_clone(g, true, &copy), PTQC_OK);
    pq_graph_destroy(g);
    assert_int_equal(pq_graph_verify(copy), PTQC_OK);
    assert_prints(copy, good);
    pq_graph_destroy(copy);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static void
adding(void **state)
{
    (void)state;
    static pq_test_sink sink;
    pq_test_sink_clear(&sink);
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g = parse(ctx, good);
    assert_int_equal(pq_graph_add_state(g, value(g, "x")), PTQC_E_INTERNAL);
    assert_int_equal(pq_graph_add_state(g, value(g, "k.0")), PTQC_E_INTERNAL);
    assert_int_equal(pq_graph_add_input(g, value(g, "k.0")), PTQC_E_INTERNAL);
    assert_int_equal(pq_graph_add_state(g, value(g, "K")), PTQC_E_INTERNAL);
    assert_int_equal(pq_graph_add_state(g, PQ_NO_VALUE), PTQC_E_INTERNAL);
    assert_int_equal(sink.error_count, 5);
    assert_int_equal(pq_graph_state_count(g), 3);
    assert_int_equal(pq_graph_verify(g), PTQC_OK);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// An update that nothing reads is there for the next run.
static void
not_dead(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = parse(ctx, good);
    pq_graph_drop_outputs(g, 0);
    assert_int_equal(pq_erase_dead(g), 3); // y, a, b
    assert_int_equal(pq_graph_live_op_count(g), 2);
    assert_int_equal(pq_graph_verify(g), PTQC_OK);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// ---- the verifier -----------------------------------------------------------

#define HEAD                                                                   \
    "ptir 1\ngraph \"\" stage float\nsymbol C = [1, 9]\n"                      \
    "input %x: f32[1, 1, 1, 2]\ninput %p: i32[1, 1]\n"

static const struct {
    const char *text;
    const char *error; // NULL: good
} rules[] = {
    {HEAD "state %s: f32[1, 1, C, 2]\n", NULL}, // nothing uses it
    {HEAD "state %s: f32[1, 1, C, 2]\n"
          "%y: f32[1, 1, C, 2] = kv_update(%s, %x, %p)\noutput %y\n",
     NULL},
    {HEAD "state %s: f32[1, 1, C, 2]\n" // the old rows, then the update
          "%y: f32[1, 1, 1, 2] = attention(%x, %s, %s)\n"
          "%z: f32[1, 1, C, 2] = kv_update(%s, %x, %p)\noutput %y\noutput %z\n",
     NULL},
    {HEAD "state %s: i8[1, 1, C, 2]\nstate %t: f32[1, 1, C]\n"
          "%a: i8[1, 1, C, 2], %b: f32[1, 1, C] = "
          "kv_update_codes(%s, %t, %x, %p)\n"
          "%y: f32[1, 1, 1, 2] = attention(%x, %a, %a, _, %p, %b, %b)\n"
          "output %y\n",
     NULL},
    {HEAD "state %s: i8[1, 1, C, 2]\nstate %t: f32[1, 1, C]\n"
          "%a: i8[1, 1, C, 2], %b: f32[1, 1, C] = "
          "kv_update_codes(%s, %t, %x, %p)\n"
          "%y: f32[1, 1, 1, 2] = attention(%x, %a, %a, _, %p, %t, %b)\n"
          "output %y\n",
     "after its update"},
    {HEAD "input %t: f32[1, 1, C]\nstate %s: i8[1, 1, C, 2]\n"
          "%a: i8[1, 1, C, 2], %y: f32[1, 1, C] = "
          "kv_update_codes(%s, %t, %x, %p)\noutput %y\n",
     "updates what is no state"},
    {HEAD "%y: f32[1, 1, 1, 2] = kv_update(%x, %x, %p)\noutput %y\n",
     "updates what is no state"},
    {HEAD "state %s: f32[1, 1, C, 2]\n"
          "%a: f32[1, 1, C, 2] = kv_update(%s, %x, %p)\n"
          "%y: f32[1, 1, C, 2] = kv_update(%a, %x, %p)\noutput %y\n",
     "updates what is no state"},
    {HEAD "state %s: f32[1, 1, C, 2]\n"
          "%a: f32[1, 1, C, 2] = kv_update(%s, %x, %p)\n"
          "%y: f32[1, 1, C, 2] = kv_update(%s, %x, %p)\noutput %y\n",
     "after its update"},
    {HEAD "state %s: f32[1, 1, C, 2]\n"
          "%a: f32[1, 1, C, 2] = kv_update(%s, %x, %p)\n"
          "%y: f32[1, 1, 1, 2] = attention(%x, %a, %s)\noutput %y\n",
     "after its update"},
    {HEAD "state %s: f32[1, 1, C, 2]\n"
          "%y: f32[1, 1, C, 2] = neg(%s)\noutput %y\n",
     "reads a state as no op may"},
    {HEAD "state %s: f32[1, 1, 1, 2]\nstate %t: f32[1, 1, 1, 2]\n"
          "%y: f32[1, 1, 1, 2] = kv_update(%s, %t, %p)\noutput %y\n",
     "reads a state as no op may"},
    {HEAD "state %s: f32[1, 1, 1, 2]\n"
          "%y: f32[1, 1, 1, 2] = attention(%s, %x, %x)\noutput %y\n",
     "reads a state as no op may"},
    {HEAD "state %s: f32[1, 1, C, 2]\noutput %s\n", "a graph output"},
    {HEAD "state %x: f32[1]\n", "this name is defined already"},
    {HEAD "state %s: f32[D]\n", "D"},
};

static void
what_is_refused(void **state)
{
    (void)state;
    static pq_test_sink sink;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        pq_graph *g = NULL;
        pq_test_sink_clear(&sink);
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        ptqc_status st =
            pq_graph_parse(ctx, "rule", pq_str_of(rules[i].text), &g);
        bool is_good = rules[i].error == NULL;
        if ((st == PTQC_OK) != is_good ||
            (!is_good && strstr(sink.text, rules[i].error) == NULL)) {
            fail_msg("rule %zu: status %d\n%s%s", i, (int)st, rules[i].text,
                     sink.text);
        }
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

static void
order_and_marks(void **state)
{
    (void)state;
    static pq_test_sink sink;
    pq_test_sink_clear(&sink);
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g = parse(ctx, good);
    pq_graph_value(g, value(g, "k.0"))->is_state = false;
    assert_int_equal(pq_graph_verify(g), PTQC_E_INTERNAL);
    assert_non_null(strstr(sink.text, "not marked"));
    pq_graph_value(g, value(g, "k.0"))->is_state = true;
    pq_graph_value(g, value(g, "x"))->is_state = true;
    assert_int_equal(pq_graph_verify(g), PTQC_E_INTERNAL);
    pq_graph_value(g, value(g, "x"))->is_state = false;
    assert_int_equal(pq_graph_verify(g), PTQC_OK);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// ---- blocks -----------------------------------------------------------------

static pq_graph *
through_block(pq_graph *g, const pq_block_desc *desc)
{
    pq_graph *back;
    void *bytes;
    size_t n;
    ptqc_ctx *ctx = pq_graph_ctx(g);
    assert_int_equal(pq_block_write(g, desc, &bytes, &n), PTQC_OK);
    assert_int_equal(pq_block_read(ctx, bytes, n, NULL, NULL, &back), PTQC_OK);
    pq_free(ctx, bytes);
    return back;
}

static void
whole_block(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = parse(ctx, good);
    pq_graph *back = through_block(g, NULL);
    assert_prints(back, good);
    pq_graph_destroy(back);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

static void
assert_named(const pq_graph *g, pq_value_id v, const char *name)
{
    assert_true(pq_str_equal_z(pq_graph_value(g, v)->name, name));
}

static void
part_blocks(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = parse(ctx, good);
    // The update of v alone: its state is read first, its result goes out.
    const pq_op_id update = pq_graph_value(g, value(g, "V"))->producer;
    pq_block_desc desc = {.ops = &update, .op_count = 1};
    pq_graph *part = through_block(g, &desc);
    assert_int_equal(pq_graph_state_count(part), 1);
    assert_named(part, pq_graph_state(part, 0), "v.0");
    assert_int_equal(pq_graph_input_count(part), 2);
    assert_int_equal(pq_graph_output_count(part), 1);
    assert_named(part, pq_graph_output(part, 0), "V");
    pq_graph_destroy(part);
    // What reads the result elsewhere takes it as an input.
    const pq_op_id reader = pq_graph_value(g, value(g, "a"))->producer;
    desc.ops = &reader;
    part = through_block(g, &desc);
    assert_int_equal(pq_graph_state_count(part), 0);
    assert_int_equal(pq_graph_input_count(part), 4); // x K V p
    pq_graph_destroy(part);
    // A given order, with a state that no op reads.
    const pq_value_id states[2] = {value(g, "old"), value(g, "v.0")};
    desc = (pq_block_desc){
        .ops = &update, .op_count = 1, .states = states, .state_count = 2};
    part = through_block(g, &desc);
    assert_int_equal(pq_graph_state_count(part), 2);
    assert_named(part, pq_graph_state(part, 0), "old");
    assert_named(part, pq_graph_state(part, 1), "v.0");
    pq_graph_destroy(part);
    void *bytes;
    size_t n;
    desc.state_count = 1; // v.0 is read and not given
    assert_int_equal(pq_block_write(g, &desc, &bytes, &n), PTQC_E_INTERNAL);
    pq_graph_destroy(g);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static void
interface_block(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = parse(ctx, good);
    pq_value_id inputs[2] = {pq_graph_input(g, 0), pq_graph_input(g, 1)};
    pq_value_id output = pq_graph_output(g, 0);
    const pq_block_desc desc = {.inputs = inputs,
                                .input_count = 2,
                                .outputs = &output,
                                .output_count = 1,
                                .values_only = true};
    void *bytes;
    size_t n;
    ptqc_gb gb;
    assert_int_equal(pq_block_write(g, &desc, &bytes, &n), PTQC_OK);
    assert_true(ptqc_gb_open(bytes, n, &gb, NULL));
    assert_int_equal(ptqc_gb_count(&gb, PTQC_GB_NODES), 0);
    assert_int_equal(ptqc_gb_count(&gb, PTQC_GB_STATES), 3);
    const ptqc_gb_value *v =
        ptqc_gb_value_at(&gb, ptqc_gb_u32_at(&gb, PTQC_GB_STATES, 0));
    assert_true(ptqc_gb_text_is(&gb, v->name, "k.0"));
    assert_int_equal(v->dtype, PTQC_F16);
    assert_int_equal(v->rank, 4);
    pq_free(ctx, bytes);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// A state that is an input, too, or given twice.
static void
hostile_blocks(void **state)
{
    (void)state;
    static pq_test_sink sink;
    pq_test_sink_clear(&sink);
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g = parse(ctx, good);
    pq_graph *back;
    void *bytes;
    size_t n;
    ptqc_gb gb;
    assert_int_equal(pq_block_write(g, NULL, &bytes, &n), PTQC_OK);
    assert_true(ptqc_gb_open(bytes, n, &gb, NULL));
    uint32_t *states = // the block is ours to change
        (uint32_t *)((char *)bytes +
                     gb.header->sections[PTQC_GB_STATES].offset);
    uint32_t first = states[0];
    states[0] = states[1];
    assert_int_equal(pq_block_read(ctx, bytes, n, NULL, NULL, &back),
                     PTQC_E_INPUT);
    states[0] = ptqc_gb_u32_at(&gb, PTQC_GB_INPUTS, 0);
    assert_int_equal(pq_block_read(ctx, bytes, n, NULL, NULL, &back),
                     PTQC_E_INPUT);
    states[0] = ptqc_gb_u32_at(&gb, PTQC_GB_OUTPUTS, 0);
    assert_int_equal(pq_block_read(ctx, bytes, n, NULL, NULL, &back),
                     PTQC_E_INPUT);
    states[0] = ptqc_gb_count(&gb, PTQC_GB_VALUES);
    assert_int_equal(pq_block_read(ctx, bytes, n, NULL, NULL, &back),
                     PTQC_E_INPUT);
    assert_int_equal(sink.error_count, 4);
    states[0] = first;
    assert_int_equal(pq_block_read(ctx, bytes, n, NULL, NULL, &back), PTQC_OK);
    pq_graph_destroy(back);
    pq_free(ctx, bytes);
    pq_graph_destroy(g);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
round_trip(ptqc_ctx *ctx, void *user)
{
    pq_graph *g;
    pq_graph *copy = NULL;
    pq_graph *back = NULL;
    void *bytes = NULL;
    size_t n = 0;
    (void)user;
    PQ_TRY(pq_graph_parse(ctx, "sweep", PQ_STR(good), &g));
    ptqc_status st = pq_graph_clone(g, true, &copy);
    if (st == PTQC_OK) {
        st = pq_block_write(copy, NULL, &bytes, &n);
    }
    if (st == PTQC_OK) {
        st = pq_block_read(ctx, bytes, n, NULL, NULL, &back);
    }
    pq_free(ctx, bytes);
    pq_graph_destroy(back);
    pq_graph_destroy(copy);
    pq_graph_destroy(g);
    return st;
}

static void
allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(round_trip, NULL) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_clone),
        cmocka_unit_test(adding),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(order_and_marks),
        cmocka_unit_test(whole_block),
        cmocka_unit_test(part_blocks),
        cmocka_unit_test(interface_block),
        cmocka_unit_test(hostile_blocks),
        cmocka_unit_test(not_dead),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
