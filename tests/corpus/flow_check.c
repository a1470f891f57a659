/* flow_check -- what the normaliser makes of captures: every record by the record path and by the batch path, which must
 * give the same rows; and every field of every record looked for in its row. With -v the columns that were filled.
 *
 *     flow_check [-v] FILE...      exit status 1: something differs or is lost */
#include "base/text.h"
#include "collect/capture.h"
#include "flow/flow.h"
#include "flow/normalise.h"
#include "render/record_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_CHECKED = 20000, MAX_SAID = 20 };

struct way {
    weir_decoder *d;
    flow_normaliser *n;
    flow_batch *flows, *options;
};

static struct {
    const char *file;
    bool verbose;
    uint64_t records, options, sets, fields, checked, bad;
    struct way record, batch;
    base_buf a, b, want;
    render_json *json;
} t;

static void complain(const char *what, const weir_record *r, uint32_t i)
{
    if (++t.bad > MAX_SAID)
        return;
    if (r) {
        const weir_element *e = r->fields[i].element;
        base_buf_reset(&t.a);
        base_json_hex(&t.a, weir_field_data(r, i), r->fields[i].length);
        printf("%s: %s: packet %" PRIu64 " template %u field %u %s (%u/%u) = %.*s\n", t.file, what,
               r->packet->id, r->tmpl->id, i, e->name, e->pen, e->id, (int)t.a.len, t.a.data);
    } else {
        printf("%s: %s\n", t.file, what);
    }
}

static bool is_there(const struct flow_vec *v, uint32_t row)
{
    return row < v->n && (!v->valid || (v->valid[row / 64] >> row % 64 & 1));
}

/* One value of a column as text. */
static void item(const struct flow_vec *v, uint32_t i, base_buf *out)
{
    base_buf_reset(out);
    base_buf_char(out, ' '); /* never empty, so that data is there */
    if (v->codes) {
        uint32_t at = v->dict.starts[v->codes[i]];
        flow_key_text((enum flow_type)v->column->type, v->dict.keys + at,
                      v->dict.starts[v->codes[i] + 1] - at, out);
        return;
    }
    size_t width = flow_type_octets((enum flow_type)v->column->type);
    uint64_t bits = 0;
    memcpy(&bits, (const uint8_t *)v->values + i * width, width);
    base_buf_printf(out, "%" PRIu64, bits);
}

