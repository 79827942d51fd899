// SPDX-License-Identifier: Apache-2.0
//
// Bounded JSON reader: a scan for size and depth first, then jansson, which
// refuses duplicate keys, malformed UTF-8, NUL in strings and numbers out of
// range. A pq_json pointer is jansson's json_t; its memory is jansson's own
// and therefore only estimated against the memory limit.
#include "base/json.h"

#include <jansson.h>
#include <string.h>

enum {
    DEPTH_MAX = 64,
    // Memory per bracket or comma. Measured with jansson 2.14 on x86-64, less
    // the text itself: 39 bytes for numbers, 112 for members, 166 for objects
    // of one member.
    VALUE_BYTES = 192,
};

#define TEXT_BYTES_MAX ((size_t)128 << 20)

typedef struct scan {
    size_t values, depth, depth_max;
} scan;

// Counts brackets and commas outside of strings. Malformed text may count
// wrongly, never past its length; jansson refuses it afterwards.
static scan
scan_text(pq_str text)
{
    scan s = {.values = 1};
    bool is_string = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (is_string) {
            i += c == '\\';
            is_string = c != '"';
        } else if (c == '"') {
            is_string = true;
        } else if (c == '[' || c == '{') {
            s.values++;
            s.depth++;
            s.depth_max = s.depth > s.depth_max ? s.depth : s.depth_max;
        } else if (c == ']' || c == '}') {
            s.depth -= s.depth != 0;
        } else {
            s.values += c == ',';
        }
    }
    return s;
}

ptqc_status
pq_json_parse(ptqc_ctx *ctx, const char *what, pq_str text, pq_json **out)
{
    *out = NULL;
    if (text.n > TEXT_BYTES_MAX) {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "%s: JSON of %zu bytes, at most %zu are read", what,
                       text.n, TEXT_BYTES_MAX);
    }
    scan s = scan_text(text);
    if (s.depth_max > DEPTH_MAX) {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "%s: JSON nested %zu deep, at most %d", what,
                       s.depth_max, DEPTH_MAX);
    }
    uint64_t need = (uint64_t)s.values * VALUE_BYTES + 2 * (uint64_t)text.n;
    if (need > pq_memory_left(ctx)) {
        return PQ_FAIL(ctx, PTQC_E_RESOURCE,
                       "%s: reading this JSON takes about %llu bytes, more "
                       "than the memory limit leaves",
                       what, (unsigned long long)need);
    }
    json_error_t error;
    json_t *root = json_loadb(text.n != 0 ? text.p : "", text.n,
                              JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        bool is_memory = json_error_code(&error) == json_error_out_of_memory;
        return PQ_FAIL(ctx, is_memory ? PTQC_E_RESOURCE : PTQC_E_INPUT,
                       "%s: line %d, column %d: %s", what, error.line,
                       error.column, error.text);
    }
    *out = (pq_json *)root;
    return PTQC_OK;
}

void
pq_json_free(pq_json *document)
{
    json_decref((json_t *)document);
}

// jansson's readers take const json_t * and change nothing.
static const json_t *
node_of(const pq_json *v)
{
    return (const json_t *)v;
}

const pq_json *
pq_json_get(const pq_json *object, const char *key)
{
    return (const pq_json *)json_object_get(node_of(object), key);
}

size_t
pq_json_member_count(const pq_json *object)
{
    return json_object_size(node_of(object));
}

bool
pq_json_next(const pq_json *object, pq_json_iter *it, pq_str *out_key,
             const pq_json **out_value)
{
    json_t *node = (json_t *)node_of(object); // iterators are not const
    it->at = it->at == NULL ? json_object_iter(node)
                            : json_object_iter_next(node, it->at);
    if (it->at == NULL) {
        return false;
    }
    const char *key = json_object_iter_key(it->at);
    *out_key = pq_str_of(key); // no NUL inside: refused by the parser
    *out_value = (const pq_json *)json_object_iter_value(it->at);
    return true;
}

bool
pq_json_is_object(const pq_json *v)
{
    return json_is_object(node_of(v));
}

bool
pq_json_is_array(const pq_json *v)
{
    return json_is_array(node_of(v));
}

bool
pq_json_is_null(const pq_json *v)
{
    return json_is_null(node_of(v));
}

bool
pq_json_str(const pq_json *v, pq_str *out)
{
    if (!json_is_string(node_of(v))) {
        return false;
    }
    *out =
        (pq_str){json_string_value(node_of(v)), json_string_length(node_of(v))};
    return true;
}

bool
pq_json_i64(const pq_json *v, int64_t *out)
{
    if (!json_is_integer(node_of(v))) {
        return false;
    }
    *out = json_integer_value(node_of(v));
    return true;
}

bool
pq_json_f64(const pq_json *v, double *out)
{
    if (!json_is_number(node_of(v))) {
        return false;
    }
    *out = json_number_value(node_of(v));
    return true;
}

bool
pq_json_bool(const pq_json *v, bool *out)
{
    if (!json_is_boolean(node_of(v))) {
        return false;
    }
    *out = json_is_true(node_of(v));
    return true;
}

size_t
pq_json_array_count(const pq_json *v)
{
    return json_array_size(node_of(v));
}

const pq_json *
pq_json_at(const pq_json *array, size_t i)
{
    return (const pq_json *)json_array_get(node_of(array), i);
}
