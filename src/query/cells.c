#include "query/cells.h"

#include "base/text.h"
#include "parquet/parquet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* --- programs ------------------------------------------------------------------------------------ */

void query_program_done(struct query_program *p)
{
    free(p->cells);
    free(p->fields);
    base_buf_done(&p->lit);
    *p = (struct query_program){0};
}

int query_program_field(struct query_program *p, const struct query_field *f)
{
    for (size_t i = 0; i < p->n_fields; i++)
        if (query_field_same(&p->fields[i], f))
            return (int)i;
    if (p->n_fields == p->cap_fields) {
        size_t cap = p->cap_fields ? 2 * p->cap_fields : 32;
        struct query_field *more = realloc(p->fields, cap * sizeof *more);
        if (!more || cap > INT16_MAX) {
            p->failed = true;
            if (more)
                p->fields = more;
            return -1;
        }
        p->fields = more;
        p->cap_fields = cap;
    }
    p->fields[p->n_fields] = *f;
    return (int)p->n_fields++;
}

void query_program_lit(struct query_program *p, const char *text, size_t len)
{
    base_buf_add(&p->lit, text, len);
}

void query_program_cell(struct query_program *p, query_arena *a, struct query_cell c)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 32;
        struct query_cell *more = realloc(p->cells, cap * sizeof *more);
        if (!more) {
            p->failed = true;
            return;
        }
        p->cells = more;
        p->cap = cap;
    }
    if (p->lit.len) {
        c.lit = query_arena_text(a, p->lit.data, p->lit.len);
        c.lit_len = (uint32_t)p->lit.len;
    }
    if (p->lit.failed || (c.lit_len && !c.lit))
        p->failed = true;
    else
        p->cells[p->n++] = c;
    base_buf_reset(&p->lit);
}

/* --- small texts --------------------------------------------------------------------------------- */

static inline void copy_text(char *to, const char *from, size_t len)
{
    if (len >= 16) {
        if (len > 64) {
            memcpy(to, from, len);
            return;
        }
        for (size_t i = 0; i + 16 <= len; i += 16)
            memcpy(to + i, from + i, 16);
        memcpy(to + len - 16, from + len - 16, 16);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else {
        for (size_t i = 0; i < len; i++)
            to[i] = from[i];
    }
}

static inline char *put(char *p, const char *text, size_t len)
{
    copy_text(p, text, len);
    return p + len;
}

static inline char *put_str(char *p, const char *text)
{
    return put(p, text, strlen(text));
}

static inline char *put_number(char *p, uint64_t v)
{
    if (v < 10) {
        *p = (char)('0' + v);
        return p + 1;
    }
    return p + base_u64_text(p, v);
}

static inline char *put_3(char *p, unsigned v)
{
    p[0] = (char)('0' + v / 100);
    p[1] = (char)('0' + v / 10 % 10);
    p[2] = (char)('0' + v % 10);
    return p + 3;
}

static inline char *put_2(char *p, unsigned v)
{
    p[0] = (char)('0' + v / 10);
    p[1] = (char)('0' + v % 10);
    return p + 2;
}

/* The text from `from` to p, at least width columns wide. */
static inline char *fit(char *from, char *p, size_t width, bool left)
{
    size_t len = (size_t)(p - from);
    if (len >= width)
        return p;
    if (left) {
        memset(p, ' ', width - len);
    } else {
        memmove(from + (width - len), from, len);
        memset(from, ' ', width - len);
    }
    return from + width;
}

size_t query_scaled_text(char *out, uint64_t v, bool plain)
{
    static const struct {
        uint64_t unit;
        char letter;
    } units[] = {{1000000000000ULL, 'T'}, {1000000000ULL, 'G'}, {1000000ULL, 'M'}};
    if (plain || v < 1000000)
        return base_u64_text(out, v);
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (v < units[i].unit)
            continue;
        uint64_t tenth = units[i].unit / 10, tenths = v / tenth, rest = v % tenth;
        /* printf rounds the nearest double: only a tie, and what a double cannot hold, needs it. */
        if (rest == tenth / 2 || v >= 1ULL << 53)
            return (size_t)snprintf(out, 40, "%.1f %c", (double)v / (double)units[i].unit,
                                    units[i].letter);
        tenths += rest > tenth / 2;
        size_t n = base_u64_text(out, tenths / 10);
        out[n++] = '.';
        out[n++] = (char)('0' + tenths % 10);
        out[n++] = ' ';
        out[n++] = units[i].letter;
        return n;
    }
    return 0;
}

