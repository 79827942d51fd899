// SPDX-License-Identifier: Apache-2.0
//
// Streaming calibration, see stream.h.
//
//   groups     by the value they read, in the order in which it is made
//   piece i    ops that value i depends on, less those of pieces before
//   live       values that a piece makes or keeps and a later piece reads

#include "passes/calib/stream.h"

#include <string.h>

#include "ir/block.h"
#include "ir/builder.h"
#include "passes/calib/live.h"
#include "passes/calib/samples.h"
#include "passes/match.h"

// When an op runs: 0 = never (nothing that is shown depends on it), else the
// index of its piece + 1.
typedef struct pq_stream {
    pq_graph *g;   // borrowed
    pq_graph *run; // owned: the clone that runs; same ids
    const pq_pass_env *env;
    const pq_stream_client *client;
    const char *phase;
    pq_stream_group *groups; // [group_count]
    uint32_t group_count;
    uint32_t *piece_of; // [ops]
    uint32_t *last_use; // [values] last piece that reads it; 0: none
    pq_live *live;      // [values], owned contents
    uint32_t value_count;
    uint32_t next_piece;   // the first that has not been run
    uint64_t sample_count; // known after the first piece
    pq_tensor *feed;       // [graph inputs] of the sample at hand
} pq_stream;

// A piece as a graph of its own.
typedef struct pq_piece {
    pq_arena arena;
    uint32_t number; // index + 1
    pq_op_id *ops;
    pq_value_id *inputs, *outputs; // ids of run
    uint32_t op_count, input_count, output_count;
    pq_graph *graph;    // owned
    pq_runner *runner;  // owned
    pq_tensor *tensors; // [input_count]
    const pq_stream *stream;
    uint64_t sample; // at hand
    ptqc_status st;
} pq_piece;

// ---- groups and pieces ----------------------------------------------------

static bool
is_member(const pq_stream *s, const pq_op *op)
{
    return pq_is_product(op->code) && pq_is_constant(s->g, op->inputs[1]) &&
           pq_is_float(s->g, op->inputs[0]) &&
           !pq_is_constant(s->g, op->inputs[0]) &&
           s->client->wants(s->client->user, op);
}

// members[]: the products in order; counts[v]: how many read v.
static ptqc_status
find_members(const pq_stream *s, pq_op_id **out, uint32_t *counts)
{
    uint32_t n = 0;
    pq_op_id *members = pq_arena_array(s->env->scratch, pq_graph_op_count(s->g),
                                       sizeof *members);
    PQ_TRY_ALLOC(members);
    PQ_FOR_EACH_OP(s->g, id)
    {
        const pq_op *op = pq_graph_op(s->g, id);
        if (is_member(s, op)) {
            members[n++] = id;
            counts[op->inputs[0].index]++;
        }
    }
    *out = members;
    return PTQC_OK;
}

static ptqc_status
add_group(pq_stream *s, pq_value_id x, const pq_op_id *members,
          const uint32_t *counts)
{
    if (counts[x.index] == 0) {
        return PTQC_OK;
    }
    pq_op_id *ops =
        pq_arena_array(s->env->scratch, counts[x.index], sizeof *ops);
    PQ_TRY_ALLOC(ops);
    pq_stream_group *group = &s->groups[s->group_count];
    *group = (pq_stream_group){.x = x, .ops = ops, .index = s->group_count++};
    for (uint32_t i = 0; group->op_count < counts[x.index]; i++) {
        const pq_op *op = pq_graph_op(s->g, members[i]);
        if (pq_value_equal(op->inputs[0], x)) {
            ops[group->op_count++] = members[i];
        }
    }
    return PTQC_OK;
}

// Values in the order in which they are made: graph inputs first.
static ptqc_status
find_groups(pq_stream *s)
{
    pq_op_id *members;
    pq_arena *scratch = s->env->scratch;
    uint32_t *counts = pq_arena_array(scratch, s->value_count, sizeof *counts);
    s->groups = pq_arena_array(scratch, s->value_count, sizeof *s->groups);
    PQ_TRY_ALLOC(counts);
    PQ_TRY_ALLOC(s->groups);
    PQ_TRY(find_members(s, &members, counts));
    for (uint32_t i = 0; i < pq_graph_input_count(s->g); i++) {
        PQ_TRY(add_group(s, pq_graph_input(s->g, i), members, counts));
    }
    PQ_FOR_EACH_OP(s->g, id)
    {
        const pq_op *op = pq_graph_op(s->g, id);
        for (uint32_t i = 0; i < op->output_count; i++) {
            PQ_TRY(add_group(s, op->outputs[i], members, counts));
        }
    }
    for (uint32_t i = 0; i < s->group_count; i++) {
        s->groups[i].count = s->group_count;
    }
    return PTQC_OK;
}

