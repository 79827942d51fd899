// SPDX-License-Identifier: Apache-2.0
//
// Recipes as text, and the names they may use.

#include "passes/recipe.h"

#include "base/json.h"
#include "passes/method.h"

bool
pq_method_is_known(pq_str name)
{
    return pq_method_parse(name, NULL);
}

static const char *const pq_kv_names[] = {
    [PQ_KV_F16] = "f16",
    [PQ_KV_F32] = "f32",
    [PQ_KV_INT8] = "int8",
};

bool
pq_kv_type_parse(pq_str text, pq_kv_type *out)
{
    const size_t count = sizeof pq_kv_names / sizeof *pq_kv_names;
    for (size_t i = PQ_KV_F16; i < count; i++) {
        if (pq_str_equal_z(text, pq_kv_names[i])) {
            *out = (pq_kv_type)i;
            return true;
        }
    }
    return false;
}

static void
write_scheme(const pq_recipe *r, pq_json_writer *w)
{
    pq_strbuf text;
    pq_strbuf_init(&text, w->out->ctx);
    pq_scheme_request_print(&r->scheme, &text);
    w->out->failed |= text.failed;
    pq_jw_str(w, "scheme", (pq_str){text.p, text.n});
    pq_strbuf_deinit(&text);
}

void
pq_recipe_write(const pq_recipe *r, pq_json_writer *w)
{
    if (r->kv != PQ_KV_AS_IS) {
        pq_jw_str(w, "kv", pq_str_of(pq_kv_names[r->kv]));
    }
    if (!r->has_scheme) {
        pq_jw_null(w, "scheme");
        return;
    }
    write_scheme(r, w);
    pq_jw_str(w, "method", r->method);
    pq_jw_str(w, "observer", pq_str_of(pq_observer_name(r->observer)));
    if (r->observer == PQ_OBSERVER_PERCENTILE) {
        pq_jw_f64(w, "percentile", r->percentile);
    }
    pq_jw_str(w, "scale_search",
              pq_str_of(pq_scale_search_name(r->scale_search)));
    pq_jw_begin_array(w, "keep");
    for (uint32_t i = 0; i < r->keep_count; i++) {
        pq_jw_str(w, NULL, r->keep[i]);
    }
    pq_jw_end_array(w);
    pq_jw_i64(w, "seed", (int64_t)r->seed);
}
