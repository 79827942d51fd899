// SPDX-License-Identifier: Apache-2.0
//
// JSON reader on good and hostile text; writer, read back by the reader.
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

typedef struct fixture {
    pq_test_sink sink;
    ptqc_ctx *ctx;
} fixture;

static int
set_up(void **state)
{
    static fixture f;
    pq_test_sink_clear(&f.sink);
    f.ctx = pq_test_ctx_create(&f.sink, NULL, 1);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    fixture *f = *state;
    int leaked = pq_live_bytes(f->ctx) != 0;
    ptqc_ctx_destroy(f->ctx);
    return leaked;
}

static const char document_text[] =
    "{\"name\": \"caf\\u00e9\", \"n\": -7, \"x\": 2.5, \"on\": true,\n"
    " \"off\": false, \"none\": null, \"list\": [1, \"b\", {}, []],\n"
    " \"big\": 9223372036854775807}";

static void
test_reading(void **state)
{
    fixture *f = *state;
    pq_json *doc;
    assert_int_equal(
        pq_json_parse(f->ctx, "test", pq_str_of(document_text), &doc), PTQC_OK);
    pq_str s;
    int64_t i;
    double x;
    bool b;
    assert_true(pq_json_str(pq_json_get(doc, "name"), &s));
    assert_true(pq_str_equal_z(s, "caf\xc3\xa9"));
    assert_true(pq_json_i64(pq_json_get(doc, "n"), &i) && i == -7);
    assert_true(pq_json_f64(pq_json_get(doc, "n"), &x) && x == -7.0);
    assert_true(pq_json_f64(pq_json_get(doc, "x"), &x) && x == 2.5);
    assert_false(pq_json_i64(pq_json_get(doc, "x"), &i));
    assert_true(pq_json_bool(pq_json_get(doc, "on"), &b) && b);
    assert_true(pq_json_bool(pq_json_get(doc, "off"), &b) && !b);
    assert_true(pq_json_is_null(pq_json_get(doc, "none")));
    assert_true(pq_json_i64(pq_json_get(doc, "big"), &i) && i == INT64_MAX);
    const pq_json *list = pq_json_get(doc, "list");
    assert_int_equal(pq_json_array_count(list), 4);
    assert_true(pq_json_i64(pq_json_at(list, 0), &i) && i == 1);
    assert_true(pq_json_str(pq_json_at(list, 1), &s));
    assert_true(pq_json_is_object(pq_json_at(list, 2)));
    assert_true(pq_json_is_array(pq_json_at(list, 3)));
    assert_null(pq_json_at(list, 4));
    pq_json_free(doc);
    pq_json_free(NULL);
}

// Absent values and values of another type answer false everywhere.
static void
test_absence(void **state)
{
    fixture *f = *state;
    pq_json *doc;
    assert_int_equal(
        pq_json_parse(f->ctx, "test", PQ_STR("{\"a\": [\"s\"]}"), &doc),
        PTQC_OK);
    pq_str s;
    int64_t i;
    double x;
    bool b;
    const pq_json *const others[] = {NULL, pq_json_get(doc, "none"),
                                     pq_json_get(doc, "a"), doc};
    for (size_t k = 0; k < sizeof others / sizeof others[0]; k++) {
        assert_false(pq_json_str(others[k], &s));
        assert_false(pq_json_i64(others[k], &i));
        assert_false(pq_json_f64(others[k], &x));
        assert_false(pq_json_bool(others[k], &b));
        assert_false(pq_json_is_null(others[k]));
    }
    const pq_json *text = pq_json_at(pq_json_get(doc, "a"), 0);
    assert_null(pq_json_get(text, "a"));
    assert_null(pq_json_get(NULL, "a"));
    assert_null(pq_json_at(doc, 0));
    assert_int_equal(pq_json_array_count(doc), 0);
    assert_int_equal(pq_json_member_count(text), 0);
    assert_false(pq_json_is_object(NULL) || pq_json_is_array(NULL));
    pq_json_iter it = {0};
    const pq_json *value;
    assert_false(pq_json_next(text, &it, &s, &value));
    pq_json_free(doc);
}

