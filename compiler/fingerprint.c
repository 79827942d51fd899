// SPDX-License-Identifier: Apache-2.0
//
// Fingerprints, see fingerprint.h: a chain of hashes, each of the one before
// and the next fact.

#include "compiler/fingerprint.h"

#include <string.h>

#include "base/json.h"

static ptqc_status
chain(ptqc_ctx *ctx, pq_sha256 *h, const void *p, size_t n)
{
    pq_sha256 pair[2] = {*h};
    PQ_TRY(pq_sha256_of(ctx, p, n, &pair[1]));
    return pq_sha256_of(ctx, pair, sizeof pair, h);
}

static ptqc_status
add_recipe(ptqc_ctx *ctx, const pq_recipe *recipe, pq_sha256 *h)
{
    pq_strbuf text;
    pq_json_writer w;
    pq_strbuf_init(&text, ctx);
    pq_jw_init(&w, &text);
    pq_jw_begin_object(&w, NULL);
    pq_recipe_write(recipe, &w);
    pq_jw_end_object(&w);
    ptqc_status st =
        text.failed ? PTQC_E_RESOURCE : chain(ctx, h, text.p, text.n);
    pq_strbuf_deinit(&text);
    return st;
}

static ptqc_status
add_samples(ptqc_ctx *ctx, const pq_fingerprint_desc *d, pq_sha256 *h)
{
    const pq_samples *s = d->samples;
    ptqc_status st = PTQC_OK;
    pq_tensor *tensors =
        pq_alloc_array(ctx, (size_t)d->input_count + 1, sizeof *tensors);
    PQ_TRY_ALLOC(tensors);
    for (uint64_t i = 0; st == PTQC_OK && (s->limit == 0 || i < s->limit);
         i++) {
        st = s->get(s->user, i, tensors, d->input_count);
        for (uint32_t k = 0; k < d->input_count && st == PTQC_OK; k++) {
            st = chain(ctx, h, tensors[k].dims, sizeof tensors[k].dims);
            if (st == PTQC_OK) {
                st = chain(ctx, h, tensors[k].p, tensors[k].bytes);
            }
        }
    }
    pq_free(ctx, tensors);
    return st == PTQC_NO ? PTQC_OK : st;
}

ptqc_status
pq_fingerprint(ptqc_ctx *ctx, const pq_fingerprint_desc *desc, pq_sha256 *out)
{
    const char *version = ptqc_version();
    const char *target = desc->target != NULL ? desc->target : "";
    pq_sha256 h = {0};
    PQ_TRY(chain(ctx, &h, version, strlen(version)));
    PQ_TRY(chain(ctx, &h, target, strlen(target)));
    for (uint32_t i = 0; i < desc->model->file_count; i++) {
        PQ_TRY(chain(ctx, &h, &desc->model->files[i].sha256,
                     sizeof desc->model->files[i].sha256));
    }
    PQ_TRY(add_recipe(ctx, desc->recipe, &h));
    if (desc->samples != NULL) {
        PQ_TRY(add_samples(ctx, desc, &h));
    }
    *out = h;
    return PTQC_OK;
}
