/* corpus_dump -- all that a decoder makes of a capture, as JSON lines for test_corpus.py.
 *
 *     corpus_dump [--scope port|address] [--quirk NAME] [--input FORM] [--port N] FILE...
 *
 * Files are decoded in order by one decoder. One object a line, "e" says what it is:
 *   packet    when its first end is told; late: its last end, when it had waited
 *   template  each definition: [element id, enterprise, length] of its fields
 *   record    fields as [id, enterprise, length, hex, name, kind, value, v9 name]; a list is nested
 *   fault, input (what the capture reader could not read), totals (the counters) */
#include "base/buf.h"
#include "base/text.h"
#include "collect/capture.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/decoder.h>

struct dump {
    base_buf out;
    uint64_t frame;   /* of the packet that is decoded now */
    uint64_t *frames; /* frame of each packet id */
    size_t cap;
};

static const char *const events[] = {"learnt",    "changed", "refreshed",
                                     "withdrawn", "expired", "conflict"};
static const char *const kinds[WEIR_N_KINDS] = {
    [WEIR_KIND_U64] = "u64",       [WEIR_KIND_S64] = "s64",   [WEIR_KIND_F64] = "f64",
    [WEIR_KIND_BOOL] = "bool",     [WEIR_KIND_TIME] = "time", [WEIR_KIND_IPV4] = "ipv4",
    [WEIR_KIND_IPV6] = "ipv6",     [WEIR_KIND_MAC] = "mac",   [WEIR_KIND_TEXT] = "text",
    [WEIR_KIND_OCTETS] = "octets", [WEIR_KIND_LIST] = "list"};

static void string(base_buf *b, const char *s)
{
    base_json_string(b, s, strlen(s), true);
}

static void remember(struct dump *d, uint64_t id)
{
    while (id >= d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 1024;
        uint64_t *grown = realloc(d->frames, cap * sizeof *grown);
        if (!grown)
            abort();
        memset(grown + d->cap, 0, (cap - d->cap) * sizeof *grown);
        d->frames = grown;
        d->cap = cap;
    }
    d->frames[id] = d->frame;
}

static uint64_t frame_of(struct dump *d, const weir_packet *p)
{
    if (!p->late)
        remember(d, p->id);
    return d->frames[p->id];
}

static void flush(struct dump *d)
{
    if (d->out.failed)
        abort();
    (void)fwrite(d->out.data, 1, d->out.len, stdout);
    base_buf_reset(&d->out);
}

static void value(base_buf *b, const weir_record *r, uint32_t i);

/* The items of a list and how reading it ended. */
static void list_items(base_buf *b, const weir_record *r, uint32_t i)
{
    weir_list list;
    weir_status status = weir_list_open(r, i, &list);
    if (status != WEIR_OK) {
        base_buf_printf(b, "{\"end\":\"%s\",\"items\":[]}", weir_status_text(status));
        return;
    }
    base_buf_printf(b, "{\"semantic\":%u,\"items\":[", list.semantic);
    for (unsigned n = 0; (status = weir_list_next(&list)) == WEIR_OK; n++) {
        base_buf_str(b, n ? ",[" : "[");
        for (uint32_t k = 0; k < list.item.n_fields; k++) {
            if (k)
                base_buf_char(b, ',');
            value(b, &list.item, k);
        }
        base_buf_char(b, ']');
    }
    weir_list_close(&list);
    base_buf_printf(b, "],\"end\":\"%s\"}", status == WEIR_END ? "end" : weir_status_text(status));
}

/* One field: [id, enterprise, length, hex, name, kind, value, v9 name]. */
static void value(base_buf *b, const weir_record *r, uint32_t i)
{
    const weir_field *f = &r->fields[i];
    weir_value v;
    weir_status status = weir_value_read(r, i, &v);
    char text[64];
    base_buf_printf(b, "[%u,%" PRIu32 ",%u,\"", f->element->id, f->element->pen, f->length);
    const uint8_t *octets = weir_field_data(r, i);
    char *hex = base_buf_room(b, 2u * f->length);
    if (hex)
        b->len += base_hex_text(hex, octets, f->length);
    base_buf_printf(b, "\",");
    string(b, f->element->name);
    base_buf_printf(b, ",\"%s\",", status == WEIR_OK ? kinds[v.kind] : "bad");
    switch (v.kind) {
    case WEIR_KIND_U64:
        base_buf_printf(b, "%" PRIu64, v.u64);
        break;
    case WEIR_KIND_S64:
        base_buf_printf(b, "%" PRId64, v.s64);
        break;
    case WEIR_KIND_F64:
        if (isfinite(v.f64))
            base_buf_add(b, text, base_f64_text(text, v.f64));
        else
            base_buf_str(b, "null");
        break;
    case WEIR_KIND_BOOL:
        base_buf_str(b, v.boolean ? "true" : "false");
        break;
    case WEIR_KIND_TIME:
        base_buf_printf(b, "%" PRId64, v.time_ns);
        break;
    case WEIR_KIND_IPV4:
        base_json_string(b, text, base_ipv4_text(text, v.data), true);
        break;
    case WEIR_KIND_IPV6:
        base_json_string(b, text, base_ipv6_text(text, v.data), true);
        break;
    case WEIR_KIND_MAC:
        base_json_string(b, text, base_mac_text(text, v.data), true);
        break;
    case WEIR_KIND_TEXT:
        base_json_string(b, v.data, v.len, true);
        break;
    case WEIR_KIND_LIST:
        list_items(b, r, i);
        break;
    case WEIR_KIND_OCTETS:
    case WEIR_N_KINDS:
        base_buf_str(b, "null");
        break;
    }
    base_buf_char(b, ',');
    string(b, f->element->v9_name ? f->element->v9_name : "");
    base_buf_char(b, ']');
}