size_t query_duration_text(char *out, uint64_t ms, bool plain)
{
    char *p = out;
    unsigned part = (unsigned)(ms % 1000);
    uint64_t s = ms / 1000;
    if (plain) {
        p = put_number(p, s);
    } else {
        uint64_t days = s / 86400;
        if (days) {
            char *from = p;
            p = fit(from, put_number(p, days), 2, false);
            *p++ = 'd';
            *p++ = ' ';
        }
        unsigned rest = (unsigned)(s % 86400);
        p = put_2(p, rest / 3600);
        *p++ = ':';
        p = put_2(p, rest / 60 % 60);
        *p++ = ':';
        p = put_2(p, rest % 60);
    }
    *p++ = '.';
    return (size_t)(put_3(p, part) - out);
}

size_t query_addr_short(char *out, const char *text, size_t len, bool full)
{
    if (len > 45)
        len = 45; /* no address is longer */
    if (full || len <= 16) {
        copy_text(out, text, len);
        return len;
    }
    memcpy(out, text, 7);
    memcpy(out + 7, "..", 2);
    memcpy(out + 9, text + len - 7, 7);
    return 16;
}

void query_text_safe(base_buf *out, const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text;
    for (size_t i = 0; i < len;) {
        size_t n = base_utf8_len(p + i, len - i);
        bool bad =
            n == 0 || p[i] < 0x20 || p[i] == 0x7f || (n == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0);
        if (bad)
            base_buf_char(out, '?');
        else
            base_buf_add(out, text + i, n);
        i += n ? n : 1;
    }
}

/* clang-format off */
/* As nfdump writes them: at most five letters of the names that IANA gives the protocols. */
static const char protos[][6] = {
    "0", "ICMP", "IGMP", "GGP", "IPIP", "ST", "TCP", "CBT", "EGP", "IGP", "BBN", "NVPII", "PUP", "ARGUS", "ENCOM",
    "XNET", "CHAOS", "UDP", "MUX", "DCN", "HMP", "PRM", "XNS", "Trnk1", "Trnk2", "Leaf1", "Leaf2", "RDP", "IRTP",
    "ISO-4", "NETBK", "MFESP", "MEINP", "DCCP", "3PC", "IDPR", "XTP", "DDP", "IDPR", "TP++", "IL", "IPv6", "SDRP",
    "Rte6", "Frag6", "IDRP", "RSVP", "GRE", "MHRP", "BNA", "ESP", "AH", "INLSP", "SWIPE", "NARP", "MOBIL", "TLSP",
    "SKIP", "ICMP6", "NOHE6", "OPTS6", "HOST", "CFTP", "NET", "SATNT", "KLAN", "RVD", "IPPC", "FS", "SATM", "VISA",
    "IPCV", "CPNX", "CPHB", "WSN", "PVP", "BSATM", "SUNND", "WBMON", "WBEXP", "ISOIP", "VMTP", "SVMTP", "VINES",
    "TTP", "NSIGP", "DGP", "TCF", "EIGRP", "OSPF", "S-RPC", "LARP", "MTP", "AX.25", "OS", "MICP", "SCCSP", "ETHIP",
    "ENCAP", "99", "GMTP", "IFMP", "PNNI", "PIM", "ARIS", "SCPS", "QNX", "A/N", "IPcmp", "SNP", "CpqPP", "IPXIP",
    "VRRP", "PGM", "0hop", "L2TP", "DDX", "IATP", "STP", "SRP", "UTI", "SMP", "SM", "PTP", "ISIS4", "FIRE", "CRTP",
    "CRUDP", "128", "IPLT", "SPS", "PIPE", "SCTP", "FC", "134", "MHEAD", "UDP-L", "MPLS",
};
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

const char *query_proto_short(unsigned proto)
{
    return proto < ARRAY_LEN(protos) && !(protos[proto][0] >= '0' && protos[proto][0] <= '9' &&
                                          protos[proto][1] != 'P' && protos[proto][1] != 'h')
               ? protos[proto]
               : NULL;
}

/* --- time ---------------------------------------------------------------------------------------- */

static const int64_t us_minute = 60 * 1000000LL;

/* Year 1 to 9999, so that every time has the same width. */
static int64_t us_clamp(int64_t us)
{
    const int64_t least = -62135596800LL * 1000000, most = 253402214400LL * 1000000 - 1;
    return us < least ? least : us > most ? most : us;
}

