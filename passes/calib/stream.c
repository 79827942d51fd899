// SPDX-License-Identifier: Apache-2.0
//
// Streaming calibration, see stream.h; how the graph is cut: pieces.h. Values
// that a piece makes and a later piece reads live in files (live.h): with a
// checkpoint in named ones, and a table of them is kept whenever a group is
// done (resume.h). Until the next table is there no file that the last one
// names is removed.

#include "passes/calib/stream.h"

#include <string.h>

#include "ir/block.h"
#include "ir/builder.h"
#include "passes/calib/learned.h"
#include "passes/calib/resume.h"
#include "passes/calib/samples.h"
#include "passes/calib/scores.h"
#include "passes/match.h"

// A model that the samples go through.
typedef enum pq_lane {
    PQ_LANE_CODES,
    PQ_LANE_REAL, // beside it, when the client wants that
    PQ_LANE_COUNT,
} pq_lane;

typedef struct pq_stream {
    pq_graph *g;    // borrowed
    pq_graph *run;  // owned: the clone that runs; same ids; or g
    pq_graph *real; // owned: the same, which takes no codes; NULL: not wanted
    const pq_pass_env *env;
    const pq_stream_client *client;
    const char *phase;
    const pq_checkpoint *kept; // NULL: nothing outlives the process
    pq_pieces pieces;
    pq_live *live;  // [lanes][values], owned contents
    bool *is_stale; // [lanes][values] has a file that only the last table names
    pq_scores scores; // when the client looks for sinks
    uint32_t value_count;
    uint32_t live_count;   // lanes * values
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
    pq_graph *graph[PQ_LANE_COUNT];   // owned
    pq_runner *runner[PQ_LANE_COUNT]; // owned
    pq_lane lane;                     // that runs
    pq_tensor *tensors;               // [input_count]
    pq_stream *stream;
    uint64_t sample; // at hand
    ptqc_status st;
} pq_piece;

// ---- one piece ------------------------------------------------------------

// The value that the piece ends with; none: it is the one behind the groups.
static pq_value_id
end_of(const pq_stream *s, const pq_piece *p)
{
    return p->number <= s->pieces.group_count
               ? s->pieces.groups[p->number - 1].x
               : PQ_NO_VALUE;
}

static bool
is_stored(const pq_stream *s, const pq_piece *p, pq_value_id v)
{
    return pq_value_equal(v, end_of(s, p)) ||
           s->pieces.last_use[v.index] > p->number;
}

static bool
is_output(const pq_stream *s, const pq_piece *p, pq_value_id v)
{
    return is_stored(s, p, v) || s->pieces.is_watched[v.index] ||
           (s->scores.count > 0 && s->scores.is_operand[v.index]);
}

// Of a value, in s->live.
static uint32_t
live_index(const pq_stream *s, pq_lane lane, pq_value_id v)
{
    return (uint32_t)lane * s->value_count + v.index;
}

static uint32_t
last_use(const pq_stream *s, uint32_t live)
{
    return s->pieces.last_use[live % s->value_count];
}

static bool
is_from_outside(const pq_stream *s, const pq_piece *p, pq_value_id v)
{
    const pq_value *value = pq_graph_value(s->run, v);
    return value != NULL && pq_const_is_none(value->constant) &&
           !value->is_state &&
           (pq_op_is_none(value->producer) ||
            s->pieces.piece_of[value->producer.index] != p->number);
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
        if (s->pieces.piece_of[id.index] != p->number) {
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
            if (is_output(s, p, op->outputs[i])) {
                p->outputs[p->output_count++] = op->outputs[i];
            }
        }
    }
    p->tensors =
        pq_arena_array(arena, (size_t)p->input_count + 1, sizeof *p->tensors);
    PQ_TRY_ALLOC(p->tensors);
    return PTQC_OK;
}

// Codes of the piece that are not made yet: here, where it can be said when
// there is no memory for them.
static ptqc_status
make_codes(const pq_piece *p, const pq_graph *from)
{
    for (uint32_t k = 0; k < p->op_count; k++) {
        const pq_op *op = pq_graph_op(from, p->ops[k]);
        for (uint32_t i = 0; i < op->input_count; i++) {
            const pq_value *v = pq_graph_value(from, op->inputs[i]);
            const pq_constant *c =
                v != NULL ? pq_graph_constant(from, v->constant) : NULL;
            if (c != NULL && c->bytes > 0) {
                PQ_TRY_ALLOC(pq_graph_constant_bytes(from, v->constant));
            }
        }
    }
    return PTQC_OK;
}

