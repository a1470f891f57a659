/* export -- export packets written by hand, and what the decoder makes of them, for tests.
 *
 * A script is text; export_run feeds it to a decoder and returns a transcript to compare with:
 *
 *     export_case c = {0};                  // or with .options, .from, .now_ns
 *     const char *got = export_run(&c, "I{ S0002{ 0100 0001  0001 0004 } S0100{ 00000005 } }");
 *     assert_string_equal(got, "learnt 256; record 256 octetDeltaCount=5; decoded");
 *     ... export_weir(&c) is the decoder, export_counters(&c) its totals, c.events[] all in detail
 *     export_done(&c);
 *
 * Script: white space separates; hex digits (lower case) are octets; lengths are filled in at '}'.
 *   I{...}  one IPFIX message      I seq=7 dom=2 time=100 len=20{...} other than the standard header
 *   N{...}  one NetFlow v9 packet  N count=3 up=1000 seq= dom= time={...}
 *   F5{...} one v1, v5 or v7 packet  F5 count=2 up= seq= dom= time= sampling=16484{...}
 *   S0100{...} a set, id in hex    S0100 len=3{...} with a wrong length
 *   X{...}  a datagram of raw octets; blocks may stand inside it, two messages say
 *   B00ff*1000  the octets 00ff 1000 times
 *   port=N from=N (last octet of the address) udp tcp file   the sender from here on
 *   wait=N  N seconds pass         tick, finish               weir_decoder_tick, weir_decoder_finish
 * Standard: domain 1, time EXPORT_TIME, sequence 0, uptime 1000000 ms, from 192.0.2.1 port 4739 over UDP,
 * arrival at EXPORT_TIME. Numbers after '=' are decimal or 0x hex.
 *
 * Transcript: events joined by "; " in the order of the calls (begin is left out, late packets say "late"):
 *   learnt|changed|refreshed|withdrawn|expired|conflict ID     a template
 *   record ID name=value ...   options ID name=value ...       scope fields are written (name)=value
 *   sampling SELECTOR rate RATE ORIGIN    fault TEXT (weir_fault_text)
 *   decoded|waiting|gave-up   rejected STATUS ("rejected EFORMAT")
 * Values: numbers, true/false, dotted IPv4, 0x octets (IPv6, MAC, octets), "text" (control characters as \x1b),
 * times as seconds.nnn, lists as {semantic name=value,name=value | ...}; a value that does not fit its type is
 * !0x octets, a broken list ends in !STATUS. */
#ifndef TESTS_EXPORT_H
#define TESTS_EXPORT_H

#include <weir/decoder.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPORT_TIME = 1700000000 }; /* 2023-11-14T22:13:20Z */
#define EXPORT_NS ((int64_t)EXPORT_TIME * 1000000000)

/* One field of a delivered record, octets copied. */
typedef struct export_field {
    char name[64];
    uint32_t pen;
    uint16_t id;
    uint8_t type, flags; /* of the element */
    uint8_t *octets;     /* the value on the wire */
    uint32_t len;
    weir_status status; /* of weir_value_read */
    weir_value value;   /* .data is octets */
} export_field;

typedef enum export_kind {
    EXPORT_BEGIN,
    EXPORT_RECORD,
    EXPORT_OPTIONS,
    EXPORT_TEMPLATE,
    EXPORT_SAMPLING,
    EXPORT_FAULT,
    EXPORT_END
} export_kind;

/* One call of a handler. */
typedef struct export_event {
    export_kind kind;
    weir_packet packet; /* .data is NULL */
    char *text;         /* its line of the transcript, NULL for begin */
    /* record, options */
    export_field *fields;
    uint32_t n_fields, n_scope;
    int64_t first_ns, last_ns;
    unsigned time_flags;
    weir_sampling sampling; /* sampling: the event's */
    /* template (fields: names, ids and lengths in .len); records: id */
    uint16_t id;
    weir_template tmpl; /* .fields is NULL */
    weir_template_event event;
    uint64_t selector; /* sampling */
    weir_fault fault;  /* fault */
    weir_outcome outcome;
    weir_err err; /* fault, end of a rejected packet */
} export_event;

