// SPDX-License-Identifier: Apache-2.0
//
// The type of key and value states, as the recipe has it: floats are retyped;
// int8 makes codes and a state of scales beside them, one scale per row
// (docs/numerics.md section 8).
#include "ir/builder.h"
#include "ir/rewrite.h"
#include "passes/registry.h"

static bool
is_state_update(const pq_graph *g, const pq_op *op)
{
    return op->code == PQ_OP_KV_UPDATE &&
           pq_graph_value(g, op->inputs[0])->is_state;
}

static void
retype(pq_graph *g, const pq_op *update, ptqc_dtype dtype)
{
    pq_graph_value(g, update->inputs[0])->type.dtype = dtype;
    pq_graph_value(g, update->outputs[0])->type.dtype = dtype;
}

// Whether attention alone reads v, as keys or values and as nothing else.
static bool
is_for_attention(const pq_graph *g, pq_value_id v)
{
    for (const pq_use *u = pq_value_uses(g, v); u != NULL; u = u->next) {
        const pq_op *op = pq_graph_op(g, u->op);
        if (op->code != PQ_OP_ATTENTION) {
            return false;
        }
        for (uint32_t i = 0; i < op->input_count; i++) {
            bool is_source = i == 1 || i == 2;
            if (!is_source && pq_value_equal(op->inputs[i], v)) {
                return false;
            }
        }
    }
    return !pq_value_is_output(g, v);
}

// f32 "NAME.scale", without the state's last axis.
static ptqc_status
add_scales(pq_graph *g, const pq_value *state, pq_value_id *out)
{
    pq_type type;
    pq_strbuf name;
    if (!pq_type_make(g, PTQC_F32, state->type.dims, 3, &type)) {
        return pq_graph_failure(g);
    }
    pq_strbuf_init(&name, pq_graph_ctx(g));
    pq_strbuf_add(&name, state->name);
    pq_strbuf_add_z(&name, ".scale");
    *out = name.failed ? PQ_NO_VALUE
                       : pq_graph_add_value(g, (pq_str){name.p, name.n}, type);
    pq_strbuf_deinit(&name);
    return pq_value_is_none(*out) ? pq_graph_failure(g)
                                  : pq_graph_add_state(g, *out);
}

// Attention that read `from` reads the codes and the scales.
static ptqc_status
replace_source(pq_graph *g, pq_value_id from, const pq_value_id to[2])
{
    for (const pq_use *u = pq_value_uses(g, from); u != NULL;
         u = pq_value_uses(g, from)) {
        pq_op_id attention = u->op;
        bool is_key =
            pq_value_equal(pq_graph_op(g, attention)->inputs[1], from);
        PQ_TRY(pq_set_input(g, attention, is_key ? 1 : 2, to[0]));
        PQ_TRY(pq_set_input(g, attention, is_key ? 5 : 6, to[1]));
    }
    return PTQC_OK;
}

static ptqc_status
make_codes(pq_graph *g, pq_op_id id)
{
    const pq_op *update = pq_graph_op(g, id);
    pq_value_id state = update->inputs[0], y = update->outputs[0];
    pq_value_id inputs[4] = {state, PQ_NO_VALUE, update->inputs[1],
                             update->inputs[2]};
    pq_value_id out[2];
    pq_builder b;
    if (pq_value_uses(g, state)->next != NULL || !is_for_attention(g, y)) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_UNSUPPORTED,
                       "state '%.*s' holds more than keys or values: int8 "
                       "cannot be its type",
                       PQ_STR_ARG(pq_graph_value(g, state)->name));
    }
    retype(g, update, PTQC_I8);
    PQ_TRY(add_scales(g, pq_graph_value(g, state), &inputs[1]));
    pq_build_begin(&b, g, id, PQ_OP_KV_UPDATE_CODES, pq_graph_op(g, id)->name);
    for (uint32_t i = 0; i < 4; i++) {
        pq_build_input(&b, inputs[i]);
    }
    PQ_TRY(pq_build_end(&b, NULL, out, NULL));
    PQ_TRY(replace_source(g, y, out));
    pq_erase_op(g, id);
    return PTQC_OK;
}

ptqc_status
pq_pass_kv_type(pq_graph *g, pq_pass_env *env)
{
    static const ptqc_dtype dtypes[] = {
        [PQ_KV_AS_IS] = PTQC_DTYPE_NONE,
        [PQ_KV_F16] = PTQC_F16,
        [PQ_KV_F32] = PTQC_F32,
        [PQ_KV_INT8] = PTQC_I8,
    };
    bool is_any = env->recipe->kv == PQ_KV_AS_IS;
    pq_op_id next;
    for (pq_op_id id = pq_graph_first_op(g); !pq_op_is_none(id); id = next) {
        const pq_op *op = pq_graph_op(g, id);
        next = op->next;
        if (!is_state_update(g, op) || env->recipe->kv == PQ_KV_AS_IS) {
            continue;
        }
        is_any = true;
        if (env->recipe->kv == PQ_KV_INT8) {
            PQ_TRY(make_codes(g, id));
        } else {
            retype(g, op, dtypes[env->recipe->kv]);
        }
    }
    return is_any ? PTQC_OK
                  : PQ_FAIL(pq_graph_ctx(g), PTQC_E_USAGE,
                            "kv: the model keeps no keys and values");
}
