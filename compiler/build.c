// SPDX-License-Identifier: Apache-2.0
//
// Compiling the parts of a placed graph into a container.

#include "compiler/build.h"

#include <string.h>

#include "base/vec.h"
#include "ir/block.h"
#include "ir/builder.h"

// ---- one program ----------------------------------------------------------

typedef struct pq_program_sink {
    ptqc_ctx *ctx;
    const pq_targets *targets;
    const char *plugin; // name
    pq_container *container;
    uint32_t *constants; // owned: container indices, in order of emission
    uint32_t constant_count, constant_capacity;
    uint32_t source_count; // constants of the part, for the progress
    uint8_t *blob;         // owned
    size_t blob_bytes;
    ptqc_status st;
} pq_program_sink;

static ptqc_status
keep_packed(pq_program_sink *sink, const ptqc_packed_constant *c)
{
    uint32_t index;
    PQ_TRY(pq_check_cancelled(sink->ctx));
    PQ_TRY(pq_container_add_constant(sink->container, c->data.p, c->data.n,
                                     &index));
    void *all = sink->constants;
    PQ_TRY(pq_vec_reserve(sink->ctx, &all, &sink->constant_capacity,
                          (size_t)sink->constant_count + 1,
                          sizeof *sink->constants));
    sink->constants = all;
    sink->constants[sink->constant_count++] = index;
    if (sink->constant_count <= sink->source_count) {
        pq_progress(sink->ctx, "compile", sink->constant_count,
                    sink->source_count);
    }
    return PTQC_OK;
}

static ptqc_status
keep_blob(pq_program_sink *sink, const ptqc_blob *b)
{
    if (sink->blob != NULL) {
        return PQ_FAIL(sink->ctx, PTQC_E_BACKEND,
                       "compile emitted more than one program");
    }
    sink->blob = pq_alloc(sink->ctx, b->data.n);
    PQ_TRY_ALLOC(sink->blob);
    memcpy(sink->blob, b->data.p, b->data.n);
    sink->blob_bytes = b->data.n;
    return PTQC_OK;
}

// Names become file names: none that leads elsewhere.
static bool
is_plain_name(ptqc_str name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    for (uint64_t i = 0; i < name.n; i++) {
        if (name.p[i] == '\0' || strchr(allowed, name.p[i]) == NULL) {
            return false;
        }
    }
    return name.n > 0 && name.n < 200 && name.p[0] != '.';
}

static ptqc_status
show_text(pq_program_sink *sink, const ptqc_text *t)
{
    char name[200];
    if (sink->targets->text == NULL) {
        return PTQC_OK;
    }
    if (!is_plain_name(t->name)) {
        return PQ_FAIL(sink->ctx, PTQC_E_BACKEND,
                       "plugin %s: a text has no name of letters, digits, '_' "
                       "and '.'",
                       sink->plugin);
    }
    memcpy(name, t->name.p, t->name.n);
    name[t->name.n] = '\0';
    sink->targets->text(sink->targets->text_user, sink->plugin, name, t->text.p,
                        t->text.n);
    return PTQC_OK;
}

static ptqc_be_status
take_program(void *user, const ptqc_hdr *record)
{
    pq_program_sink *sink = user;
    if (sink->st != PTQC_OK) {
        return PTQC_BE_RESOURCE; // said; the plugin did not stop
    }
    if (record->type == PTQC_REC_CONSTANT) {
        ptqc_packed_constant c;
        pq_record_read(&c, sizeof c, record);
        sink->st = keep_packed(sink, &c);
    } else if (record->type == PTQC_REC_BLOB) {
        ptqc_blob b;
        pq_record_read(&b, sizeof b, record);
        sink->st = keep_blob(sink, &b);
    } else if (record->type == PTQC_REC_TEXT) {
        ptqc_text t;
        pq_record_read(&t, sizeof t, record);
        sink->st = show_text(sink, &t);
    }
    return sink->st == PTQC_OK ? PTQC_BE_OK : PTQC_BE_RESOURCE;
}