typedef struct export_case {
    const weir_decoder_options *options; /* NULL: defaults */
    weir_endpoint from;                  /* family 0: the standard sender */
    int64_t now_ns;                      /* arrival of the next packet, 0: EXPORT_NS */
    weir_decoder *d;
    weir_status status; /* of the last weir_decode */
    export_event *events;
    size_t n_events, cap_events;
    char *transcript; /* of the last export_run */
} export_case;

/* ---- text that grows ---- */

typedef struct export_text {
    char *text;
    size_t len, cap;
} export_text;

static inline void *export_grown(void *old, size_t octets)
{
    void *p = realloc(old, octets);
    if (!p)
        abort();
    return p;
}

__attribute__((format(printf, 2, 3))) static inline void export_say(export_text *t, const char *fmt,
                                                                    ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    if (t->len + (size_t)n + 1 > t->cap) {
        t->cap = (t->len + (size_t)n + 1) * 2;
        t->text = export_grown(t->text, t->cap);
    }
    (void)vsnprintf(t->text + t->len, (size_t)n + 1, fmt, again);
    va_end(again);
    t->len += (size_t)n;
}

static inline void export_say_hex(export_text *t, const uint8_t *p, size_t n)
{
    export_say(t, "0x");
    for (size_t i = 0; i < n; i++)
        export_say(t, "%02x", p[i]);
}

static inline const char *export_status_name(weir_status s)
{
    static const char *const names[] = {
#define X(name, text) #name,
        WEIR_STATUS_MAP(X)
#undef X
    };
    return (unsigned)s < WEIR_N_STATUS ? names[s] : "?";
}

static inline void export_say_field(export_text *t, const weir_record *r, uint32_t i);

static inline void export_say_list(export_text *t, const weir_record *r, uint32_t i)
{
    weir_list list;
    weir_status s = weir_list_open(r, i, &list);
    if (s != WEIR_OK) {
        export_say(t, "{!%s}", export_status_name(s));
        return;
    }
    export_say(t, "{%u", list.semantic);
    const char *between = " ";
    for (;;) {
        s = weir_list_next(&list);
        if (s == WEIR_END)
            break;
        export_say(t, "%s", between);
        between = " | ";
        if (s != WEIR_OK) {
            export_say(t, "!%s", export_status_name(s));
            if (s == WEIR_ENOTFOUND)
                continue;
            break;
        }
        for (uint32_t k = 0; k < list.item.n_fields; k++) {
            export_say(t, "%s", k ? "," : "");
            export_say_field(t, &list.item, k);
        }
    }
    weir_list_close(&list);
    export_say(t, "}");
}

static inline void export_say_field(export_text *t, const weir_record *r, uint32_t i)
{
    weir_value v;
    weir_status s = weir_value_read(r, i, &v);
    const char *name = r->fields[i].element->name;
    if (i < r->n_scope)
        export_say(t, "(%s)=", name);
    else
        export_say(t, "%s=", name);
    if (s != WEIR_OK) {
        export_say(t, "!");
        export_say_hex(t, v.data, v.len);
        return;
    }
    switch (v.kind) {
    case WEIR_KIND_U64:
        export_say(t, "%" PRIu64, v.u64);
        break;
    case WEIR_KIND_S64:
        export_say(t, "%" PRId64, v.s64);
        break;
    case WEIR_KIND_F64:
        export_say(t, "%.9g", v.f64);
        break;
    case WEIR_KIND_BOOL:
        export_say(t, "%s", v.boolean ? "true" : "false");
        break;
    case WEIR_KIND_TIME: {
        /* floor division: times before 1970 keep a positive fraction */
        int64_t sec = v.time_ns / 1000000000, ns = v.time_ns % 1000000000;
        if (ns < 0) {
            sec--;
            ns += 1000000000;
        }
        int64_t unit = 1;
        for (int k = v.time_digits; k < 9; k++)
            unit *= 10;
        if (v.time_digits)
            export_say(t, "%" PRId64 ".%0*" PRId64, sec, v.time_digits, ns / unit);
        else
            export_say(t, "%" PRId64, sec);
        break;
    }
    case WEIR_KIND_IPV4:
        export_say(t, "%u.%u.%u.%u", v.data[0], v.data[1], v.data[2], v.data[3]);
        break;
    case WEIR_KIND_TEXT:
        export_say(t, "\"");
        for (uint32_t k = 0; k < v.len; k++)
            export_say(t, v.data[k] < 0x20 ? "\\x%02x" : "%c", v.data[k]);
        export_say(t, "\"");
        break;
    case WEIR_KIND_LIST:
        export_say_list(t, r, i);
        break;
    case WEIR_KIND_IPV6:
    case WEIR_KIND_MAC:
    case WEIR_KIND_OCTETS:
    case WEIR_N_KINDS:
    default:
        export_say_hex(t, v.data, v.len);
        break;
    }
}