// Every op goes to the first piece that depends on it: backwards through the
// ops, an op's piece is known before those of its operands.
static ptqc_status
assign_pieces(pq_stream *s)
{
    uint32_t *needed =
        pq_arena_array(s->env->scratch, s->value_count, sizeof *needed);
    s->piece_of = pq_arena_array(s->env->scratch, pq_graph_op_count(s->g),
                                 sizeof *s->piece_of);
    PQ_TRY_ALLOC(needed);
    PQ_TRY_ALLOC(s->piece_of);
    for (uint32_t i = s->group_count; i-- > 0;) {
        needed[s->groups[i].x.index] = i + 1;
    }
    for (pq_op_id id = pq_graph_last_op(s->g); !pq_op_is_none(id);
         id = pq_graph_op(s->g, id)->prev) {
        const pq_op *op = pq_graph_op(s->g, id);
        uint32_t piece = 0;
        for (uint32_t i = 0; i < op->output_count; i++) {
            uint32_t n = needed[op->outputs[i].index];
            piece = n != 0 && (piece == 0 || n < piece) ? n : piece;
        }
        s->piece_of[id.index] = piece;
        for (uint32_t i = 0; piece != 0 && i < op->input_count; i++) {
            uint32_t *n = &needed[op->inputs[i].index];
            *n = *n == 0 || piece < *n ? piece : *n;
        }
    }
    return PTQC_OK;
}

// The last piece that reads each value; a group's value is read (shown) by
// its own piece, too.
static ptqc_status
find_last_uses(pq_stream *s)
{
    s->last_use =
        pq_arena_array(s->env->scratch, s->value_count, sizeof *s->last_use);
    PQ_TRY_ALLOC(s->last_use);
    for (uint32_t i = 0; i < s->group_count; i++) {
        s->last_use[s->groups[i].x.index] = i + 1;
    }
    PQ_FOR_EACH_OP(s->g, id)
    {
        const pq_op *op = pq_graph_op(s->g, id);
        uint32_t piece = s->piece_of[id.index];
        for (uint32_t i = 0; i < op->input_count; i++) {
            uint32_t *last = &s->last_use[op->inputs[i].index];
            *last = piece > *last ? piece : *last;
        }
    }
    return PTQC_OK;
}

// A state's content belongs to one piece's runner.
static ptqc_status
check_states(const pq_stream *s)
{
    for (uint32_t i = 0; i < pq_graph_state_count(s->g); i++) {
        pq_value_id state = pq_graph_state(s->g, i);
        uint32_t piece = 0;
        for (const pq_use *u = pq_value_uses(s->g, state); u != NULL;
             u = u->next) {
            uint32_t other = s->piece_of[u->op.index];
            if (piece != 0 && other != 0 && other != piece) {
                return PQ_FAIL(pq_graph_ctx(s->g), PTQC_E_UNSUPPORTED,
                               "%s: state '%.*s' is read on both sides of a "
                               "product",
                               s->phase,
                               PQ_STR_ARG(pq_graph_value(s->g, state)->name));
            }
            piece = other != 0 ? other : piece;
        }
    }
    return PTQC_OK;
}

// ---- one piece ------------------------------------------------------------

static bool
is_stored(const pq_stream *s, const pq_piece *p, pq_value_id v)
{
    return pq_value_equal(v, s->groups[p->number - 1].x) ||
           s->last_use[v.index] > p->number;
}

static bool
is_from_outside(const pq_stream *s, const pq_piece *p, pq_value_id v)
{
    const pq_value *value = pq_graph_value(s->run, v);
    return value != NULL && pq_const_is_none(value->constant) &&
           !value->is_state &&
           (pq_op_is_none(value->producer) ||
            s->piece_of[value->producer.index] != p->number);
}

static ptqc_status
list_piece(const pq_stream *s, pq_piece *p)
{
    pq_arena *arena = &p->arena;
    bool *is_listed =
        pq_arena_array(arena, pq_graph_value_count(s->run), sizeof *is_listed);
    uint32_t room = s->value_count;
    p->ops = pq_arena_array(arena, pq_graph_op_count(s->run), sizeof *p->ops);
    p->inputs = pq_arena_array(arena, room, sizeof *p->inputs);
    p->outputs = pq_arena_array(arena, room, sizeof *p->outputs);
    PQ_TRY_ALLOC(is_listed);
    PQ_TRY_ALLOC(p->ops);
    PQ_TRY_ALLOC(p->inputs);
    PQ_TRY_ALLOC(p->outputs);
    PQ_FOR_EACH_OP(s->run, id)
    {
        const pq_op *op = pq_graph_op(s->run, id);
        if (s->piece_of[id.index] != p->number) {
            continue;
        }
        p->ops[p->op_count++] = id;
        for (uint32_t i = 0; i < op->input_count; i++) {
            pq_value_id v = op->inputs[i];
            if (is_from_outside(s, p, v) && !is_listed[v.index]) {
                is_listed[v.index] = true;
                p->inputs[p->input_count++] = v;
            }
        }
        for (uint32_t i = 0; i < op->output_count; i++) {
            if (is_stored(s, p, op->outputs[i])) {
                p->outputs[p->output_count++] = op->outputs[i];
            }
        }
    }
    p->tensors =
        pq_arena_array(arena, (size_t)p->input_count + 1, sizeof *p->tensors);
    PQ_TRY_ALLOC(p->tensors);
    return PTQC_OK;
}

