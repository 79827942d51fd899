// SPDX-License-Identifier: Apache-2.0
//
// The planar layout element by element, and lowering to steps over it: each
// family dry and real, for a plugin that only compiles.
#include "backends/kgen/planar_lower.h"
#include "backends/kgen/planar_pack.h"
#include "backends/kgen/target.h"
#include "tests/unit/backends/cpu/plugin_check.h"

// ---- packing ---------------------------------------------------------------

static uint8_t SOURCE[1 << 16], PACKED[1 << 17];

static const uint8_t BITS[PQ_KG_WEIGHT_COUNT] = {32, 16, 16, 8, 8, 8, 4, 4, 4};

static uint32_t
source_element(pq_kg_weight format, int64_t i)
{
    if (BITS[format] == 4) {
        return SOURCE[i / 2] >> (i % 2 * 4) & 15u;
    }
    uint32_t x = 0;
    memcpy(&x, SOURCE + i * BITS[format] / 8, BITS[format] / 8);
    return x;
}

// Element e of segment s of row n, as planar.h says.
static uint32_t
packed_element(const pq_planar_shape *p, int64_t s, int64_t n, int64_t e)
{
    int64_t size = pq_kg_planar_block(p->format);
    int64_t blocks = pq_kg_planar_blocks(p->format, p->segment);
    const uint8_t *block = PACKED + 16 * ((s * blocks + e / size) * p->n + n);
    int64_t k = e % size;
    uint32_t x = 0;
    if (BITS[p->format] == 4) {
        return block[k % 16] >> (k / 16 * 4) & 15u;
    }
    memcpy(&x, block + k * BITS[p->format] / 8, BITS[p->format] / 8);
    return x;
}

// [N][K] with segments; then what lies behind their ends is zero.
static void
check_matrix(pq_kg_weight format, int64_t n, int64_t k, int64_t segment)
{
    int64_t row = (k + 1) / 2 * 2, segments = (k + segment - 1) / segment;
    uint32_t flip = format == PQ_KG_WEIGHT_I4   ? 8
                    : format == PQ_KG_WEIGHT_I8 ? 0x80
                                                : 0;
    pq_planar_shape p = {format, n, segments, segment,
                         k - (segments - 1) * segment};
    pq_planar_source s = {.data = SOURCE,
                          .flip = flip,
                          .inner = n,
                          .n_stride = row,
                          .s_stride = segment,
                          .e_stride = 1};
    int64_t bytes = pq_planar_bytes(&p);
    assert_true(bytes > 0 && bytes <= (int64_t)sizeof PACKED);
    memset(PACKED, 0xee, sizeof PACKED);
    pq_planar_pack(&p, &s, 0, n / 2, PACKED);
    pq_planar_pack(&p, &s, n / 2, n, PACKED);
    assert_int_equal(PACKED[bytes], 0xee);
    int64_t whole =
        pq_kg_planar_blocks(format, segment) * pq_kg_planar_block(format);
    for (int64_t i = 0; i < n * segments * whole; i++) {
        int64_t e = i % whole, g = i / whole % segments;
        int64_t r = i / whole / segments, at = g * segment + e;
        bool is_there = e < segment && at < k;
        uint32_t want =
            is_there ? source_element(format, r * row + at) ^ flip : 0;
        assert_int_equal(packed_element(&p, g, r, e), want);
    }
}

static void
test_pack(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(4);
    pq_test_fill_bytes(&r, SOURCE, sizeof SOURCE);
    for (uint32_t f = 0; f < PQ_KG_WEIGHT_COUNT; f++) {
        check_matrix((pq_kg_weight)f, 5, 37, 37);
        check_matrix((pq_kg_weight)f, 131, 64, 32);
        check_matrix((pq_kg_weight)f, 3, 75, 16);
        check_matrix((pq_kg_weight)f, 1, 1, 1);
    }
    pq_planar_shape huge = {PQ_KG_WEIGHT_F32, INT64_MAX / 8, 1, 64, 64};
    assert_int_equal(pq_planar_bytes(&huge), 0);
}

