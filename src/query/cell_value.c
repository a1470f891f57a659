/* The value of a cell, every form but the commonest (cells.c). */
#include "query/cells_in.h"

#include <math.h>

/* clang-format off */
/* IANA, natEvent (element 230). */
static const char *const nat_events[] = {
    "", "NAT translation create", "NAT translation delete", "NAT Addresses exhausted", "NAT44 session create",
    "NAT44 session delete", "NAT64 session create", "NAT64 session delete", "NAT44 BIB create", "NAT44 BIB delete",
    "NAT64 BIB create", "NAT64 BIB delete", "NAT ports exhausted", "Quota Exceeded", "Address binding create",
    "Address binding delete", "Port block allocation", "Port block de-allocation", "Threshold Reached",
};
static const char fw_events[][8] = {"IGNORE", "CREATE", "DELETE", "DENIED", "ALERT", "UPDATE"};
static const char *const end_reasons[] = {
    "", "idle timeout", "active timeout", "end of Flow detected", "forced end", "lack of resources",
};
/* clang-format on */

/* Room for n octets more than the row's bound; where to go on writing. NULL: out of memory. */
static char *more(struct query_writer *w, char *p, size_t n)
{
    w->out->len = (size_t)(p - w->out->data);
    return base_buf_room(w->out, n + w->bound);
}

static char *from_buf(struct query_writer *w, char *p,
                      void (*add)(base_buf *, const char *, size_t), const struct query_text *t)
{
    w->out->len = (size_t)(p - w->out->data);
    add(w->out, t->data, t->len);
    return base_buf_room(w->out, w->bound);
}

static void add_json(base_buf *out, const char *text, size_t len)
{
    base_json_string(out, text, len, false);
}

static void add_csv(base_buf *out, const char *text, size_t len)
{
    bool quote = false;
    for (size_t i = 0; i < len && !quote; i++)
        quote = text[i] == '"' || text[i] == ',' || text[i] == '\n' || text[i] == '\r';
    if (!quote) {
        base_buf_add(out, text, len);
        return;
    }
    base_buf_char(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"')
            base_buf_char(out, '"');
        base_buf_char(out, text[i]);
    }
    base_buf_char(out, '"');
}

static void add_plain(base_buf *out, const char *text, size_t len)
{
    base_buf_add(out, text, len);
}

/* What was written from `from` on, the items of a list, as one field of CSV (RFC 4180, 2). */
static char *quote_list(struct query_writer *w, size_t from, char *p)
{
    size_t len = (size_t)(p - w->out->data) - from, quotes = 0;
    const char *text = w->out->data + from;
    bool odd = false;
    for (size_t i = 0; i < len; i++) {
        quotes += text[i] == '"';
        odd = odd || text[i] == '"' || text[i] == ',' || text[i] == '\n' || text[i] == '\r';
    }
    if (!odd)
        return p;
    if (!more(w, p, quotes + 2))
        return NULL;
    char *at = w->out->data + from, *to = at + len + quotes + 2;
    p = to;
    *--to = '"';
    for (size_t i = len; i-- > 0;) {
        *--to = at[i];
        if (at[i] == '"')
            *--to = '"';
    }
    *--to = '"';
    return p;
}

static void add_hex(base_buf *out, const char *text, size_t len)
{
    char *p = len < SIZE_MAX / 2 ? base_buf_room(out, 2 * len) : NULL;
    if (p)
        out->len += base_hex_text(p, (const uint8_t *)text, len);
}