static void on_record(void *user, const weir_record *r)
{
    struct dump *d = user;
    base_buf *b = &d->out;
    int64_t first, last;
    unsigned flags = weir_record_times(r, &first, &last);
    weir_sampling s = weir_record_sampling(r);
    base_buf_printf(b,
                    "{\"e\":\"record\",\"f\":%" PRIu64
                    ",\"tpl\":%u,\"options\":%s,\"scope\":%" PRIu32
                    ",\"late\":%s,\"first\":%" PRId64 ",\"last\":%" PRId64
                    ",\"time_flags\":%u,\"rate\":%.17g,\"origin\":\"%s\",\"fields\":[",
                    frame_of(d, r->packet), r->tmpl->id, r->tmpl->options ? "true" : "false",
                    r->n_scope, r->packet->late ? "true" : "false", first, last, flags, s.rate,
                    weir_origin_text((weir_origin)s.origin));
    for (uint32_t i = 0; i < r->n_fields; i++) {
        if (i)
            base_buf_char(b, ',');
        value(b, r, i);
    }
    base_buf_str(b, "]}\n");
    flush(d);
}

static void on_template(void *user, const weir_packet *p, const weir_template *t,
                        weir_template_event event)
{
    struct dump *d = user;
    base_buf *b = &d->out;
    base_buf_printf(b,
                    "{\"e\":\"template\",\"f\":%" PRIu64
                    ",\"id\":%u,\"options\":%s,\"scope\":%u,\"event\":\"%s\",\"fields\":[",
                    p ? frame_of(d, p) : 0, t->id, t->options ? "true" : "false", t->n_scope,
                    events[event]);
    for (uint32_t i = 0; i < t->n_fields; i++)
        base_buf_printf(b, "%s[%u,%" PRIu32 ",%u]", i ? "," : "", t->fields[i].element->id,
                        t->fields[i].element->pen, t->fields[i].length);
    base_buf_str(b, "]}\n");
    flush(d);
}

static void on_fault(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    struct dump *d = user;
    base_buf_printf(&d->out, "{\"e\":\"fault\",\"f\":%" PRIu64 ",\"at\":%" PRIu64 ",\"why\":",
                    frame_of(d, p), err->at);
    string(&d->out, weir_fault_text(fault));
    base_buf_str(&d->out, ",\"msg\":");
    string(&d->out, err->msg);
    base_buf_str(&d->out, "}\n");
    flush(d);
}

static void on_end(void *user, const weir_packet *p, weir_outcome outcome, const weir_err *err)
{
    struct dump *d = user;
    base_buf *b = &d->out;
    char from[WEIR_ENDPOINT_TEXT];
    (void)weir_endpoint_text(&p->from, from);
    base_buf_printf(
        b,
        "{\"e\":\"%s\",\"f\":%" PRIu64 ",\"id\":%" PRIu64 ",\"v\":%u,\"count\":%u,\"seq\":%" PRIu32
        ",\"domain\":%" PRIu32 ",\"uptime\":%" PRIu32 ",\"export_s\":%" PRIu32
        ",\"export_ns\":%" PRIu32 ",\"sampling\":%u,\"len\":%zu,\"from\":",
        p->late ? "late" : "packet", frame_of(d, p), p->id, p->version, p->count, p->sequence,
        p->domain, p->uptime_ms, p->export_s, p->export_ns, p->sampling, p->len);
    string(b, from);
    base_buf_str(b, ",\"outcome\":");
    string(b, weir_outcome_text(outcome));
    base_buf_str(b, ",\"msg\":");
    string(b, outcome == WEIR_PACKET_REJECTED && err ? err->msg : "");
    base_buf_str(b, "}\n");
    flush(d);
}

static void totals(struct dump *d, const weir_counters *c)
{
    base_buf *b = &d->out;
    base_buf_str(b, "{\"e\":\"totals\"");
#define X(name) base_buf_printf(b, ",\"" #name "\":%" PRIu64, c->name);
    WEIR_COUNTERS_MAP(X)
#undef X
    base_buf_str(b, ",\"rejected\":{");
    for (unsigned i = 0, n = 0; i < WEIR_N_REJECT; i++)
        if (c->rejected[i])
            base_buf_printf(b, "%s\"%s\":%" PRIu64, n++ ? "," : "",
                            weir_reject_text((weir_reject)i), c->rejected[i]);
    base_buf_str(b, "},\"faults\":{");
    for (unsigned i = 0, n = 0; i < WEIR_N_FAULT; i++)
        if (c->faults[i])
            base_buf_printf(b, "%s\"%s\":%" PRIu64, n++ ? "," : "", weir_fault_text((weir_fault)i),
                            c->faults[i]);
    base_buf_str(b, "}}\n");
    flush(d);
}

