/* fields -- what a query can name: the columns of the archive and what is derived from them. */
#include "cli/cmd.h"

#include "base/text.h"
#include "query/tokens.h"

#include <stdio.h>

struct fields_args {
    bool json;
};

static const char *const kinds[] = {
    [QUERY_U64] = "u64",       [QUERY_S64] = "s64",        [QUERY_F64] = "f64",
    [QUERY_BOOL] = "bool",     [QUERY_TIME] = "time",      [QUERY_TEXT] = "text",
    [QUERY_OCTETS] = "octets", [QUERY_U64_LIST] = "u64[]", [QUERY_TEXT_LIST] = "text[]",
    [QUERY_UNKNOWN] = "",
};

/* Every token that shows the field, "%ts %tfs". */
static void tokens_of(const struct query_field *f, base_buf *out)
{
    base_buf_reset(out);
    for (const struct query_token *t = query_tokens(); t->name; t++) {
        if (t->unavailable || !t->f[0])
            continue;
        struct query_field of = query_token_field(t, 0);
        if (of.what == f->what && of.id == f->id)
            base_buf_printf(out, "%s%%%s", out->len ? " " : "", t->name);
    }
    base_buf_char(out, 0);
}

struct field_row {
    const char *name, *type, *unit, *words, *tokens, *json, *help;
    bool list;
};

static void print_row(base_buf *out, const struct field_row *r, bool json, bool first)
{
    if (!json) {
        base_buf_printf(out, "%-20s %s%-*s %-9s %-28s %-18s %s\n", r->name, r->type,
                        8 - (int)strlen(r->type), r->list ? "[]" : "", r->unit, r->words, r->tokens,
                        r->help);
        return;
    }
    const struct {
        const char *key, *value;
    } pairs[] = {{"name", r->name},     {"unit", r->unit},   {"filter", r->words},
                 {"tokens", r->tokens}, {"nfdump", r->json}, {"help", r->help}};
    base_buf_str(out, first ? "[\n{" : ",\n{");
    base_buf_printf(out, "\"type\": \"%s%s\"", r->type, r->list ? "[]" : "");
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        base_buf_printf(out, ", \"%s\": ", pairs[i].key);
        base_json_string(out, pairs[i].value, strlen(pairs[i].value), false);
    }
    base_buf_char(out, '}');
}

static int fields_run(const void *args, int n, char **operands)
{
    const struct fields_args *a = args;
    (void)n;
    (void)operands;
    base_buf out = {0}, tokens = {0};
    if (!a->json)
        base_buf_printf(&out, "%-20s %-8s %-9s %-28s %-18s %s\n", "NAME", "TYPE", "UNIT", "FILTER",
                        "TOKENS", "WHAT");
    for (int i = 0; i < FLOW_N_COLUMNS; i++) {
        const struct flow_column *c = &flow_columns()[i];
        struct query_field f = query_field_column((enum flow_column_id)i);
        tokens_of(&f, &tokens);
        print_row(&out,
                  &(struct field_row){c->name, flow_type_text((enum flow_type)c->type), c->unit,
                                      c->filter, tokens.failed ? "" : tokens.data, c->json, c->help,
                                      c->list},
                  a->json, i == 0);
    }
    for (int i = 0; i < QUERY_N_DERIVED; i++) {
        const struct query_derived_row *d = &query_derived_rows()[i];
        struct query_field f = query_field_derived((enum query_derived)i);
        tokens_of(&f, &tokens);
        print_row(&out,
                  &(struct field_row){d->name, kinds[d->kind], d->unit, "",
                                      tokens.failed ? "" : tokens.data, "", d->help, false},
                  a->json, false);
    }
    if (a->json)
        base_buf_str(&out, "\n]\n");
    bool ok = !out.failed && fwrite(out.data, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    base_buf_done(&out);
    base_buf_done(&tokens);
    if (!ok)
        (void)fputs("weir fields: cannot write the list\n", stderr);
    return ok ? 0 : 1;
}

static const struct opt fields_opts[] = {
    {"json", 0, OPT_FLAG, offsetof(struct fields_args, json), NULL, "print a JSON array", NULL},
    {0},
};

const struct cmd cmd_fields = {
    .name = "fields",
    .what = "list the columns and derived fields that a query can name",
    .operands = "",
    .opts = fields_opts,
    .args_size = sizeof(struct fields_args),
    .run = fields_run,
    .examples = "weir fields         # a table\n"
                "weir fields --json  # for a program\n",
};
