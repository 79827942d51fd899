// SPDX-License-Identifier: Apache-2.0
//
// ptqc eval --task topk: accuracy on labelled pictures, how often the
// decisions agree with a baseline's, and in the JSON form the counts that the
// error of a difference in top-1 follows from (docs/eval.md).

#include <stdlib.h>
#include <string.h>

#include "cli/feed.h"
#include "cli/lm.h"
#include "cli/subject.h"

// What is evaluated.
typedef struct topk_task {
    cli *c;
    cli_norm norm;
    cli_array data, labels;
    bool is_nchw;    // layout of the data file
    int64_t dims[3]; // of one sample in the file
    int64_t offset;  // class = label + offset
    uint64_t samples;
} topk_task;

typedef struct topk_result {
    uint64_t top1, top5;
    int64_t *decisions; // owned: [samples] argmax
} topk_result;

// How two models' decisions on the same samples meet (McNemar 1947, the table
// of paired proportions); both wrong is the rest.
typedef struct topk_pairs {
    uint64_t same; // decisions, right or wrong
    uint64_t both_right, model_only, baseline_only;
} topk_pairs;

// ---- reading the task -----------------------------------------------------

static ptqc_status
read_layout(topk_task *t)
{
    const cli_value *v = cli_get(t->c, CLI_LAYOUT);
    t->is_nchw = v->count > 0 && strcmp(v->text, "nchw") == 0;
    if (v->count > 0 && !t->is_nchw && strcmp(v->text, "nhwc") != 0) {
        return cli_fail(t->c, PTQC_E_USAGE, "--layout: expected nhwc or nchw");
    }
    return PTQC_OK;
}

static bool
is_integer(ptqc_dtype t)
{
    return t >= PTQC_I8 && t <= PTQC_U64;
}

static ptqc_status
check_data(topk_task *t)
{
    const ptqc_tensor *data = &t->data.tensor, *labels = &t->labels.tensor;
    if (data->rank != 4 ||
        (data->dtype != PTQC_U8 && data->dtype != PTQC_F32)) {
        return cli_fail(t->c, PTQC_E_INPUT,
                        "--data: expected u8 or f32 of four dimensions, found "
                        "%s of %u",
                        cli_dtype_name(data->dtype), data->rank);
    }
    if (labels->rank != 1 || !is_integer(labels->dtype)) {
        return cli_fail(t->c, PTQC_E_INPUT,
                        "--labels: expected integers of one dimension, found "
                        "%s of %u",
                        cli_dtype_name(labels->dtype), labels->rank);
    }
    if (labels->dims[0] != data->dims[0] || data->dims[0] == 0) {
        return cli_fail(t->c, PTQC_E_INPUT,
                        "expected as many labels as samples, found %lld and "
                        "%lld",
                        (long long)labels->dims[0], (long long)data->dims[0]);
    }
    memcpy(t->dims, data->dims + 1, sizeof t->dims);
    t->samples = (uint64_t)data->dims[0];
    uint64_t limit = (uint64_t)cli_get(t->c, CLI_SAMPLES)->integer;
    if (limit > 0 && limit < t->samples) {
        t->samples = limit;
    }
    return PTQC_OK;
}

static ptqc_status
open_task(cli *c, topk_task *t)
{
    *t = (topk_task){.c = c, .offset = cli_get(c, CLI_LABEL_OFFSET)->integer};
    if (!cli_given(c, CLI_DATA) || !cli_given(c, CLI_LABELS)) {
        return cli_fail(c, PTQC_E_USAGE,
                        "--task topk needs --data and --labels");
    }
    ptqc_status st = cli_norm_read(c, &t->norm);
    if (st == PTQC_OK) {
        st = read_layout(t);
    }
    if (st == PTQC_OK) {
        st = cli_array_read(c, cli_get(c, CLI_DATA)->text, &t->data);
    }
    if (st == PTQC_OK) {
        st = cli_array_read(c, cli_get(c, CLI_LABELS)->text, &t->labels);
    }
    return st == PTQC_OK ? check_data(t) : st;
}

// ---- one model ------------------------------------------------------------

