// SPDX-License-Identifier: Apache-2.0
//
// Cutting graphs, see pieces.h.
//
//   groups     by the value they read, in the order in which it is made
//   piece i    ops that value i depends on, less those of pieces before

#include "passes/calib/pieces.h"

#include "passes/match.h"

typedef struct pq_finder {
    const pq_graph *g;
    pq_arena *arena;
    const pq_stream_client *client;
    pq_pieces *p;
    uint32_t value_count;
} pq_finder;

// A constant, or what constant codes mean.
static bool
is_weight(const pq_graph *g, pq_value_id w)
{
    const pq_op *dequantize = pq_producer(g, w, PQ_OP_DEQUANTIZE);
    return pq_is_constant(g, dequantize != NULL ? dequantize->inputs[0] : w);
}

static bool
is_member(const pq_finder *f, const pq_op *op)
{
    return pq_is_product(op->code) && is_weight(f->g, op->inputs[1]) &&
           (f->client->runs_as_is || pq_is_float(f->g, op->inputs[0])) &&
           !pq_is_constant(f->g, op->inputs[0]) &&
           f->client->wants(f->client->user, op);
}

// members[]: the products in order; counts[v]: how many read v.
static ptqc_status
find_members(const pq_finder *f, pq_op_id **out, uint32_t *counts)
{
    uint32_t n = 0;
    pq_op_id *members =
        pq_arena_array(f->arena, pq_graph_op_count(f->g), sizeof *members);
    PQ_TRY_ALLOC(members);
    PQ_FOR_EACH_OP(f->g, id)
    {
        const pq_op *op = pq_graph_op(f->g, id);
        if (is_member(f, op)) {
            members[n++] = id;
            counts[op->inputs[0].index]++;
        }
    }
    *out = members;
    return PTQC_OK;
}

static ptqc_status
add_group(const pq_finder *f, pq_value_id x, const pq_op_id *members,
          const uint32_t *counts)
{
    pq_pieces *p = f->p;
    if (counts[x.index] == 0) {
        return PTQC_OK;
    }
    pq_op_id *ops = pq_arena_array(f->arena, counts[x.index], sizeof *ops);
    PQ_TRY_ALLOC(ops);
    pq_stream_group *group = &p->groups[p->group_count];
    *group = (pq_stream_group){.x = x, .ops = ops, .index = p->group_count++};
    for (uint32_t i = 0; group->op_count < counts[x.index]; i++) {
        const pq_op *op = pq_graph_op(f->g, members[i]);
        if (pq_value_equal(op->inputs[0], x)) {
            ops[group->op_count++] = members[i];
        }
    }
    return PTQC_OK;
}

// Values in the order in which they are made: graph inputs first.
static ptqc_status
find_groups(const pq_finder *f)
{
    pq_op_id *members;
    uint32_t *counts = pq_arena_array(f->arena, f->value_count, sizeof *counts);
    PQ_TRY_ALLOC(counts);
    PQ_TRY(find_members(f, &members, counts));
    for (uint32_t i = 0; i < pq_graph_input_count(f->g); i++) {
        PQ_TRY(add_group(f, pq_graph_input(f->g, i), members, counts));
    }
    PQ_FOR_EACH_OP(f->g, id)
    {
        const pq_op *op = pq_graph_op(f->g, id);
        for (uint32_t i = 0; i < op->output_count; i++) {
            PQ_TRY(add_group(f, op->outputs[i], members, counts));
        }
    }
    for (uint32_t i = 0; i < f->p->group_count; i++) {
        f->p->groups[i].count = f->p->group_count;
    }
    return PTQC_OK;
}

// The first piece that must have made each value: 0 when none.
static ptqc_status
find_needed(const pq_finder *f, uint32_t **out)
{
    const pq_pieces *p = f->p;
    const pq_stream_client *client = f->client;
    uint32_t *needed = pq_arena_array(f->arena, f->value_count, sizeof *needed);
    PQ_TRY_ALLOC(needed);
    for (uint32_t i = 0; i < client->watched_count; i++) {
        needed[client->watched[i].index] = p->group_count + 1;
        p->is_watched[client->watched[i].index] = true;
    }
    for (uint32_t i = p->group_count; i-- > 0;) {
        needed[p->groups[i].x.index] = i + 1;
    }
    *out = needed;
    return PTQC_OK;
}

