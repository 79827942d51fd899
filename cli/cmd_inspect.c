// SPDX-License-Identifier: Apache-2.0
//
// ptqc inspect: what a model file or an artifact is.

#include <string.h>

#include "cli/subject.h"

// JSON text of file names must be UTF-8: other bytes are escaped.
static json_t *
text_json(const char *text)
{
    char escaped[1024];
    json_t *out = json_string(text);
    if (out == NULL) {
        size_t n = 0;
        for (const unsigned char *p = (const unsigned char *)text;
             *p != '\0' && n + 5 < sizeof escaped; p++) {
            n +=
                (size_t)snprintf(escaped + n, sizeof escaped - n,
                                 *p < 0x20 || *p > 0x7e ? "\\x%02x" : "%c", *p);
        }
        out = json_string(n > 0 ? escaped : "");
    }
    return out;
}

static json_t *
info_json(const ptqc_tensor_info *info)
{
    json_t *shape = json_array();
    for (uint32_t d = 0; d < info->rank; d++) {
        json_array_append_new(shape, info->dims[d] >= 0
                                         ? json_integer(info->dims[d])
                                         : text_json(info->dim_names[d]));
    }
    return json_pack("{s:o, s:s, s:o}", "name", text_json(info->name), "dtype",
                     cli_dtype_name(info->dtype), "shape", shape);
}

typedef void (*info_fn)(const void *subject, uint32_t i, ptqc_tensor_info *out);

static void
model_input(const void *m, uint32_t i, ptqc_tensor_info *out)
{
    ptqc_model_input(m, i, out);
}

static void
model_output(const void *m, uint32_t i, ptqc_tensor_info *out)
{
    ptqc_model_output(m, i, out);
}

static void
artifact_input(const void *a, uint32_t i, ptqc_tensor_info *out)
{
    ptqc_artifact_input(a, i, out);
}

static void
artifact_output(const void *a, uint32_t i, ptqc_tensor_info *out)
{
    ptqc_artifact_output(a, i, out);
}

static json_t *
list_json(const void *subject, uint32_t count, info_fn fn)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        ptqc_tensor_info info;
        fn(subject, i, &info);
        json_array_append_new(list, info_json(&info));
    }
    return list;
}

static void
add_count(void *user, const char *what, uint64_t count)
{
    char text[256];
    json_object_set_new(user, cli_escape(what, text, sizeof text),
                        json_integer((json_int_t)count));
}

static json_t *
model_document(const ptqc_model *m)
{
    ptqc_model_facts facts;
    json_t *ops = json_object(), *schemes = json_object();
    ptqc_model_get_facts(m, &facts);
    ptqc_model_ops(m, add_count, ops);
    ptqc_model_schemes(m, add_count, schemes);
    json_t *doc = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "schema",
        "ptqc.inspect/1", "format", facts.format, "producer",
        text_json(facts.producer), "inputs",
        list_json(m, ptqc_model_input_count(m), model_input), "outputs",
        list_json(m, ptqc_model_output_count(m), model_output), "tensors",
        (json_int_t)facts.tensor_count, "parameters",
        (json_int_t)facts.parameter_count, "weight_bytes",
        (json_int_t)facts.weight_bytes, "nodes", (json_int_t)facts.op_count,
        "ops", ops, "schemes", schemes);
    if (doc != NULL && facts.architecture[0] != '\0') {
        json_object_set_new(doc, "architecture", text_json(facts.architecture));
        json_object_set_new(doc, "context",
                            json_integer((json_int_t)facts.context_length));
    }
    return doc;
}

static json_t *
artifact_document(const ptqc_artifact *a)
{
    json_t *meta = json_loads(ptqc_artifact_metadata(a), 0, NULL);
    json_t *schemes = json_object_get(meta, "schemes");
    json_int_t tensors = 0;
    const char *key;
    json_t *count;
    json_object_foreach(schemes, key, count)
    {
        tensors += json_integer_value(count);
    }
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:I, s:I, s:O?, s:o?}", "schema",
        "ptqc.inspect/1", "format", "ptqc", "inputs",
        list_json(a, ptqc_artifact_input_count(a), artifact_input), "outputs",
        list_json(a, ptqc_artifact_output_count(a), artifact_output), "tensors",
        tensors, "bytes", (json_int_t)ptqc_artifact_bytes(a), "schemes",
        schemes, "metadata", meta);
}

// ---- text -----------------------------------------------------------------

