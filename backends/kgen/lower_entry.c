// SPDX-License-Identifier: Apache-2.0
//
// Lowering: bindings, the walk over the nodes, outputs; and trying one node.
#include <string.h>

#include "lower_expr.h"
#include "lower_kv.h"
#include "lower_weights.h"
#include "params.h"

static const pq_lower_op OPS[] = {
#define LOWER(op, fn) {op, pq_lower_##fn},
#include "lower_ops.def"
#undef LOWER
};

// ---- start -----------------------------------------------------------------

static void
copy_dims(pq_lower *l)
{
    pq_kg_entry *e = l->entry;
    uint32_t symbols = ptqc_gb_count(l->g, PTQC_GB_SYMBOLS);
    uint32_t dims = ptqc_gb_count(l->g, PTQC_GB_DIMS);
    e->symbols = pq_mem_array(l->mem, symbols, sizeof *e->symbols);
    e->dim_room = dims + 32;
    e->dims = pq_mem_array(l->mem, e->dim_room, sizeof *e->dims);
    if (e->symbols == NULL || e->dims == NULL) {
        pq_lower_no_memory(l);
        return;
    }
    e->symbol_count = symbols;
    e->dim_count = dims;
    for (uint32_t i = 0; i < symbols; i++) {
        const ptqc_gb_symbol *s = ptqc_gb_symbol_at(l->g, i);
        e->symbols[i] = (pq_kg_symbol){s->min, s->max, s->multiple};
    }
    for (uint32_t i = 0; i < dims; i++) {
        const ptqc_gb_dim *d = ptqc_gb_dim_at(l->g, i);
        e->dims[i] = (pq_kg_dim){d->op, d->a, d->b, d->value};
    }
}

static void
note_operands(pq_lower *l, uint32_t index)
{
    const ptqc_gb_node *n = ptqc_gb_node_at(l->g, index);
    for (uint32_t j = 0; j < n->input_count; j++) {
        uint32_t v = ptqc_gb_input(l->g, n, j);
        if (v != PTQC_GB_NONE) {
            l->values[v].use_count++;
            l->values[v].consumer = index;
        }
    }
    for (uint32_t j = 0; j < n->output_count; j++) {
        uint32_t v = ptqc_gb_output(l->g, n, j);
        if (v != PTQC_GB_NONE) {
            l->values[v].producer = index;
        }
    }
}

void
pq_lower_begin(pq_lower *l)
{
    uint32_t values = ptqc_gb_count(l->g, PTQC_GB_VALUES);
    uint32_t nodes = ptqc_gb_count(l->g, PTQC_GB_NODES);
    l->scratch.host = l->host;
    l->values = pq_mem_array(l->mem, values, sizeof *l->values);
    l->fused = pq_mem_array(l->mem, nodes, 1);
    l->made = pq_mem_array(l->mem, nodes, 1);
    if (l->values == NULL || l->fused == NULL || l->made == NULL) {
        pq_lower_no_memory(l);
        return;
    }
    for (uint32_t i = 0; i < values; i++) {
        l->values[i].producer = PQ_KG_NONE;
        l->values[i].consumer = PQ_KG_NONE;
        l->values[i].kv_value = PQ_KG_NONE;
    }
    for (uint32_t i = 0; i < nodes; i++) {
        note_operands(l, i);
    }
    for (uint32_t i = 0; i < ptqc_gb_count(l->g, PTQC_GB_OUTPUTS); i++) {
        uint32_t v = ptqc_gb_u32_at(l->g, PTQC_GB_OUTPUTS, i);
        l->values[v].use_count++;
        l->values[v].is_output = true;
    }
    copy_dims(l);
}

// ---- boundary --------------------------------------------------------------

// A program value of the block's value in logical order, or in its layout.
static uint32_t
add_boundary(pq_lower *l, uint32_t gv, uint32_t dtype, uint32_t binding)
{
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    uint32_t dims[PTQC_MAX_RANK], rank = v->rank;
    pq_kv_layout layout = l->values[gv].kv;
    for (uint32_t i = 0; i < rank; i++) {
        dims[i] = pq_gv_dim(l, v, i);
    }
    if (layout != PQ_KV_ROWS) {
        rank = pq_kv_dims(l, v, layout, dims);
    }
    uint32_t value = pq_new_temp(l, dtype, dims, rank);
    if (pq_lower_ok(l) && binding != PQ_KG_NONE) {
        l->entry->values[value].place = PQ_PLACE_BINDING;
        l->entry->values[value].index = binding;
    }
    return value;
}

// Codes s8 <-> u8: the top bit flips.
static void
flip_codes(pq_lower *l, uint32_t from, uint32_t to)
{
    pq_chain c;
    pq_chain_init(&c, l);
    uint32_t x = pq_chain_op(&c, PQ_EXPR_LOAD, PTQC_U8, 0, 0, 0);
    c.d.input_count = 1;
    uint32_t bit = pq_chain_integer(&c, PTQC_U8, 128);
    pq_chain_end_values(&c, pq_chain_op(&c, PQ_EXPR_XOR, PTQC_U8, x, bit, 0),
                        from, to);
}