static void streams(struct dump *d, const weir_decoder *decoder)
{
    weir_exporter_info e;
    weir_stream_info s;
    for (size_t at = 0; weir_exporter_next(decoder, &at, &e) == WEIR_OK;)
        for (size_t inner = 0; weir_stream_next(decoder, e.handle, &inner, &s) == WEIR_OK;) {
            char name[WEIR_ENDPOINT_TEXT];
            const weir_counters *c = s.counters;
            base_buf_printf(
                &d->out,
                "{\"e\":\"stream\",\"exporter\":\"%.*s\",\"version\":%u,\"domain\":%" PRIu32
                ",\"numbering\":\"%s\",\"packets\":%" PRIu64 ",\"lost\":%" PRIu64
                ",\"duplicated\":%" PRIu64 ",\"out_of_order\":%" PRIu64 ",\"resets\":%" PRIu64
                ",\"unsure\":%" PRIu64 "}\n",
                (int)weir_endpoint_addr_text(&e.address, name), name, s.version, s.domain,
                s.sequence_numbering, c->packets, c->sequence_lost, c->sequence_duplicated,
                c->sequence_out_of_order, c->sequence_resets, c->sequence_unsure);
            flush(d);
        }
}

static void input_error(struct dump *d, const weir_err *err)
{
    base_buf_str(&d->out, "{\"e\":\"input\",\"msg\":");
    string(&d->out, err->msg);
    base_buf_str(&d->out, "}\n");
    flush(d);
}

static const weir_handlers handlers = {.record = on_record,
                                       .options = on_record,
                                       .tmpl = on_template,
                                       .fault = on_fault,
                                       .end = on_end};

static void read_file(struct dump *d, weir_decoder *decoder, const char *path,
                      const struct capture_options *o, unsigned quirks)
{
    capture *c;
    weir_err err;
    if (capture_open(path, o, &c, &err) != WEIR_OK) {
        input_error(d, &err);
        return;
    }
    for (;;) {
        struct capture_packet p;
        weir_status status = capture_next(c, &p, &err);
        if (status == WEIR_END)
            break;
        if (status != WEIR_OK) {
            input_error(d, &err);
            continue;
        }
        d->frame = p.number;
        if (quirks)
            (void)weir_decoder_set_quirks(decoder, &p.from, quirks);
        /* A rejected packet is told by its end. */
        (void)weir_decode(decoder, &p.from, p.received_ns, p.data, p.len, &handlers, d, &err);
    }
    const struct capture_counters *n = capture_counters(c);
    base_buf_printf(&d->out,
                    "{\"e\":\"capture\",\"frames\":%" PRIu64 ",\"packets\":%" PRIu64
                    ",\"other\":%" PRIu64 ",\"cut\":%" PRIu64 ",\"broken\":%" PRIu64 "}\n",
                    n->frames, n->packets, n->other, n->cut, n->broken);
    flush(d);
    capture_close(c);
}

static int usage(const char *what)
{
    (void)fprintf(stderr,
                  "corpus_dump: %s\nusage: corpus_dump [--scope port|address] [--quirk NAME] "
                  "[--input auto|raw|ipfix] [--port N] FILE...\n",
                  what);
    return 2;
}

int main(int argc, char **argv)
{
    weir_decoder_options options = {.scope = WEIR_SCOPE_PORT};
    struct capture_options input = {.form = CAPTURE_AUTO};
    unsigned quirks = 0;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        const char *name = argv[at] + 2, *arg = argv[at + 1];
        if (strcmp(name, "scope") == 0)
            options.scope = strcmp(arg, "address") == 0 ? WEIR_SCOPE_ADDRESS : WEIR_SCOPE_PORT;
        else if (strcmp(name, "quirk") == 0)
            quirks |= weir_quirk_by_name(arg);
        else if (strcmp(name, "input") == 0)
            input.form = strcmp(arg, "raw") == 0     ? CAPTURE_RAW
                         : strcmp(arg, "ipfix") == 0 ? CAPTURE_IPFIX
                                                     : CAPTURE_AUTO;
        else if (strcmp(name, "port") == 0)
            input.port = (uint16_t)strtoul(arg, NULL, 10);
        else
            return usage(argv[at]);
    }
    if (at >= argc)
        return usage("no file");
    weir_err err;
    weir_decoder *decoder = weir_decoder_new(&options, &err);
    if (!decoder) {
        (void)fprintf(stderr, "corpus_dump: %s\n", err.msg);
        return 1;
    }
    struct dump d = {0};
    for (; at < argc; at++)
        read_file(&d, decoder, argv[at], &input, quirks);
    weir_decoder_finish(decoder, &handlers, &d);
    streams(&d, decoder);
    totals(&d, weir_decoder_counters(decoder));
    weir_decoder_free(decoder);
    base_buf_done(&d.out);
    free(d.frames);
    return 0;
}