/* One number of a column in its own kind. */
static char *put_value(struct query_writer *w, char *p, uint8_t kind, uint64_t v, bool quote_odd)
{
    double d;
    switch (kind) {
    case QUERY_S64:
        return p + base_s64_text(p, (int64_t)v);
    case QUERY_TIME: {
        if (quote_odd)
            *p++ = '"';
        unsigned part = clock_second(&w->gmt, (int64_t)v, p);
        p[10] = 'T';
        p[19] = '.';
        p = put_3(put_3(p + 20, part / 1000), part % 1000);
        *p++ = 'Z';
        if (quote_odd)
            *p++ = '"';
        return p;
    }
    case QUERY_F64:
        memcpy(&d, &v, sizeof d);
        if (isfinite(d)) {
            if (d == floor(d) && fabs(d) < 1e15)
                return p + base_s64_text(p, (int64_t)d); /* a rate of 100 is 100 */
            return p + base_f64_text(p, d);
        }
        p = put_str(p, quote_odd ? "\"" : "");
        p = put_str(p, isnan(d) ? "NaN" : d > 0 ? "Infinity" : "-Infinity");
        return put_str(p, quote_odd ? "\"" : "");
    case QUERY_BOOL:
        return put_str(p, v ? "true" : "false");
    default:
        return put_number(p, v);
    }
}

/* Whatever the column holds. json: quoted and escaped; csv: quoted where needed; else for people. */
static char *put_any(struct query_writer *w, char *p, const struct query_view *view, size_t i,
                     uint8_t op)
{
    const struct query_vec *v = view->v;
    bool json = op == QUERY_CELL_ANY_JSON;
    if (!v || !has(view, i))
        return json ? put(p, "null", 4) : p;
    if (v->starts) {
        uint32_t from = v->starts[i], to = v->starts[i + 1];
        size_t begun = (size_t)(p - w->out->data);
        if (json)
            *p++ = '[';
        for (uint32_t k = from; k < to && p; k++) {
            if (k > from)
                *p++ = json ? ',' : ' ';
            if (v->codes)
                p = from_buf(w, p,
                             json                       ? add_json
                             : op == QUERY_CELL_ANY_CSV ? add_plain
                                                        : query_text_safe,
                             &v->dict[v->codes[k]]);
            else
                p = more(w,
                         put_value(w, p, v->kind == QUERY_U64_LIST ? QUERY_U64 : v->kind, v->num[k],
                                   json),
                         64);
        }
        if (p && json)
            *p++ = ']';
        return p && op == QUERY_CELL_ANY_CSV && v->codes ? quote_list(w, begun, p) : p;
    }
    if (!v->codes)
        return put_value(w, p, v->kind, v->num[i], json);
    const struct query_text *t = &v->dict[v->codes[i]];
    if (v->kind == QUERY_OCTETS) {
        if (json)
            *p++ = '"';
        p = from_buf(w, p, add_hex, t);
        if (p && json)
            *p++ = '"';
        return p;
    }
    if (!view->plain) {
        if (!query_text_plain(t->data, t->len))
            return from_buf(w, p,
                            json                       ? add_json
                            : op == QUERY_CELL_ANY_CSV ? add_csv
                                                       : query_text_safe,
                            t);
        p = more(w, p, (size_t)t->len + 2);
        if (!p)
            return NULL;
    }
    if (!json)
        return put(p, t->data, t->len);
    *p++ = '"';
    p = put(p, t->data, t->len);
    *p++ = '"';
    return p;
}

/* Type and code of an ICMP flow, or false. */
static bool icmp_of(const struct query_writer *w, const struct query_cell *c, size_t i, size_t k,
                    uint64_t port, unsigned *type, unsigned *code)
{
    if (!is_icmp(number(view_of(w, c, k), i)))
        return false;
    const struct query_view *t = view_of(w, c, k + 1);
    if (has(t, i)) {
        *type = (unsigned)number(t, i) & 255;
        *code = (unsigned)number(view_of(w, c, k + 2), i) & 255;
    } else {
        *type = (unsigned)(port >> 8) & 255;
        *code = (unsigned)port & 255;
    }
    return true;
}

static char *put_port(const struct query_writer *w, const struct query_cell *c, size_t i, size_t k,
                      char *p, uint64_t port)
{
    unsigned type, code;
    if (!icmp_of(w, c, i, k, port, &type, &code))
        return put_number(p, port);
    p = put_number(p, type);
    *p++ = '.';
    return put_number(p, code);
}