static void
test_scales(void **state)
{
    (void)state;
    float scales[6] = {0.5f, 0.25f, 2.0f, 1.0f, 0.125f, 3.0f};
    int32_t zeros[6] = {8, 8, 8, 8, 8, 8};
    uint8_t out[64];
    uint32_t word;
    // [rows 3][groups 2]
    pq_weight_source s = {.scales = scales,
                          .zeros = zeros,
                          .scale_g_stride = 1,
                          .scale_n_stride = 2};
    assert_int_equal(pq_planar_scales_form(&s, 2, 3, 8), PQ_KG_SCALES_F16);
    zeros[3] = 5;
    assert_int_equal(pq_planar_scales_form(&s, 2, 3, 8), PQ_KG_SCALES_F16);
    pq_planar_pack_scales(&s, PQ_KG_SCALES_F16, 2, 3, 8, out);
    memcpy(&word, out + 4 * (1 * 3 + 1), 4); // group 1 of row 1
    assert_int_equal(word, pq_f32_to_f16(1.0f) | (uint32_t)pq_f32_to_f16(-3.0f)
                                                     << 16);
    scales[4] = 0.1f;
    assert_int_equal(pq_planar_scales_form(&s, 2, 3, 8), PQ_KG_SCALES_WIDE);
    pq_planar_pack_scales(&s, PQ_KG_SCALES_WIDE, 2, 3, 8, out);
    memcpy(&word, out + 8 * (1 * 3 + 1) + 4, 4);
    assert_int_equal(word, (uint32_t)-3);
    zeros[3] = 8;
    assert_int_equal(pq_planar_scales_form(&s, 2, 3, 8), PQ_KG_SCALES_F32);
    assert_int_equal(pq_planar_scales_bytes(PQ_KG_SCALES_WIDE, 2, 3), 48);
    assert_int_equal(pq_planar_scales_bytes(PQ_KG_SCALES_F32, INT64_MAX / 2, 3),
                     0);
}

// ---- a plugin that compiles ------------------------------------------------

struct ptqc_instance {
    const ptqc_host *host;
};

static const pq_lower_op OPS[] = {PQ_PLANAR_OPS};

static const char *
refuse(pq_lower *l, const pq_kg_step *step)
{
    static const pq_kg_dialect glsl = {.language = PQ_KG_GLSL};
    return pq_planar_refuse(l, step, &glsl);
}

static const pq_kg_device DEVICE = {
    .name = "text",
    .ops = OPS,
    .op_count = sizeof OPS / sizeof OPS[0],
    .embedding = pq_planar_embedding,
    .keeps_s8 = true,
    .refuse = refuse,
};

static const pq_kg_format FORMAT = {0x54585450u, 1, 1};

static ptqc_be_status
create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    (void)call;
    *out = host->vt->alloc(host->self, sizeof **out, 16);
    assert_non_null(*out);
    (*out)->host = host;
    return PTQC_BE_OK;
}

static void
destroy(ptqc_instance *inst)
{
    inst->host->vt->free(inst->host->self, inst);
}

static ptqc_be_status
check(ptqc_call *call, ptqc_instance *inst, ptqc_str target, ptqc_bytes graph,
      const uint32_t *nodes, uint64_t count, ptqc_sink *sink)
{
    (void)target;
    const pq_kg_teller t = {DEVICE.name, inst->host, call};
    return pq_kg_check(&t, &DEVICE, graph, nodes, count, sink);
}

static ptqc_be_status
compile(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
        const ptqc_entry *entries, uint64_t count, ptqc_sink *sink)
{
    (void)target;
    const pq_kg_teller t = {DEVICE.name, inst->host, call};
    pq_mem mem = {inst->host, NULL};
    pq_kg_program program = {0};
    ptqc_be_status st =
        pq_kg_lower_entries(&t, &DEVICE, entries, count, &mem, sink, &program);
    if (st == PTQC_BE_OK) {
        ptqc_blob blob = {
            .h = {.size = sizeof blob, .type = PTQC_REC_BLOB},
            .data = pq_kg_program_write(&mem, &FORMAT, &program),
        };
        st = inst->host->vt->emit(sink, &blob.h);
    }
    pq_mem_release(&mem);
    return st;
}

