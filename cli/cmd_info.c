// SPDX-License-Identifier: Apache-2.0
//
// ptqc devices, ptqc help, ptqc --version.

#include "cli/cli.h"

static void
keep_device(void *user, const ptqc_device_info *d)
{
    json_array_append_new(
        user, json_pack("{s:s, s:s, s:s, s:b, s:s, s:I}", "id", d->id, "target",
                        d->target, "name", d->name, "usable", (int)d->is_usable,
                        "reason", d->reason, "memory_bytes",
                        (json_int_t)d->memory_bytes));
}

ptqc_status
cli_devices(cli *c)
{
    json_t *devices = json_array();
    ptqc_backend_dirs dirs = cli_backend_dirs(c);
    ptqc_status st = ptqc_list_devices(c->ctx, &dirs, keep_device, devices);
    if (st != PTQC_OK) {
        json_decref(devices);
        return st;
    }
    if (cli_given(c, CLI_JSON)) {
        return cli_print_json(c,
                              json_pack("{s:s, s:o}", "schema",
                                        "ptqc.devices/1", "devices", devices));
    }
    size_t i;
    json_t *d;
    json_array_foreach(devices, i, d)
    {
        bool is_usable = json_is_true(json_object_get(d, "usable"));
        cli_print(
            "%-10s %-8s %s%s%s\n", json_string_value(json_object_get(d, "id")),
            is_usable ? "usable" : "unusable",
            json_string_value(json_object_get(d, "name")), is_usable ? "" : " ",
            json_string_value(json_object_get(d, "reason")));
    }
    json_decref(devices);
    return cli_finish_output(c);
}

ptqc_status
cli_help(cli *c)
{
    cli_verb verb = CLI_VERB_HELP;
    bool has_verb = c->args.operand_count > 0;
    if (has_verb && !cli_find_verb(c->args.operands[0], &verb)) {
        const char *near = cli_suggest_verb(c->args.operands[0]);
        char text[100];
        cli_escape(c->args.operands[0], text, sizeof text);
        return near != NULL
                   ? cli_fail(c, PTQC_E_USAGE, "no verb '%s'; did you mean %s?",
                              text, near)
                   : cli_fail(c, PTQC_E_USAGE, "no verb '%s'", text);
    }
    cli_print_help(stdout, has_verb, verb);
    return cli_finish_output(c);
}

static void
keep_plugin(void *user, const char *name, const char *version, const char *path)
{
    json_array_append_new(user, json_pack("{s:s, s:s, s:s}", "name", name,
                                          "version", version, "path", path));
}

ptqc_status
cli_version(cli *c)
{
    json_t *plugins = json_array();
    ptqc_backend_dirs dirs = cli_backend_dirs(c);
    ptqc_status st = ptqc_list_plugins(c->ctx, &dirs, keep_plugin, plugins);
    if (st != PTQC_OK) {
        json_decref(plugins);
        return st;
    }
    if (cli_given(c, CLI_JSON)) {
        return cli_print_json(c, json_pack("{s:s, s:s, s:o}", "schema",
                                           "ptqc.version/1", "version",
                                           ptqc_version(), "plugins", plugins));
    }
    cli_print("ptqc %s\n", ptqc_version());
    size_t i;
    json_t *p;
    json_array_foreach(plugins, i, p)
    {
        cli_print("plugin %s %s (%s)\n",
                  json_string_value(json_object_get(p, "name")),
                  json_string_value(json_object_get(p, "version")),
                  json_string_value(json_object_get(p, "path")));
    }
    json_decref(plugins);
    return cli_finish_output(c);
}