static ptqc_status
make_graph(const pq_stream *s, pq_piece *p, pq_lane lane)
{
    pq_graph *from = lane == PQ_LANE_REAL ? s->real : s->run;
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
    PQ_TRY(make_codes(p, from));
    PQ_TRY(pq_block_write(from, &desc, &bytes, &count));
    ptqc_status st = pq_block_read(ctx, bytes, count, pq_block_constant, from,
                                   &p->graph[lane]);
    pq_free(ctx, bytes);
    return st;
}

static ptqc_status
open_live(pq_stream *s, const pq_piece *p, pq_lane lane, pq_value_id v)
{
    uint32_t i = live_index(s, lane, v);
    if (!is_stored(s, p, v)) {
        return PTQC_OK;
    }
    return s->kept != NULL ? pq_resume_create_live(s->kept, i, &s->live[i])
                           : pq_live_open(pq_graph_ctx(s->run),
                                          s->env->work_dir, &s->live[i]);
}

static ptqc_status
open_lane(pq_stream *s, pq_piece *p, pq_lane lane)
{
    for (uint32_t i = 0; i < p->output_count; i++) {
        PQ_TRY(open_live(s, p, lane, p->outputs[i]));
    }
    if (p->op_count == 0) {
        return PTQC_OK;
    }
    PQ_TRY(make_graph(s, p, lane));
    return s->env->make_runner(s->env->runner_user, p->graph[lane], NULL, 0,
                               &p->runner[lane]);
}

static ptqc_status
open_piece(pq_stream *s, pq_piece *p)
{
    PQ_TRY(list_piece(s, p));
    PQ_TRY(open_lane(s, p, PQ_LANE_CODES));
    return s->real != NULL ? open_lane(s, p, PQ_LANE_REAL) : PTQC_OK;
}

// Values that no piece from `next` on reads; named files stay.
static void
close_unread(pq_stream *s, uint32_t next)
{
    for (uint32_t i = 0; i < s->live_count; i++) {
        if (s->live[i].scratch != NULL && last_use(s, i) <= next) {
            pq_live_close(pq_graph_ctx(s->run), &s->live[i]);
            s->is_stale[i] = s->kept != NULL;
        }
    }
}

static void
remove_stale(pq_stream *s)
{
    for (uint32_t i = 0; i < s->live_count; i++) {
        if (s->is_stale[i]) {
            pq_resume_remove_live(s->kept, i);
            s->is_stale[i] = false;
        }
    }
}

static void
close_piece(pq_stream *s, pq_piece *p)
{
    for (int i = 0; i < PQ_LANE_COUNT; i++) {
        if (p->runner[i] != NULL) {
            p->runner[i]->destroy(p->runner[i]);
        }
        pq_graph_destroy(p->graph[i]);
    }
    pq_graph_release_constants(s->run);
    if (s->kept == NULL) {
        close_unread(s, p->number);
    }
    pq_arena_deinit(&p->arena);
}

// Who looks on, in the model of codes.
static ptqc_status
show(pq_stream *s, const pq_piece *p, pq_value_id v, const pq_tensor *t)
{
    const pq_stream_client *client = s->client;
    if (s->pieces.is_watched[v.index]) {
        PQ_TRY(client->watch(client->user, v, t));
    }
    if (s->scores.count > 0 && s->scores.is_operand[v.index]) {
        PQ_TRY(pq_scores_keep(&s->scores, v, t));
    }
    if (!is_stored(s, p, v) || pq_value_equal(v, end_of(s, p))) {
        return PTQC_OK;
    }
    if (client->sinks != NULL) {
        PQ_TRY(pq_sinks_see(client->sinks, p->sample, t));
    }
    return client->see != NULL ? client->see(client->user, p->sample, v, t)
                               : PTQC_OK;
}