/* ---- handlers that remember ---- */

static inline export_event *export_add(export_case *c, export_kind kind, const weir_packet *p)
{
    if (c->n_events == c->cap_events) {
        c->cap_events = c->cap_events ? c->cap_events * 2 : 16;
        c->events = export_grown(c->events, c->cap_events * sizeof *c->events);
    }
    export_event *e = &c->events[c->n_events++];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    if (p)
        e->packet = *p;
    e->packet.data = NULL;
    return e;
}

static inline export_field *export_copy_fields(const weir_field *fields, uint32_t n)
{
    export_field *out = calloc(n ? n : 1, sizeof *out);
    if (!out)
        abort();
    for (uint32_t i = 0; i < n; i++) {
        const weir_element *e = fields[i].element;
        (void)snprintf(out[i].name, sizeof out[i].name, "%s", e->name);
        out[i].pen = e->pen;
        out[i].id = e->id;
        out[i].type = e->type;
        out[i].flags = e->flags;
        out[i].len = fields[i].length;
    }
    return out;
}

static inline void export_on_begin(void *user, const weir_packet *p)
{
    (void)export_add(user, EXPORT_BEGIN, p);
}

static inline void export_keep_record(export_case *c, export_kind kind, const weir_record *r)
{
    export_event *e = export_add(c, kind, r->packet);
    export_text t = {0};
    e->id = r->tmpl->id;
    e->n_fields = r->n_fields;
    e->n_scope = r->n_scope;
    e->fields = export_copy_fields(r->fields, r->n_fields);
    e->time_flags = weir_record_times(r, &e->first_ns, &e->last_ns);
    e->sampling = weir_record_sampling(r);
    export_say(&t, "%s%s %u", r->packet->late ? "late " : "",
               kind == EXPORT_RECORD ? "record" : "options", e->id);
    for (uint32_t i = 0; i < r->n_fields; i++) {
        export_field *f = &e->fields[i];
        f->octets = export_grown(NULL, f->len + 1u);
        memcpy(f->octets, weir_field_data(r, i), f->len);
        f->status = weir_value_read(r, i, &f->value);
        f->value.data = f->octets;
        export_say(&t, " ");
        export_say_field(&t, r, i);
    }
    e->text = t.text;
}

static inline void export_on_record(void *user, const weir_record *r)
{
    export_keep_record(user, EXPORT_RECORD, r);
}

static inline void export_on_options(void *user, const weir_record *r)
{
    export_keep_record(user, EXPORT_OPTIONS, r);
}

static inline void export_on_template(void *user, const weir_packet *p, const weir_template *tmpl,
                                      weir_template_event event)
{
    static const char *const names[] = {"learnt",    "changed", "refreshed",
                                        "withdrawn", "expired", "conflict"};
    export_event *e = export_add(user, EXPORT_TEMPLATE, p);
    export_text t = {0};
    e->id = tmpl->id;
    e->event = event;
    e->n_fields = tmpl->n_fields;
    e->n_scope = tmpl->n_scope;
    e->fields = export_copy_fields(tmpl->fields, tmpl->n_fields);
    e->tmpl = *tmpl;
    e->tmpl.fields = NULL;
    export_say(&t, "%s %u", names[event], tmpl->id);
    e->text = t.text;
}

static inline void export_on_sampling(void *user, const weir_packet *p, uint64_t selector,
                                      const weir_sampling *s)
{
    export_event *e = export_add(user, EXPORT_SAMPLING, p);
    export_text t = {0};
    e->selector = selector;
    e->sampling = *s;
    export_say(&t, "sampling %" PRIu64 " rate %g %s", selector, s->rate,
               weir_origin_text((weir_origin)s->origin));
    e->text = t.text;
}

