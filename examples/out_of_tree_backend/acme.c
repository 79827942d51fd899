// SPDX-License-Identifier: Apache-2.0
//
// "acme": a backend that lives outside of ptqc. It runs one op, the f32
// product of matrices with an optional bias, on one thread of the cpu; all
// else of a model goes to the next target. Built against the installed
// headers and SDK alone:
//
//   ptqc compile model.onnx --backend-path DIR --target acme,cpu -o m.ptqc
//
// Its program is a checksum and the graph block itself; constants are emitted
// in the order in which the block lists them. backends/null of the ptqc
// sources explains every function of the table.
#include <math.h>
#include <ptqc/backend.h>
#include <ptqc/graph_block.h>
#include <ptqc/sdk/checked.h>
#include <stdbool.h>
#include <string.h>

#define ALIGN             64u
#define MAGIC             0x454d4341u // "ACME"
#define HDR(record, type) {sizeof(record), type, NULL}

struct ptqc_instance {
    ptqc_host host;
};

typedef struct acme_header {
    uint32_t magic, version;
    uint64_t hash; // FNV-1a of the graph block behind it
} acme_header;

struct ptqc_exe {
    const ptqc_host *host;
    void *block; // owned copy of the graph block
    ptqc_gb gb;
    const ptqc_bytes *constants; // borrowed; as in the block
};

// A value: a vector or matrix.
typedef struct acme_spot {
    float *p;
    size_t offset; // in the workspace; constants: SIZE_MAX
    size_t bytes;
    int64_t rows, columns;
} acme_spot;

struct ptqc_spec {
    const ptqc_exe *exe;
    int64_t *dims;    // owned: every DIMS expression evaluated
    acme_spot *spots; // owned: [values]
    size_t workspace_bytes;
};

static ptqc_str
str_of(const char *z)
{
    return (ptqc_str){z, strlen(z)};
}

static bool
is_text(ptqc_str s, const char *z)
{
    return s.n == strlen(z) && memcmp(s.p, z, s.n) == 0;
}

static void *
allocate(const ptqc_host *host, size_t count, size_t size)
{
    size_t bytes;
    return pq_mul_size(count, size, &bytes)
               ? host->vt->alloc(host->self, bytes, ALIGN)
               : NULL;
}

// ---- instance, target, device ---------------------------------------------

static ptqc_be_status
create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    (void)call;
    ptqc_instance *inst = allocate(host, 1, sizeof *inst);
    if (inst == NULL) {
        return PTQC_BE_RESOURCE;
    }
    inst->host = *host;
    *out = inst;
    return PTQC_BE_OK;
}

static void
destroy(ptqc_instance *inst)
{
    inst->host.vt->free(inst->host.self, inst);
}

static ptqc_be_status
devices(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    const ptqc_device device = {.h = HDR(device, PTQC_REC_DEVICE),
                                .id = str_of("acme:0"),
                                .name = str_of("ACME matrix engine"),
                                .target = str_of("acme"),
                                .state = PTQC_DEVICE_USABLE,
                                .flags = PTQC_DEVICE_HOST_MEMORY};
    return inst->host.vt->emit(sink, &device.h);
}

static ptqc_be_status
targets(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    const ptqc_target target = {.h = HDR(target, PTQC_REC_TARGET),
                                .name = str_of("acme"),
                                .summary = str_of("f32 matrix products")};
    return inst->host.vt->emit(sink, &target.h);
}

static ptqc_be_status
rules(ptqc_call *call, ptqc_instance *inst, ptqc_str target, ptqc_sink *sink)
{
    (void)call;
    ptqc_operand_rule operands[4]; // x, w, bias, output
    for (uint32_t i = 0; i < 4; i++) {
        operands[i] = (ptqc_operand_rule){
            .h = HDR(*operands, 0),
            .role = i == 3 ? PTQC_ROLE_OUTPUT : PTQC_ROLE_INPUT,
            .index = i == 3 ? 0 : i,
            .dtypes = PTQC_DTYPE_BIT(PTQC_F32),
            .granularities = PTQC_GRAN_BIT(PTQC_GRAN_NONE),
            .flags = i == 2 ? PTQC_OPERAND_OPTIONAL : 0};
    }
    const ptqc_rule rule = {.h = HDR(rule, PTQC_REC_RULE),
                            .op = str_of("matmul"),
                            .operands = operands,
                            .operand_count = 4,
                            .operand_stride = sizeof *operands,
                            .numerics = PTQC_NUMERICS_BIT_EXACT,
                            .rank_min = 2,
                            .rank_max = 2};
    return is_text(target, "acme") ? inst->host.vt->emit(sink, &rule.h)
                                   : PTQC_BE_UNSUPPORTED;
}