static ptqc_status
make_graph(const pq_stream *s, pq_piece *p)
{
    ptqc_ctx *ctx = pq_graph_ctx(s->run);
    const pq_block_desc desc = {.ops = p->ops,
                                .op_count = p->op_count,
                                .inputs = p->inputs,
                                .input_count = p->input_count,
                                .outputs = p->outputs,
                                .output_count = p->output_count,
                                .only_used_symbols = true};
    void *bytes = NULL;
    size_t count = 0;
    PQ_TRY(pq_block_write(s->run, &desc, &bytes, &count));
    ptqc_status st =
        pq_block_read(ctx, bytes, count, pq_block_constant, s->run, &p->graph);
    pq_free(ctx, bytes);
    return st;
}

static ptqc_status
open_piece(pq_stream *s, pq_piece *p)
{
    ptqc_ctx *ctx = pq_graph_ctx(s->run);
    PQ_TRY(list_piece(s, p));
    for (uint32_t i = 0; i < p->output_count; i++) {
        PQ_TRY(
            pq_live_open(ctx, s->env->work_dir, &s->live[p->outputs[i].index]));
    }
    if (p->op_count == 0) {
        return PTQC_OK;
    }
    PQ_TRY(make_graph(s, p));
    return s->env->make_runner(s->env->runner_user, p->graph, NULL, 0,
                               &p->runner);
}

static void
close_piece(pq_stream *s, pq_piece *p)
{
    if (p->runner != NULL) {
        p->runner->destroy(p->runner);
    }
    pq_graph_destroy(p->graph);
    for (uint32_t i = 0; i < s->value_count; i++) {
        if (s->live[i].scratch != NULL && s->last_use[i] <= p->number) {
            pq_live_close(pq_graph_ctx(s->run), &s->live[i]);
        }
    }
    pq_arena_deinit(&p->arena);
}

// Outputs of the piece's graph, in the order of p->outputs.
static ptqc_status
keep(void *user, pq_value_id v, const pq_tensor *t)
{
    const pq_piece *p = user;
    const pq_stream *s = p->stream;
    uint32_t i = 0;
    while (!pq_value_equal(pq_graph_output(p->graph, i), v)) {
        i++;
    }
    pq_value_id own = p->outputs[i];
    PQ_TRY(pq_live_append(pq_graph_ctx(s->run), &s->live[own.index], t));
    return s->client->see == NULL ||
                   pq_value_equal(own, s->groups[p->number - 1].x)
               ? PTQC_OK
               : s->client->see(s->client->user, p->sample, own, t);
}

static const pq_tensor *
find_input(const pq_stream *s, pq_value_id v)
{
    for (uint32_t i = 0; i < pq_graph_input_count(s->run); i++) {
        if (pq_value_equal(pq_graph_input(s->run, i), v)) {
            return &s->feed[i];
        }
    }
    return NULL;
}

static ptqc_status
get_value(const pq_stream *s, pq_value_id v, uint64_t sample, pq_tensor *out)
{
    const pq_tensor *input = find_input(s, v);
    if (input != NULL) {
        *out = *input;
        return PTQC_OK;
    }
    return pq_live_get(pq_graph_ctx(s->run), &s->live[v.index], sample, out);
}

static ptqc_status
run_sample(const pq_stream *s, pq_piece *p, bool shows)
{
    if (p->op_count > 0) {
        for (uint32_t i = 0; i < p->input_count; i++) {
            PQ_TRY(get_value(s, p->inputs[i], p->sample, &p->tensors[i]));
        }
        PQ_TRY(p->runner->run(p->runner, p->tensors, keep, p));
    }
    if (!shows) {
        return PTQC_OK;
    }
    pq_tensor x;
    PQ_TRY(get_value(s, s->groups[p->number - 1].x, p->sample, &x));
    return s->client->take(s->client->user, p->sample, &x);
}