// Outputs of the piece's graph, in the order of p->outputs.
static ptqc_status
keep(void *user, pq_value_id v, const pq_tensor *t)
{
    const pq_piece *p = user;
    pq_stream *s = p->stream;
    uint32_t i = 0;
    while (!pq_value_equal(pq_graph_output(p->graph[p->lane], i), v)) {
        i++;
    }
    pq_value_id own = p->outputs[i];
    if (is_stored(s, p, own)) {
        PQ_TRY(pq_live_append(pq_graph_ctx(s->run),
                              &s->live[live_index(s, p->lane, own)], t));
    }
    return p->lane == PQ_LANE_CODES ? show(s, p, own, t) : PTQC_OK;
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

// PTQC_NO: no runner showed it (a plan runs nothing).
static ptqc_status
get_value(const pq_stream *s, pq_lane lane, pq_value_id v, uint64_t sample,
          pq_tensor *out)
{
    const pq_tensor *input = find_input(s, v);
    if (input != NULL) {
        *out = *input;
        return PTQC_OK;
    }
    pq_live *live = &s->live[live_index(s, lane, v)];
    return sample < live->count
               ? pq_live_get(pq_graph_ctx(s->run), live, sample, out)
               : PTQC_NO;
}

// Graph inputs that are watched, with the first piece.
static ptqc_status
show_inputs(const pq_stream *s)
{
    for (uint32_t i = 0; i < pq_graph_input_count(s->run); i++) {
        pq_value_id v = pq_graph_input(s->run, i);
        if (s->pieces.is_watched[v.index]) {
            PQ_TRY(s->client->watch(s->client->user, v, &s->feed[i]));
        }
    }
    return PTQC_OK;
}

static ptqc_status
run_lane(const pq_stream *s, pq_piece *p, pq_lane lane)
{
    p->lane = lane;
    if (p->op_count == 0) {
        return PTQC_OK;
    }
    for (uint32_t i = 0; i < p->input_count; i++) {
        PQ_TRY(get_value(s, lane, p->inputs[i], p->sample, &p->tensors[i]));
    }
    return p->runner[lane]->run(p->runner[lane], p->tensors, keep, p);
}

static ptqc_status
take(const pq_stream *s, const pq_piece *p)
{
    const pq_stream_client *client = s->client;
    pq_tensor x, real;
    PQ_TRY(get_value(s, PQ_LANE_CODES, end_of(s, p), p->sample, &x));
    if (s->real != NULL) {
        PQ_TRY(get_value(s, PQ_LANE_REAL, end_of(s, p), p->sample, &real));
    }
    return client->take(client->user, p->sample, &x,
                        s->real != NULL ? &real : NULL);
}

static ptqc_status
run_sample(pq_stream *s, pq_piece *p, bool shows)
{
    if (p->number == 1) {
        PQ_TRY(show_inputs(s));
    }
    PQ_TRY(run_lane(s, p, PQ_LANE_CODES));
    if (s->real != NULL) {
        PQ_TRY(run_lane(s, p, PQ_LANE_REAL));
    }
    if (s->scores.count > 0) {
        PQ_TRY(pq_scores_show(&s->scores, p->sample, s->client->sinks));
    }
    return shows ? take(s, p) : PTQC_OK;
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
        st = run_sample(s, p, shows);
        PQ_TRY(st != PTQC_NO ? st : PTQC_OK);
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

// Its bias, when the client gave it another one.
static ptqc_status
take_bias(pq_stream *s, pq_op_id id)
{
    pq_value_id bias = pq_op_input(pq_graph_op(s->g, id), 2);
    if (pq_value_is_none(bias) || bias.index < s->value_count) {
        return PTQC_OK;
    }
    const pq_value *value = pq_graph_value(s->g, bias);
    pq_const_id constant = share_constant(s, value->constant);
    if (pq_const_is_none(constant)) {
        return pq_graph_failure(s->run);
    }
    pq_value_id v = pq_graph_add_constant_value(s->run, value->name, constant);
    return pq_value_is_none(v) ? pq_graph_failure(s->run)
                               : pq_set_input(s->run, id, 2, v);
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

// ---- going on -------------------------------------------------------------

// Whether all that piece `next` and those after it read is there.
static bool
has_all(const pq_stream *s, uint32_t next)
{
    PQ_FOR_EACH_OP(s->g, id)
    {
        const pq_op *op = pq_graph_op(s->g, id);
        uint32_t piece = s->pieces.piece_of[id.index];
        for (uint32_t i = 0; piece > 0 && piece <= next && i < op->output_count;
             i++) {
            uint32_t v = op->outputs[i].index;
            bool is_there = s->live[v].scratch != NULL &&
                            (s->real == NULL ||
                             s->live[s->value_count + v].scratch != NULL);
            if (s->pieces.last_use[v] > next && !is_there) {
                return false;
            }
        }
    }
    return true;
}

// Before the first piece that must run, the one of group `index`: those whose
// results were kept are left out.
static ptqc_status
go_on(pq_stream *s, uint32_t index)
{
    pq_resume_point point;
    if (s->kept == NULL || index == 0) {
        return PTQC_OK;
    }
    ptqc_status st = pq_resume_read(s->kept, &point, s->live, s->live_count,
                                    s->client->sinks);
    if (st != PTQC_OK) {
        return st == PTQC_NO ? PTQC_OK : st;
    }
    if (point.next_piece <= index && has_all(s, point.next_piece)) {
        s->next_piece = point.next_piece;
        s->sample_count = point.sample_count;
        return PTQC_OK;
    }
    // A checkpoint before it was lost: its group is solved again.
    for (uint32_t i = 0; i < s->live_count; i++) {
        pq_live_close(pq_graph_ctx(s->run), &s->live[i]);
    }
    if (s->client->sinks != NULL) {
        pq_sinks_reset(s->client->sinks);
    }
    return PTQC_OK;
}

// After the group of the piece that was run last.
static ptqc_status
keep_point(pq_stream *s)
{
    const pq_resume_point point = {.next_piece = s->next_piece,
                                   .sample_count = s->sample_count};
    if (s->kept == NULL) {
        return PTQC_OK;
    }
    close_unread(s, s->next_piece);
    PQ_TRY(pq_resume_write(s->kept, &point, s->live, s->live_count,
                           s->client->sinks));
    remove_stale(s);
    return PTQC_OK;
}

// ---- groups ---------------------------------------------------------------

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
run_pieces(pq_stream *s, uint32_t last, bool shows)
{
    if (s->next_piece == 0) {
        PQ_TRY(go_on(s, last));
    }
    for (; s->next_piece <= last; s->next_piece++) {
        PQ_TRY(run_piece(s, s->next_piece, shows && s->next_piece == last));
        pq_progress(pq_graph_ctx(s->g), s->phase, s->next_piece + 1,
                    s->pieces.count);
    }
    return PTQC_OK;
}

static ptqc_status
do_group(pq_stream *s, const pq_stream_group *group)
{
    bool shows = true;
    PQ_TRY(s->client->begin(s->client->user, group, &shows));
    if (shows) {
        PQ_TRY(run_pieces(s, group->index, true));
    }
    PQ_TRY(s->client->end(s->client->user, group));
    for (uint32_t i = 0; !s->client->runs_as_is && i < group->op_count; i++) {
        PQ_TRY(take_codes(s, group->ops[i]));
        PQ_TRY(take_bias(s, group->ops[i]));
    }
    return shows ? keep_point(s) : PTQC_OK;
}

// A unit of work: who asks to stop (ptqc_ctx_stop) gets it finished and kept.
static ptqc_status
run_group(pq_stream *s, const pq_stream_group *group)
{
    ptqc_ctx *ctx = pq_graph_ctx(s->g);
    PQ_TRY(pq_check_cancelled(ctx));
    if (s->kept != NULL) {
        pq_unit_begin(ctx);
    }
    ptqc_status st = do_group(s, group);
    pq_unit_end(ctx);
    PQ_TRY(st);
    if (!pq_is_cancelled(ctx)) {
        return PTQC_OK;
    }
    return PQ_FAIL(ctx, PTQC_E_CANCELLED, "%s: stopped after group %u of %u",
                   s->phase, group->index + 1, group->count);
}

// ---- what is watched ------------------------------------------------------

static pq_learned
learned_of(const pq_stream *s)
{
    return (pq_learned){.g = s->g, .pieces = &s->pieces, .client = s->client};
}

// What was learned by pieces that were run before: they are left out, or run
// without being shown when the values that wait were lost.
static ptqc_status
restore_learned(pq_stream *s)
{
    const pq_learned learned = learned_of(s);
    uint32_t known = 0;
    ptqc_status st = PTQC_OK;
    while (known < s->pieces.count && st == PTQC_OK) {
        st = pq_learned_read(&learned, known);
        known += st == PTQC_OK;
    }
    if (st != PTQC_OK && st != PTQC_NO) {
        return st;
    }
    if (known == s->pieces.count) {
        s->next_piece = known;
        return PTQC_OK;
    }
    return go_on(s, known);
}

static ptqc_status
keep_learned(pq_stream *s, uint32_t index)
{
    const pq_learned learned = learned_of(s);
    PQ_TRY(run_piece(s, index, false));
    PQ_TRY(pq_learned_write(&learned, index));
    s->next_piece = index + 1;
    return keep_point(s);
}

// A piece is a unit of work, as a group is.
static ptqc_status
run_kept_pieces(pq_stream *s)
{
    ptqc_ctx *ctx = pq_graph_ctx(s->g);
    PQ_TRY(restore_learned(s));
    while (s->next_piece < s->pieces.count) {
        PQ_TRY(pq_check_cancelled(ctx));
        pq_unit_begin(ctx);
        ptqc_status st = keep_learned(s, s->next_piece);
        pq_unit_end(ctx);
        PQ_TRY(st);
        pq_progress(ctx, s->phase, s->next_piece, s->pieces.count);
        if (pq_is_cancelled(ctx)) {
            return PQ_FAIL(ctx, PTQC_E_CANCELLED,
                           "%s: stopped after piece %u of %u", s->phase,
                           s->next_piece, s->pieces.count);
        }
    }
    return PTQC_OK;
}

// ---- all ------------------------------------------------------------------

static ptqc_status
prepare(pq_stream *s)
{
    pq_arena *scratch = s->env->scratch;
    PQ_TRY(pq_pieces_find(s->g, scratch, s->client, &s->pieces));
    pq_value_id cut = pq_pieces_find_cut_state(s->g, &s->pieces);
    if (!pq_value_is_none(cut)) {
        return PQ_FAIL(pq_graph_ctx(s->g), PTQC_E_UNSUPPORTED,
                       "%s: state '%.*s' is read on both sides of a product",
                       s->phase, PQ_STR_ARG(pq_graph_value(s->g, cut)->name));
    }
    s->live_count = s->value_count * (s->client->wants_real ? 2 : 1);
    s->live = pq_arena_array(scratch, s->live_count, sizeof *s->live);
    s->feed = pq_arena_array(scratch, (size_t)pq_graph_input_count(s->g) + 1,
                             sizeof *s->feed);
    s->is_stale = pq_arena_array(scratch, s->live_count, sizeof *s->is_stale);
    PQ_TRY_ALLOC(s->live);
    PQ_TRY_ALLOC(s->is_stale);
    PQ_TRY_ALLOC(s->feed);
    if (s->client->sinks != NULL) {
        PQ_TRY(pq_scores_init(&s->scores, s->g, scratch));
    }
    if (s->client->wants_real) {
        PQ_TRY(pq_clone_float(s->g, &s->real));
    }
    if (s->client->runs_as_is) {
        s->run = s->g;
        return PTQC_OK;
    }
    return pq_clone_float(s->g, &s->run);
}

static ptqc_status
run_all(pq_stream *s)
{
    const pq_pieces *pieces = &s->pieces;
    if (pieces->count == 0) {
        pq_say(pq_graph_ctx(s->g), PTQC_SEVERITY_WARNING,
               "%s: the graph has no quantized matmul that it is for",
               s->phase);
    }
    for (uint32_t i = 0; i < pieces->group_count; i++) {
        PQ_TRY(run_group(s, &pieces->groups[i]));
    }
    if (s->client->watched_count == 0 || pieces->count == 0) {
        return PTQC_OK;
    }
    return s->kept != NULL ? run_kept_pieces(s)
                           : run_pieces(s, pieces->count - 1, false);
}

ptqc_status
pq_stream_run(pq_graph *g, const pq_pass_env *env, const char *phase,
              const pq_stream_client *client)
{
    const pq_checkpoint *c = client->checkpoint;
    pq_stream s = {.g = g,
                   .env = env,
                   .client = client,
                   .phase = phase,
                   .kept = c != NULL && c->dir != NULL ? c : NULL,
                   .value_count = pq_graph_value_count(g)};
    if (env->samples == NULL || env->make_runner == NULL) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_USAGE,
                       "%s needs calibration samples", phase);
    }
    ptqc_status st = prepare(&s);
    if (st == PTQC_OK) {
        st = run_all(&s);
    }
    if (st == PTQC_OK && s.kept != NULL) {
        pq_resume_remove(s.kept);
        close_unread(&s, s.pieces.count);
        remove_stale(&s);
    }
    for (uint32_t i = 0; s.live != NULL && i < s.live_count; i++) {
        pq_live_close(pq_graph_ctx(g), &s.live[i]);
    }
    pq_scores_deinit(&s.scores);
    pq_graph_destroy(s.real);
    if (s.run != g) {
        pq_graph_destroy(s.run);
    }
    return st;
}