static inline void export_on_fault(void *user, const weir_packet *p, weir_fault fault,
                                   const weir_err *err)
{
    export_event *e = export_add(user, EXPORT_FAULT, p);
    export_text t = {0};
    e->fault = fault;
    if (err)
        e->err = *err;
    export_say(&t, "fault %s", weir_fault_text(fault));
    e->text = t.text;
}

static inline void export_on_end(void *user, const weir_packet *p, weir_outcome outcome,
                                 const weir_err *err)
{
    export_event *e = export_add(user, EXPORT_END, p);
    export_text t = {0};
    e->outcome = outcome;
    if (err)
        e->err = *err;
    if (outcome == WEIR_PACKET_REJECTED)
        export_say(&t, "rejected %s", err ? export_status_name(err->code) : "?");
    else
        export_say(&t, "%s%s", p->late ? "late " : "",
                   outcome == WEIR_PACKET_DECODED   ? "decoded"
                   : outcome == WEIR_PACKET_WAITING ? "waiting"
                                                    : "gave-up");
    e->text = t.text;
}

static const weir_handlers export_handlers = {.begin = export_on_begin,
                                              .record = export_on_record,
                                              .options = export_on_options,
                                              .tmpl = export_on_template,
                                              .sampling = export_on_sampling,
                                              .fault = export_on_fault,
                                              .end = export_on_end};

/* ---- packets from a script ---- */

typedef struct export_packet {
    uint8_t *data;
    size_t len, cap;
} export_packet;

static inline void export_put(export_packet *p, const void *octets, size_t n)
{
    if (p->len + n > p->cap) {
        p->cap = (p->len + n) * 2 + 64;
        p->data = export_grown(p->data, p->cap);
    }
    if (n)
        memcpy(p->data + p->len, octets, n);
    p->len += n;
}

/* v as n octets, network order. */
static inline void export_put_be(export_packet *p, uint64_t v, size_t n)
{
    uint8_t b[8];
    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)(v >> 8 * (n - 1 - i));
    export_put(p, b, n);
}

static inline void export_put16(export_packet *p, unsigned v)
{
    export_put_be(p, v, 2);
}

static inline void export_put32(export_packet *p, uint32_t v)
{
    export_put_be(p, v, 4);
}

static inline void export_set16(export_packet *p, size_t at, unsigned v)
{
    p->data[at] = (uint8_t)(v >> 8);
    p->data[at + 1] = (uint8_t)v;
}

static inline void export_bad_script(const char *why, const char *at)
{
    (void)fprintf(stderr, "export script: %s at: %.60s\n", why, at);
    abort();
}

/* The parameters of a block's head; -1: not given. */
typedef struct export_head {
    int64_t seq, dom, time, len, count, up, sampling;
} export_head;

static inline const char *export_parse_head(const char *at, export_head *h)
{
    static const struct {
        const char *name;
        size_t off;
    } keys[] = {{"seq=", offsetof(export_head, seq)},          {"dom=", offsetof(export_head, dom)},
                {"time=", offsetof(export_head, time)},        {"len=", offsetof(export_head, len)},
                {"count=", offsetof(export_head, count)},      {"up=", offsetof(export_head, up)},
                {"sampling=", offsetof(export_head, sampling)}};
    *h = (export_head){-1, -1, -1, -1, -1, -1, -1};
    for (;;) {
        while (isspace((unsigned char)*at))
            at++;
        if (*at == '{')
            return at + 1;
        size_t k = 0;
        while (k < sizeof keys / sizeof *keys &&
               strncmp(at, keys[k].name, strlen(keys[k].name)) != 0)
            k++;
        if (k == sizeof keys / sizeof *keys)
            export_bad_script("unknown word in a head", at);
        char *end;
        int64_t v = (int64_t)strtoull(at + strlen(keys[k].name), &end, 0);
        memcpy((char *)h + keys[k].off, &v, sizeof v);
        at = end;
    }
}

static inline uint32_t export_or(int64_t given, uint32_t standard)
{
    return given < 0 ? standard : (uint32_t)given;
}

static inline unsigned export_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a') + 10;
}

