#include "query/format_in.h"

#include "base/text.h"
#include "query/complete.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

/* --- output --------------------------------------------------------------------------------------- */

weir_status query_format_flush(query_format *f, bool all, weir_err *err)
{
    if (f->out.failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    if (f->out.len == 0 || (!all && f->out.len < QUERY_FORMAT_OCTETS))
        return WEIR_OK;
    weir_status s = f->o.write(f->o.user, f->out.data, f->out.len, err);
    base_buf_reset(&f->out);
    return s;
}

weir_status query_format_rows(query_format *f, size_t result, const struct query_block *b,
                              weir_err *err)
{
    WEIR_TRY(query_writer_block(&f->w, &f->results[result].program, b, err));
    for (size_t i = 0; i < b->n; i++) {
        WEIR_TRY(query_writer_row(&f->w, i, err));
        WEIR_TRY(query_format_flush(f, false, err));
    }
    return WEIR_OK;
}

static weir_status sink_begin(void *user, const struct query *q, size_t result, weir_err *err)
{
    query_format *f = user;
    if (result >= f->n_results)
        return weir_err_set(err, WEIR_EINVAL, 0, "result %zu of a query with %zu formats", result,
                            f->n_results);
    f->limit = q->results[result].limit;
    weir_status s = f->kind->begin ? f->kind->begin(f, q, result, err) : WEIR_OK;
    f->begun = true;
    return s;
}

static weir_status sink_block(void *user, size_t result, const struct query_block *b, weir_err *err)
{
    query_format *f = user;
    if (result >= f->n_results || !f->begun)
        return weir_err_set(err, WEIR_EINVAL, 0, "rows of a result that has not begun");
    return f->kind->block(f, result, b, err);
}

static weir_status sink_end(void *user, size_t result, const struct query_summary *s, weir_err *err)
{
    query_format *f = user;
    if (f->kind->end)
        WEIR_TRY(f->kind->end(f, result, s, err));
    return query_format_flush(f, true, err);
}

/* --- fields --------------------------------------------------------------------------------------- */

bool query_format_of_groups(const struct query_field *f)
{
    static const enum flow_column_id sums[] = {
        FLOW_bytes,       FLOW_packets, FLOW_bytes_out, FLOW_packets_out, FLOW_bytes_rev,
        FLOW_packets_rev, FLOW_flows,   FLOW_first,     FLOW_last,        FLOW_tcp_flags,
    };
    if (f->what == QUERY_F_COLUMN) {
        for (size_t i = 0; i < ARRAY_LEN(sums); i++)
            if (f->id == (int)sums[i])
                return true;
        return false;
    }
    return f->what == QUERY_F_DERIVED && (f->id <= QUERY_D_N_FLOWS);
}

static bool group_has(void *user, const struct query_field *f)
{
    const query_format *fmt = user;
    if (query_format_of_groups(f))
        return true;
    for (size_t i = 0; i < fmt->o.n_keys; i++) {
        const struct query_field *k = &fmt->o.keys[i];
        if (k->what == f->what && k->id == f->id && k->what != QUERY_F_EXTRA)
            return true;
        if (query_field_same(k, f))
            return true;
    }
    return false;
}

struct query_token_use query_format_use(query_format *f, size_t result)
{
    const struct query_stat *stat = f->results[result].stat;
    bool groups = f->o.n_keys && (!stat || stat->record);
    return (struct query_token_use){.arena = f->arena,
                                    .full_ipv6 = f->o.full_ipv6,
                                    .has = groups ? group_has : NULL,
                                    .keys = f->o.keys,
                                    .n_keys = groups ? f->o.n_keys : 0,
                                    .user = f};
}

enum query_stat_side query_stat_side(const struct query_stat *s)
{
    if (s->n_orders == 0)
        return QUERY_SIDE_ALL;
    const struct query_field *f = &s->orders[0].field;
    if (f->what == QUERY_F_COLUMN && (f->id == FLOW_bytes || f->id == FLOW_packets))
        return QUERY_SIDE_IN;
    if (f->what == QUERY_F_DERIVED && f->id >= QUERY_D_PPS && f->id <= QUERY_D_BPP)
        return QUERY_SIDE_IN;
    if (f->what == QUERY_F_DERIVED && (f->id == QUERY_D_OUT_BYTES || f->id == QUERY_D_OUT_PACKETS ||
                                       (f->id >= QUERY_D_OUT_PPS && f->id <= QUERY_D_OUT_BPP)))
        return QUERY_SIDE_OUT;
    return QUERY_SIDE_ALL;
}

struct query_field query_stat_field(const struct query_stat *s, enum query_stat_number n)
{
    static const enum query_derived derived[QUERY_N_SN][3] = {
        [QUERY_SN_FLOWS] = {QUERY_D_N_FLOWS, QUERY_D_N_FLOWS, QUERY_D_N_FLOWS},
        [QUERY_SN_PACKETS] = {QUERY_D_ALL_PACKETS, QUERY_N_DERIVED, QUERY_D_OUT_PACKETS},
        [QUERY_SN_BYTES] = {QUERY_D_ALL_BYTES, QUERY_N_DERIVED, QUERY_D_OUT_BYTES},
        [QUERY_SN_PPS] = {QUERY_D_ALL_PPS, QUERY_D_PPS, QUERY_D_OUT_PPS},
        [QUERY_SN_BPS] = {QUERY_D_ALL_BPS, QUERY_D_BPS, QUERY_D_OUT_BPS},
        [QUERY_SN_BPP] = {QUERY_D_ALL_BPP, QUERY_D_BPP, QUERY_D_OUT_BPP},
    };
    enum query_derived d = derived[n][query_stat_side(s)];
    if (d == QUERY_N_DERIVED)
        return query_field_column(n == QUERY_SN_BYTES ? FLOW_bytes : FLOW_packets);
    return query_field_derived(d);
}

const char *query_order_name(const struct query_order *o)
{
    static const struct {
        int id;
        const char *name;
    } columns[] = {{FLOW_bytes, "ibyte"},
                   {FLOW_packets, "ipkg"},
                   {FLOW_first, "tstart"},
                   {FLOW_last, "tend"},
                   {FLOW_flows, "flows"}},
      derived[] = {{QUERY_D_N_FLOWS, "flows"},   {QUERY_D_ALL_PACKETS, "packets"},
                   {QUERY_D_ALL_BYTES, "bytes"}, {QUERY_D_OUT_PACKETS, "opkg"},
                   {QUERY_D_OUT_BYTES, "obyte"}, {QUERY_D_ALL_PPS, "pps"},
                   {QUERY_D_ALL_BPS, "bps"},     {QUERY_D_ALL_BPP, "bpp"},
                   {QUERY_D_PPS, "ipps"},        {QUERY_D_BPS, "ibps"},
                   {QUERY_D_BPP, "ibpp"},        {QUERY_D_OUT_PPS, "opps"},
                   {QUERY_D_OUT_BPS, "obps"},    {QUERY_D_OUT_BPP, "obpp"}};
    bool is_column = o->field.what == QUERY_F_COLUMN;
    if (o->field.what != QUERY_F_EXTRA)
        for (size_t i = 0; i < (is_column ? ARRAY_LEN(columns) : ARRAY_LEN(derived)); i++)
            if (o->field.id == (is_column ? columns : derived)[i].id)
                return (is_column ? columns : derived)[i].name;
    return o->field.name ? o->field.name : "?";
}

/* --- formats of lines ----------------------------------------------------------------------------- */

static weir_status text_begin(query_format *f, const struct query *q, size_t result, weir_err *err)
{
    (void)q;
    const struct query_format_result *r = &f->results[result];
    if (r->stat && r->stat->record && !f->o.quiet) {
        if (f->limit)
            base_buf_printf(&f->out, "Top %llu flows ordered by %s:\n",
                            (unsigned long long)f->limit,
                            r->stat->n_orders ? query_order_name(r->stat->orders) : "flows");
        else
            base_buf_printf(&f->out, "Top flows ordered by %s:\n",
                            r->stat->n_orders ? query_order_name(r->stat->orders) : "flows");
    }
    if (!f->o.quiet) {
        base_buf_str(&f->out, f->o.color ? "\033[1m" : "");
        base_buf_add(&f->out, r->header.data, r->header.len);
        base_buf_str(&f->out, f->o.color ? "\033[0m\n" : "\n");
    }
    return query_format_flush(f, false, err);
}

static weir_status text_end(query_format *f, size_t result, const struct query_summary *s,
                            weir_err *err)
{
    (void)result;
    (void)err;
    if (s->matched == 0 && !f->o.quiet)
        base_buf_str(&f->out, "No matching flows\n");
    return WEIR_OK;
}

static const struct query_format_kind text_kind = {.begin = text_begin,
                                                   .block = query_format_rows,
                                                   .end = text_end,
                                                   .people = true,
                                                   .records = true};

/* %ts %td, the keys, the counters. */
static weir_status group_table(struct query_token_use *use, const query_format *f,
                               struct query_format_result *r, weir_err *err)
{
    WEIR_TRY(query_tokens_text(use, "%ts %td ", &r->program, &r->header, err));
    r->program.n--; /* the end of the line is not here */
    query_program_lit(&r->program, " ", 1);
    for (size_t i = 0; i < f->o.n_keys; i++) {
        const struct query_field *k = &f->o.keys[i];
        const struct query_token *t = query_token_of_field(k);
        query_program_lit(&r->program, " ", 1);
        base_buf_char(&r->header, ' ');
        bool src = k->id == QUERY_D_SRC_NET;
        if (k->what == QUERY_F_DERIVED && (src || k->id == QUERY_D_DST_NET)) {
            bool by_mask = k->bits4 == 255 && k->bits6 == 255;
            size_t width = (by_mask ? 19U : 16U) + (f->o.full_ipv6 ? QUERY_IPV6_MORE : 0U);
            const char *name = by_mask ? (src ? "Src Network" : "Dst Network")
                                       : (src ? "Src IP Addr" : "Dst IP Addr");
            for (size_t n = strlen(name); n < width; n++)
                base_buf_char(&r->header, ' ');
            base_buf_str(&r->header, name);
            struct query_cell c = {
                .op = by_mask ? QUERY_CELL_TEXT : QUERY_CELL_PREFIX,
                .width = (uint8_t)width,
                .v = {(int16_t)query_program_field(&r->program, k), -1, -1, -1, -1, -1}};
            query_program_cell(&r->program, f->arena, c);
        } else if (t) {
            query_token_table(use, t, k, &r->program, &r->header);
        } else {
            query_field_table(use, k, &r->program, &r->header);
        }
    }
    return query_tokens_text(use, "  %pkt %byt %bps %bpp %fl", &r->program, &r->header, err);
}

weir_status query_format_text(query_format *f, const char *tokens, weir_err *err)
{
    f->kind = &text_kind;
    for (size_t i = 0; i < f->n_results; i++) {
        struct query_format_result *r = &f->results[i];
        struct query_token_use use = query_format_use(f, i);
        if (!tokens && f->o.n_keys)
            WEIR_TRY(group_table(&use, f, r, err));
        else
            WEIR_TRY(query_tokens_text(&use,
                                       tokens     ? tokens
                                       : f->o.geo ? query_format_tokens("gline", 5)
                                                  : query_format_tokens("line", 4),
                                       &r->program, &r->header, err));
    }
    return WEIR_OK;
}

/* --- CSV ------------------------------------------------------------------------------------------ */

static weir_status csv_begin(query_format *f, const struct query *q, size_t result, weir_err *err)
{
    (void)q;
    if (f->begun && f->n_results > 1)
        base_buf_char(&f->out, '\n');
    if (!f->o.quiet)
        base_buf_add(&f->out, f->results[result].header.data, f->results[result].header.len);
    return query_format_flush(f, false, err);
}

static const struct query_format_kind csv_kind = {
    .begin = csv_begin, .block = query_format_rows, .records = true};
static const struct query_format_kind csv_long_kind = {
    .begin = csv_begin, .block = query_format_rows, .records = true, .totals = true};

/* The 48 columns that nfdump 1.7.1 called csv: names and forms of their own. */
/* clang-format off */
static const struct {
    const char *name, *token;
    uint8_t op; /* 0: as the token has it in CSV */
    uint8_t width;
} long_columns[] = {
    {"ts", "ts", QUERY_CELL_TIME_SECOND, 0}, {"te", "te", QUERY_CELL_TIME_SECOND, 0}, {"td", "td", 0, 0},
    {"sa", "sa", 0, 0}, {"da", "da", 0, 0}, {"sp", "sp", 0, 0}, {"dp", "dp", 0, 0},
    {"pr", "pr", QUERY_CELL_PROTO_NAME, 0}, {"flg", "flg", 0, 0}, {"fwd", "fwd", 0, 0}, {"stos", "stos", 0, 0},
    {"ipkt", "ipkt", 0, 0}, {"ibyt", "ibyt", 0, 0}, {"opkt", "opkt", 0, 0}, {"obyt", "obyt", 0, 0},
    {"in", "in", 0, 0}, {"out", "out", 0, 0}, {"sas", "sas", 0, 0}, {"das", "das", 0, 0}, {"smk", "smk", 0, 0},
    {"dmk", "dmk", 0, 0}, {"dtos", "dtos", 0, 0}, {"dir", "dir", 0, 0}, {"nh", "nh", 0, 0}, {"nhb", "nhb", 0, 0},
    {"svln", "svln", 0, 0}, {"dvln", "dvln", 0, 0}, {"ismc", "ismc", 0, 0}, {"odmc", "odmc", 0, 0},
    {"idmc", "idmc", 0, 0}, {"osmc", "osmc", 0, 0}, {"mpls1", "mpls1", 0, 0}, {"mpls2", "mpls2", 0, 0},
    {"mpls3", "mpls3", 0, 0}, {"mpls4", "mpls4", 0, 0}, {"mpls5", "mpls5", 0, 0}, {"mpls6", "mpls6", 0, 0},
    {"mpls7", "mpls7", 0, 0}, {"mpls8", "mpls8", 0, 0}, {"mpls9", "mpls9", 0, 0}, {"mpls10", "mpls10", 0, 0},
    {"cl", "cl", 0, 9}, {"sl", "sl", 0, 9}, {"al", "al", 0, 9}, {"ra", "ra", 0, 0}, {"eng", "eng", 0, 0},
    {"exid", "exp", 0, 0}, {"tr", "tr", 0, 0},
};
/* clang-format on */

static weir_status long_csv(struct query_token_use *use, struct query_format_result *r,
                            weir_err *err)
{
    base_buf skip = {0};
    for (size_t i = 0; i < ARRAY_LEN(long_columns); i++) {
        const char *token = long_columns[i].token;
        query_csv_column(use, query_token_find(token, strlen(token)), NULL, &r->program, &skip);
        base_buf_char(&r->header, ',');
        base_buf_str(&r->header, long_columns[i].name);
        if (r->program.failed)
            continue;
        struct query_cell *c = &r->program.cells[r->program.n - 1];
        c->op = long_columns[i].op ? long_columns[i].op : c->op;
        c->width = long_columns[i].width;
    }
    base_buf_done(&skip);
    query_program_lit(&r->program, "\n", 1);
    query_program_end(&r->program, use->arena);
    base_buf_char(&r->header, '\n');
    if (r->program.failed || r->header.failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    r->header.len--;
    memmove(r->header.data, r->header.data + 1, r->header.len); /* the comma in front */
    return WEIR_OK;
}

static weir_status group_csv(struct query_token_use *use, const query_format *f,
                             struct query_format_result *r, weir_err *err)
{
    static const char *const before[] = {"ts", "td"}, *const behind[] = {"pkt", "byt", "bps", "bpp",
                                                                         "fl"};
    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        query_csv_column(use, query_token_find(before[i], 2), NULL, &r->program, &r->header);
    for (size_t i = 0; i < f->o.n_keys; i++) {
        const struct query_token *t = query_token_of_field(&f->o.keys[i]);
        query_csv_column(use, t && t->csv ? t : NULL, &f->o.keys[i], &r->program, &r->header);
    }
    for (size_t i = 0; i < ARRAY_LEN(behind); i++)
        query_csv_column(use, query_token_find(behind[i], strlen(behind[i])), NULL, &r->program,
                         &r->header);
    query_program_lit(&r->program, "\n", 1);
    query_program_end(&r->program, use->arena);
    base_buf_char(&r->header, '\n');
    return r->program.failed || r->header.failed
               ? weir_err_set(err, WEIR_ENOMEM, 0, "out of memory")
               : WEIR_OK;
}

weir_status query_format_csv(query_format *f, const char *list, bool long_form, weir_err *err)
{
    f->kind = long_form ? &csv_long_kind : &csv_kind;
    f->csv_summary = long_form;
    for (size_t i = 0; i < f->n_results; i++) {
        struct query_format_result *r = &f->results[i];
        struct query_token_use use = query_format_use(f, i);
        if (long_form)
            WEIR_TRY(long_csv(&use, r, err));
        else if (!list && f->o.n_keys)
            WEIR_TRY(group_csv(&use, f, r, err));
        else
            WEIR_TRY(query_tokens_csv(&use,
                                      list ? list : "%ts,%td,%pr,%sa,%sp,%da,%dp,%pkt,%byt,%fl",
                                      &r->program, &r->header, err));
    }
    return WEIR_OK;
}

/* --- null ----------------------------------------------------------------------------------------- */

static weir_status null_block(query_format *f, size_t result, const struct query_block *b,
                              weir_err *err)
{
    (void)f;
    (void)result;
    (void)b;
    (void)err;
    return WEIR_OK;
}

static const struct query_format_kind null_kind = {.block = null_block, .people = true};

weir_status query_format_null(query_format *f, weir_err *err)
{
    (void)err;
    f->kind = &null_kind;
    return WEIR_OK;
}

/* --- making one ----------------------------------------------------------------------------------- */

static const char *behind(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

static weir_status unknown_format(const char *name, weir_err *err)
{
    base_buf names = {0};
    query_format_names(&names);
    base_buf_char(&names, 0);
    weir_status s =
        weir_err_set(err, WEIR_EFORMAT, 0,
                     "unknown format '%.24s': %s, raw, csv, csv-long, json, ndjson, parquet, "
                     "chart, null, fmt:, csv:",
                     name, names.failed ? "" : names.data);
    base_buf_done(&names);
    return s;
}

static weir_status setup(query_format *f, weir_err *err)
{
    const char *name = f->o.name, *arg;
    bool stats = f->o.n_stats && !(f->o.stats[0].record);
    if (!name)
        return stats ? query_format_stat(f, err) : query_format_text(f, NULL, err);
    size_t len = strlen(name);
    char base[16];
    if (len && len < sizeof base && name[len - 1] == '6') { /* line6, long6: as nfdump had it */
        memcpy(base, name, len - 1);
        base[len - 1] = 0;
        if (query_format_tokens(base, len - 1) || strcmp(base, "raw") == 0) {
            f->o.full_ipv6 = true;
            f->w.full_ipv6 = true;
            name = base;
            len--;
        }
    }
    if (strcmp(name, "csv") == 0)
        return stats ? query_format_stat_csv(f, err) : query_format_csv(f, NULL, false, err);
    if (strcmp(name, "csv-long") == 0)
        return stats ? query_format_stat_csv(f, err) : query_format_csv(f, NULL, true, err);
    if ((arg = behind(name, "csv:")))
        return query_format_csv(f, arg, false, err);
    if (strcmp(name, "json") == 0 || strcmp(name, "ndjson") == 0)
        return query_format_json(f, NULL, name[0] == 'n', err);
    if ((arg = behind(name, "json:")) || (arg = behind(name, "ndjson:")))
        return query_format_json(f, arg, name[0] == 'n', err);
    if (strcmp(name, "parquet") == 0)
        return query_format_parquet(f, NULL, err);
    if ((arg = behind(name, "parquet:")))
        return query_format_parquet(f, arg, err);
    if (strcmp(name, "null") == 0)
        return query_format_null(f, err);
    if (strcmp(name, "chart") == 0)
        return query_format_chart(f, err);
    if ((arg = behind(name, "fmt:")))
        return query_format_text(f, arg, err);
    const char *tokens = query_format_tokens(name, len);
    if (!tokens && strcmp(name, "raw") != 0)
        return unknown_format(name, err);
    if (stats)
        return query_format_stat(f, err);
    return tokens ? query_format_text(f, tokens, err) : query_format_raw(f, err);
}

weir_status query_format_new(const struct query_format_options *o, query_arena *a,
                             query_format **out, weir_err *err)
{
    *out = NULL;
    query_format *f = calloc(1, sizeof *f);
    size_t n = o->n_stats ? o->n_stats : 1;
    struct query_format_result *results = calloc(n, sizeof *results);
    if (!f || !results) {
        free(f);
        free(results);
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    }
    f->o = *o;
    f->arena = a;
    f->results = results;
    f->n_results = n;
    f->sink = (struct query_sink){sink_begin, sink_block, sink_end, f};
    for (size_t i = 0; i < o->n_stats; i++)
        results[i].stat = &o->stats[i];
    query_writer_init(&f->w, &f->out, o->plain_numbers, o->full_ipv6, o->utc);
    weir_status s = setup(f, err);
    for (size_t i = 0; s == WEIR_OK && i < n; i++)
        if (results[i].program.failed || results[i].header.failed)
            s = weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    if (s != WEIR_OK) {
        query_format_free(f);
        return s;
    }
    *out = f;
    return WEIR_OK;
}

void query_format_free(query_format *f)
{
    if (!f)
        return;
    if (f->kind && f->kind->free)
        f->kind->free(f);
    for (size_t i = 0; i < f->n_results; i++) {
        query_program_done(&f->results[i].program);
        base_buf_done(&f->results[i].header);
    }
    free(f->results);
    query_writer_done(&f->w);
    base_buf_done(&f->out);
    free(f);
}

void query_format_fields(const query_format *f, size_t result, const struct query_field **fields,
                         size_t *n)
{
    bool there = result < f->n_results;
    *fields = there ? f->results[result].program.fields : NULL;
    *n = there ? f->results[result].program.n_fields : 0;
}

bool query_format_wants_totals(const query_format *f)
{
    return f->kind->totals || (f->kind->people && !f->o.quiet);
}

bool query_format_shows_all(const char *name)
{
    return name && (strcmp(name, "json") == 0 || strcmp(name, "ndjson") == 0 ||
                    strcmp(name, "parquet") == 0 || strcmp(name, "raw") == 0);
}

bool query_format_for_people(const query_format *f)
{
    return f->kind->people;
}

const struct query_sink *query_format_sink(query_format *f)
{
    return &f->sink;
}

/* --- summary -------------------------------------------------------------------------------------- */

static uint64_t per(uint64_t n, uint64_t factor, uint64_t by)
{
    return by ? (uint64_t)((unsigned __int128)n * factor / by) : 0;
}

struct averages {
    uint64_t packets, bytes, bps, pps, bpp;
};

static struct averages averages_of(const struct query_summary *s)
{
    struct averages a = {.packets = s->packets + s->out_packets, .bytes = s->bytes + s->out_bytes};
    uint64_t ms =
        s->last_us > s->first_us ? ((uint64_t)s->last_us - (uint64_t)s->first_us) / 1000 : 0;
    a.bps = per(a.bytes, 8000, ms);
    a.pps = per(a.packets, 1000, ms);
    a.bpp = per(a.bytes, 1, a.packets);
    return a;
}

static void named(base_buf *out, const char *name, uint64_t v, bool plain)
{
    char text[40];
    size_t n = query_scaled_text(text, v, plain);
    base_buf_str(out, name);
    base_buf_add(out, text, n);
}

static double cpu_s(const struct timeval *t)
{
    return (double)t->tv_sec + 1e-6 * (double)t->tv_usec;
}

static uint64_t skipped_groups(const struct query_summary *s)
{
    uint64_t n = 0;
    for (int i = 0; i < QUERY_N_SKIPS; i++)
        n += s->skipped[i];
    return n;
}

void query_summary_text(const struct query *q, const struct query_summary *s, bool plain_numbers,
                        bool utc, base_buf *out)
{
    struct averages a = averages_of(s);
    named(out, "Summary: total flows: ", s->flows, true);
    named(out, ", total bytes: ", a.bytes, plain_numbers);
    named(out, ", total packets: ", a.packets, plain_numbers);
    named(out, ", avg bps: ", a.bps, plain_numbers);
    named(out, ", avg pps: ", a.pps, plain_numbers);
    named(out, ", avg bpp: ", a.bpp, plain_numbers);
    if (s->matched) {
        struct query_clock *clock = calloc(1, sizeof *clock);
        char text[2][24];
        if (clock) {
            clock->utc = utc;
            query_clock_text(clock, s->first_us, text[0]);
            query_clock_text(clock, s->last_us, text[1]);
            base_buf_printf(out, "\nTime window: %.19s - %.19s", text[0], text[1]);
            free(clock);
        } else {
            out->failed = true;
        }
    } else {
        base_buf_str(out, "\nTime window: <unknown>");
    }
    uint64_t skipped = skipped_groups(s);
    base_buf_printf(
        out,
        "\nTotal flows processed: %llu, passed: %llu, Blocks skipped: %llu, Bytes read: %llu\n",
        (unsigned long long)(s->rows + s->rows_skipped), (unsigned long long)s->matched,
        (unsigned long long)skipped, (unsigned long long)s->octets_read);
    if (q->raw)
        base_buf_str(out, "Counters as sent, not scaled by the sampling rate (--raw)\n");
    else if (s->rows_scaled && s->rows_no_rate)
        base_buf_printf(
            out,
            "Counters scaled by the sampling rate: %llu of %llu flows; %llu flows of unknown rate "
            "counted as sent\n",
            (unsigned long long)s->rows_scaled, (unsigned long long)s->matched,
            (unsigned long long)s->rows_no_rate);
    else if (s->rows_scaled)
        base_buf_printf(out, "Counters scaled by the sampling rate: %llu of %llu flows\n",
                        (unsigned long long)s->rows_scaled, (unsigned long long)s->matched);
    if (s->complete) {
        base_buf_str(out, "Completeness: ");
        query_complete_text(s->complete, utc, out);
        base_buf_char(out, '\n');
    }
    if (*s->server)
        base_buf_printf(out, "Server: %s", s->server);
    else
        base_buf_printf(out, "Files: %llu, row groups: %llu read, %llu skipped",
                        (unsigned long long)s->files, (unsigned long long)s->groups_read,
                        (unsigned long long)skipped);
    const char *before = " (";
    for (int i = 0; i < QUERY_N_SKIPS; i++)
        if (s->skipped[i]) {
            base_buf_printf(out, "%s%llu %s", before, (unsigned long long)s->skipped[i],
                            query_skip_text((enum query_skip)i));
            before = ", ";
        }
    base_buf_str(out, skipped ? ")\n" : "\n");
    if (s->spilled)
        base_buf_printf(out, "Groups beyond the memory limit: %llu octets of temporary files\n",
                        (unsigned long long)s->spilled);
    struct rusage u = {0};
    (void)getrusage(RUSAGE_SELF, &u);
    double wall = 1e-9 * (double)s->elapsed_ns;
    base_buf_printf(out, "Sys: %.4fs User: %.4fs Wall: %.4fs flows/second: %.1f Runtime: %.4fs\n",
                    cpu_s(&u.ru_stime), cpu_s(&u.ru_utime), wall,
                    wall > 0 ? (double)(s->rows + s->rows_skipped) / wall : 0, wall);
}

void query_summary_json(const struct query *q, const struct query_summary *s, base_buf *out)
{
    struct averages a = averages_of(s);
    char text[BASE_TIME_TEXT];
    struct {
        const char *name;
        uint64_t v;
    } numbers[] = {
        {"flows", s->flows},
        {"packets", a.packets},
        {"bytes", a.bytes},
        {"out_packets", s->out_packets},
        {"out_bytes", s->out_bytes},
        {"bps", a.bps},
        {"pps", a.pps},
        {"bpp", a.bpp},
        {"records_matched", s->matched},
        {"records_read", s->rows},
        {"records_skipped", s->rows_skipped},
        {"records_scaled", s->rows_scaled},
        {"records_of_unknown_rate", s->rows_no_rate},
        {"files", s->files},
        {"files_failed", s->files_failed},
        {"row_groups", s->groups},
        {"row_groups_read", s->groups_read},
        {"row_groups_skipped_by_time", s->skipped[QUERY_SKIP_TIME]},
        {"row_groups_skipped_by_statistics", s->skipped[QUERY_SKIP_STATISTICS]},
        {"row_groups_skipped_by_dictionary", s->skipped[QUERY_SKIP_DICTIONARY]},
        {"row_groups_skipped_by_bloom", s->skipped[QUERY_SKIP_BLOOM]},
        {"octets_read", s->octets_read},
        {"octets_spilled", s->spilled},
        {"elapsed_ns", s->elapsed_ns},
    };
    base_buf_str(out, "{\"summary\":{");
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        base_buf_printf(out, "%s\"%s\":%llu", i ? "," : "", numbers[i].name,
                        (unsigned long long)numbers[i].v);
    base_buf_printf(out, ",\"scaled\":%s", q->raw ? "false" : "true");
    if (s->matched) {
        /* 292 years around 1970 fit into nanoseconds. */
        int64_t t[2] = {s->first_us, s->last_us};
        for (int i = 0; i < 2; i++)
            if (t[i] > INT64_MIN / 1000 && t[i] < INT64_MAX / 1000)
                base_buf_printf(out, ",\"%s\":\"%.*s\"", i ? "last" : "first",
                                (int)base_time_text(text, t[i] * 1000, 6), text);
    }
    if (*s->server) {
        base_buf_str(out, ",\"server\":");
        base_json_string(out, s->server, strlen(s->server), false);
    }
    if (s->files_failed) {
        base_buf_str(out, ",\"failed\":");
        base_json_string(out, s->failed, strnlen(s->failed, sizeof s->failed), false);
    }
    if (s->complete) {
        base_buf_str(out, ",\"completeness\":");
        query_complete_json(s->complete, out);
    }
    base_buf_str(out, "}}\n");
}

weir_status query_format_summary(query_format *f, const struct query *q,
                                 const struct query_summary *s, weir_err *err)
{
    if (f->kind->people && !f->o.quiet) {
        query_summary_text(q, s, f->o.plain_numbers, f->o.utc, &f->out);
    } else if (f->csv_summary && !f->o.quiet) {
        struct averages a = averages_of(s);
        base_buf_printf(
            &f->out,
            "Summary\nflows,bytes,packets,avg_bps,avg_pps,avg_bpp\n%llu,%llu,%llu,%llu,%llu,%llu\n",
            (unsigned long long)s->flows, (unsigned long long)a.bytes,
            (unsigned long long)a.packets, (unsigned long long)a.bps, (unsigned long long)a.pps,
            (unsigned long long)a.bpp);
    }
    return query_format_flush(f, true, err);
}