// ---- check ----------------------------------------------------------------

static bool
is_f32(const ptqc_gb *g, uint32_t value, uint32_t rank)
{
    if (value == PTQC_GB_NONE) {
        return false;
    }
    const ptqc_gb_value *v = ptqc_gb_value_at(g, value);
    return v->dtype == PTQC_F32 && v->quant == PTQC_GB_NONE && v->rank == rank;
}

// Why the node is not taken, or NULL.
static const char *
declines(const ptqc_gb *g, const ptqc_gb_node *n)
{
    uint32_t bias = ptqc_gb_input(g, n, 2);
    if (!ptqc_gb_text_is(g, n->op, "matmul")) {
        return "only matmul";
    }
    if (!is_f32(g, ptqc_gb_input(g, n, 0), 2) ||
        !is_f32(g, ptqc_gb_input(g, n, 1), 2) ||
        !is_f32(g, ptqc_gb_output(g, n, 0), 2) ||
        (bias != PTQC_GB_NONE && !is_f32(g, bias, 1))) {
        return "matmul: only f32 matrices";
    }
    if (ptqc_gb_input(g, n, 3) != PTQC_GB_NONE ||
        ptqc_gb_input(g, n, 4) != PTQC_GB_NONE) {
        return "matmul: a residual or row scales";
    }
    return ptqc_gb_attr_i64(g, n, "trans_a", 0) != 0 ||
                   ptqc_gb_find_attr(g, n, "act") != NULL
               ? "matmul: transposed x or fused activation"
               : NULL;
}

static ptqc_be_status
check(ptqc_call *call, ptqc_instance *inst, ptqc_str target, ptqc_bytes graph,
      const uint32_t *nodes, uint64_t node_count, ptqc_sink *sink)
{
    (void)call;
    ptqc_gb g;
    if (!is_text(target, "acme")) {
        return PTQC_BE_UNSUPPORTED;
    }
    if (!ptqc_gb_open(graph.p, graph.n, &g, NULL)) {
        return PTQC_BE_INVALID;
    }
    ptqc_be_status st = PTQC_BE_OK;
    for (uint64_t i = 0; i < node_count && st == PTQC_BE_OK; i++) {
        if (nodes[i] >= ptqc_gb_count(&g, PTQC_GB_NODES)) {
            return PTQC_BE_INVALID;
        }
        const char *reason = declines(&g, ptqc_gb_node_at(&g, nodes[i]));
        if (reason != NULL) {
            const ptqc_verdict verdict = {.h = HDR(verdict, PTQC_REC_VERDICT),
                                          .node = nodes[i],
                                          .reason = str_of(reason)};
            st = inst->host.vt->emit(sink, &verdict.h);
        }
    }
    return st;
}

// ---- compile --------------------------------------------------------------

static uint64_t
fnv1a(const uint8_t *p, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) {
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return h;
}

static bool
takes_all(const ptqc_gb *g)
{
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_NODES); i++) {
        if (declines(g, ptqc_gb_node_at(g, i)) != NULL) {
            return false;
        }
    }
    return true;
}

static ptqc_be_status
emit_blob(const ptqc_host *host, ptqc_bytes graph, ptqc_sink *sink)
{
    acme_header header = {MAGIC, 1, fnv1a(graph.p, graph.n)};
    uint8_t *bytes = allocate(host, 1, graph.n + sizeof header);
    if (bytes == NULL) {
        return PTQC_BE_RESOURCE;
    }
    memcpy(bytes, &header, sizeof header);
    memcpy(bytes + sizeof header, graph.p, graph.n);
    const ptqc_blob record = {.h = HDR(record, PTQC_REC_BLOB),
                              .data = {bytes, graph.n + sizeof header}};
    ptqc_be_status st = host->vt->emit(sink, &record.h);
    host->vt->free(host->self, bytes);
    return st;
}

