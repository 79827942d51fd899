// SPDX-License-Identifier: Apache-2.0
//
// LSTM, GRU and RNN with the activations ptqc's cells have: the defaults of
// the ONNX operators.
#include "frontend/onnx/ops.h"

typedef struct cell {
    pq_opcode code;
    uint32_t inputs;
    const char *activations[3]; // of one direction
} cell;

static const cell cells[] = {
    {PQ_OP_LSTM, 8, {"Sigmoid", "Tanh", "Tanh"}},
    {PQ_OP_GRU, 6, {"Sigmoid", "Tanh"}},
    {PQ_OP_RNN, 6, {"Tanh"}},
};

static bool
is_name(pq_str s, const char *name)
{
    size_t n = 0;
    while (name[n] != '\0') {
        n++;
    }
    if (s.n != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) { // names are not case sensitive
        if ((s.p[i] | 0x20) != (name[i] | 0x20)) {
            return false;
        }
    }
    return true;
}

static ptqc_status
check_activations(pq_onnx_call *c, const cell *kind)
{
    const pq_onnx_attr *a;
    size_t n = 0;
    while (n < 3 && kind->activations[n] != NULL) {
        n++;
    }
    PQ_TRY(pq_onnx_attr_find(c, "activations", PQ_ONNX_ATTR_STRINGS, &a));
    for (size_t i = 0; a != NULL && i < a->strings.n; i++) {
        if (!is_name(a->strings.p[i], kind->activations[i % n])) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "activation '%.*s' is not supported, %s is",
                                PQ_STR_ARG(a->strings.p[i]),
                                kind->activations[i % n]);
        }
    }
    return PTQC_OK;
}

static ptqc_status
refuse_variants(pq_onnx_call *c)
{
    float clip = 0.0f;
    int64_t input_forget = 0;
    pq_onnx_attr_ignore(c, "activation_alpha"); // of other activations
    pq_onnx_attr_ignore(c, "activation_beta");
    PQ_TRY(pq_onnx_attr_f32(c, "clip", &clip));
    PQ_TRY(pq_onnx_attr_range(c, "input_forget", 0, 1, &input_forget));
    if (clip != 0.0f || input_forget != 0) { // exact: absent or given
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "clip and input_forget are not supported");
    }
    return PTQC_OK;
}

static ptqc_status
read_direction(pq_onnx_call *c, int64_t *out)
{
    static const char *const names[] = {"forward", "reverse", "bidirectional"};
    pq_str text = PQ_STR("forward");
    PQ_TRY(pq_onnx_attr_str(c, "direction", &text));
    for (int64_t i = 0; i < 3; i++) {
        if (pq_str_equal_z(text, names[i])) {
            *out = i;
            return PTQC_OK;
        }
    }
    return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                        "attribute 'direction': expected forward, reverse or "
                        "bidirectional, found '%.*s'",
                        PQ_STR_ARG(text));
}

ptqc_status
pq_onnx_import_recurrent(pq_onnx_call *c)
{
    const cell *kind = cells;
    int64_t direction = 0, layout = 0, hidden = 0, before_reset = 0;
    while (kind->code != (pq_opcode)c->op->param) {
        kind++;
    }
    PQ_TRY(check_activations(c, kind));
    PQ_TRY(refuse_variants(c));
    PQ_TRY(read_direction(c, &direction));
    PQ_TRY(pq_onnx_attr_range(c, "layout", 0, 1, &layout));
    PQ_TRY(pq_onnx_attr_range(c, "hidden_size", 0, INT32_MAX, &hidden));
    PQ_TRY(pq_onnx_attr_range(c, "linear_before_reset", 0, 1, &before_reset));
    pq_builder b;
    pq_onnx_begin(c, &b, kind->code);
    for (uint32_t i = 0; i < kind->inputs; i++) {
        pq_build_input(&b, pq_onnx_input(c, i));
    }
    if (hidden != 0) {
        pq_build_i64(&b, PQ_ATTR_HIDDEN, hidden);
    }
    pq_build_i64(&b, PQ_ATTR_DIRECTION, direction);
    pq_build_i64(&b, PQ_ATTR_BATCH_FIRST, layout);
    if (kind->code == PQ_OP_GRU) {
        pq_build_i64(&b, PQ_ATTR_LINEAR_BEFORE_RESET, before_reset);
    }
    return pq_onnx_finish(c, &b);
}