static const ptqc_plugin_vt TABLE = {
    .h = {.size = sizeof TABLE, .type = PTQC_REC_PLUGIN_VT},
    .create = create,
    .destroy = destroy,
    .check = check,
    .compile = compile,
};

static const ptqc_plugin PLUGIN = {
    .h = {.size = sizeof PLUGIN, .type = PTQC_REC_PLUGIN},
    .abi_version = PTQC_ABI_VERSION,
    .name = {"text", 4},
    .vt = &TABLE,
};

static ptqc_be_status
query(const ptqc_host *offer, const ptqc_plugin **out)
{
    (void)offer;
    *out = &PLUGIN;
    return PTQC_BE_OK;
}

// ---- lowering --------------------------------------------------------------

typedef struct lower_case {
    plugin_case c;
    const char *steps;  // names of the kinds in order
    uint32_t constants; // emitted
} lower_case;

// clang-format off
static const lower_case CASES[] = {
    {{"matmul, bias, activation", "graph \"g\" stage float\n"
      "symbol T = [1, 99]\ninput %x: f32[1, T, 37]\nconst c1: $f32[131, 37]\n"
      "const c2: $f32[131]\n%w: f32[131, 37] = c1\n%b: f32[131] = c2\n"
      "%y: f32[1, T, 131] = matmul(%x, %w, %b) {trans_b = 1, act = silu}\n"
      "output %y\n", {5}, 1, 0}, "matmul", 2},
    {{"the gate of a gated unit", "graph \"g\" stage float\n"
      "input %x: f32[3, 37]\nconst c1: $f32[20, 37]\nconst c2: $f32[20, 37]\n"
      "%v: f32[20, 37] = c1\n%w: f32[20, 37] = c2\n"
      "%u: f32[3, 20] = matmul(%x, %w) {trans_b = 1}\n"
      "%g: f32[3, 20] = matmul(%x, %v) {trans_b = 1, act = silu}\n"
      "%y: f32[3, 20] = mul(%g, %u)\noutput %y\n",
      {0}, 0, 0}, "matmul, matmul", 2},
    {{"tied table: one packing", "graph \"g\" stage float\n"
      "symbol T = [1, 99]\ninput %t: i32[1, T]\nconst c1: $f16[33, 20]\n"
      "%e: f16[33, 20] = c1\n%g: f16[1, T, 20] = gather(%e, %t)\n"
      "%x: f32[1, T, 20] = cast(%g) {to = f32}\n"
      "%y: f32[1, T, 33] = matmul(%x, %e) {trans_b = 1}\noutput %y\n",
      {7}, 1, 33}, "embedding, elementwise, matmul", 1},
    {{"groups of 4 bits, ragged", "graph \"g\" stage quantized\n"
      "const c1: $f32[6, 3]\n"
      "const c2: i32[6, 3] = [1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9]\n"
      "const c3: $u4[6, 40]\n"
      PLUGIN_QUANT("q1", "u4", "group", "1", "16", "c1", "c2")
      "input %x: f32[3, 40]\n%w: u4[6, 40] q1 = c3\n"
      "%y: f32[3, 6] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
      {0}, 0, 0}, "matmul", 2},
    {{"integers, plain", "graph \"g\" stage quantized\n"
      "const c1: f32[1] = [0.02]\nconst c2: i32[1] = [-3]\n"
      "const c3: $f32[6]\nconst c4: i32[6] = [0, 0, 0, 0, 0, 0]\n"
      "const c5: $i8[6, 40]\n"
      PLUGIN_QUANT("q1", "i8", "tensor", "0", "0", "c1", "c2")
      PLUGIN_QUANT("q2", "i8", "channel", "0", "0", "c3", "c4")
      "input %x: i8[3, 40] q1\n%w: i8[6, 40] q2 = c5\n"
      "%y: i8[3, 6] q1 = matmul(%x, %w) {trans_b = 1, act = relu}\n"
      "output %y\n", {0}, 0, 0}, "matmul", 3},
    {{"two results", "graph \"g\" stage float\n"
      "input %x: f32[2, 3, 7]\ninput %z: f32[2, 5, 7]\n"
      "%y: f32[2, 3, 5] = matmul(%x, %z) {trans_b = 1}\noutput %y\n",
      {0}, 0, 0}, "batch matmul", 0},
    {{"convolutions", "graph \"g\" stage float\n"
      "input %x: f32[1, 6, 9, 9]\nconst c1: $f32[8, 3, 3, 3]\n"
      "const c2: $f32[8, 1, 3, 3]\n%v: f32[8, 3, 3, 3] = c1\n"
      "%w: f32[8, 1, 3, 3] = c2\n"
      "%a: f32[1, 8, 7, 7] = conv(%x, %v) {kernel = [3, 3], group = 2}\n"
      "%y: f32[1, 8, 5, 5] = conv(%a, %w) {kernel = [3, 3], group = 8}\n"
      "output %y\n", {0}, 0, 0},
     "move, conv, depthwise conv, move", 2},
    {{"attention over a state", "graph \"g\" stage float\n"
      "symbol T = [1, 99]\ninput %q: f32[1, 4, T, 8]\n"
      "input %x: f32[1, 2, T, 8]\ninput %p: i32[1, T]\n"
      "state %s: f16[1, 2, 64, 8]\nstate %v: f16[1, 2, 64, 8]\n"
      "%k: f16[1, 2, 64, 8] = kv_update(%s, %x, %p)\n"
      "%w: f16[1, 2, 64, 8] = kv_update(%v, %x, %p)\n"
      "%y: f32[1, 4, T, 8] = attention(%q, %k, %w, _, %p)\noutput %y\n",
      {4}, 1, 0}, "kv update, kv update, attention", 0},
};
// clang-format on