static ptqc_be_status
compile(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
        const ptqc_entry *entries, uint64_t entry_count, ptqc_sink *sink)
{
    ptqc_gb g;
    const ptqc_host_vt *vt = inst->host.vt;
    if (!is_text(target, "acme") || entry_count != 1) {
        return PTQC_BE_UNSUPPORTED;
    }
    if (!ptqc_gb_open(entries[0].graph.p, entries[0].graph.n, &g, NULL)) {
        return PTQC_BE_INVALID;
    }
    ptqc_be_status st = takes_all(&g) ? PTQC_BE_OK : PTQC_BE_UNSUPPORTED;
    uint32_t count = ptqc_gb_count(&g, PTQC_GB_CONSTANTS);
    for (uint32_t i = 0; i < count && st == PTQC_BE_OK; i++) {
        ptqc_packed_constant c = {.h = HDR(c, PTQC_REC_CONSTANT),
                                  .source_id = ptqc_gb_constant_at(&g, i)->id,
                                  .layout = str_of("dense")};
        c.data.p = vt->constant_map(call, c.source_id, &c.data.n);
        st = c.data.p == NULL ? PTQC_BE_INVALID : vt->emit(sink, &c.h);
        vt->constant_release(call, c.source_id);
    }
    return st == PTQC_BE_OK ? emit_blob(&inst->host, entries[0].graph, sink)
                            : st;
}

// ---- load: the blob may be hostile ------------------------------------------

static void
exe_free(ptqc_exe *exe)
{
    const ptqc_host *host = exe->host;
    host->vt->free(host->self, exe->block);
    host->vt->free(host->self, exe);
}

static ptqc_be_status
load(ptqc_call *call, ptqc_instance *inst, ptqc_str device, ptqc_bytes blob,
     const ptqc_bytes *constants, uint64_t constant_count, ptqc_exe **out)
{
    (void)call;
    acme_header header;
    if (!is_text(device, "acme:0")) {
        return PTQC_BE_UNSUPPORTED;
    }
    if (blob.n < sizeof header) {
        return PTQC_BE_CORRUPT;
    }
    memcpy(&header, blob.p, sizeof header);
    size_t bytes = blob.n - sizeof header;
    if (header.magic == MAGIC && header.version != 1) {
        return PTQC_BE_INCOMPATIBLE;
    }
    ptqc_exe *exe = allocate(&inst->host, 1, sizeof *exe);
    if (exe == NULL) {
        return PTQC_BE_RESOURCE;
    }
    *exe = (ptqc_exe){.host = &inst->host, .constants = constants};
    exe->block = allocate(&inst->host, 1, bytes);
    bool is_good = exe->block != NULL && header.magic == MAGIC;
    if (is_good) {
        memcpy(exe->block, (const uint8_t *)blob.p + sizeof header, bytes);
        is_good =
            fnv1a(exe->block, bytes) == header.hash &&
            ptqc_gb_open(exe->block, bytes, &exe->gb, NULL) &&
            constant_count == ptqc_gb_count(&exe->gb, PTQC_GB_CONSTANTS) &&
            takes_all(&exe->gb);
    }
    if (!is_good) {
        exe_free(exe);
        return PTQC_BE_CORRUPT;
    }
    *out = exe;
    return PTQC_BE_OK;
}

// ---- specialize -----------------------------------------------------------

// Shape and place of a value; false when its size overflows.
static bool
place(ptqc_spec *s, uint32_t value)
{
    const ptqc_gb *g = &s->exe->gb;
    const ptqc_gb_value *v = ptqc_gb_value_at(g, value);
    acme_spot spot = {.offset = s->workspace_bytes, .columns = 1};
    spot.bytes = sizeof(float);
    for (uint32_t i = 0; i < v->rank; i++) {
        int64_t dim = s->dims[ptqc_gb_value_dim(g, v, i)];
        if (dim < 0 || !pq_mul_size(spot.bytes, (size_t)dim, &spot.bytes)) {
            return false;
        }
        spot.rows = spot.columns;
        spot.columns = dim;
    }
    bool is_constant = v->constant != PTQC_GB_NONE;
    if (is_constant) {
        spot.p = (float *)(uintptr_t)s->exe->constants[v->constant].p;
        spot.offset = SIZE_MAX;
    }
    s->spots[value] = spot;
    size_t end;
    return is_constant ? s->exe->constants[v->constant].n == spot.bytes
                       : pq_add_size(s->workspace_bytes, spot.bytes, &end) &&
                             pq_align_size(end, ALIGN, &s->workspace_bytes);
}