static const char *clock_minute(struct query_clock *c, int64_t minute)
{
    size_t at = (size_t)((uint64_t)minute % ARRAY_LEN(c->slots));
    if (c->slots[at].minute != minute || !c->slots[at].text[0]) {
        struct tm tm = {0};
        time_t t = (time_t)(minute * 60);
        if (c->utc)
            gmtime_r(&t, &tm);
        else
            localtime_r(&t, &tm);
        int year = tm.tm_year + 1900 < 0 ? 0 : tm.tm_year + 1900 > 9999 ? 9999 : tm.tm_year + 1900;
        char *p = c->slots[at].text;
        p = put_2(p, (unsigned)year / 100);
        p = put_2(p, (unsigned)year % 100);
        *p++ = '-';
        p = put_2(p, (unsigned)tm.tm_mon + 1);
        *p++ = '-';
        p = put_2(p, (unsigned)tm.tm_mday);
        *p++ = ' ';
        p = put_2(p, (unsigned)tm.tm_hour);
        *p++ = ':';
        p = put_2(p, (unsigned)tm.tm_min);
        *p = ':';
        c->slots[at].minute = minute;
    }
    return c->slots[at].text;
}

/* "2026-11-22 21:05:00", 19 octets; the microseconds of the second. */
static inline unsigned clock_second(struct query_clock *c, int64_t us, char *out)
{
    us = us_clamp(us);
    int64_t minute = us / us_minute;
    int64_t rest = us % us_minute;
    if (rest < 0) {
        minute--;
        rest += us_minute;
    }
    memcpy(out, clock_minute(c, minute), 17);
    put_2(out + 17, (unsigned)(rest / 1000000));
    return (unsigned)(rest % 1000000);
}

void query_clock_text(struct query_clock *c, int64_t us, char *out)
{
    unsigned part = clock_second(c, us, out);
    out[19] = '.';
    put_3(out + 20, part / 1000);
}

/* --- a block's columns --------------------------------------------------------------------------- */

struct query_view {
    const struct query_vec *v;
    bool text;    /* codes into a dictionary */
    bool plain;   /* no text of the dictionary needs quotes, escapes or care */
    uint32_t max; /* length of the longest text, when plain */
};

/* Texts that JSON, CSV and a terminal take as they are. */
static bool text_plain(const char *text, size_t len)
{
    bool odd = false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        odd |= c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == ',';
    }
    return !odd;
}

static inline bool has(const struct query_view *view, size_t i)
{
    const struct query_vec *v = view->v;
    return v && (!v->valid || parquet_bit(v->valid, i));
}

static inline uint64_t number(const struct query_view *view, size_t i)
{
    return view->v && view->v->num ? view->v->num[i] : 0;
}

static inline const struct query_text *text_at(const struct query_view *view, size_t i)
{
    return view->text && has(view, i) ? &view->v->dict[view->v->codes[i]] : NULL;
}

void query_writer_init(struct query_writer *w, base_buf *out, bool plain, bool full_ipv6, bool utc)
{
    *w = (struct query_writer){.out = out, .plain = plain, .full_ipv6 = full_ipv6};
    w->clock.utc = utc;
    w->gmt.utc = true;
    for (unsigned f = 0; f < 256; f++)
        for (unsigned i = 0; i < 8; i++)
            w->flags[f][i] = f & (0x80U >> i) ? "CEUAPRSF"[i] : '.';
}

void query_writer_done(struct query_writer *w)
{
    free(w->views);
    free((void *)w->active);
    *w = (struct query_writer){0};
}

/* Columns that a cell takes at most, without its texts of unknown length. */
static size_t cell_bound(const struct query_writer *w, const struct query_cell *c)
{
    size_t n = c->lit_len > c->lit6_len ? c->lit_len : c->lit6_len;
    n += 64 + c->width + (c->missing ? strlen(c->missing) : 0);
    if (c->op == QUERY_CELL_MPLS_ALL)
        n += 400;
    for (size_t k = 0; k < QUERY_CELL_FIELDS; k++)
        if (c->v[k] >= 0 && w->views[c->v[k]].plain)
            n += w->views[c->v[k]].max;
    return n;
}

weir_status query_writer_block(struct query_writer *w, const struct query_program *p,
                               const struct query_block *b, weir_err *err)
{
    if (w->cap_views < p->n_fields + 1) {
        struct query_view *views = realloc(w->views, (p->n_fields + 1) * sizeof *views);
        if (!views)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        w->views = views;
        w->cap_views = p->n_fields + 1;
    }
    if (w->cap_active < p->n + 1) {
        const struct query_cell **active = realloc((void *)w->active, (p->n + 1) * sizeof *active);
        if (!active)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        w->active = active;
        w->cap_active = p->n + 1;
    }
    w->n_views = p->n_fields;
    for (size_t i = 0; i < p->n_fields; i++) {
        struct query_view *view = &w->views[i];
        const struct query_vec *v = &b->vecs[i];
        bool empty = v->kind == QUERY_UNKNOWN || (!v->num && !v->codes);
        *view =
            (struct query_view){.v = empty ? NULL : v, .text = !empty && v->codes && !v->starts};
        /* A dictionary that is larger than the block costs more than looking at each row's text. */
        view->plain = view->text && v->n_dict <= b->n;
        for (uint32_t k = 0; view->plain && k < v->n_dict; k++) {
            view->plain = v->dict[k].len <= 4096 && text_plain(v->dict[k].data, v->dict[k].len);
            if (v->dict[k].len > view->max)
                view->max = v->dict[k].len;
        }
    }
    w->n_active = 0;
    w->bound = 64;
    for (size_t i = 0; i < p->n; i++) {
        const struct query_cell *c = &p->cells[i];
        bool never = c->when != QUERY_CELL_ALWAYS && c->when != QUERY_CELL_ICMP &&
                     (c->v[0] < 0 || !w->views[c->v[0]].v);
        if (never)
            continue;
        w->active[w->n_active++] = c;
        w->bound += cell_bound(w, c);
    }
    return WEIR_OK;
}

