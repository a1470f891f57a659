#include "render/pyline.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/text.h"
#include "render/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LAST_IANA = 491,   /* the highest element that netflow 0.12.2 knows */
    MAX_DECIMAL = 255, /* octets of an integer written in decimal; a longer one becomes hex text */
    MAX_SPARE = 1 << 20, /* a larger buffer is given back after its line */
    MAX_OPEN = 4, /* packets between their begin and end: one, and those given up meanwhile */
    MIN_BUCKETS = 64
};

/* The line of a packet of which some sets wait. */
struct held {
    uint64_t id; /* weir_packet.id */
    struct held *chain;
    struct held *older, *newer;
    unsigned long flows;
    bool open;     /* its packet is between begin and end: may not be written early */
    size_t octets; /* as counted in pyline.held */
    base_buf line; /* without the closing brackets */
};

/* A packet between begin and end. */
struct open {
    uint64_t id;
    struct held *held; /* its line goes on, or NULL */
    base_buf own;      /* its line when it is not held; kept for the next one */
    unsigned long flows;
    bool rest; /* its line was written early: only records make another one */
};

struct pyline {
    pyline_sink *sink;
    void *sink_user;
    size_t max_held;
    render_plans *plans;

    struct open stack[MAX_OPEN];
    unsigned depth, ignored; /* ignored: begins beyond MAX_OPEN whose end has not come */

    struct held **buckets; /* n_buckets of them, a power of two */
    size_t n_buckets, n_held;
    struct held *oldest, *newest;
    size_t held;
    uint64_t split, lost;
    double last_ts; /* key of the last line begun, and the arrival it stands for */
    int64_t last_ns;
};

/* How a value is written. */
enum kind {
    KIND_UINT,    /* an integer of any length */
    KIND_SINT,    /* the same with a sign, up to 8 octets */
    KIND_FLOAT,   /* 4 or 8 octets; of another length an integer */
    KIND_ADDRESS, /* v9: an address as text */
    KIND_STRING,  /* as Python decodes it */
    KIND_TEXT,    /* the same without NULs at the end: elements that Python does not know */
    KIND_PAIR,    /* dateTimeMicroseconds and -Nanoseconds: [seconds, fraction] */
    KIND_LIST,    /* 1, 2, 4 or 8 octets: an integer; else hex text */
    KIND_HEX
};

static const struct {
    uint8_t version;
    uint16_t id;
    const char *name;
} names[] = {
#include "python_names.inc"
};