static void
print_io(const char *title, const json_t *list)
{
    size_t i, d;
    json_t *io, *dim;
    json_array_foreach(list, i, io)
    {
        char name[256];
        cli_print("%s %s: %s[", title,
                  cli_escape(json_string_value(json_object_get(io, "name")),
                             name, sizeof name),
                  json_string_value(json_object_get(io, "dtype")));
        json_array_foreach(json_object_get(io, "shape"), d, dim)
        {
            char text[256];
            cli_print("%s", d > 0 ? ", " : "");
            if (json_is_integer(dim)) {
                cli_print("%lld", (long long)json_integer_value(dim));
            } else {
                cli_print("%s", cli_escape(json_string_value(dim), text,
                                           sizeof text));
            }
        }
        cli_print("]\n");
    }
}

static void
print_counts(const char *title, const json_t *counts)
{
    const char *key;
    json_t *count;
    if (json_object_size(counts) > 0) {
        cli_print("%s", title);
        json_object_foreach((json_t *)(uintptr_t)counts, key, count)
        {
            cli_print(" %s:%lld", key, (long long)json_integer_value(count));
        }
        cli_print("\n");
    }
}

// What an artifact was made by, on one line: "ptqc recipe show" gives all.
static void
print_recipe(const json_t *metadata)
{
    static const char *const keys[] = {"method", "observer", "scale_search",
                                       "kv"};
    char text[256];
    const json_t *recipe = json_object_get(metadata, "recipe");
    const char *scheme = json_string_value(json_object_get(recipe, "scheme"));
    size_t rules = json_array_size(json_object_get(recipe, "rules"));
    if (scheme == NULL && rules == 0) {
        return;
    }
    cli_print("recipe  %s",
              scheme != NULL ? cli_escape(scheme, text, sizeof text) : "float");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = json_string_value(json_object_get(recipe, keys[i]));
        if (value != NULL) {
            cli_print(", %s %s", keys[i], cli_escape(value, text, sizeof text));
        }
    }
    if (rules > 0) {
        cli_print(", %zu rules", rules);
    }
    cli_print("\n");
}

static void
print_calibration(const json_t *metadata)
{
    char text[512];
    const char *note =
        json_string_value(json_object_get(metadata, "calibration"));
    if (note != NULL && note[0] != '\0') {
        cli_print("calibration %s\n", cli_escape(note, text, sizeof text));
    }
}

static ptqc_status
print_document(cli *c, json_t *doc)
{
    char size[32];
    json_t *bytes = json_object_get(doc, "bytes");
    bytes = bytes != NULL ? bytes : json_object_get(doc, "weight_bytes");
    cli_print("%s: %s, %s%s\n", c->args.operands[0],
              json_string_value(json_object_get(doc, "format")),
              cli_size_text((uint64_t)json_integer_value(bytes), size),
              json_object_get(doc, "bytes") != NULL ? "" : " of weights");
    const json_t *architecture = json_object_get(doc, "architecture");
    if (architecture != NULL) {
        char text[256];
        cli_print(
            "architecture %s, context of %lld tokens\n",
            cli_escape(json_string_value(architecture), text, sizeof text),
            (long long)json_integer_value(json_object_get(doc, "context")));
    }
    print_io("input ", json_object_get(doc, "inputs"));
    print_io("output", json_object_get(doc, "outputs"));
    print_counts("ops    ", json_object_get(doc, "ops"));
    print_recipe(json_object_get(doc, "metadata"));
    print_calibration(json_object_get(doc, "metadata"));
    print_counts("schemes", json_object_get(doc, "schemes"));
    json_decref(doc);
    return cli_finish_output(c);
}

static ptqc_status
finish(cli *c, json_t *doc)
{
    return doc != NULL && !cli_given(c, CLI_JSON) ? print_document(c, doc)
                                                  : cli_print_json(c, doc);
}

ptqc_status
cli_inspect(cli *c)
{
    const char *path = c->args.operands[0];
    ptqc_artifact *artifact = NULL;
    ptqc_model *model = NULL;
    ptqc_status st;
    if (cli_is_artifact(path)) {
        st = ptqc_artifact_open(c->ctx, path, &artifact);
        if (st == PTQC_OK) {
            st = finish(c, artifact_document(artifact));
        }
        ptqc_artifact_close(artifact);
        return st;
    }
    st = ptqc_model_inspect(c->ctx, path, &model);
    if (st == PTQC_OK) {
        st = finish(c, model_document(model));
    }
    ptqc_model_close(model);
    return st;
}