// The model's input, checked against the task; dims of a batch of one.
static ptqc_status
match_input(const topk_task *t, const ptqc_artifact *a, ptqc_tensor *out,
            bool *out_nchw)
{
    ptqc_tensor_info info;
    if (ptqc_artifact_input_count(a) != 1) {
        return cli_fail(t->c, PTQC_E_USAGE,
                        "--task topk: expected a model with one input");
    }
    ptqc_artifact_input(a, 0, &info);
    int64_t channels = t->is_nchw ? t->dims[0] : t->dims[2];
    int64_t height = t->is_nchw ? t->dims[1] : t->dims[0];
    int64_t width = t->is_nchw ? t->dims[2] : t->dims[1];
    *out_nchw = cli_wants_nchw(&info, channels);
    int64_t want[4] = {1, *out_nchw ? channels : height,
                       *out_nchw ? height : width,
                       *out_nchw ? width : channels};
    bool fits = info.rank == 4 && info.dtype == PTQC_F32 &&
                (info.dims[0] == 1 || info.dims[0] < 0);
    for (uint32_t d = 1; d < 4 && fits; d++) {
        fits = info.dims[d] < 0 || info.dims[d] == want[d];
    }
    if (!fits) {
        return cli_fail(t->c, PTQC_E_INPUT,
                        "input '%s' does not take f32 pictures of %lldx%lld "
                        "with %lld channels, one at a time",
                        info.name, (long long)height, (long long)width,
                        (long long)channels);
    }
    *out = (ptqc_tensor){.dtype = PTQC_F32, .rank = 4};
    memcpy(out->dims, want, sizeof want);
    out->bytes = cli_array_elements(out) * sizeof(float);
    return PTQC_OK;
}

static int64_t
class_of(const topk_task *t, uint64_t i)
{
    return (int64_t)cli_array_number(&t->labels, i) + t->offset;
}

// Classes with a larger score than class k; k outside: all.
static uint64_t
rank_of(const float *scores, uint64_t n, int64_t k)
{
    uint64_t larger = 0;
    if (k < 0 || (uint64_t)k >= n) {
        return n;
    }
    for (uint64_t i = 0; i < n; i++) {
        larger += scores[i] > scores[k] ||
                  (scores[i] == scores[k] && i < (uint64_t)k);
    }
    return larger;
}