static uint64_t duration_ms(const struct query_writer *w, const struct query_cell *c, size_t i)
{
    const struct query_view *first = view_of(w, c, 0), *last = view_of(w, c, 1);
    if (!has(first, i) || !has(last, i))
        return 0;
    /* In whole milliseconds before they are subtracted: as the times are shown. */
    int64_t a = (int64_t)number(first, i), b = (int64_t)number(last, i);
    a = a / 1000 - (a % 1000 < 0);
    b = b / 1000 - (b % 1000 < 0);
    return b > a ? (uint64_t)b - (uint64_t)a : 0;
}

/* A dotted or colon text as octets: 4, 16, or 0 when it is neither. */
unsigned query_addr_octets(const struct query_text *t, uint8_t out[16])
{
    unsigned part = 0, n = 0, digits = 0;
    bool dotted = t->len <= 15;
    for (uint32_t i = 0; dotted && i <= t->len; i++) {
        char ch = i < t->len ? t->data[i] : '.';
        if (ch == '.') {
            dotted = digits && part < 256 && n < 4;
            if (dotted)
                out[n++] = (uint8_t)part;
            part = digits = 0;
        } else {
            dotted = ch >= '0' && ch <= '9' && digits < 3;
            part = part * 10 + (unsigned)(ch - '0');
            digits++;
        }
    }
    if (dotted)
        return n == 4 ? 4 : 0;
    /* groups before and behind "::" */
    uint16_t g[8];
    unsigned n_g = 0, gap = 9;
    uint32_t i = 0;
    while (i < t->len) {
        if (t->data[i] == ':') {
            if (i + 1 < t->len && t->data[i + 1] == ':') {
                if (gap != 9)
                    return 0;
                gap = n_g;
                i += 2;
                continue;
            }
            if (i == 0 || i + 1 == t->len)
                return 0;
            i++;
        }
        uint32_t from = i;
        unsigned v = 0;
        for (; i < t->len && i - from < 4; i++) {
            char ch = t->data[i];
            unsigned d = ch >= '0' && ch <= '9'   ? (unsigned)(ch - '0')
                         : ch >= 'a' && ch <= 'f' ? (unsigned)(ch - 'a') + 10
                         : ch >= 'A' && ch <= 'F' ? (unsigned)(ch - 'A') + 10
                                                  : 16;
            if (d == 16)
                break;
            v = v << 4 | d;
        }
        if (i == from || n_g == 8 || (i < t->len && t->data[i] != ':'))
            return 0; /* a dotted end (::ffff:192.0.2.1) too: it has no network that is worth showing */
        g[n_g++] = (uint16_t)v;
    }
    if (n_g < 8 && gap == 9)
        return 0;
    memset(out, 0, 16);
    for (unsigned k = 0; k < n_g; k++) {
        unsigned at = k < gap ? k : 8 - n_g + k;
        out[2 * at] = (uint8_t)(g[k] >> 8);
        out[2 * at + 1] = (uint8_t)g[k];
    }
    return 16;
}

/* The address with only its first `bits` left, or as it is when that makes no sense. Returns the length. */
size_t query_net_text(char *out, const struct query_text *t, uint64_t bits)
{
    uint8_t o[16];
    unsigned n = query_addr_octets(t, o);
    size_t len = t->len < 46 ? t->len : 46;
    if (n == 0 || bits > 8 * n || bits == 0) {
        memcpy(out, t->data, len);
        return len;
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned left = bits > 8 * i ? (unsigned)bits - 8 * i : 0;
        if (left < 8)
            o[i] &= (uint8_t)(0xff00U >> left);
    }
    return n == 4 ? base_ipv4_text(out, o) : base_ipv6_text(out, o);
}