static const char *python_name(unsigned version, uint16_t id)
{
    size_t from = 0, to = ARRAY_LEN(names);
    while (from < to) {
        size_t mid = (from + to) / 2;
        if (names[mid].version == version && names[mid].id == id)
            return names[mid].name;
        if (names[mid].version < version || (names[mid].version == version && names[mid].id < id))
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

static enum kind kind_of(weir_type type)
{
    switch ((int)type) {
    case WEIR_TYPE_SIGNED8:
    case WEIR_TYPE_SIGNED16:
    case WEIR_TYPE_SIGNED32:
    case WEIR_TYPE_SIGNED64:
        return KIND_SINT;
    case WEIR_TYPE_FLOAT32:
    case WEIR_TYPE_FLOAT64:
        return KIND_FLOAT;
    case WEIR_TYPE_STRING:
        return KIND_STRING;
    case WEIR_TYPE_DATE_TIME_MICROSECONDS:
    case WEIR_TYPE_DATE_TIME_NANOSECONDS:
        return KIND_PAIR;
    case WEIR_TYPE_BASIC_LIST:
    case WEIR_TYPE_SUB_TEMPLATE_LIST:
    case WEIR_TYPE_SUB_TEMPLATE_MULTI_LIST:
        return KIND_LIST;
    case WEIR_TYPE_OCTET_ARRAY:
        return KIND_HEX;
    default:
        return KIND_UINT;
    }
}

static enum kind kind_unknown(const weir_element *e)
{
    enum kind kind = kind_of((weir_type)e->type);
    return kind == KIND_STRING ? KIND_TEXT : kind;
}

/* NetFlow v9: integers, but for the eight address fields; what Python does not know by its type. */
static const char *key_v9(const weir_element *e, enum kind *kind)
{
    const char *name = e->pen == 0 && e->id ? python_name(9, e->id) : NULL;
    if (name) {
        switch (e->id) {
        case 8:
        case 12:
        case 15:
        case 18:
        case 27:
        case 28:
        case 62:
        case 63:
            *kind = KIND_ADDRESS;
            break;
        default:
            *kind = KIND_UINT;
        }
        return name;
    }
    name = e->v9_name ? e->v9_name : e->name;
    if (e->type == WEIR_TYPE_IPV4_ADDRESS || e->type == WEIR_TYPE_IPV6_ADDRESS)
        *kind = KIND_ADDRESS;
    else
        *kind = kind_unknown(e);
    /* Another number for a field that Python knows (40001 for 225): one type for one key. */
    for (size_t i = 0; e->v9_name && i < ARRAY_LEN(names); i++)
        if (names[i].version == 9 && strcmp(names[i].name, name) == 0)
            *kind = KIND_UINT;
    return name;
}

/* IPFIX: by the element's type; an octetArray that Python knows is an integer there. */
static const char *key_ipfix(const weir_element *e, enum kind *kind)
{
    const char *name = e->pen == 0 ? python_name(10, e->id) : NULL;
    if (name) {
        *kind = KIND_UINT;
        return name;
    }
    if (e->pen || e->id > LAST_IANA || e->flags & WEIR_ELEMENT_UNKNOWN) {
        *kind = kind_unknown(e);
    } else {
        *kind = kind_of((weir_type)e->type);
        if (*kind == KIND_HEX)
            *kind = KIND_UINT;
    }
    return e->name;
}

static const char *key_name(const weir_field *f, uint8_t *kind_out)
{
    const weir_element *e = f->element;
    enum kind kind;
    const char *name =
        e->flags & (WEIR_ELEMENT_V9 | WEIR_ELEMENT_SCOPE) ? key_v9(e, &kind) : key_ipfix(e, &kind);
    *kind_out = (uint8_t)kind;
    return name;
}

#define ADD(b, literal) base_buf_add(b, literal, sizeof(literal) - 1)

/* A big-endian integer of more than 8 octets, by division of 32-bit limbs: quadratic, hence MAX_DECIMAL. */
static void add_long_integer(base_buf *b, const uint8_t *p, size_t len)
{
    if (len > MAX_DECIMAL) {
        base_json_hex(b, p, len);
        return;
    }
    while (len && !*p) {
        p++;
        len--;
    }
    enum { N_LIMBS = (MAX_DECIMAL + 3) / 4, N_CHUNKS = MAX_DECIMAL * 8 / 29 + 1 };
    char *at = base_buf_room(b, 9 * (size_t)N_CHUNKS + BASE_U128_TEXT);
    if (!at)
        return;
    if (len <= 16) {
        b->len += base_be_text(at, p, len);
        return;
    }
    uint32_t limbs[N_LIMBS] = {0}; /* most significant first */
    size_t n = (len + 3) / 4;
    for (size_t i = 0; i < len; i++)
        limbs[n - 1 - (len - 1 - i) / 4] |= (uint32_t)p[i] << 8 * ((len - 1 - i) % 4);
    uint32_t chunks[N_CHUNKS]; /* nine decimal digits each, least significant first */
    size_t n_chunks = 0;
    for (size_t top = 0; top < n; n_chunks++) {
        uint64_t rest = 0;
        for (size_t i = top; i < n; i++) {
            uint64_t part = rest << 32 | limbs[i];
            limbs[i] = (uint32_t)(part / 1000000000);
            rest = part % 1000000000;
        }
        chunks[n_chunks] = (uint32_t)rest;
        while (top < n && !limbs[top])
            top++;
    }
    size_t used = base_u64_text(at, chunks[--n_chunks]);
    while (n_chunks--) {
        /* a leading 1 keeps the zeros; it is then written over by what stands there */
        char padded[BASE_U64_TEXT];
        base_u64_text(padded, 1000000000ULL + chunks[n_chunks]);
        memcpy(at + used, padded + 1, 9);
        used += 9;
    }
    b->len += used;
}

static void add_integer(base_buf *b, const uint8_t *p, size_t len)
{
    if (len > 8) {
        add_long_integer(b, p, len);
        return;
    }
    char *at = base_buf_room(b, BASE_U64_TEXT);
    if (at)
        b->len += base_u64_text(at, weir_be(p, len));
}

static void add_signed(base_buf *b, const uint8_t *p, size_t len)
{
    if (len == 0 || len > 8) {
        add_integer(b, p, len);
        return;
    }
    char *at = base_buf_room(b, BASE_S64_TEXT);
    unsigned shift = 64 - 8 * (unsigned)len;
    if (at)
        b->len += base_s64_text(at, (int64_t)(weir_be(p, len) << shift) >> shift);
}

static void add_float(base_buf *b, const uint8_t *p, size_t len)
{
    uint64_t bits = weir_be(p, len);
    if (len == 8) {
        double v;
        memcpy(&v, &bits, sizeof v);
        base_json_f64(b, v);
    } else if (len == 4) {
        uint32_t bits32 = (uint32_t)bits;
        float v;
        memcpy(&v, &bits32, sizeof v);
        base_json_f64(b, (double)v);
    } else {
        add_integer(b, p, len);
    }
}

/* ipaddress.ip_address: an integer of up to four octets is IPv4, 16 octets are IPv6. */
static void add_address(base_buf *b, const uint8_t *p, size_t len)
{
    if (len != 16 && len != 4 && len != 2 && len != 1) {
        base_json_hex(b, p, len);
        return;
    }
    char *at = base_buf_room(b, BASE_IPV6_TEXT + 2);
    if (!at)
        return;
    size_t n;
    *at = '"';
    if (len == 16) {
        n = base_ipv6_groups_text(at + 1, p);
    } else {
        uint8_t addr[4] = {0};
        memcpy(addr + 4 - len, p, len);
        n = base_ipv4_text(at + 1, addr);
    }
    at[n + 1] = '"';
    b->len += n + 2;
}

/* str() of a bytes object: b'...' with Python's choice of quotes and escapes. */
static void add_bytes_repr(base_buf *b, const uint8_t *p, size_t len)
{
    base_buf text = {0};
    char quote = memchr(p, '\'', len) && !memchr(p, '"', len) ? '"' : '\'';
    base_buf_char(&text, 'b');
    base_buf_char(&text, quote);
    for (size_t i = 0; i < len; i++) {
        char c = (char)p[i];
        if (c == '\t' || c == '\n' || c == '\r') {
            base_buf_char(&text, '\\');
            base_buf_char(&text, c == '\t' ? 't' : c == '\n' ? 'n' : 'r');
        } else if (p[i] < 0x20 || p[i] >= 0x7f) {
            char hex[4] = {'\\', 'x'};
            base_hex_text(hex + 2, p + i, 1);
            base_buf_add(&text, hex, sizeof hex);
        } else {
            if (c == quote || c == '\\')
                base_buf_char(&text, '\\');
            base_buf_char(&text, c);
        }
    }
    base_buf_char(&text, quote);
    if (text.failed)
        b->failed = true;
    else
        base_json_string(b, text.data, text.len, true);
    base_buf_done(&text);
}

static void add_string(base_buf *b, const uint8_t *p, size_t len)
{
    if (base_utf8_ok(p, len))
        base_json_string(b, p, len, true);
    else
        add_bytes_repr(b, p, len);
}

static void add_pair(base_buf *b, const uint8_t *p, size_t len)
{
    size_t seconds = len < 4 ? len : 4;
    base_buf_char(b, '[');
    add_integer(b, p, seconds);
    ADD(b, ", ");
    add_integer(b, p + seconds, len - seconds);
    base_buf_char(b, ']');
}

static void add_value(base_buf *b, enum kind kind, const uint8_t *p, size_t len)
{
    switch (kind) {
    case KIND_UINT:
        add_integer(b, p, len);
        break;
    case KIND_SINT:
        add_signed(b, p, len);
        break;
    case KIND_FLOAT:
        add_float(b, p, len);
        break;
    case KIND_ADDRESS:
        add_address(b, p, len);
        break;
    case KIND_STRING:
        add_string(b, p, len);
        break;
    case KIND_TEXT:
        while (len && !p[len - 1])
            len--;
        add_string(b, p, len);
        break;
    case KIND_PAIR:
        add_pair(b, p, len);
        break;
    case KIND_LIST:
        if (len == 1 || len == 2 || len == 4 || len == 8)
            add_integer(b, p, len);
        else
            base_json_hex(b, p, len);
        break;
    case KIND_HEX:
        base_json_hex(b, p, len);
        break;
    }
}

/* The records of v1, v5 and v7 start alike; where the rest stands. */
struct fixed {
    const char *key;
    uint8_t at, len;
};

/* clang-format off */
#define FIXED_START                                                                                \
    {"{\"IPV4_SRC_ADDR\": ", 0, 4}, {", \"IPV4_DST_ADDR\": ", 4, 4}, {", \"NEXT_HOP\": ", 8, 4},   \
    {", \"INPUT\": ", 12, 2}, {", \"OUTPUT\": ", 14, 2}, {", \"IN_PACKETS\": ", 16, 4},            \
    {", \"IN_OCTETS\": ", 20, 4}, {", \"FIRST_SWITCHED\": ", 24, 4},                               \
    {", \"LAST_SWITCHED\": ", 28, 4}, {", \"SRC_PORT\": ", 32, 2}, {", \"DST_PORT\": ", 34, 2}
static const struct fixed fixed_v1[] = {
    FIXED_START, {", \"PROTO\": ", 38, 1}, {", \"TOS\": ", 39, 1}, {", \"TCP_FLAGS\": ", 40, 1},
};
#define FIXED_V5                                                                                   \
    FIXED_START, {", \"TCP_FLAGS\": ", 37, 1}, {", \"PROTO\": ", 38, 1}, {", \"TOS\": ", 39, 1},   \
    {", \"SRC_AS\": ", 40, 2}, {", \"DST_AS\": ", 42, 2}, {", \"SRC_MASK\": ", 44, 1},             \
    {", \"DST_MASK\": ", 45, 1}
static const struct fixed fixed_v5[] = {FIXED_V5};
static const struct fixed fixed_v7[] = {
    FIXED_V5, {", \"FLAGS_1\": ", 36, 1}, {", \"FLAGS_2\": ", 46, 2}, {", \"ROUTER_SC\": ", 48, 4},
};
/* clang-format on */

static bool add_fixed(base_buf *b, const weir_record *r)
{
    const struct fixed *rows;
    size_t n;
    uint32_t need;
    switch (r->packet->version) {
    case 1:
        rows = fixed_v1;
        n = ARRAY_LEN(fixed_v1);
        need = 48;
        break;
    case 5:
        rows = fixed_v5;
        n = ARRAY_LEN(fixed_v5);
        need = 48;
        break;
    default:
        rows = fixed_v7;
        n = ARRAY_LEN(fixed_v7);
        need = 52;
    }
    if (r->len < need)
        return false;
    char *at = base_buf_room(b, n * (RENDER_SLACK + BASE_U64_TEXT) + 1);
    if (!at)
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(rows[i].key);
        memcpy(at, rows[i].key, len);
        at += len;
        at += base_u64_text(at, weir_be(r->data + rows[i].at, rows[i].len));
    }
    *at++ = '}';
    b->len = (size_t)(at - b->data);
    return true;
}

static bool add_record(pyline *y, base_buf *b, const weir_record *r)
{
    const weir_packet *p = r->packet;
    if (p->version == 1 || p->version == 5 || p->version == 7)
        return add_fixed(b, r);
    const render_plan *plan = render_plan_get(y->plans, r);
    if (!plan)
        return false;
    base_buf_char(b, '{');
    for (uint32_t k = 0; k < plan->n_keys; k++) {
        const struct render_key *key = &plan->keys[k];
        size_t skip = k ? 0 : 2; /* the ", " before every key but the first */
        const char *text = plan->text + key->at + skip;
        size_t len = key->len - skip;
        /* A dict keeps the place of a key's first value and the value of its last. */
        const weir_field *f = &r->fields[key->last];
        const uint8_t *data = r->data + f->offset;
        uint8_t kind = key->kind;
        if (key->first != key->last)
            key_name(f, &kind);
        char *at = base_buf_room(b, len + RENDER_SLACK + BASE_U64_TEXT);
        if (!at)
            return false;
        if (len <= RENDER_SLACK)
            memcpy(at, text, RENDER_SLACK);
        else
            memcpy(at, text, len);
        b->len += len;
        if (kind == KIND_UINT && f->length <= 8)
            b->len += base_u64_text(at + len, weir_be(data, f->length));
        else
            add_value(b, (enum kind)kind, data, f->length);
    }
    base_buf_char(b, '}');
    return !b->failed;
}

/* The key of a packet's line: the double nearest to its arrival (one rounding: x86 long double holds all 64 bits).
 * Readers hold lines in a dict by this key, Python's analyser among them, and would keep only the last of several
 * packets of one moment; so each of those is put off by the smallest step a double has, a quarter of a microsecond. */
static double key_of(pyline *y, const weir_packet *p)
{
    double ts = (double)((long double)p->received_ns / 1e9L);
    if (p->received_ns < y->last_ns)
        return ts; /* overtaken, or the rest of a packet that has waited */
    if (ts <= y->last_ts && y->last_ns != 0)
        ts = nextafter(y->last_ts, HUGE_VAL);
    y->last_ts = ts;
    y->last_ns = p->received_ns;
    return ts;
}

/* {"<ts>": {"client": [...], "header": {...}, "flows": [ */
static void add_start(pyline *y, base_buf *b, const weir_packet *p)
{
    char text[BASE_IPV6_TEXT];
    double ts = key_of(y, p);
    ADD(b, "{\"");
    base_json_f64(b, ts);
    ADD(b, "\": {\"client\": [\"");
    if (p->from.family == 6)
        base_buf_add(b, text, base_ipv6_text(text, p->from.addr));
    else
        base_buf_add(b, text, base_ipv4_text(text, p->from.addr)); /* 0.0.0.0 when nobody knows */
    base_buf_printf(b, "\", %u%s], \"header\": {\"version\": %u, ", (unsigned)p->from.port,
                    p->from.family == 6 ? ", 0, 0" : "", (unsigned)p->version);
    unsigned count = p->count;
    unsigned long uptime = p->uptime_ms, export_s = p->export_s, export_ns = p->export_ns;
    unsigned long sequence = p->sequence, domain = p->domain;
    switch (p->version) {
    case 1:
        base_buf_printf(
            b, "\"count\": %u, \"uptime\": %lu, \"timestamp\": %lu, \"timestamp_nano\": %lu", count,
            uptime, export_s, export_ns);
        break;
    case 5:
    case 7:
        base_buf_printf(
            b,
            "\"count\": %u, \"uptime\": %lu, \"timestamp\": %lu, \"timestamp_nano\": %lu, "
            "\"sequence\": %lu, \"engine_type\": %lu, \"engine_id\": %lu, "
            "\"sampling_interval\": %u",
            count, uptime, export_s, export_ns, sequence, domain >> 8 & 255, domain & 255,
            (unsigned)p->sampling);
        break;
    case 9:
        base_buf_printf(b,
                        "\"count\": %u, \"uptime\": %lu, \"timestamp\": %lu, \"sequence\": %lu, "
                        "\"source_id\": %lu",
                        count, uptime, export_s, sequence, domain);
        break;
    default:
        base_buf_printf(b,
                        "\"length\": %u, \"export_uptime\": %lu, \"sequence_number\": %lu, "
                        "\"obervation_domain_id\": %lu",
                        count, export_s, sequence, domain);
    }
    ADD(b, "}, \"flows\": [");
}

/* Close a line and hand it over. */
static void write_line(pyline *y, base_buf *b, unsigned long flows)
{
    ADD(b, "]}}\n");
    if (b->failed)
        y->lost++;
    else
        y->sink(y->sink_user, b->data, b->len, flows);
    base_buf_reset(b);
}

static struct held **bucket_of(const pyline *y, uint64_t id)
{
    return &y->buckets[id * 0x9e3779b97f4a7c15 >> 32 & (y->n_buckets - 1)];
}

static struct held *find(const pyline *y, uint64_t id)
{
    if (!y->n_held)
        return NULL;
    struct held *h = *bucket_of(y, id);
    while (h && h->id != id)
        h = h->chain;
    return h;
}

static void drop(pyline *y, struct held *h)
{
    struct held **at = bucket_of(y, h->id);
    while (*at != h)
        at = &(*at)->chain;
    *at = h->chain;
    *(h->older ? &h->older->newer : &y->oldest) = h->newer;
    *(h->newer ? &h->newer->older : &y->newest) = h->older;
    y->n_held--;
    y->held -= h->octets;
    base_buf_done(&h->line);
    free(h);
}

static bool grow_buckets(pyline *y)
{
    size_t n = y->n_buckets ? 2 * y->n_buckets : MIN_BUCKETS;
    struct held **buckets = calloc(n, sizeof(struct held *));
    if (!buckets)
        return y->n_buckets > 0; /* longer chains instead */
    free(y->buckets);
    y->buckets = buckets;
    y->n_buckets = n;
    for (struct held *h = y->oldest; h; h = h->newer) {
        struct held **at = bucket_of(y, h->id);
        h->chain = *at;
        *at = h;
    }
    return true;
}

static void count_octets(pyline *y, struct held *h)
{
    y->held -= h->octets;
    h->octets = sizeof *h + h->line.cap;
    y->held += h->octets;
}

/* Keep the line of a packet that waits. */
static void hold(pyline *y, struct open *o)
{
    struct held *h = NULL;
    if (!o->own.failed && (y->n_held < y->n_buckets || grow_buckets(y)))
        h = calloc(1, sizeof *h);
    if (h) /* a copy of the exact size: the buffer had been made for larger lines */
        base_buf_add(&h->line, o->own.data, o->own.len);
    if (!h || h->line.failed) {
        free(h);
        y->lost++;
        return;
    }
    h->id = o->id;
    h->flows = o->flows;
    h->older = y->newest;
    *(y->newest ? &y->newest->newer : &y->oldest) = h;
    y->newest = h;
    struct held **at = bucket_of(y, h->id);
    h->chain = *at;
    *at = h;
    y->n_held++;
    count_octets(y, h);
}

/* Write the oldest lines early while there are too many octets. */
static void make_room(pyline *y)
{
    struct held *h = y->oldest;
    while (h && y->held > y->max_held) {
        struct held *newer = h->newer;
        if (!h->open) {
            y->split++;
            write_line(y, &h->line, h->flows);
            drop(y, h);
        }
        h = newer;
    }
}

static void on_begin(void *user, const weir_packet *p)
{
    pyline *y = user;
    if (y->depth == MAX_OPEN) {
        y->ignored++;
        return;
    }
    struct open *o = &y->stack[y->depth++];
    o->id = p->id;
    o->held = p->late ? find(y, p->id) : NULL;
    o->rest = p->late && !o->held;
    o->flows = 0;
    if (o->held) {
        o->held->open = true;
        o->flows = o->held->flows;
    } else {
        base_buf_reset(&o->own);
        add_start(y, &o->own, p);
    }
}

static struct open *current(pyline *y, const weir_packet *p)
{
    struct open *o = y->depth ? &y->stack[y->depth - 1] : NULL;
    return o && o->id == p->id && !y->ignored ? o : NULL;
}

static void on_record(void *user, const weir_record *r)
{
    pyline *y = user;
    struct open *o = current(y, r->packet);
    if (!o)
        return;
    base_buf *b = o->held ? &o->held->line : &o->own;
    if (o->flows)
        ADD(b, ", ");
    if (!add_record(y, b, r))
        b->failed = true;
    o->flows++;
}

static void on_options(void *user, const weir_record *r)
{
    if (r->packet->version ==
        10) /* Python keeps v9 options data apart, and its collector drops them */
        on_record(user, r);
}

static void on_end(void *user, const weir_packet *p, weir_outcome outcome, const weir_err *err)
{
    (void)err;
    pyline *y = user;
    if (outcome == WEIR_PACKET_REJECTED)
        return;
    struct open *o = current(y, p);
    if (!o) {
        if (y->ignored)
            y->ignored--;
        return;
    }
    y->depth--;
    bool waiting = outcome == WEIR_PACKET_WAITING;
    if (o->held) {
        struct held *h = o->held;
        h->open = false;
        h->flows = o->flows;
        if (waiting) {
            count_octets(y, h);
        } else {
            write_line(y, &h->line, h->flows);
            drop(y, h);
        }
    } else if (!o->rest || o->flows) {
        if (waiting)
            hold(y, o);
        else
            write_line(y, &o->own, o->flows);
    }
    if (o->own.cap > MAX_SPARE)
        base_buf_done(&o->own);
    if (waiting)
        make_room(y);
}

const weir_handlers pyline_handlers = {
    .begin = on_begin,
    .record = on_record,
    .options = on_options,
    .end = on_end,
};

pyline *pyline_new(size_t max_held, pyline_sink *sink, void *sink_user)
{
    static const struct render_style style = {
        .before = ", ", .behind = ": ", .ascii = true, .name = key_name};
    pyline *y = calloc(1, sizeof *y);
    if (!y)
        return NULL;
    y->plans = render_plans_new(&style);
    if (!y->plans) {
        free(y);
        return NULL;
    }
    y->max_held = max_held;
    y->sink = sink;
    y->sink_user = sink_user;
    return y;
}

void pyline_free(pyline *y)
{
    if (!y)
        return;
    while (y->oldest)
        drop(y, y->oldest);
    for (size_t i = 0; i < MAX_OPEN; i++)
        base_buf_done(&y->stack[i].own);
    render_plans_free(y->plans);
    free(y->buckets);
    free(y);
}

size_t pyline_held(const pyline *y)
{
    return y->held;
}

uint64_t pyline_split(const pyline *y)
{
    return y->split;
}

uint64_t pyline_lost(const pyline *y)
{
    return y->lost;
}