/* --- cells --------------------------------------------------------------------------------------- */

static const struct query_view nothing = {0};

static inline const struct query_view *view_of(const struct query_writer *w,
                                               const struct query_cell *c, size_t k)
{
    return c->v[k] < 0 ? &nothing : &w->views[c->v[k]];
}

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
        if (json)
            *p++ = '[';
        for (uint32_t k = from; k < to && p; k++) {
            if (k > from)
                *p++ = json ? ',' : ' ';
            if (v->codes)
                p = from_buf(w, p,
                             json                       ? add_json
                             : op == QUERY_CELL_ANY_CSV ? add_csv
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
        return p;
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
        if (!text_plain(t->data, t->len))
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

static bool is_icmp(uint64_t proto)
{
    return proto == 1 || proto == 58;
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
static unsigned addr_octets(const struct query_text *t, uint8_t out[16])
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
static size_t masked(char *out, const struct query_text *t, uint64_t bits)
{
    uint8_t o[16];
    unsigned n = addr_octets(t, o);
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

static bool is_ipv6(const struct query_text *t)
{
    for (uint32_t i = 0; i < t->len && i < 5; i++)
        if (t->data[i] == ':')
            return true;
    return false;
}

static char *put_addr(const struct query_writer *w, const struct query_cell *c,
                      const struct query_view *view, size_t i, char *p)
{
    const struct query_text *t = text_at(view, i);
    if (!t)
        return put_str(p, c->missing ? c->missing : "0.0.0.0");
    char *from = p;
    p += query_addr_short(p, t->data, t->len, w->full_ipv6 || !c->width);
    if (!view->plain && !text_plain(from, (size_t)(p - from)))
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
    p = t && t->len == 2 && text_plain(t->data, 2) ? put(p, t->data, 2) : put(p, "..", 2);
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
        if (!text_plain(t->data, t->len))
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

static bool cell_due(const struct query_writer *w, const struct query_cell *c, size_t i)
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
        return is_icmp(number(view_of(w, c, 4), i));
    }
    return true;
}

/* The value of cell c in row i at p; NULL: out of memory. */
static char *cell_value(struct query_writer *w, const struct query_cell *c, size_t i, char *p)
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
        if (c->arg == 1)
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
            net.len = (uint32_t)masked(text, t, bits);
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
        return t && bits && addr_octets(t, o) ? p + masked(p, t, bits) : p;
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
        return t && t->len <= 17 && text_plain(t->data, t->len) ? put(p, t->data, t->len)
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

weir_status query_writer_row(struct query_writer *w, size_t i, weir_err *err)
{
    char *p = base_buf_room(w->out, w->bound);
    for (size_t k = 0; p && k < w->n_active; k++) {
        const struct query_cell *c = w->active[k];
        if (c->when != QUERY_CELL_ALWAYS && !cell_due(w, c, i))
            continue;
        if (c->when == QUERY_CELL_FAMILY) {
            const struct query_text *t = text_at(view_of(w, c, 0), i);
            p = t && is_ipv6(t) ? put(p, c->lit6, c->lit6_len) : put(p, c->lit, c->lit_len);
        } else {
            p = put(p, c->lit, c->lit_len);
        }
        size_t from = (size_t)(p - w->out->data);
        if (c->quote)
            *p++ = '"';
        if (c->missing && !has(view_of(w, c, 0), i))
            p = put_str(p, c->missing);
        else
            p = cell_value(w, c, i, p);
        if (p && c->quote)
            *p++ = '"';
        if (p && c->width)
            p = fit(w->out->data + from, p, c->width, c->left);
    }
    if (!p || w->out->failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    w->out->len = (size_t)(p - w->out->data);
    w->rows++;
    return WEIR_OK;
}