static char *put_addr(const struct query_writer *w, const struct query_cell *c,
                      const struct query_view *view, size_t i, char *p)
{
    const struct query_text *t = text_at(view, i);
    if (!t)
        return put_str(p, c->missing ? c->missing : "0.0.0.0");
    const char *slash = c->arg & QUERY_CELL_CUT ? memchr(t->data, '/', t->len) : NULL;
    uint32_t len = slash ? (uint32_t)(slash - t->data) : t->len;
    char *from = p;
    p += query_addr_short(p, t->data, len, w->full_ipv6 || !c->width);
    if (!view->plain && !query_text_plain(from, (size_t)(p - from)))
        for (char *q = from; q < p; q++)
            if (*q < 0x20 || *q == 0x7f || *q == ',' || *q == '"')
                *q = '?';
    return p;
}

/* "(CC)" as the geo formats have it. */
static char *put_geo(const struct query_view *view, size_t i, char *p)
{
    const struct query_text *t = text_at(view, i);
    *p++ = '(';
    p = t && t->len == 2 && query_text_plain(t->data, 2) ? put(p, t->data, 2) : put(p, "..", 2);
    *p++ = ')';
    return p;
}

static char *put_mpls(const struct query_writer *w, const struct query_cell *c, size_t i,
                      unsigned which, char *p)
{
    const struct query_view *labels = view_of(w, c, 0), *exps = view_of(w, c, 1);
    uint64_t label = 0, exp = 0;
    bool there = false;
    if (labels->v && has(labels, i) && labels->v->starts && labels->v->num &&
        labels->v->starts[i + 1] - labels->v->starts[i] >= which) {
        there = true;
        label = labels->v->num[labels->v->starts[i] + which - 1];
    }
    if (there && exps->v && has(exps, i) && exps->v->starts && exps->v->num &&
        exps->v->starts[i + 1] - exps->v->starts[i] >= which)
        exp = exps->v->num[exps->v->starts[i] + which - 1];
    p = put_number(p, label);
    *p++ = '-';
    p = put_number(p, exp);
    *p++ = '-';
    *p++ = there && number(view_of(w, c, 2), i) == which ? '1' : '0';
    return p;
}

static uint32_t be32(const char *p)
{
    const uint8_t *o = (const uint8_t *)p;
    return (uint32_t)o[0] << 24 | (uint32_t)o[1] << 16 | (uint32_t)o[2] << 8 | o[3];
}

static char *put_hex(char *p, uint64_t v, unsigned digits)
{
    unsigned n = 1;
    while (n < 16 && v >> 4 * n)
        n++;
    if (n < digits)
        n = digits;
    for (unsigned k = n; k-- > 0;)
        *p++ = "0123456789abcdef"[v >> 4 * k & 15];
    return p;
}

static char *put_acl(const struct query_view *view, size_t i, unsigned between, char *p)
{
    const struct query_text *t = text_at(view, i);
    for (unsigned k = 0; k < 3; k++) {
        char *from = p;
        p = put(p, "0x", 2);
        p = put_hex(p, t && t->len >= 4 * (k + 1) ? be32(t->data + 4 * (size_t)k) : 0, 1);
        if (between == ' ')
            p = fit(from, p, 10, true);
        if (k < 2)
            *p++ = (char)between;
    }
    return p;
}

static char *put_event(const struct query_writer *w, const struct query_cell *c, size_t i, char *p)
{
    uint64_t fw = number(view_of(w, c, 0), i), nat = number(view_of(w, c, 1), i);
    if (has(view_of(w, c, 0), i))
        return put_str(p, fw < ARRAY_LEN(fw_events) ? fw_events[fw] : "UNKNOW");
    if (has(view_of(w, c, 1), i) && nat)
        return put_str(p, nat == 1 ? "ADD" : nat == 2 ? "DELETE" : "UNKNOW");
    return put_str(p, "INVALID");
}