static void
test_members_in_order(void **state)
{
    fixture *f = *state;
    pq_json *doc;
    assert_int_equal(
        pq_json_parse(f->ctx, "test",
                      PQ_STR("{\"z\": 0, \"a\": 1, \"m\": 2, \"\": 3}"), &doc),
        PTQC_OK);
    static const char *const keys[] = {"z", "a", "m", ""};
    pq_json_iter it = {0};
    pq_str key;
    const pq_json *value;
    int64_t count = 0;
    while (pq_json_next(doc, &it, &key, &value)) {
        int64_t i;
        assert_true(pq_str_equal_z(key, keys[count]));
        assert_true(pq_json_i64(value, &i) && i == count);
        count++;
    }
    assert_int_equal(count, 4);
    assert_int_equal(pq_json_member_count(doc), 4);
    pq_json_free(doc);
}

static const char *const hostile_texts[] = {
    "",
    " ",
    "1",
    "\"text\"",
    "null",
    "{",
    "[1,]",
    "[1 2]",
    "{\"a\": 1, \"a\": 2}",
    "{\"a\": {\"b\": 1, \"c\": 2, \"b\": 3}}",
    "{\"a\" 1}",
    "{a: 1}",
    "{'a': 1}",
    "[1] x",
    "[1][2]",
    "\xef\xbb\xbf[1]",
    "[\"\xff\"]",
    "[\"\xc0\x80\"]",
    "[\"\xed\xa0\x80\"]",
    "[\"\\ud800\"]",
    "[\"\\udc00\\ud800\"]",
    "[\"\\u0000\"]",
    "{\"\\u0000\": 1}",
    "[\"\n\"]",
    "[\"\\x41\"]",
    "[9223372036854775808]",
    "[-9223372036854775809]",
    "[1e999]",
    "[NaN]",
    "[Infinity]",
    "[01]",
    "[.5]",
    "[0x10]",
    "[1] // comment",
    "[tru]",
};

static void
test_hostile_texts(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof hostile_texts / sizeof hostile_texts[0];
         i++) {
        pq_json *doc = (pq_json *)f; // must be set to NULL
        pq_test_sink_clear(&f->sink);
        ptqc_status st = pq_json_parse(f->ctx, "evil.json",
                                       pq_str_of(hostile_texts[i]), &doc);
        if (st != PTQC_E_INPUT) {
            print_error("accepted: %s\n", hostile_texts[i]);
        }
        assert_int_equal(st, PTQC_E_INPUT);
        assert_null(doc);
        assert_int_equal(f->sink.error_count, 1);
        assert_non_null(strstr(f->sink.text, "evil.json: line "));
    }
}

static void
test_every_truncation(void **state)
{
    fixture *f = *state;
    for (size_t n = 0; n + 1 < sizeof document_text - 1; n++) {
        // A copy of its own size, so that a sanitizer sees reads past it.
        char *copy = pq_alloc(f->ctx, n);
        assert_non_null(copy);
        memcpy(copy, document_text, n);
        pq_json *doc;
        assert_int_equal(pq_json_parse(f->ctx, "test", (pq_str){copy, n}, &doc),
                         PTQC_E_INPUT);
        pq_free(f->ctx, copy);
    }
}

static void
test_depth(void **state)
{
    fixture *f = *state;
    char text[2 * 100000];
    pq_json *doc;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    assert_int_equal(pq_json_parse(f->ctx, "deep", (pq_str){text, 128}, &doc),
                     PTQC_OK);
    pq_json_free(doc);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    assert_int_equal(pq_json_parse(f->ctx, "deep", (pq_str){text, 130}, &doc),
                     PTQC_E_INPUT);
    memset(text, '[', sizeof text);
    assert_int_equal(
        pq_json_parse(f->ctx, "deep", (pq_str){text, sizeof text}, &doc),
        PTQC_E_INPUT);
    // Brackets in strings are text.
    memset(text, '[', 200);
    text[0] = '[';
    text[1] = '"';
    memcpy(text + 100, "\\\"[[\\\\\"]", 8);
    assert_int_equal(pq_json_parse(f->ctx, "deep", (pq_str){text, 108}, &doc),
                     PTQC_OK);
    pq_json_free(doc);
}