// Shapes fit: the host guarantees it, a hostile blob does not.
static bool
fits(const ptqc_spec *s, const ptqc_gb_node *n)
{
    const ptqc_gb *g = &s->exe->gb;
    const acme_spot *x = &s->spots[ptqc_gb_input(g, n, 0)];
    const acme_spot *w = &s->spots[ptqc_gb_input(g, n, 1)];
    const acme_spot *y = &s->spots[ptqc_gb_output(g, n, 0)];
    uint32_t bias = ptqc_gb_input(g, n, 2);
    bool is_transposed = ptqc_gb_attr_i64(g, n, "trans_b", 0) != 0;
    return x->rows == y->rows &&
           x->columns == (is_transposed ? w->columns : w->rows) &&
           y->columns == (is_transposed ? w->rows : w->columns) &&
           (bias == PTQC_GB_NONE || s->spots[bias].columns == y->columns);
}

static bool
plan(ptqc_spec *s, const int64_t *symbols)
{
    const ptqc_gb *g = &s->exe->gb;
    bool is_good = ptqc_gb_eval_dims(g, symbols, s->dims, NULL) != 0;
    for (uint32_t i = 0; is_good && i < ptqc_gb_count(g, PTQC_GB_VALUES); i++) {
        is_good = place(s, i);
    }
    for (uint32_t i = 0; is_good && i < ptqc_gb_count(g, PTQC_GB_NODES); i++) {
        is_good = fits(s, ptqc_gb_node_at(g, i));
    }
    return is_good;
}

static void
spec_free(ptqc_spec *s)
{
    const ptqc_host *host = s->exe->host;
    host->vt->free(host->self, s->dims);
    host->vt->free(host->self, s->spots);
    host->vt->free(host->self, s);
}

static ptqc_be_status
specialize(ptqc_call *call, ptqc_exe *exe, uint32_t entry, const int64_t *dims,
           uint64_t dim_count, ptqc_spec **out)
{
    (void)call;
    const ptqc_gb *g = &exe->gb;
    if (entry != 0 || dim_count != ptqc_gb_count(g, PTQC_GB_SYMBOLS)) {
        return PTQC_BE_INVALID;
    }
    ptqc_spec *s = allocate(exe->host, 1, sizeof *s);
    if (s == NULL) {
        return PTQC_BE_RESOURCE;
    }
    *s = (ptqc_spec){.exe = exe};
    s->dims =
        allocate(exe->host, ptqc_gb_count(g, PTQC_GB_DIMS), sizeof *s->dims);
    s->spots =
        allocate(exe->host, ptqc_gb_count(g, PTQC_GB_VALUES), sizeof *s->spots);
    ptqc_be_status st = PTQC_BE_RESOURCE;
    if (s->dims != NULL && s->spots != NULL) {
        st = plan(s, dims) ? PTQC_BE_OK : PTQC_BE_CORRUPT;
    }
    if (st != PTQC_BE_OK) {
        spec_free(s);
        return st;
    }
    *out = s;
    return PTQC_BE_OK;
}

// ---- running --------------------------------------------------------------

// Value of binding i: inputs, then outputs.
static uint32_t
boundary(const ptqc_gb *g, uint32_t i)
{
    uint32_t inputs = ptqc_gb_count(g, PTQC_GB_INPUTS);
    return i < inputs ? ptqc_gb_u32_at(g, PTQC_GB_INPUTS, i)
                      : ptqc_gb_u32_at(g, PTQC_GB_OUTPUTS, i - inputs);
}

static uint32_t
boundary_count(const ptqc_gb *g)
{
    return ptqc_gb_count(g, PTQC_GB_INPUTS) + ptqc_gb_count(g, PTQC_GB_OUTPUTS);
}

