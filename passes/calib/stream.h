// SPDX-License-Identifier: Apache-2.0
//
// The samples through the graph piece by piece (streaming calibration,
// algorithms section 5). Products that read one value form a group. The stream
// runs what the value of a group needs and has not been run, for all samples,
// shows the value, lets the client choose the codes of the group's weights,
// and goes on with these codes: every group sees what the quantized products
// before it give (true-sequential), and each product runs once. A piece is cut
// by the flow of data alone; one piece at a time is in memory, the values that
// later pieces read lie in scratch files. With a checkpoint they have names,
// and a stream that was interrupted goes on where it stopped.
#ifndef PTQC_PASSES_CALIB_STREAM_H
#define PTQC_PASSES_CALIB_STREAM_H

#include "passes/calib/checkpoint.h"
#include "passes/calib/sinks.h"
#include "passes/calib/state.h"
#include "passes/pass.h"

typedef struct pq_stream_group {
    pq_value_id x;       // [..., width], f32 unless runs_as_is
    const pq_op_id *ops; // [op_count] the products that read it
    uint32_t op_count;
    uint32_t index, count; // which group of how many
} pq_stream_group;

typedef struct pq_stream_client {
    void *user;
    // The float model runs beside the one of codes: `take` sees both.
    bool wants_real;
    // g itself runs, whatever its stage: quantized activations are. `end` may
    // give ops other constants, then.
    bool runs_as_is;
    // Whether the product belongs to a group. Its input 0 is f32 and not
    // constant, its input 1 is a constant or what constant codes mean.
    bool (*wants)(void *user, const pq_op *op);
    // *out_shows = false: the value of this group need not be shown.
    ptqc_status (*begin)(void *user, const pq_stream_group *group,
                         bool *out_shows);
    // May be NULL: where the client keeps the results of its groups. `begin`
    // of a group that is kept says that it need not be shown.
    const pq_checkpoint *checkpoint;
    // May be NULL: shown the values that outlive the piece at hand (hidden
    // states) and what attentions give, before `take` of the same sample.
    pq_sinks *sinks;
    // Values of the float graph (with the codes that are known by then) that
    // are shown as they are made, all samples of one, in order; whatever they
    // need is run.
    const pq_value_id *watched; // [watched_count]
    uint32_t watched_count;
    ptqc_status (*watch)(void *user, pq_value_id v, const pq_tensor *t);
    // With a checkpoint: all that was learned of a watched value (state.h).
    ptqc_status (*state)(void *user, pq_value_id v, pq_state *s);
    // May be NULL. A value that outlives the piece at hand (a hidden state),
    // before `take` of the same sample.
    ptqc_status (*see)(void *user, uint64_t sample, pq_value_id v,
                       const pq_tensor *t);
    // The group's value in each sample, and what it is in the float model (NULL
    // unless wants_real); they may be changed, which nobody sees.
    ptqc_status (*take)(void *user, uint64_t sample, const pq_tensor *x,
                        const pq_tensor *real);
    // All samples were shown. Weights whose annotation has codes afterwards
    // are run with these codes from now on, the others as they are; products
    // whose bias became another value, with that.
    ptqc_status (*end)(void *user, const pq_stream_group *group);
} pq_stream_client;

// g keeps its ops and values; what runs is a clone without annotations (unless
// runs_as_is).
// PTQC_E_USAGE when there is no sample; PTQC_E_CANCELLED after a whole group
// or piece when ptqc_ctx_stop was called and there is a checkpoint.
PTQC_MUST_USE ptqc_status pq_stream_run(pq_graph *g, const pq_pass_env *env,
                                        const char *phase,
                                        const pq_stream_client *client);

#endif