static void
test_memory_limit(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx_desc desc = {.memory_limit_bytes = 100000,
                          .diag = pq_test_sink_add,
                          .diag_user = &sink};
    ptqc_ctx *ctx;
    assert_int_equal(ptqc_ctx_create(&desc, &ctx), PTQC_OK);
    char text[4001];
    text[0] = '[';
    for (size_t i = 1; i + 1 < sizeof text; i += 2) {
        memcpy(text + i, "0,", 2);
    }
    text[sizeof text - 2] = ']';
    pq_json *doc;
    assert_int_equal(
        pq_json_parse(ctx, "many", (pq_str){text, sizeof text - 1}, &doc),
        PTQC_E_RESOURCE);
    assert_int_equal(sink.error_count, 1);
    ptqc_ctx_destroy(ctx);
}

static void
test_too_long(void **state)
{
    fixture *f = *state;
    pq_json *doc;
    // Refused by its length before a byte is read.
    pq_str text = {"[]", ((size_t)128 << 20) + 1};
    assert_int_equal(pq_json_parse(f->ctx, "huge", text, &doc), PTQC_E_INPUT);
}

static void
write_sample(pq_json_writer *w)
{
    pq_jw_begin_object(w, NULL);
    pq_jw_str(w, "schema", PQ_STR("ptqc.test/1"));
    pq_jw_str(w, "odd \"key\"\n",
              PQ_STR("\x1b\\\"\x01\xff\xe2\x80\xae\xc3\xa9"));
    pq_jw_i64(w, "low", INT64_MIN);
    pq_jw_f64(w, "tenth", 0.1);
    pq_jw_f64(w, "huge", 1e300);
    pq_jw_f64(w, "nan", (double)NAN);
    pq_jw_bool(w, "yes", true);
    pq_jw_null(w, "null");
    pq_jw_begin_array(w, "empty");
    pq_jw_end_array(w);
    pq_jw_begin_array(w, "rows");
    pq_jw_i64(w, NULL, 1);
    pq_jw_begin_object(w, NULL);
    pq_jw_end_object(w);
    pq_jw_end_array(w);
    pq_jw_end_object(w);
}

static const char sample_text[] =
    "{\n"
    "  \"schema\": \"ptqc.test/1\",\n"
    "  \"odd \\\"key\\\"\\u000a\": "
    "\"\\u001b\\\\\\\"\\u0001\\\\xff\\\\xe2\\\\x80\\\\xae\xc3\xa9\",\n"
    "  \"low\": -9223372036854775808,\n"
    "  \"tenth\": 0.1,\n"
    "  \"huge\": 1e+300,\n"
    "  \"nan\": null,\n"
    "  \"yes\": true,\n"
    "  \"null\": null,\n"
    "  \"empty\": [],\n"
    "  \"rows\": [\n"
    "    1,\n"
    "    {}\n"
    "  ]\n"
    "}";

static void
test_writing(void **state)
{
    fixture *f = *state;
    pq_strbuf text;
    pq_strbuf_init(&text, f->ctx);
    pq_json_writer w;
    pq_jw_init(&w, &text);
    write_sample(&w);
    assert_string_equal(text.p, sample_text);
    pq_json *doc;
    assert_int_equal(
        pq_json_parse(f->ctx, "own", (pq_str){text.p, text.n}, &doc), PTQC_OK);
    pq_str s;
    assert_true(pq_json_str(pq_json_get(doc, "odd \"key\"\n"), &s));
    assert_true(pq_str_equal_z(s, "\x1b\\\"\x01\\xff\\xe2\\x80\\xae\xc3\xa9"));
    pq_json_free(doc);
    pq_strbuf_deinit(&text);
}

static ptqc_status
write_document(ptqc_ctx *ctx, void *user)
{
    (void)user;
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    pq_json_writer w;
    pq_jw_init(&w, &text);
    write_sample(&w);
    ptqc_status st = text.failed ? PTQC_E_RESOURCE : PTQC_OK;
    pq_strbuf_deinit(&text);
    return st;
}

static void
test_allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(write_document, NULL) > 2);
}

int
main(void)
{
#define WITH_CTX(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_CTX(test_reading),
        WITH_CTX(test_absence),
        WITH_CTX(test_members_in_order),
        WITH_CTX(test_hostile_texts),
        WITH_CTX(test_every_truncation),
        WITH_CTX(test_depth),
        cmocka_unit_test(test_memory_limit),
        WITH_CTX(test_too_long),
        WITH_CTX(test_writing),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