static ptqc_status
run_samples(pq_stream *s, pq_piece *p, bool shows)
{
    ptqc_ctx *ctx = pq_graph_ctx(s->run);
    const pq_samples *samples = s->env->samples;
    uint64_t limit = p->number > 1 ? s->sample_count : samples->limit;
    uint64_t i = 0;
    for (; limit == 0 || i < limit; i++) {
        PQ_TRY(pq_check_cancelled(ctx));
        ptqc_status st = samples->get(samples->user, i, s->feed,
                                      pq_graph_input_count(s->run));
        if (st == PTQC_NO) {
            break;
        }
        PQ_TRY(st);
        p->sample = i;
        PQ_TRY(run_sample(s, p, shows));
    }
    s->sample_count = i;
    return i > 0
               ? PTQC_OK
               : PQ_FAIL(ctx, PTQC_E_USAGE, "calibration data holds no sample");
}

// ---- the weights ----------------------------------------------------------

static pq_const_id
share_constant(const pq_stream *s, pq_const_id id)
{
    return pq_graph_add_constant(s->run, pq_graph_constant(s->g, id));
}

// The clone's product reads the codes from now on.
static ptqc_status
take_codes(pq_stream *s, pq_op_id id)
{
    pq_value_id w = pq_graph_op(s->g, id)->inputs[1];
    const pq_value *value = pq_graph_value(s->g, w);
    const pq_quant *q = pq_graph_quant(s->g, value->quant);
    if (q == NULL || pq_const_is_none(q->codes)) {
        return PTQC_OK;
    }
    pq_const_id codes = share_constant(s, q->codes);
    const pq_quant quant = {.scheme = q->scheme,
                            .scale = share_constant(s, q->scale),
                            .zero_point = share_constant(s, q->zero_point)};
    pq_quant_id own = pq_graph_add_quant(s->run, &quant);
    pq_value_id v = pq_graph_add_constant_value(s->run, value->name, codes);
    if (pq_const_is_none(quant.scale) || pq_const_is_none(quant.zero_point) ||
        pq_quant_is_none(own) || pq_value_is_none(v)) {
        return pq_graph_failure(s->run);
    }
    pq_value_set_quant(s->run, v, q->scheme.format, own);
    return pq_set_input(s->run, id, 1, v);
}

static ptqc_status
run_piece(pq_stream *s, uint32_t index, bool shows)
{
    pq_piece p = {.number = index + 1, .stream = s};
    pq_arena_init(&p.arena, pq_graph_ctx(s->g));
    ptqc_status st = open_piece(s, &p);
    if (st == PTQC_OK) {
        st = run_samples(s, &p, shows);
    }
    close_piece(s, &p);
    return st;
}

// Pieces of groups that need not be shown wait until a later one must be.
static ptqc_status
run_group(pq_stream *s, const pq_stream_group *group)
{
    bool shows = true;
    PQ_TRY(s->client->begin(s->client->user, group, &shows));
    for (; shows && s->next_piece <= group->index; s->next_piece++) {
        PQ_TRY(run_piece(s, s->next_piece, s->next_piece == group->index));
    }
    PQ_TRY(s->client->end(s->client->user, group));
    for (uint32_t i = 0; i < group->op_count; i++) {
        PQ_TRY(take_codes(s, group->ops[i]));
    }
    pq_progress(pq_graph_ctx(s->g), s->phase, group->index + 1, s->group_count);
    return PTQC_OK;
}

// ---- all ------------------------------------------------------------------

static ptqc_status
prepare(pq_stream *s)
{
    pq_arena *scratch = s->env->scratch;
    PQ_TRY(find_groups(s));
    PQ_TRY(assign_pieces(s));
    PQ_TRY(find_last_uses(s));
    PQ_TRY(check_states(s));
    s->live = pq_arena_array(scratch, s->value_count, sizeof *s->live);
    s->feed = pq_arena_array(scratch, (size_t)pq_graph_input_count(s->g) + 1,
                             sizeof *s->feed);
    PQ_TRY_ALLOC(s->live);
    PQ_TRY_ALLOC(s->feed);
    return pq_clone_float(s->g, &s->run);
}

ptqc_status
pq_stream_run(pq_graph *g, const pq_pass_env *env, const char *phase,
              const pq_stream_client *client)
{
    pq_stream s = {.g = g,
                   .env = env,
                   .client = client,
                   .phase = phase,
                   .value_count = pq_graph_value_count(g)};
    if (env->samples == NULL || env->make_runner == NULL) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_USAGE,
                       "%s needs calibration samples", phase);
    }
    ptqc_status st = prepare(&s);
    if (st == PTQC_OK && s.group_count == 0) {
        pq_say(pq_graph_ctx(g), PTQC_SEVERITY_WARNING,
               "%s: the graph has no quantized matmul that it is for", phase);
    }
    for (uint32_t i = 0; i < s.group_count && st == PTQC_OK; i++) {
        st = run_group(&s, &s.groups[i]);
    }
    for (uint32_t i = 0; s.live != NULL && i < s.value_count; i++) {
        pq_live_close(pq_graph_ctx(g), &s.live[i]);
    }
    pq_graph_destroy(s.run);
    return st;
}