static char *put_xevent(uint64_t v, char *p)
{
    static const char names[][8] = {"I-ACL", "E-ACL", "Adap", "No Syn"};
    if (v == 0)
        return put_str(p, "Ignore");
    if (v >= 1001 && v < 1001 + ARRAY_LEN(names))
        return put_str(p, names[v - 1001]);
    return put_number(p, v);
}

/* Text without care for a terminal; through the buffer when it is long or odd. */
static char *put_text(struct query_writer *w, const struct query_view *view, size_t i, char *p)
{
    const struct query_text *t = text_at(view, i);
    if (!t)
        return p;
    if (!view->plain) {
        if (!query_text_plain(t->data, t->len))
            return from_buf(w, p, query_text_safe, t);
        p = more(w, p, t->len);
        if (!p)
            return NULL;
    }
    return put(p, t->data, t->len);
}

static char *put_bytes_number(const struct query_view *view, size_t i, char *p)
{
    /* An application id as octets: engine, then the selector. */
    const struct query_text *t = text_at(view, i);
    if (!t || t->len == 0 || t->len > 17)
        return put_str(p, "0..0");
    p = put_number(p, (uint8_t)t->data[0]);
    p = put(p, "..", 2);
    return p + base_be_text(p, (const uint8_t *)t->data + 1, t->len - 1);
}

bool query_cell_due(const struct query_writer *w, const struct query_cell *c, size_t i)
{
    switch ((enum query_cell_when)c->when) {
    case QUERY_CELL_ALWAYS:
        return true;
    case QUERY_CELL_PRESENT:
    case QUERY_CELL_FAMILY:
        return has(view_of(w, c, 0), i);
    case QUERY_CELL_SECOND:
        return has(view_of(w, c, 0), i) && has(view_of(w, c, 1), i);
    case QUERY_CELL_UNLESS:
        return has(view_of(w, c, 0), i) && !has(view_of(w, c, 1), i);
    case QUERY_CELL_LABELS: {
        const struct query_view *view = view_of(w, c, 0);
        return has(view, i) && view->v->starts &&
               view->v->starts[i + 1] - view->v->starts[i] >= c->arg;
    }
    case QUERY_CELL_PORTS:
        return has(view_of(w, c, 0), i) && !is_icmp(number(view_of(w, c, 4), i));
    case QUERY_CELL_ICMP:
        return has(view_of(w, c, 4), i)
                   ? is_icmp(number(view_of(w, c, 4), i))
                   : has(view_of(w, c, c->op == QUERY_CELL_ICMP_TYPE ? 0 : 1), i);
    }
    return true;
}