static ptqc_be_status
needs(ptqc_call *call, ptqc_spec *s, ptqc_sink *sink)
{
    (void)call;
    const ptqc_gb *g = &s->exe->gb;
    const ptqc_needs all = {.h = HDR(all, PTQC_REC_NEEDS),
                            .workspace_bytes = s->workspace_bytes,
                            .workspace_align = ALIGN};
    ptqc_be_status st = s->exe->host->vt->emit(sink, &all.h);
    for (uint32_t i = 0; i < boundary_count(g) && st == PTQC_BE_OK; i++) {
        const ptqc_buffer_need need = {.h = HDR(need, PTQC_REC_BUFFER_NEED),
                                       .bytes = s->spots[boundary(g, i)].bytes,
                                       .align = _Alignof(float)};
        st = s->exe->host->vt->emit(sink, &need.h);
    }
    return st;
}

// One fused multiply-add per k in ascending order, then the bias: the order
// that docs/numerics.md demands for bit-equal results.
static void
run_node(const ptqc_spec *s, const ptqc_gb_node *n)
{
    const ptqc_gb *g = &s->exe->gb;
    const acme_spot *x = &s->spots[ptqc_gb_input(g, n, 0)];
    const acme_spot *w = &s->spots[ptqc_gb_input(g, n, 1)];
    const acme_spot *y = &s->spots[ptqc_gb_output(g, n, 0)];
    uint32_t bias = ptqc_gb_input(g, n, 2);
    bool is_transposed = ptqc_gb_attr_i64(g, n, "trans_b", 0) != 0;
    int64_t k_step = is_transposed ? 1 : w->columns;
    int64_t j_step = is_transposed ? w->columns : 1;
    for (int64_t i = 0; i < y->rows; i++) {
        for (int64_t j = 0; j < y->columns; j++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < x->columns; k++) {
                sum = fmaf(x->p[i * x->columns + k],
                           w->p[k * k_step + j * j_step], sum);
            }
            y->p[i * y->columns + j] =
                bias == PTQC_GB_NONE ? sum : sum + s->spots[bias].p[j];
        }
    }
}

static ptqc_be_status
submit(ptqc_call *call, ptqc_spec *s, const ptqc_submit *run)
{
    (void)call;
    const ptqc_gb *g = &s->exe->gb;
    if (run->binding_count != boundary_count(g) ||
        run->workspace.bytes < s->workspace_bytes) {
        return PTQC_BE_INVALID;
    }
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_VALUES); i++) {
        if (s->spots[i].offset != SIZE_MAX) {
            uint8_t *workspace = run->workspace.host;
            s->spots[i].p = (float *)(void *)(workspace + s->spots[i].offset);
        }
    }
    for (uint32_t i = 0; i < run->binding_count; i++) {
        acme_spot *spot = &s->spots[boundary(g, i)];
        if (run->bindings[i].bytes < spot->bytes) {
            return PTQC_BE_INVALID;
        }
        spot->p = run->bindings[i].host;
    }
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_NODES); i++) {
        run_node(s, ptqc_gb_node_at(g, i));
    }
    return PTQC_BE_OK;
}

// ---- the table ------------------------------------------------------------

static const ptqc_plugin_vt functions = {
    .h = HDR(ptqc_plugin_vt, PTQC_REC_PLUGIN_VT),
    .create = create,
    .destroy = destroy,
    .devices = devices,
    .targets = targets,
    .rules = rules,
    .check = check,
    .compile = compile,
    .load = load,
    .exe_free = exe_free,
    .specialize = specialize,
    .needs = needs,
    .spec_free = spec_free,
    .submit = submit,
};

static const ptqc_plugin plugin = {
    .h = HDR(ptqc_plugin, PTQC_REC_PLUGIN),
    .abi_version = PTQC_ABI_VERSION,
    .name = {"acme", 4},
    .vendor = {"ACME Inc.", 9},
    .version = {"1.0", 3},
    .vt = &functions,
};

PTQC_EXPORT ptqc_be_status ptqc_plugin_query_v0(const ptqc_host *offer,
                                                const ptqc_plugin **out);

ptqc_be_status
ptqc_plugin_query_v0(const ptqc_host *offer, const ptqc_plugin **out)
{
    *out = &plugin;
    return offer->abi_version == PTQC_ABI_VERSION ? PTQC_BE_OK
                                                  : PTQC_BE_INCOMPATIBLE;
}