/* Capital letters begin blocks. */
static inline bool export_is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* Hex digits at *at, appended. */
static inline const char *export_parse_hex(const char *at, export_packet *p)
{
    while (export_is_hex(at[0])) {
        if (!export_is_hex(at[1]))
            export_bad_script("odd number of hex digits", at);
        uint8_t b = (uint8_t)(export_digit(at[0]) << 4 | export_digit(at[1]));
        export_put(p, &b, 1);
        at += 2;
    }
    return at;
}

/* The block that at stands on, appended to p; returns what follows its '}'. */
static inline const char *export_parse_block(const char *at, export_packet *p)
{
    char kind = *at;
    size_t start = p->len;
    unsigned id = 0;
    export_head h;
    if (kind == 'S') {
        if (strspn(at + 1, "0123456789abcdef") != 4)
            export_bad_script("a set needs 4 hex digits", at);
        for (int i = 1; i <= 4; i++)
            id = id << 4 | export_digit(at[i]);
        at += 4;
    } else if (kind == 'F') {
        at++;
        id = export_digit(*at);
    }
    at = export_parse_head(at + 1, &h);
    uint32_t time = export_or(h.time, EXPORT_TIME), seq = export_or(h.seq, 0);
    switch (kind) {
    case 'I':
        export_put16(p, 10);
        export_put16(p, 0);
        export_put32(p, time);
        export_put32(p, seq);
        export_put32(p, export_or(h.dom, 1));
        break;
    case 'N':
        export_put16(p, 9);
        export_put16(p, export_or(h.count, 1));
        export_put32(p, export_or(h.up, 1000000));
        export_put32(p, time);
        export_put32(p, seq);
        export_put32(p, export_or(h.dom, 1));
        break;
    case 'F':
        export_put16(p, id);
        export_put16(p, export_or(h.count, 1));
        export_put32(p, export_or(h.up, 1000000));
        export_put32(p, time);
        export_put32(p, 0);
        if (id != 1)
            export_put32(p, seq);
        if (id == 5) {
            export_put16(p, export_or(h.dom, 1));
            export_put16(p, export_or(h.sampling, 0));
        } else if (id == 7) {
            export_put32(p, 0);
        }
        break;
    case 'S':
        export_put16(p, id);
        export_put16(p, 0);
        break;
    default: /* X: nothing of its own */
        break;
    }
    while (*at != '}') {
        if (isspace((unsigned char)*at)) {
            at++;
        } else if (*at && strchr("INSXF", *at)) {
            at = export_parse_block(at, p);
        } else if (*at == 'B') {
            export_packet run = {0};
            at = export_parse_hex(at + 1, &run);
            char *end;
            if (*at != '*')
                export_bad_script("B needs *COUNT", at);
            for (unsigned long n = strtoul(at + 1, &end, 0); n > 0; n--)
                export_put(p, run.data, run.len);
            at = end;
            free(run.data);
        } else if (export_is_hex(*at)) {
            at = export_parse_hex(at, p);
        } else {
            export_bad_script("neither hex digits nor a block", at);
        }
    }
    if (kind == 'I' || kind == 'S')
        export_set16(p, start + 2, export_or(h.len, (uint32_t)(p->len - start)));
    return at + 1;
}

/* ---- running ---- */

static inline weir_decoder *export_weir(export_case *c)
{
    if (!c->d) {
        weir_err err;
        c->d = weir_decoder_new(c->options, &err);
        if (!c->d) {
            (void)fprintf(stderr, "export: %s\n", err.msg);
            abort();
        }
    }
    if (c->from.family == 0)
        c->from = (weir_endpoint){.family = 4, .port = 4739, .addr = {192, 0, 2, 1}};
    if (c->now_ns == 0)
        c->now_ns = EXPORT_NS;
    return c->d;
}

static inline const weir_counters *export_counters(export_case *c)
{
    return weir_decoder_counters(export_weir(c));
}