static ptqc_status
compile_block(pq_graph *g, const pq_target *target, ptqc_bytes block,
              pq_program_sink *sink)
{
    ptqc_sink be_sink = {.emit = take_program, .user = sink};
    ptqc_entry entry = {.name = {"main", 4}, .graph = block};
    ptqc_call call;
    pq_call_init(&call, sink->ctx, target->plugin);
    call.constant_map = pq_block_constant;
    call.constant_release = pq_block_release;
    call.constant_user = g;
    ptqc_be_status st = target->plugin->table->vt->compile(
        &call, target->plugin->instance,
        (ptqc_str){target->text.target.p, target->text.target.n}, &entry, 1,
        &be_sink);
    pq_graph_release_constants(g);
    PQ_TRY(sink->st);
    PQ_TRY(pq_call_end(&call, st, "compile"));
    if (sink->blob == NULL) {
        return PQ_FAIL(sink->ctx, PTQC_E_BACKEND,
                       "plugin %s: compile gave no program",
                       target->plugin->name);
    }
    return PTQC_OK;
}

// ---- the interface --------------------------------------------------------

// The written interface block and where graph values and symbols are in it.
typedef struct pq_iface {
    void *bytes; // owned
    size_t count;
    ptqc_gb gb;
    uint32_t *index_of;  // [graph values] IFACE value + 1, 0 = none
    uint32_t *symbol_of; // [graph symbols] IFACE dim + 1, 0 = none
} pq_iface;

// Values that cross between parts but are neither inputs nor outputs.
static ptqc_status
list_crossing(pq_graph *g, const pq_placement *p, pq_arena *arena,
              pq_value_id **out, uint32_t *out_count)
{
    uint32_t values = pq_graph_value_count(g), room = 0;
    uint8_t *is_listed = pq_arena_array(arena, values, 1);
    PQ_TRY_ALLOC(is_listed);
    for (uint32_t i = 0; i < pq_graph_output_count(g); i++) {
        is_listed[pq_graph_output(g, i).index] = 1;
    }
    for (uint32_t i = 0; i < p->part_count; i++) {
        room += p->parts[i].output_count;
    }
    *out = pq_arena_array(arena, room, sizeof **out);
    PQ_TRY_ALLOC(*out);
    *out_count = 0;
    for (uint32_t i = 0; i < p->part_count; i++) {
        for (uint32_t k = 0; k < p->parts[i].output_count; k++) {
            pq_value_id v = p->parts[i].outputs[k];
            if (!is_listed[v.index]) {
                is_listed[v.index] = 1;
                (*out)[(*out_count)++] = v;
            }
        }
    }
    return PTQC_OK;
}

static ptqc_status
index_values(pq_graph *g, pq_iface *iface, const pq_value_id *crossing,
             uint32_t crossing_count)
{
    const ptqc_gb *gb = &iface->gb;
    for (uint32_t i = 0; i < pq_graph_input_count(g); i++) {
        iface->index_of[pq_graph_input(g, i).index] =
            ptqc_gb_u32_at(gb, PTQC_GB_INPUTS, i) + 1;
    }
    for (uint32_t i = 0; i < pq_graph_state_count(g); i++) {
        iface->index_of[pq_graph_state(g, i).index] =
            ptqc_gb_u32_at(gb, PTQC_GB_STATES, i) + 1;
    }
    for (uint32_t i = 0; i < pq_graph_output_count(g); i++) {
        iface->index_of[pq_graph_output(g, i).index] =
            ptqc_gb_u32_at(gb, PTQC_GB_OUTPUTS, i) + 1;
    }
    for (uint32_t i = 0; i < crossing_count; i++) {
        const pq_value *v = pq_graph_value(g, crossing[i]);
        for (uint32_t k = 0; k < ptqc_gb_count(gb, PTQC_GB_VALUES); k++) {
            ptqc_str name = ptqc_gb_str(gb, ptqc_gb_value_at(gb, k)->name);
            if (pq_str_equal((pq_str){name.p, name.n}, v->name)) {
                iface->index_of[crossing[i].index] = k + 1;
            }
        }
        if (iface->index_of[crossing[i].index] == 0) {
            return PQ_FAIL(pq_graph_ctx(g), PTQC_E_INTERNAL,
                           "value '%.*s' is not in the interface",
                           PQ_STR_ARG(v->name));
        }
    }
    return PTQC_OK;
}

