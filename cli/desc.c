// SPDX-License-Identifier: Apache-2.0
//
// What to do to a model, from the options: of compile, and of the verbs that
// tell what a compile would do.

#include "cli/desc.h"

#include <string.h>

#include "cli/feed.h"

static ptqc_status
read_scheme(cli *c, const char **out)
{
    static const struct {
        cli_option option;
        const char *scheme;
    } words[] = {
        {CLI_W8A8, "w8a8"}, {CLI_W8A16, "w8a16"}, {CLI_W4A16, "w4a16"}};
    uint32_t given = cli_given(c, CLI_SCHEME);
    *out = cli_get(c, CLI_SCHEME)->text;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (cli_given(c, words[i].option)) {
            given++;
            *out = words[i].scheme;
        }
    }
    return given > 1
               ? cli_fail(c, PTQC_E_USAGE, "more than one scheme is given")
               : PTQC_OK;
}

static ptqc_status
read_observer(cli *c, ptqc_observer_kind *out)
{
    static const struct {
        const char *name;
        ptqc_observer_kind kind;
    } rows[] = {{"minmax", PTQC_OBSERVER_MINMAX},
                {"percentile", PTQC_OBSERVER_PERCENTILE},
                {"mse", PTQC_OBSERVER_MSE},
                {"average", PTQC_OBSERVER_AVERAGE},
                {"entropy", PTQC_OBSERVER_ENTROPY},
                {"octav", PTQC_OBSERVER_OCTAV}};
    const cli_value *v = cli_get(c, CLI_OBSERVER);
    *out = PTQC_OBSERVER_DEFAULT;
    for (size_t i = 0; v->count > 0 && i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(v->text, rows[i].name) == 0) {
            *out = rows[i].kind;
        }
    }
    return v->count > 0 && *out == PTQC_OBSERVER_DEFAULT
               ? cli_fail(c, PTQC_E_USAGE,
                          "--observer: expected minmax, percentile, average, "
                          "entropy, octav or mse")
               : PTQC_OK;
}

static ptqc_status
read_scale_search(cli *c, ptqc_scale_search *out)
{
    const char *text = cli_get(c, CLI_SCALE_SEARCH)->text;
    *out = PTQC_SCALE_DEFAULT;
    if (text == NULL || strcmp(text, "minmax") == 0) {
        return PTQC_OK;
    }
    *out = PTQC_SCALE_MSE;
    return strcmp(text, "mse") == 0
               ? PTQC_OK
               : cli_fail(c, PTQC_E_USAGE,
                          "--scale-search: expected minmax or mse");
}

ptqc_status
cli_desc_read(cli *c, ptqc_compile_desc *out)
{
    *out = (ptqc_compile_desc){
        .target = cli_get(c, CLI_TARGET)->text,
        .recipe = cli_get(c, CLI_RECIPE)->text,
        .method = cli_get(c, CLI_METHOD)->text,
        .percentile = cli_get(c, CLI_PERCENTILE)->number,
        .sample_limit = (uint64_t)cli_get(c, CLI_CALIB_SAMPLES)->integer,
        .equalize = cli_get(c, CLI_EQUALIZE)->text,
        .absorb_bias = cli_get(c, CLI_ABSORB_BIAS)->text,
        .bias_correction = cli_get(c, CLI_BIAS_CORRECTION)->text,
        .keep = cli_get(c, CLI_KEEP)->list,
        .keep_count = cli_get(c, CLI_KEEP)->count,
        .rules = cli_get(c, CLI_RULE)->list,
        .rule_count = cli_get(c, CLI_RULE)->count,
        .stats = cli_get(c, CLI_STATS)->text,
        .stats_out = cli_get(c, CLI_STATS_OUT)->text,
        .kv = cli_get(c, CLI_KV)->text,
        .backends = cli_backend_dirs(c),
        .seed = (uint64_t)cli_get(c, CLI_SEED)->integer,
    };
    ptqc_status st = read_scheme(c, &out->scheme);
    if (st == PTQC_OK) {
        st = read_observer(c, &out->observer);
    }
    if (st == PTQC_OK) {
        st = read_scale_search(c, &out->scale_search);
    }
    if (st == PTQC_OK && cli_given(c, CLI_CALIB_SAMPLES) &&
        !cli_given(c, CLI_CALIB)) {
        st = cli_fail(c, PTQC_E_USAGE,
                      "--calib-samples: there is no --calib to take them of");
    }
    if (st == PTQC_OK && out->stats_out != NULL &&
        (out->stats != NULL || !cli_given(c, CLI_CALIB))) {
        st = cli_fail(c, PTQC_E_USAGE,
                      "--stats-out: expected --calib, and no --stats, to keep "
                      "statistics of");
    }
    if (cli_given(c, CLI_CALIB)) {
        out->samples = cli_samples_get; // opened when the model is
    }
    return st;
}