/* The value of cell c in row i at p; NULL: out of memory. */
char *query_cell_value(struct query_writer *w, const struct query_cell *c, size_t i, char *p)
{
    const struct query_view *view = view_of(w, c, 0);
    uint64_t v = number(view, i);
    unsigned type, code;
    double d;
    switch ((enum query_cell_op)c->op) {
    case QUERY_CELL_TEXT_ONLY:
        return p;
    case QUERY_CELL_NUMBER:
        return put_number(p, v);
    case QUERY_CELL_SIGNED:
        return p + base_s64_text(p, (int64_t)v);
    case QUERY_CELL_REAL:
        return put_value(w, p, QUERY_F64, v, false);
    case QUERY_CELL_BOOL:
        return put_str(p, v ? "true" : "false");
    case QUERY_CELL_SCALED:
        return p + query_scaled_text(p, v, w->plain);
    case QUERY_CELL_HEX:
        return put_hex(put(p, "0x", 2), v, c->arg);
    case QUERY_CELL_TIME:
        query_clock_text(&w->clock, (int64_t)v, p);
        return p + 23;
    case QUERY_CELL_TIME_T:
        query_clock_text(&w->clock, (int64_t)v, p);
        p[10] = 'T';
        return p + 23;
    case QUERY_CELL_TIME_GMT:
        query_clock_text(&w->gmt, (int64_t)v, p);
        return p + 23;
    case QUERY_CELL_TIME_SECOND:
        (void)clock_second(&w->clock, (int64_t)v, p);
        return p + 19;
    case QUERY_CELL_TIME_RAW: {
        int64_t us = us_clamp((int64_t)v);
        if (us < 0) {
            *p++ = '-';
            us = -us;
        }
        p = put_number(p, (uint64_t)us / 1000000);
        *p++ = '.';
        return put_3(p, (unsigned)(us / 1000 % 1000));
    }
    case QUERY_CELL_TIME_MS:
        return p + base_s64_text(p, (int64_t)v / 1000);
    case QUERY_CELL_TIME_UTC:
        return put_value(w, p, QUERY_TIME, v, false);
    case QUERY_CELL_DURATION:
        return p + query_duration_text(p, duration_ms(w, c, i), w->plain);
    case QUERY_CELL_SECONDS:
        return p + query_duration_text(p, duration_ms(w, c, i), true);
    case QUERY_CELL_MILLIS:
        return p + query_duration_text(p, v, true);
    case QUERY_CELL_PROTO:
    case QUERY_CELL_PROTO_NAME: {
        const char *name =
            w->plain && c->op == QUERY_CELL_PROTO ? NULL : query_proto_short((unsigned)(v & 255));
        return name ? put_str(p, name) : put_number(p, v);
    }
    case QUERY_CELL_FLAGS:
        memcpy(p, w->flags[v & 255], 8);
        return p + 8;
    case QUERY_CELL_ADDR:
        return put_addr(w, c, view, i, p);
    case QUERY_CELL_ADDR_GEO:
        p = fit(p, put_addr(w, c, view, i, p), w->full_ipv6 ? 39 : 16, false);
        return put_geo(view_of(w, c, 1), i, p);
    case QUERY_CELL_ADDR_PORT: {
        const struct query_text *t = text_at(view, i);
        p = fit(p, put_addr(w, c, view, i, p), w->full_ipv6 ? 39 : 16, false);
        if (c->arg & 1)
            p = put_geo(view_of(w, c, 5), i, p);
        *p++ = t && is_ipv6(t) ? '.' : ':';
        char *from = p;
        p = c->v[2] < 0 ? put_number(p, number(view_of(w, c, 1), i))
                        : put_port(w, c, i, 2, p, number(view_of(w, c, 1), i));
        return fit(from, p, 5, true);
    }
    case QUERY_CELL_PORT:
        return put_port(w, c, i, 1, p, v);
    case QUERY_CELL_NET: {
        const struct query_text *t = text_at(view, i);
        uint64_t bits = number(view_of(w, c, 1), i);
        char text[48];
        char *from = p;
        if (t) {
            struct query_text net = {text, 0};
            net.len = (uint32_t)query_net_text(text, t, bits);
            for (uint32_t k = 0; k < net.len; k++)
                if ((unsigned char)text[k] < 0x20 || text[k] == 0x7f || text[k] == ',')
                    text[k] = '?';
            p += query_addr_short(p, net.data, net.len, w->full_ipv6 || !c->width);
        } else {
            p = put(p, "0.0.0.0", 7);
        }
        if (c->width)
            p = fit(from, p, w->full_ipv6 ? 39 : 16, false);
        *p++ = '/';
        from = p;
        p = put_number(p, bits);
        return c->width ? fit(from, p, 2, true) : p;
    }
    case QUERY_CELL_NET_ADDR: {
        const struct query_text *t = text_at(view, i);
        uint64_t bits = number(view_of(w, c, 1), i);
        uint8_t o[16];
        return t && bits && query_addr_octets(t, o) ? p + query_net_text(p, t, bits) : p;
    }
    case QUERY_CELL_PREFIX: {
        const struct query_text *t = text_at(view, i);
        if (!t)
            return put(p, "0.0.0.0", 7);
        const char *slash = memchr(t->data, '/', t->len);
        struct query_text addr = {t->data, slash ? (uint32_t)(slash - t->data) : t->len};
        char *from = p;
        p += query_addr_short(p, addr.data, addr.len, w->full_ipv6 || !c->width);
        for (; from < p; from++)
            if ((unsigned char)*from < 0x20 || *from == 0x7f)
                *from = '?';
        return p;
    }
    case QUERY_CELL_MAC: {
        const struct query_text *t = text_at(view, i);
        return t && t->len <= 17 && query_text_plain(t->data, t->len)
                   ? put(p, t->data, t->len)
                   : put(p, "00:00:00:00:00:00", 17);
    }
    case QUERY_CELL_MPLS:
        return put_mpls(w, c, i, c->arg, p);
    case QUERY_CELL_MPLS_ALL:
        for (unsigned k = 1; k <= 10; k++) {
            char *from = p;
            p = put_mpls(w, c, i, k, p);
            p = c->width ? fit(from, p, 12, false) : p;
            if (c->width || k < 10)
                *p++ = ' ';
        }
        return p;
    case QUERY_CELL_ICMP_TYPE:
    case QUERY_CELL_ICMP_CODE: {
        /* v: icmp_type, icmp_code, dst_port; v[4] proto */
        const struct query_view *t = view_of(w, c, c->op == QUERY_CELL_ICMP_TYPE ? 0 : 1);
        type = code = 0;
        if (has(t, i)) {
            type = code = (unsigned)number(t, i) & 255;
        } else if (is_icmp(number(view_of(w, c, 4), i))) {
            type = (unsigned)(number(view_of(w, c, 2), i) >> 8) & 255;
            code = (unsigned)number(view_of(w, c, 2), i) & 255;
        }
        return put_number(p, c->op == QUERY_CELL_ICMP_TYPE ? type : code);
    }
    case QUERY_CELL_DIRECTION:
        *p = v ? 'E' : 'I';
        return p + 1;
    case QUERY_CELL_EVENT:
        return put_event(w, c, i, p);
    case QUERY_CELL_XEVENT:
        return put_xevent(v, p);
    case QUERY_CELL_NAT_EVENT_NAME:
        return put_str(p, v < ARRAY_LEN(nat_events) ? nat_events[v] : "");
    case QUERY_CELL_END_REASON:
        return put_str(p, v < ARRAY_LEN(end_reasons) ? end_reasons[v] : "");
    case QUERY_CELL_VERSION:
        if (has(view_of(w, c, 1), i) || has(view_of(w, c, 2), i))
            p = put(p, "EVT", 3);
        else
            p = put(p, "Nv", 2);
        return put_number(p, v);
    case QUERY_CELL_ENGINE: {
        char *from = p;
        p = put_number(p, v >> 8 & 255);
        if (c->width)
            p = fit(from, p, 3, false);
        *p++ = '/';
        from = p;
        p = put_number(p, v & 255);
        return c->width ? fit(from, p, 3, true) : p;
    }
    case QUERY_CELL_ACL:
        return put_acl(view, i, c->arg, p);
    case QUERY_CELL_APP_ID: {
        char *from = p;
        p = put_bytes_number(view, i, p);
        return c->width && p - from < 5 ? fit(from, p, 5, false) : p;
    }
    case QUERY_CELL_SAMPLED:
        memcpy(&d, &v, sizeof d);
        *p = has(view, i) && d > 1 ? '1' : '0';
        return p + 1;
    case QUERY_CELL_KIND:
        return put_str(p, has(view, i) || has(view_of(w, c, 1), i) ? "EVENT" : "FLOW");
    case QUERY_CELL_ROW:
        return put_number(p, w->rows + 1);
    case QUERY_CELL_TEXT:
        return put_text(w, view, i, p);
    case QUERY_CELL_ANY_JSON:
    case QUERY_CELL_ANY_CSV:
    case QUERY_CELL_ANY_TEXT:
        return put_any(w, p, view, i, c->op);
    }
    return p;
}
