// SPDX-License-Identifier: Apache-2.0
//
// JSON: a bounded reader over jansson (duplicate keys refused, depth and size
// limited, numbers in range) and a small streaming writer into a strbuf.
#ifndef PTQC_BASE_JSON_H
#define PTQC_BASE_JSON_H

#include <stdbool.h>

#include "base/str.h"

typedef struct pq_json pq_json; // one value; borrowed from its document

// `what` names the source in errors ("manifest.json"). PTQC_E_INPUT names
// line and column. Limits: 128 MiB of text, 64 levels; the root is an object
// or an array. The text is not needed afterwards.
PTQC_MUST_USE ptqc_status pq_json_parse(ptqc_ctx *ctx, const char *what,
                                        pq_str text, pq_json **out);
void pq_json_free(pq_json *document); // NULL allowed
const pq_json *pq_json_get(const pq_json *object, const char *key); // or NULL
bool pq_json_str(const pq_json *v, pq_str *out); // false: absent, other type
bool pq_json_i64(const pq_json *v, int64_t *out);
bool pq_json_f64(const pq_json *v, double *out);
bool pq_json_bool(const pq_json *v, bool *out);
size_t pq_json_array_count(const pq_json *v); // 0 when no array
const pq_json *pq_json_at(const pq_json *array, size_t i);
// All take NULL (absent) and answer false.
bool pq_json_is_object(const pq_json *v);
bool pq_json_is_array(const pq_json *v);
bool pq_json_is_null(const pq_json *v);
size_t pq_json_member_count(const pq_json *object); // 0 when no object
// Members in the order of the text: start with a zeroed iterator, false at
// the end.
typedef struct pq_json_iter {
    void *at;
} pq_json_iter;
bool pq_json_next(const pq_json *object, pq_json_iter *it, pq_str *out_key,
                  const pq_json **out_value);

// Writer: commas and indentation are its business. key = NULL inside arrays
// and at the top. Infinities and NaN are written as null; bytes that are not
// UTF-8 as the text \\xNN.
typedef struct pq_json_writer {
    pq_strbuf *out; // borrowed
    int depth;
    bool first;
} pq_json_writer;

void pq_jw_init(pq_json_writer *w, pq_strbuf *out);
void pq_jw_begin_object(pq_json_writer *w, const char *key);
void pq_jw_end_object(pq_json_writer *w);
void pq_jw_begin_array(pq_json_writer *w, const char *key);
void pq_jw_end_array(pq_json_writer *w);
void pq_jw_str(pq_json_writer *w, const char *key, pq_str value);
void pq_jw_i64(pq_json_writer *w, const char *key, int64_t value);
void pq_jw_f64(pq_json_writer *w, const char *key, double value);
void pq_jw_bool(pq_json_writer *w, const char *key, bool value);
void pq_jw_null(pq_json_writer *w, const char *key);

#endif