static bool same(const base_buf *a, const base_buf *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* Whether the row's cell, or one item of its list, is t.want. */
static bool has(const struct flow_vec *v, uint32_t row)
{
    if (!is_there(v, row))
        return false;
    if (!v->column->list) {
        item(v, row, &t.a);
        return same(&t.a, &t.want);
    }
    for (uint32_t i = v->starts[row]; i < v->starts[row + 1]; i++) {
        item(v, i, &t.a);
        if (same(&t.a, &t.want))
            return true;
    }
    return false;
}

static bool column_has(const flow_batch *b, uint32_t column, uint32_t row)
{
    struct flow_vec v;
    flow_batch_vec(b, column, &v);
    return has(&v, row);
}

static bool column_is(const flow_batch *b, uint32_t column, uint32_t row, uint64_t want)
{
    base_buf_reset(&t.want);
    base_buf_printf(&t.want, " %" PRIu64, want);
    return column_has(b, column, row);
}

/* The value as it must stand in a column of this type; false: such a column cannot hold it. */
static bool expect(const weir_record *r, uint32_t i, enum flow_type type, uint8_t how)
{
    weir_value v;
    weir_status status = weir_value_read(r, i, &v);
    base_buf_reset(&t.want);
    base_buf_char(&t.want, ' ');
    if (type == FLOW_TYPE_OCTETS) {
        base_buf_add(&t.want, v.data, v.len);
        return true;
    }
    if (status != WEIR_OK)
        return false;
    uint64_t bits = v.u64;
    switch ((int)v.kind) {
    case WEIR_KIND_BOOL:
        bits = v.boolean;
        break;
    case WEIR_KIND_TIME:
        if (type != FLOW_TYPE_TIME_NS)
            bits = (uint64_t)(v.time_ns / 1000 - (v.time_ns % 1000 < 0));
        break;
    case WEIR_KIND_U64:
        bits = how == FLOW_HOW_DSCP ? bits << 2 : how == FLOW_HOW_MS ? bits * 1000 : bits;
        break;
    case WEIR_KIND_IPV4:
    case WEIR_KIND_IPV6:
    case WEIR_KIND_MAC:
        flow_key_text(type, v.data, v.len, &t.want);
        return true;
    case WEIR_KIND_TEXT:
        if (how == FLOW_HOW_AVC && v.len >= 6 && v.data[0] < ' ') {
            base_buf_add(&t.want, v.data + 6, v.len - 6);
            return true;
        }
        base_buf_add(&t.want, v.data, v.len);
        return true;
    case WEIR_KIND_OCTETS:
        base_buf_add(&t.want, v.data, v.len);
        return true;
    case WEIR_KIND_LIST:
        render_json_value(t.json, &t.want, r, i);
        return true;
    default:
        break;
    }
    base_buf_printf(&t.want, "%" PRIu64, bits);
    return true;
}

static bool is_time(const weir_element *e)
{
    return e->pen == 0 && ((e->id >= 150 && e->id <= 159) || e->id == 21 || e->id == 22);
}

/* first or last, worked out from the field alone. */
static bool time_found(const weir_record *r, uint32_t i, const flow_batch *b, uint32_t row)
{
    const weir_packet *p = r->packet;
    uint16_t id = r->fields[i].element->id;
    weir_value v;
    int64_t first_ns, last_ns;
    if (weir_value_read(r, i, &v) != WEIR_OK)
        return false;
    unsigned flags = weir_record_times(r, &first_ns, &last_ns);
    if (v.kind == WEIR_KIND_TIME) {
        uint64_t us = (uint64_t)(v.time_ns / 1000 - (v.time_ns % 1000 < 0));
        return v.time_ns == 0 ||
               (r->fields[i].element->type != WEIR_TYPE_DATE_TIME_NANOSECONDS &&
                (column_is(b, FLOW_first, row, us) || column_is(b, FLOW_last, row, us)));
    }
    if (v.kind != WEIR_KIND_U64 || flags & WEIR_TIME_EXPORT)
        return false;
    int64_t export_us = weir_packet_export_ns(p) / 1000;
    struct flow_vec vecs[2];
    flow_batch_vec(b, FLOW_first, &vecs[0]);
    flow_batch_vec(b, FLOW_last, &vecs[1]);
    for (int k = 0; k < 2; k++) {
        int64_t us = ((const int64_t *)vecs[k].values)[row];
        if (id >= 158 && us == export_us - (int64_t)v.u64)
            return true;
        uint32_t uptime_ms = (uint32_t)((us - export_us) / 1000) + p->uptime_ms;
        if (id < 150 && p->version != 10 && uptime_ms == v.u64)
            return true;
    }
    return id < 150 && p->version == 10 && !(flags & WEIR_TIME_SUBSTITUTED);
}

static uint64_t proto_of(const weir_record *r)
{
    int i = weir_record_find(r, 0, 4);
    weir_value v;
    return i >= 0 && weir_value_read(r, (uint32_t)i, &v) == WEIR_OK && v.kind == WEIR_KIND_U64
               ? v.u64
               : UINT64_MAX;
}

static bool special_found(const weir_record *r, uint32_t i, const flow_batch *b, uint32_t row)
{
    const weir_element *e = r->fields[i].element;
    const uint8_t *p = weir_field_data(r, i);
    uint32_t len = r->fields[i].length;
    uint64_t v = weir_be(p, len), proto = proto_of(r);
    if (e->pen != 0 || e->flags & WEIR_ELEMENT_SCOPE)
        return false;
    if (e->id == 210 || r->tmpl->fields[i].length == 0)
        return true;
    if (r->tmpl->options)
        return false;
    switch (e->id) {
    case 32:
    case 139:
        return (v == 0 && proto != 1 && proto != 58) ||
               (column_is(b, FLOW_icmp_type, row, v >> 8) &&
                column_is(b, FLOW_icmp_code, row, v & 255));
    case 176:
    case 178:
        return (v == 0 && proto != 1 && proto != 58) || column_is(b, FLOW_icmp_type, row, v);
    case 177:
    case 179:
        return (v == 0 && proto != 1 && proto != 58) || column_is(b, FLOW_icmp_code, row, v);
    default:
        break;
    }
    if (e->id >= 70 && e->id <= 79 && len == 3)
        return v == 0 || (column_is(b, FLOW_mpls_labels, row, v >> 4) &&
                          column_is(b, FLOW_mpls_exp, row, v >> 1 & 7));
    return is_time(e) && time_found(r, i, b, row);
}

static bool field_found(const weir_record *r, uint32_t i, const flow_batch *b, uint32_t row)
{
    const weir_element *e = r->fields[i].element;
    enum flow_table table = r->tmpl->options ? FLOW_TABLE_OPTIONS : FLOW_TABLE_FLOWS;
    char names[4][128];
    if (special_found(r, i, b, row))
        return true;
    const struct flow_source *s =
        flow_source_find(table, e->flags & WEIR_ELEMENT_V9, e->pen, e->id);
    const struct flow_column *columns =
        table == FLOW_TABLE_FLOWS ? flow_columns() : flow_option_columns();
    if (s && !(e->flags & WEIR_ELEMENT_SCOPE) &&
        expect(r, i, (enum flow_type)columns[s->column].type, s->how) &&
        e->type != WEIR_TYPE_DATE_TIME_NANOSECONDS &&
        (column_has(b, s->column, row) ||
         (s->how == FLOW_HOW_AVC && column_has(b, FLOW_http_url, row))))
        return true;
    (void)snprintf(names[0], sizeof names[0], "%s", e->name);
    (void)snprintf(names[1], sizeof names[1], "e%u_%u", e->pen, e->id);
    (void)snprintf(names[2], sizeof names[2], "%s_list", e->name);
    (void)snprintf(names[3], sizeof names[3], "e%u_%u_list", e->pen, e->id);
    uint32_t n_table = table == FLOW_TABLE_FLOWS ? FLOW_N_COLUMNS : FLOW_N_OPTION_COLUMNS;
    for (uint32_t c = n_table; c < flow_batch_n_columns(b); c++) {
        struct flow_vec v;
        flow_batch_vec(b, c, &v);
        for (int k = 0; k < 4; k++)
            if (strcmp(v.column->name, names[k]) == 0 &&
                expect(r, i, (enum flow_type)v.column->type, 0) && has(&v, row))
                return true;
    }
    /* In the JSON columns: "name":value. */
    const uint32_t json[2] = {n_table - 1, FLOW_OPTION_scope};
    for (int k = 0; k < (table == FLOW_TABLE_OPTIONS ? 2 : 1); k++) {
        struct flow_vec v;
        flow_batch_vec(b, json[k], &v);
        if (!is_there(&v, row))
            continue;
        item(&v, row, &t.a);
        base_buf_char(&t.a, 0);
        for (int name = 0; name < 2; name++) {
            base_buf_reset(&t.b);
            base_buf_printf(&t.b, "\"%s\":", names[name]);
            const char *found = strstr(t.a.data, t.b.data ? t.b.data : "");
            base_buf_reset(&t.want);
            render_json_value(t.json, &t.want, r, i);
            base_buf_char(&t.want, 0);
            if (found && strstr(found, t.want.data))
                return true;
        }
    }
    return false;
}

static void check_fields(const weir_record *r, const flow_batch *b)
{
    t.fields += r->n_fields;
    if (t.checked++ >= MAX_CHECKED)
        return;
    for (uint32_t i = 0; i < r->n_fields; i++)
        if (!field_found(r, i, b, flow_batch_rows(b) - 1))
            complain("lost", r, i);
}

static void on_record(void *user, const weir_record *r)
{
    (void)user;
    t.records++;
    if (flow_add_record(t.record.n, t.record.flows, r) != WEIR_OK)
        complain("not added", NULL, 0);
    else
        check_fields(r, t.record.flows);
}

static void on_options(void *user, const weir_record *r)
{
    (void)user;
    t.options++;
    if (flow_add_options(t.record.n, t.record.options, r) != WEIR_OK)
        complain("options not added", NULL, 0);
    else
        check_fields(r, t.record.options);
}

/* Every other set is gathered first: its rows come in the order of the records as well, when nothing else waits. */
static void on_batch_records(void *user, const weir_record *first, size_t n)
{
    (void)user;
    bool gather = ++t.sets % 2;
    weir_status status = gather ? flow_note_records(t.batch.n, t.batch.flows, first, n)
                                : flow_add_records(t.batch.n, t.batch.flows, first, n);
    if (status != WEIR_OK || flow_flush(t.batch.n, t.batch.flows) != WEIR_OK)
        complain("records not added", NULL, 0);
}

static void on_batch_record(void *user, const weir_record *r)
{
    (void)user;
    if (flow_note_record(t.batch.n, t.batch.flows, r) != WEIR_OK ||
        flow_flush(t.batch.n, t.batch.flows) != WEIR_OK)
        complain("record not added", NULL, 0);
}

static void on_batch_options(void *user, const weir_record *r)
{
    (void)user;
    (void)flow_add_options(t.batch.n, t.batch.options, r);
}

static bool way_init(struct way *w)
{
    *w = (struct way){weir_decoder_new(NULL, NULL), flow_normaliser_new(),
                      flow_batch_new(FLOW_TABLE_FLOWS), flow_batch_new(FLOW_TABLE_OPTIONS)};
    return w->d && w->n && w->flows && w->options;
}

static void way_done(struct way *w)
{
    weir_decoder_free(w->d);
    flow_normaliser_free(w->n);
    flow_batch_free(w->flows);
    flow_batch_free(w->options);
}

static bool find_vec(const flow_batch *b, const char *name, struct flow_vec *out)
{
    for (uint32_t c = 0; c < flow_batch_n_columns(b); c++) {
        flow_batch_vec(b, c, out);
        if (strcmp(out->column->name, name) == 0)
            return true;
    }
    return false;
}

static void compare_cells(const struct flow_vec *a, const struct flow_vec *b, uint32_t row)
{
    bool there = is_there(a, row);
    char what[128];
    (void)snprintf(what, sizeof what, "row %u column %s differs between the two paths", row,
                   a->column->name);
    if (there != is_there(b, row)) {
        complain(what, NULL, 0);
        return;
    }
    if (!there)
        return;
    uint32_t from[2] = {row, row}, n[2] = {1, 1};
    if (a->column->list) {
        from[0] = a->starts[row];
        from[1] = b->starts[row];
        n[0] = a->starts[row + 1] - from[0];
        n[1] = b->starts[row + 1] - from[1];
    }
    bool equal = n[0] == n[1];
    for (uint32_t i = 0; equal && i < n[0]; i++) {
        item(a, from[0] + i, &t.a);
        item(b, from[1] + i, &t.b);
        equal = same(&t.a, &t.b);
    }
    if (!equal)
        complain(what, NULL, 0);
}

static void compare(const flow_batch *x, const flow_batch *y)
{
    if (flow_batch_rows(x) != flow_batch_rows(y)) {
        complain("the two paths give different numbers of rows", NULL, 0);
        return;
    }
    for (uint32_t c = 0; c < flow_batch_n_columns(x); c++) {
        struct flow_vec a, b;
        flow_batch_vec(x, c, &a);
        if (a.n_valid == 0)
            continue;
        if (!find_vec(y, a.column->name, &b) || b.n_valid != a.n_valid) {
            complain(a.column->name, NULL, 0);
            complain("this column is not the same in the two paths", NULL, 0);
            continue;
        }
        for (uint32_t row = 0; row < flow_batch_rows(x); row++)
            compare_cells(&a, &b, row);
    }
    for (uint32_t c = 0; c < flow_batch_n_columns(y); c++) {
        struct flow_vec a, b;
        flow_batch_vec(y, c, &b);
        if (b.n_valid && (!find_vec(x, b.column->name, &a) || a.n_valid == 0))
            complain("the batch path fills a column that the record path does not", NULL, 0);
    }
}

static void say(const flow_batch *b)
{
    for (uint32_t c = 0; c < flow_batch_n_columns(b); c++) {
        struct flow_vec v;
        flow_batch_vec(b, c, &v);
        if (v.n_valid == 0)
            continue;
        uint32_t row = 0;
        while (!is_there(&v, row))
            row++;
        if (!v.column->list || v.starts[row + 1] > v.starts[row])
            item(&v, v.column->list ? v.starts[row] : row, &t.a);
        if (v.column->type == FLOW_TYPE_OCTETS) {
            base_buf_reset(&t.b);
            base_json_hex(&t.b, (const uint8_t *)t.a.data + 1, t.a.len - 1);
            printf("  %s%s[%s] %u:%.*s\n",
                   c >= (flow_batch_table(b) ? FLOW_N_OPTION_COLUMNS : (uint32_t)FLOW_N_COLUMNS)
                       ? "+"
                       : "",
                   v.column->name, flow_type_text((enum flow_type)v.column->type), v.n_valid,
                   (int)(t.b.len < 100 ? t.b.len : 100), t.b.data);
            continue;
        }
        printf("  %s%s[%s] %u:%.*s\n",
               c >= (flow_batch_table(b) ? FLOW_N_OPTION_COLUMNS : (uint32_t)FLOW_N_COLUMNS) ? "+"
                                                                                             : "",
               v.column->name, flow_type_text((enum flow_type)v.column->type), v.n_valid,
               (int)(t.a.len < 100 ? t.a.len : 100), t.a.data);
    }
}

static void check_file(const char *path)
{
    static const weir_handlers by_record = {.record = on_record, .options = on_options},
                               by_batch = {.record = on_batch_record,
                                           .records = on_batch_records,
                                           .options = on_batch_options};
    weir_err err;
    capture *c;
    struct capture_packet p;
    struct capture_options options = {.from = {.family = 4, .port = 50000, .addr = {192, 0, 2, 1}}};
    weir_status status = capture_open(path, &options, &c, &err);
    t.file = path;
    t.checked = 0;
    if (status != WEIR_OK) {
        complain(err.msg, NULL, 0);
        return;
    }
    if (!way_init(&t.record) || !way_init(&t.batch)) {
        complain("out of memory", NULL, 0);
        exit(1);
    }
    render_json_forget(t.json);
    while ((status = capture_next(c, &p, &err)) != WEIR_END) {
        if (status == WEIR_EIO || status == WEIR_ENOMEM)
            complain(err.msg, NULL, 0);
        if (status != WEIR_OK)
            continue;
        uint8_t *exact = malloc(p.len + 1); /* so that a sanitizer sees what is read behind it */
        if (!exact)
            exit(1);
        memcpy(exact, p.data, p.len);
        (void)weir_decode(t.record.d, &p.from, p.received_ns, exact, p.len, &by_record, NULL, NULL);
        (void)weir_decode(t.batch.d, &p.from, p.received_ns, exact, p.len, &by_batch, NULL, NULL);
        free(exact);
    }
    capture_close(c);
    for (int i = 0; i < 2; i++) {
        const struct way *w = i ? &t.batch : &t.record;
        const struct flow_counters *rows = flow_normaliser_counters(w->n);
        const weir_counters *n = weir_decoder_counters(w->d);
        if (rows->rows != n->flows || rows->option_rows != n->options)
            complain("not every record became a row", NULL, 0);
    }
    compare(t.record.flows, t.batch.flows);
    compare(t.record.options, t.batch.options);
    if (t.verbose) {
        const struct flow_counters *n = flow_normaliser_counters(t.record.n);
        printf("%s: %" PRIu64 " rows, %" PRIu64 " options, %" PRIu64 " values in extra\n", path,
               n->rows, n->option_rows, n->values_extra);
        say(t.record.flows);
        if (n->option_rows)
            printf(" options:\n");
        say(t.record.options);
    }
    way_done(&t.record);
    way_done(&t.batch);
}

int main(int argc, char **argv)
{
    int from = 1;
    if (argc > 1 && strcmp(argv[1], "-v") == 0) {
        t.verbose = true;
        from = 2;
    }
    t.json = render_json_new();
    if (!t.json)
        return 1;
    for (int i = from; i < argc; i++)
        check_file(argv[i]);
    printf("%d files, %" PRIu64 " records, %" PRIu64 " options, %" PRIu64 " fields, %" PRIu64
           " errors\n",
           argc - from, t.records, t.options, t.fields, t.bad);
    render_json_free(t.json);
    base_buf_done(&t.a);
    base_buf_done(&t.b);
    base_buf_done(&t.want);
    return t.bad > 0;
}