static void
index_symbols(pq_graph *g, pq_iface *iface)
{
    const ptqc_gb *gb = &iface->gb;
    for (uint32_t d = 0; d < ptqc_gb_count(gb, PTQC_GB_DIMS); d++) {
        const ptqc_gb_dim *dim = ptqc_gb_dim_at(gb, d);
        if (dim->op != PTQC_GB_DIM_SYMBOL) {
            continue;
        }
        ptqc_str name =
            ptqc_gb_str(gb, ptqc_gb_symbol_at(gb, (uint32_t)dim->value)->name);
        for (uint32_t s = 0; s < pq_graph_symbol_count(g); s++) {
            if (pq_str_equal((pq_str){name.p, name.n},
                             pq_graph_symbol(g, s)->name)) {
                iface->symbol_of[s] = d + 1;
            }
        }
    }
}

static ptqc_status
make_iface(pq_graph *g, const pq_placement *p, pq_arena *arena, pq_iface *iface)
{
    ptqc_ctx *ctx = pq_graph_ctx(g);
    pq_value_id *crossing = NULL;
    uint32_t crossing_count = 0;
    PQ_TRY(list_crossing(g, p, arena, &crossing, &crossing_count));
    uint32_t outputs = pq_graph_output_count(g);
    pq_str *names = pq_arena_array(arena, outputs, sizeof *names);
    pq_value_id *values = pq_arena_array(arena, outputs, sizeof *values);
    iface->index_of =
        pq_arena_array(arena, pq_graph_value_count(g), sizeof *iface->index_of);
    iface->symbol_of = pq_arena_array(arena, pq_graph_symbol_count(g),
                                      sizeof *iface->symbol_of);
    if (names == NULL || values == NULL || iface->index_of == NULL ||
        iface->symbol_of == NULL) {
        return PTQC_E_RESOURCE;
    }
    for (uint32_t i = 0; i < outputs; i++) {
        names[i] = pq_graph_output_name(g, i);
        values[i] = pq_graph_output(g, i);
    }
    pq_block_desc desc = {.values_only = true,
                          .values = crossing,
                          .value_count = crossing_count,
                          .outputs = values,
                          .output_count = outputs,
                          .output_names = names};
    PQ_TRY(pq_block_write(g, &desc, &iface->bytes, &iface->count));
    const char *reason = NULL;
    if (!ptqc_gb_open(iface->bytes, iface->count, &iface->gb, &reason)) {
        return PQ_FAIL(ctx, PTQC_E_INTERNAL, "interface block: %s", reason);
    }
    PQ_TRY(index_values(g, iface, crossing, crossing_count));
    index_symbols(g, iface);
    return PTQC_OK;
}

// ---- steps ----------------------------------------------------------------

static ptqc_status
map_values(const pq_iface *iface, const pq_value_id *values, uint32_t count,
           pq_arena *arena, uint32_t **out)
{
    *out = pq_arena_array(arena, count, sizeof **out);
    PQ_TRY_ALLOC(*out);
    for (uint32_t i = 0; i < count; i++) {
        (*out)[i] = iface->index_of[values[i].index] - 1;
    }
    return PTQC_OK;
}

// The block's symbols, as dims of the interface.
static ptqc_status
map_symbols(pq_graph *g, const pq_iface *iface, const ptqc_gb *block,
            pq_arena *arena, uint32_t **out)
{
    uint32_t count = ptqc_gb_count(block, PTQC_GB_SYMBOLS);
    *out = pq_arena_array(arena, count, sizeof **out);
    PQ_TRY_ALLOC(*out);
    for (uint32_t i = 0; i < count; i++) {
        ptqc_str name = ptqc_gb_str(block, ptqc_gb_symbol_at(block, i)->name);
        uint32_t dim = 0;
        for (uint32_t s = 0; s < pq_graph_symbol_count(g); s++) {
            if (pq_str_equal((pq_str){name.p, name.n},
                             pq_graph_symbol(g, s)->name)) {
                dim = iface->symbol_of[s];
            }
        }
        if (dim == 0) {
            return PQ_FAIL(pq_graph_ctx(g), PTQC_E_UNSUPPORTED,
                           "dimension '%.*s' is no dimension of an input",
                           (int)name.n, name.p);
        }
        (*out)[i] = dim - 1;
    }
    return PTQC_OK;
}