static void
check_boundary(pq_lower *l, uint32_t gv)
{
    if (pq_kg_element_bytes(ptqc_gb_value_at(l->g, gv)->dtype) == 0) {
        pq_decline(l, "boundary value of less than 8 bits");
    }
}

static void
set_identity(pq_lower *l, uint32_t gv, uint32_t value)
{
    pq_lower_value *s = &l->values[gv];
    s->form_count = 1;
    s->forms[0].value = value;
    s->forms[0].rank = ptqc_gb_value_at(l->g, gv)->rank;
    pq_perm_identity(s->forms[0].perm, s->forms[0].rank);
}

// The value of the block behind binding i: inputs, states, outputs.
static uint32_t
boundary_at(const pq_lower *l, uint32_t i)
{
    static const uint32_t SECTIONS[2] = {PTQC_GB_INPUTS, PTQC_GB_STATES};
    for (uint32_t s = 0; s < 2; s++) {
        uint32_t count = ptqc_gb_count(l->g, SECTIONS[s]);
        if (i < count) {
            return ptqc_gb_u32_at(l->g, SECTIONS[s], i);
        }
        i -= count;
    }
    return ptqc_gb_u32_at(l->g, PTQC_GB_OUTPUTS, i);
}

// Bindings before the outputs: what the steps read from the start.
static uint32_t
given_count(const pq_lower *l)
{
    return ptqc_gb_count(l->g, PTQC_GB_INPUTS) +
           ptqc_gb_count(l->g, PTQC_GB_STATES);
}

// First of all values: a binding's value must precede the views of it.
static uint32_t *
add_bindings(pq_lower *l)
{
    uint32_t count = given_count(l) + ptqc_gb_count(l->g, PTQC_GB_OUTPUTS);
    uint32_t *values = pq_mem_array(l->mem, count, sizeof *values);
    if (values == NULL) {
        pq_lower_no_memory(l);
        return NULL;
    }
    for (uint32_t i = 0; i < count && pq_lower_ok(l); i++) {
        uint32_t gv = boundary_at(l, i);
        check_boundary(l, gv);
        values[i] = add_boundary(l, gv, ptqc_gb_value_at(l->g, gv)->dtype, i);
    }
    l->entry->binding_count = count;
    return values;
}

// Inputs and states. A state is used where it lies; codes of states would
// have to be kept as their dtype says.
static void
begin_given(pq_lower *l, const uint32_t *bindings)
{
    for (uint32_t i = 0; i < given_count(l) && pq_lower_ok(l); i++) {
        uint32_t gv = boundary_at(l, i);
        const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
        uint32_t stored = pq_stored_dtype(l, v);
        uint32_t value = bindings[i];
        if (stored != v->dtype && i >= ptqc_gb_count(l->g, PTQC_GB_INPUTS)) {
            pq_decline(l, "state of codes");
            return;
        }
        if (stored != v->dtype) {
            value = add_boundary(l, gv, stored, PQ_KG_NONE);
            // the flip reads the bytes as u8
            uint32_t bytes =
                pq_new_view(l, bindings[i], PTQC_U8,
                            l->entry->values[bindings[i]].dims, v->rank);
            flip_codes(l, bytes, value);
        }
        if (l->values[gv].kv != PQ_KV_ROWS) {
            l->values[gv].kv_value = value;
        } else if (pq_lower_ok(l)) {
            set_identity(l, gv, value);
        }
    }
}

static void
copy_value(pq_lower *l, uint32_t from, uint32_t to)
{
    pq_step_begin(l, PQ_STEP_MOVE, "output");
    pq_step_in(l, from);
    pq_step_out(l, to);
    pq_step_i64(l, PQ_MOVE_PERMUTE);
    for (uint32_t i = 0; i < l->entry->values[to].rank; i++) {
        pq_step_i64(l, i);
    }
}

// The result is written into the binding itself when it can be: its storage
// becomes a view of the binding.
static void
end_outputs(pq_lower *l, const uint32_t *bindings)
{
    uint32_t outputs = ptqc_gb_count(l->g, PTQC_GB_OUTPUTS);
    for (uint32_t i = 0; i < outputs && pq_lower_ok(l); i++) {
        uint32_t gv = ptqc_gb_u32_at(l->g, PTQC_GB_OUTPUTS, i);
        const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
        uint32_t to = bindings[given_count(l) + i];
        pq_ref from = pq_use_identity(l, gv);
        if (!pq_lower_ok(l)) {
            return;
        }
        uint32_t root = pq_kg_root(l->entry, from.value);
        pq_kg_value *storage = &l->entry->values[root];
        if (pq_stored_dtype(l, v) != v->dtype) {
            uint32_t bytes =
                pq_new_view(l, to, PTQC_U8, l->entry->values[to].dims, v->rank);
            flip_codes(l, from.value, bytes);
        } else if (storage->place == PQ_PLACE_TEMP) {
            storage->place = PQ_PLACE_VIEW;
            storage->index = to;
        } else {
            copy_value(l, from.value, to);
        }
    }
}