static void
list_steps(const pq_kg_entry *e, char *out, size_t room)
{
    size_t n = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < e->step_count; i++) {
        n += (size_t)snprintf(out + n, room - n, "%s%s", i > 0 ? ", " : "",
                              pq_step_info_of(e->steps[i].kind)->name);
        assert_true(n < room);
    }
}

static void
read_steps(pq_test_plugin *p, char *out, size_t room)
{
    pq_kg_program program;
    const char *why = "";
    pq_mem mem = {pq_test_plugin_host(p), NULL};
    assert_int_equal(pq_kg_program_read(&mem, &FORMAT, pq_test_plugin_blob(p),
                                        &program, &why),
                     PTQC_BE_OK);
    assert_int_equal(program.entry_count, 1);
    list_steps(&program.entries[0], out, room);
    pq_mem_release(&mem);
}

static void
run_case(ptqc_ctx *ctx, const pq_test_sink *sink, const lower_case *c,
         pq_pool *pool)
{
    plugin_run run = {0};
    char steps[256];
    plugin_parse_run(ctx, sink, &c->c, &run);
    pq_test_plugin *p = pq_test_plugin_open(query, pool);
    if (pq_test_plugin_check(p, "text", run.block, plugin_constant, run.g) !=
            0 ||
        pq_test_plugin_compile(p, "text", run.block, plugin_constant, run.g) !=
            PTQC_BE_OK) {
        print_error("%s: %s\n", c->c.name, pq_test_plugin_message(p));
        fail();
    }
    read_steps(p, steps, sizeof steps);
    if (strcmp(steps, c->steps) != 0 ||
        pq_test_plugin_constant_count(p) != c->constants) {
        print_error("%s: %s, %u constants\n", c->c.name, steps,
                    pq_test_plugin_constant_count(p));
        fail();
    }
    pq_test_plugin_close(p);
    plugin_end_run(ctx, &run);
}

static void
test_lower(void **state)
{
    (void)state;
    static pq_test_sink sink;
    pq_pool *pool;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    assert_int_equal(pq_pool_create(ctx, 2, &pool), PTQC_OK);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        pq_test_sink_clear(&sink);
        run_case(ctx, &sink, &CASES[i], pool);
    }
    pq_pool_destroy(pool);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_lower),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