static ptqc_status
add_part(pq_graph *g, const pq_target *target, const pq_part *part,
         const pq_iface *iface, pq_program_sink *sink, ptqc_bytes block)
{
    pq_arena arena;
    pq_arena_init(&arena, sink->ctx);
    ptqc_status st = PTQC_OK;
    uint32_t *inputs, *states, *outputs, *dims, program;
    const char *reason = NULL;
    ptqc_gb gb;
    if (!ptqc_gb_open(block.p, block.n, &gb, &reason)) {
        st = PQ_FAIL(sink->ctx, PTQC_E_INTERNAL, "graph block: %s", reason);
        goto done;
    }
    sink->source_count = ptqc_gb_count(&gb, PTQC_GB_CONSTANTS);
    PQ_TRY_OR(done, compile_block(g, target, block, sink));
    pq_program_desc desc = {.plugin = pq_str_of(target->plugin->name),
                            .target = target->text.target,
                            .blob = sink->blob,
                            .blob_bytes = sink->blob_bytes,
                            .constants = sink->constants,
                            .constant_count = sink->constant_count,
                            .entry_count = 1};
    PQ_TRY_OR(done, pq_container_add_program(sink->container, &desc, &program));
    PQ_TRY_OR(done, map_values(iface, part->inputs, part->input_count, &arena,
                               &inputs));
    PQ_TRY_OR(done, map_values(iface, part->states, part->state_count, &arena,
                               &states));
    PQ_TRY_OR(done, map_values(iface, part->outputs, part->output_count, &arena,
                               &outputs));
    PQ_TRY_OR(done, map_symbols(g, iface, &gb, &arena, &dims));
    pq_step_desc step = {.program = program,
                         .inputs = inputs,
                         .states = states,
                         .outputs = outputs,
                         .input_count = part->input_count,
                         .state_count = part->state_count,
                         .output_count = part->output_count,
                         .dims = dims,
                         .dim_count = ptqc_gb_count(&gb, PTQC_GB_SYMBOLS)};
    st = pq_container_add_step(sink->container, &step);
done:
    pq_arena_deinit(&arena);
    return st;
}

static ptqc_status
build_part(pq_graph *g, pq_targets *targets, const pq_part *part,
           const pq_iface *iface, pq_container *container)
{
    pq_block_desc desc = {.ops = part->ops,
                          .op_count = part->op_count,
                          .inputs = part->inputs,
                          .states = part->states,
                          .outputs = part->outputs,
                          .input_count = part->input_count,
                          .state_count = part->state_count,
                          .output_count = part->output_count};
    pq_program_sink sink = {.ctx = targets->ctx,
                            .targets = targets,
                            .plugin = targets->all[part->target].plugin->name,
                            .container = container};
    void *block = NULL;
    size_t block_bytes = 0;
    ptqc_status st = pq_block_write(g, &desc, &block, &block_bytes);
    if (st == PTQC_OK) {
        st = add_part(g, &targets->all[part->target], part, iface, &sink,
                      (ptqc_bytes){block, block_bytes});
    }
    pq_free(targets->ctx, block);
    pq_free(targets->ctx, sink.blob);
    pq_free(targets->ctx, sink.constants);
    return st;
}

ptqc_status
pq_build_container(pq_graph *g, pq_targets *targets,
                   const pq_placement *placement, pq_container *out)
{
    pq_arena arena;
    pq_iface iface = {0};
    pq_arena_init(&arena, targets->ctx);
    ptqc_status st = make_iface(g, placement, &arena, &iface);
    if (st == PTQC_OK) {
        st = pq_container_set_iface(out, iface.bytes, iface.count);
    }
    for (uint32_t i = 0; i < placement->part_count && st == PTQC_OK; i++) {
        st = pq_check_cancelled(targets->ctx);
        if (st == PTQC_OK) {
            st = build_part(g, targets, &placement->parts[i], &iface, out);
        }
    }
    pq_free(targets->ctx, iface.bytes);
    pq_arena_deinit(&arena);
    return st;
}

// ---- outputs --------------------------------------------------------------

static bool
is_repeated(const pq_graph *g, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (pq_value_equal(pq_graph_output(g, k), pq_graph_output(g, i))) {
            return true;
        }
    }
    return false;
}

ptqc_status
pq_separate_outputs(pq_graph *g)
{
    for (uint32_t i = 0; i < pq_graph_output_count(g); i++) {
        pq_value_id v = pq_graph_output(g, i);
        if (!pq_op_is_none(pq_graph_value(g, v)->producer) &&
            !is_repeated(g, i)) {
            continue;
        }
        pq_value_id copy;
        PQ_TRY(pq_build_unary(g, (pq_op_id){0}, PQ_OP_IDENTITY, v, &copy));
        pq_graph_set_output(g, i, copy);
    }
    return PTQC_OK;
}