static int64_t
argmax(const float *scores, uint64_t n)
{
    uint64_t best = 0;
    for (uint64_t i = 1; i < n; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    return (int64_t)best;
}

static ptqc_status
run_samples(const topk_task *t, cli_subject *s, ptqc_tensor *input, bool nchw,
            topk_result *r)
{
    uint32_t outputs = ptqc_artifact_output_count(s->artifact);
    ptqc_tensor *out = calloc(outputs + 1, sizeof *out);
    size_t each = (size_t)(t->dims[0] * t->dims[1] * t->dims[2]);
    ptqc_status st = out != NULL
                         ? PTQC_OK
                         : cli_fail(t->c, PTQC_E_RESOURCE, "out of memory");
    for (uint64_t i = 0; i < t->samples && st == PTQC_OK; i++) {
        cli_norm_apply(&t->norm, &t->data.tensor, i * each, t->dims, t->is_nchw,
                       nchw, input->data);
        memset(out, 0, outputs * sizeof *out);
        st = ptqc_session_run(s->session, input, 1, out, outputs);
        if (st == PTQC_OK && out[0].dtype != PTQC_F32) {
            st = cli_fail(t->c, PTQC_E_UNSUPPORTED,
                          "expected scores in f32, found %s",
                          cli_dtype_name(out[0].dtype));
        }
        if (st == PTQC_OK) {
            const float *scores = out[0].data;
            uint64_t n = cli_array_elements(&out[0]);
            uint64_t rank = rank_of(scores, n, class_of(t, i));
            r->top1 += rank < 1;
            r->top5 += rank < 5;
            r->decisions[i] = argmax(scores, n);
        }
    }
    free(out);
    return st;
}

static ptqc_status
evaluate(const topk_task *t, const char *path, topk_result *r)
{
    cli_subject s;
    ptqc_tensor input = {0};
    bool nchw = true;
    ptqc_status st = cli_subject_open(t->c, path, &s);
    if (st != PTQC_OK) {
        return st;
    }
    st = match_input(t, s.artifact, &input, &nchw);
    if (st == PTQC_OK) {
        input.data = malloc(input.bytes);
        r->decisions = calloc(t->samples, sizeof *r->decisions);
        st = input.data != NULL && r->decisions != NULL
                 ? run_samples(t, &s, &input, nchw, r)
                 : cli_fail(t->c, PTQC_E_RESOURCE, "out of memory");
    }
    free(input.data);
    cli_subject_close(t->c, &s);
    return st;
}

// ---- the answer -----------------------------------------------------------

static topk_pairs
pair(const topk_task *t, const topk_result *model, const topk_result *base)
{
    topk_pairs pairs = {0};
    for (uint64_t i = 0; i < t->samples; i++) {
        int64_t a = model->decisions[i], b = base->decisions[i];
        bool is_a_right = a == class_of(t, i), is_b_right = b == class_of(t, i);
        pairs.same += a == b;
        pairs.both_right += is_a_right && is_b_right;
        pairs.model_only += is_a_right && !is_b_right;
        pairs.baseline_only += !is_a_right && is_b_right;
    }
    return pairs;
}

static void
add_pairs(json_t *doc, const topk_task *t, const topk_pairs *pairs,
          const topk_result *base)
{
    double n = (double)t->samples;
    json_t *more =
        json_pack("{s:f, s:f, s:{s:I, s:I, s:I}}", "baseline_top1",
                  (double)base->top1 / n, "top1_agree", (double)pairs->same / n,
                  "right", "both", (json_int_t)pairs->both_right, "model_only",
                  (json_int_t)pairs->model_only, "baseline_only",
                  (json_int_t)pairs->baseline_only);
    json_object_update(doc, more);
    json_decref(more);
}

static ptqc_status
print_result(const topk_task *t, const topk_result *r, const topk_result *base)
{
    double n = (double)t->samples;
    bool has_base = base->decisions != NULL;
    topk_pairs pairs = has_base ? pair(t, r, base) : (topk_pairs){0};
    if (!cli_given(t->c, CLI_JSON)) {
        cli_print("samples %llu  top-1 %.4f  top-5 %.4f",
                  (unsigned long long)t->samples, (double)r->top1 / n,
                  (double)r->top5 / n);
        if (has_base) {
            cli_print("  baseline top-1 %.4f  agreement %.4f",
                      (double)base->top1 / n, (double)pairs.same / n);
        }
        cli_print("\n");
        return cli_finish_output(t->c);
    }
    json_t *doc = json_pack("{s:s, s:I, s:f, s:f}", "schema", "ptqc.eval/1",
                            "samples", (json_int_t)t->samples, "top1",
                            (double)r->top1 / n, "top5", (double)r->top5 / n);
    if (has_base) {
        add_pairs(doc, t, &pairs, base);
    }
    return cli_print_json(t->c, doc);
}

static ptqc_status
eval_topk(cli *c)
{
    topk_task task;
    topk_result result = {0}, base = {0};
    ptqc_status st = open_task(c, &task);
    if (st == PTQC_OK) {
        st = evaluate(&task, c->args.operands[0], &result);
    }
    if (st == PTQC_OK && cli_given(c, CLI_BASELINE)) {
        st = evaluate(&task, cli_get(c, CLI_BASELINE)->text, &base);
    }
    if (st == PTQC_OK) {
        st = print_result(&task, &result, &base);
    }
    free(result.decisions);
    free(base.decisions);
    cli_array_deinit(&task.data);
    cli_array_deinit(&task.labels);
    return st;
}

ptqc_status
cli_eval(cli *c)
{
    const cli_value *task = cli_get(c, CLI_TASK);
    if (task->count == 0) {
        return cli_fail(c, PTQC_E_USAGE, "expected --task topk");
    }
    if (strcmp(task->text, "topk") == 0) {
        return eval_topk(c);
    }
    if (strcmp(task->text, "ppl") == 0) {
        return cli_eval_ppl(c);
    }
    char text[100];
    return cli_fail(c, PTQC_E_USAGE, "--task '%s': expected topk or ppl",
                    cli_escape(task->text, text, sizeof text));
}
