// SPDX-License-Identifier: Apache-2.0
//
// Streaming JSON writer: two spaces per level, one member per line, no
// newline at the end. Text that is not UTF-8 is written with its bad bytes as
// "\\xNN" (JSON has no bytes); infinities and NaN, which JSON lacks, as null.
#include <math.h>

#include "base/json.h"

void
pq_jw_init(pq_json_writer *w, pq_strbuf *out)
{
    *w = (pq_json_writer){.out = out, .first = true};
}

static void
add_newline(pq_json_writer *w)
{
    pq_strbuf_addf(w->out, "\n%*s", 2 * w->depth, "");
}

// U+2028 and control characters are legal escapes in JSON: what must not
// reach a terminal is escaped, byte by byte below 0x80, else as \\xNN.
static void
add_string(pq_json_writer *w, pq_str s)
{
    pq_strbuf_add_z(w->out, "\"");
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t step = pq_str_printable((pq_str){s.p + i, s.n - i});
        if (step == 0) {
            pq_strbuf_addf(w->out, c < 0x80 ? "\\u%04x" : "\\\\x%02x", c);
            i++;
        } else if (c == '"' || c == '\\') {
            pq_strbuf_addf(w->out, "\\%c", c);
            i++;
        } else {
            pq_strbuf_add(w->out, (pq_str){s.p + i, step});
            i += step;
        }
    }
    pq_strbuf_add_z(w->out, "\"");
}

// Everything that stands before a value.
static void
begin_value(pq_json_writer *w, const char *key)
{
    if (!w->first) {
        pq_strbuf_add_z(w->out, ",");
    }
    if (w->depth != 0) {
        add_newline(w);
    }
    w->first = false;
    if (key != NULL) {
        add_string(w, pq_str_of(key));
        pq_strbuf_add_z(w->out, ": ");
    }
}

static void
begin_group(pq_json_writer *w, const char *key, const char *bracket)
{
    begin_value(w, key);
    pq_strbuf_add_z(w->out, bracket);
    w->depth++;
    w->first = true;
}

static void
end_group(pq_json_writer *w, const char *bracket)
{
    w->depth--;
    if (!w->first) {
        add_newline(w);
    }
    pq_strbuf_add_z(w->out, bracket);
    w->first = false;
}

void
pq_jw_begin_object(pq_json_writer *w, const char *key)
{
    begin_group(w, key, "{");
}

void
pq_jw_end_object(pq_json_writer *w)
{
    end_group(w, "}");
}

void
pq_jw_begin_array(pq_json_writer *w, const char *key)
{
    begin_group(w, key, "[");
}

void
pq_jw_end_array(pq_json_writer *w)
{
    end_group(w, "]");
}

void
pq_jw_str(pq_json_writer *w, const char *key, pq_str value)
{
    begin_value(w, key);
    add_string(w, value);
}

void
pq_jw_i64(pq_json_writer *w, const char *key, int64_t value)
{
    begin_value(w, key);
    pq_strbuf_addf(w->out, "%lld", (long long)value);
}

void
pq_jw_f64(pq_json_writer *w, const char *key, double value)
{
    begin_value(w, key);
    if (isfinite(value)) {
        pq_strbuf_add_f64(w->out, value);
    } else {
        pq_strbuf_add_z(w->out, "null");
    }
}

void
pq_jw_bool(pq_json_writer *w, const char *key, bool value)
{
    begin_value(w, key);
    pq_strbuf_add_z(w->out, value ? "true" : "false");
}

void
pq_jw_null(pq_json_writer *w, const char *key)
{
    begin_value(w, key);
    pq_strbuf_add_z(w->out, "null");
}