// Every op goes to the first piece that depends on it: backwards through the
// ops, an op's piece is known before those of its operands.
static ptqc_status
assign_pieces(const pq_finder *f)
{
    pq_pieces *p = f->p;
    uint32_t *needed;
    PQ_TRY(find_needed(f, &needed));
    p->count = p->group_count;
    if (p->count == 0 && f->client->watched_count > 0) {
        p->count = 1; // graph inputs are watched, at least
    }
    for (pq_op_id id = pq_graph_last_op(f->g); !pq_op_is_none(id);
         id = pq_graph_op(f->g, id)->prev) {
        const pq_op *op = pq_graph_op(f->g, id);
        uint32_t piece = 0;
        for (uint32_t i = 0; i < op->output_count; i++) {
            uint32_t n = needed[op->outputs[i].index];
            piece = n != 0 && (piece == 0 || n < piece) ? n : piece;
        }
        p->piece_of[id.index] = piece;
        p->count = piece > p->count ? piece : p->count;
        for (uint32_t i = 0; piece != 0 && i < op->input_count; i++) {
            uint32_t *n = &needed[op->inputs[i].index];
            *n = *n == 0 || piece < *n ? piece : *n;
        }
    }
    return PTQC_OK;
}

// Ops that only watched values need go as far to the front as what they read
// allows: their weights are not all in memory at the end. What reads the value
// of a group comes after the group's piece.
static ptqc_status
bring_forward(const pq_finder *f)
{
    pq_pieces *p = f->p;
    uint32_t *made = pq_arena_array(f->arena, f->value_count, sizeof *made);
    PQ_TRY_ALLOC(made);
    for (uint32_t i = 0; i < p->group_count; i++) {
        made[p->groups[i].x.index] = i + 2;
    }
    p->count = p->group_count > 0 || p->count == 0 ? p->group_count : 1;
    PQ_FOR_EACH_OP(f->g, id)
    {
        const pq_op *op = pq_graph_op(f->g, id);
        uint32_t *piece = &p->piece_of[id.index];
        if (*piece > p->group_count) {
            *piece = 1;
            for (uint32_t i = 0; i < op->input_count; i++) {
                uint32_t least = made[op->inputs[i].index];
                *piece = least > *piece ? least : *piece;
            }
        }
        for (uint32_t i = 0; *piece > 0 && i < op->output_count; i++) {
            uint32_t *own = &made[op->outputs[i].index];
            *own = *own == 0 ? *piece : *own;
        }
        p->count = *piece > p->count ? *piece : p->count;
    }
    return PTQC_OK;
}

// The last piece that reads each value; a group's value is read (shown) by
// its own piece, too.
static void
find_last_uses(const pq_finder *f)
{
    pq_pieces *p = f->p;
    for (uint32_t i = 0; i < p->group_count; i++) {
        p->last_use[p->groups[i].x.index] = i + 1;
    }
    PQ_FOR_EACH_OP(f->g, id)
    {
        const pq_op *op = pq_graph_op(f->g, id);
        uint32_t piece = p->piece_of[id.index];
        for (uint32_t i = 0; i < op->input_count; i++) {
            uint32_t *last = &p->last_use[op->inputs[i].index];
            *last = piece > *last ? piece : *last;
        }
    }
}

ptqc_status
pq_pieces_find(const pq_graph *g, pq_arena *arena,
               const pq_stream_client *client, pq_pieces *out)
{
    const pq_finder f = {.g = g,
                         .arena = arena,
                         .client = client,
                         .p = out,
                         .value_count = pq_graph_value_count(g)};
    *out = (pq_pieces){0};
    out->groups = pq_arena_array(arena, f.value_count, sizeof *out->groups);
    out->piece_of =
        pq_arena_array(arena, pq_graph_op_count(g), sizeof *out->piece_of);
    out->last_use = pq_arena_array(arena, f.value_count, sizeof *out->last_use);
    out->is_watched =
        pq_arena_array(arena, f.value_count, sizeof *out->is_watched);
    PQ_TRY_ALLOC(out->groups);
    PQ_TRY_ALLOC(out->piece_of);
    PQ_TRY_ALLOC(out->last_use);
    PQ_TRY_ALLOC(out->is_watched);
    PQ_TRY(find_groups(&f));
    PQ_TRY(assign_pieces(&f));
    PQ_TRY(bring_forward(&f));
    find_last_uses(&f);
    return PTQC_OK;
}

pq_value_id
pq_pieces_find_cut_state(const pq_graph *g, const pq_pieces *p)
{
    for (uint32_t i = 0; i < pq_graph_state_count(g); i++) {
        pq_value_id state = pq_graph_state(g, i);
        uint32_t piece = 0;
        for (const pq_use *u = pq_value_uses(g, state); u != NULL;
             u = u->next) {
            uint32_t other = p->piece_of[u->op.index];
            if (piece != 0 && other != 0 && other != piece) {
                return state;
            }
            piece = other != 0 ? other : piece;
        }
    }
    return PQ_NO_VALUE;
}