/* A total by its name: a member of weir_counters, or "rejected." and "fault." before the reason's text. */
static inline uint64_t export_counter(export_case *c, const char *name)
{
    const weir_counters *n = export_counters(c);
#define X(member)                                                                                  \
    if (strcmp(name, #member) == 0)                                                                \
        return n->member;
    WEIR_COUNTERS_MAP(X)
#undef X
    for (int i = 0; i < (int)WEIR_N_REJECT; i++)
        if (strncmp(name, "rejected.", 9) == 0 &&
            !strcmp(name + 9, weir_reject_text((weir_reject)i)))
            return n->rejected[i];
    for (int i = 0; i < (int)WEIR_N_FAULT; i++)
        if (strncmp(name, "fault.", 6) == 0 && !strcmp(name + 6, weir_fault_text((weir_fault)i)))
            return n->faults[i];
    (void)fprintf(stderr, "export: no counter is called %s\n", name);
    abort();
}

/* Feed one datagram, exactly as long as it is: a sanitizer sees every octet read beyond it. */
static inline weir_status export_feed(export_case *c, const uint8_t *data, size_t len)
{
    weir_err err;
    uint8_t *exact = export_grown(NULL, len ? len : 1);
    if (len)
        memcpy(exact, data, len);
    c->status =
        weir_decode(export_weir(c), &c->from, c->now_ns, exact, len, &export_handlers, c, &err);
    free(exact);
    return c->status;
}

/* The events from the first'th on, joined. */
static inline const char *export_transcript(export_case *c, size_t first)
{
    export_text t = {0};
    export_say(&t, "%s", "");
    for (size_t i = first; i < c->n_events; i++)
        if (c->events[i].text)
            export_say(&t, "%s%s", t.len ? "; " : "", c->events[i].text);
    free(c->transcript);
    c->transcript = t.text;
    return t.text;
}

/* Run a script; returns the transcript of the calls it caused, valid until the next call. */
static inline const char *export_run(export_case *c, const char *script)
{
    size_t first = c->n_events;
    (void)export_weir(c);
    for (const char *at = script; *at;) {
        size_t word = strcspn(at, " \n\t");
        if (isspace((unsigned char)*at)) {
            at++;
        } else if (strncmp(at, "port=", 5) == 0) {
            c->from.port = (uint16_t)strtoul(at + 5, NULL, 0);
            at += word;
        } else if (strncmp(at, "from=", 5) == 0) {
            c->from.addr[3] = (uint8_t)strtoul(at + 5, NULL, 0);
            at += word;
        } else if (strncmp(at, "wait=", 5) == 0) {
            c->now_ns += strtoll(at + 5, NULL, 0) * 1000000000;
            at += word;
        } else if (word == 3 && strncmp(at, "udp", 3) == 0) {
            c->from.transport = WEIR_UDP;
            at += word;
        } else if (word == 3 && strncmp(at, "tcp", 3) == 0) {
            c->from.transport = WEIR_STREAM;
            at += word;
        } else if (word == 4 && strncmp(at, "file", 4) == 0) {
            c->from.transport = WEIR_FILE;
            at += word;
        } else if (word == 4 && strncmp(at, "tick", 4) == 0) {
            weir_decoder_tick(c->d, c->now_ns, &export_handlers, c);
            at += word;
        } else if (word == 6 && strncmp(at, "finish", 6) == 0) {
            weir_decoder_finish(c->d, &export_handlers, c);
            at += word;
        } else if (strchr("INXF", *at)) {
            export_packet p = {0};
            at = export_parse_block(at, &p);
            (void)export_feed(c, p.data, p.len);
            free(p.data);
        } else {
            export_bad_script("neither a packet nor a command", at);
        }
    }
    return export_transcript(c, first);
}

/* The n'th event of a kind, from 0, or NULL. */
static inline const export_event *export_event_of(const export_case *c, export_kind kind, size_t n)
{
    for (size_t i = 0; i < c->n_events; i++)
        if (c->events[i].kind == kind && n-- == 0)
            return &c->events[i];
    return NULL;
}

/* Free everything; the case may be used anew. */
static inline void export_done(export_case *c)
{
    for (size_t i = 0; i < c->n_events; i++) {
        export_event *e = &c->events[i];
        for (uint32_t k = 0; e->fields && k < e->n_fields; k++)
            free(e->fields[k].octets);
        free(e->fields);
        free(e->text);
    }
    free(c->events);
    free(c->transcript);
    weir_decoder_free(c->d);
    *c = (export_case){.options = c->options};
}

#endif