// ---- nodes -----------------------------------------------------------------

static pq_lower_fn
find_in(const pq_lower *l, const pq_lower_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ptqc_gb_text_is(l->g, pq_lower_node(l)->op, ops[i].op)) {
            return ops[i].fn;
        }
    }
    return NULL;
}

static pq_lower_fn
find_op(const pq_lower *l)
{
    pq_lower_fn fn = find_in(l, l->device->ops, l->device->op_count);
    if (fn == NULL) {
        fn = find_in(l, OPS, sizeof OPS / sizeof OPS[0]);
    }
    return fn == NULL && pq_lower_is_elementwise(l, l->node)
               ? pq_lower_elementwise
               : fn;
}

// Whether the device has kernels for the steps that are complete now.
static void
ask_device(pq_lower *l)
{
    const pq_kg_entry *e = l->entry;
    while (l->device->refuse != NULL && pq_lower_ok(l) &&
           l->asked_count < e->step_count) {
        const pq_kg_step *s = &e->steps[l->asked_count++];
        const char *why = l->device->refuse(l, s);
        if (why != NULL) {
            pq_decline(l, "%s", why);
        }
    }
}

static void
lower_node(pq_lower *l)
{
    const ptqc_gb_node *n = pq_lower_node(l);
    pq_lower_fn fn = find_op(l);
    if (fn == NULL) {
        pq_decline(l, "no kernel");
        return;
    }
    if (n->version != 1) {
        pq_decline(l, "version %u", n->version);
        return;
    }
    if (n->output_count == 0 || pq_out(l, 0) == NULL) {
        pq_decline(l, "no output");
        return;
    }
    fn(l);
    ask_device(l);
    pq_lower_release(l);
}

static void
say_failure(pq_lower *l)
{
    if (l->st == PTQC_BE_UNSUPPORTED && l->reason[0] != '\0') {
        ptqc_str name = {"", 0};
        if (l->node < ptqc_gb_count(l->g, PTQC_GB_NODES)) {
            name = ptqc_gb_str(l->g, pq_lower_node(l)->name);
        }
        pq_kg_fail(l->host, l->call, l->st, "%s: node '%.*s': %s",
                   l->device->name, name.n < 256 ? (int)name.n : 256, name.p,
                   l->reason);
    }
}

ptqc_be_status
pq_lower_entry(pq_lower *l)
{
    pq_lower_begin(l);
    l->node = UINT32_MAX;
    if (pq_lower_ok(l)) {
        pq_lower_states(l);
    }
    uint32_t *bindings = pq_lower_ok(l) ? add_bindings(l) : NULL;
    if (pq_lower_ok(l)) {
        begin_given(l, bindings);
        pq_lower_fuse(l);
        pq_lower_fuse_weights(l);
    }
    uint32_t nodes = ptqc_gb_count(l->g, PTQC_GB_NODES);
    for (uint32_t i = 0; i < nodes && pq_lower_ok(l); i++) {
        l->node = i;
        if (!l->fused[i] && !l->made[i]) {
            lower_node(l);
        }
    }
    if (pq_lower_ok(l)) {
        l->node = UINT32_MAX;
        end_outputs(l, bindings);
        ask_device(l);
    }
    pq_lower_release(l);
    say_failure(l);
    return l->st;
}

ptqc_be_status
pq_lower_try(pq_lower *l, uint32_t node)
{
    if (l->values == NULL) {
        pq_lower_begin(l);
    }
    l->node = node;
    const ptqc_gb_node *n = pq_lower_node(l);
    for (uint32_t i = 0; i < n->input_count && pq_lower_ok(l); i++) {
        uint32_t gv = ptqc_gb_input(l->g, n, i);
        if (gv == PTQC_GB_NONE ||
            ptqc_gb_value_at(l->g, gv)->constant != PTQC_GB_NONE) {
            continue;
        }
        check_boundary(l, gv);
        const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
        uint32_t value = add_boundary(l, gv, pq_stored_dtype(l, v), PQ_KG_NONE);
        if (pq_lower_ok(l)) {
            set_identity(l, gv, value);
        }
    }
    for (uint32_t i = 0; i < n->output_count && pq_lower_ok(l); i++) {
        uint32_t gv = ptqc_gb_output(l->g, n, i);
        if (gv != PTQC_GB_NONE) {
            check_boundary(l, gv);
        }
    }
    if (pq_lower_ok(l)) {
        lower_node(l);
    }
    return l->st;
}
