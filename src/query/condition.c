#include "query/parse.h"

#include "base/text.h"
#include "query/when.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How values of a field are written. */
enum form {
    FORM_UNSIGNED,
    FORM_SIGNED,
    FORM_REAL,
    FORM_BOOL,
    FORM_TIME,
    FORM_TEXT,
    FORM_ADDR,
    FORM_MAC,
    FORM_COUNTRY,
    FORM_OCTETS,
    FORM_ANY /* an extra column: as what is written looks */
};

/* What stands behind the operator; the arrays are malloc'ed. */
struct values {
    enum form form;
    struct query_range *ranges; /* of reals: the bits of doubles */
    struct query_prefix *prefixes;
    struct query_text *texts;
    size_t n_ranges, n_prefixes, n_texts, cap;
    bool ignore_case;
};

static void values_done(struct values *v)
{
    free(v->ranges);
    free(v->prefixes);
    free(v->texts);
}

/* ---- nodes ---- */

struct query_expr *query_expr_new(struct query_parser *p, enum query_op op)
{
    struct query_expr *e = query_arena_alloc(p->arena, sizeof *e);
    if (e)
        e->op = op;
    return e;
}

struct query_expr *query_expr_on(struct query_parser *p, enum query_op op,
                                 const struct query_field *f)
{
    struct query_expr *e = query_expr_new(p, op);
    if (e) {
        e->field = *f;
        p->n_conditions++;
    }
    return e;
}

struct query_expr *query_expr_join(struct query_parser *p, enum query_op op,
                                   struct query_expr *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!items[i])
            return NULL;
    if (n == 1)
        return items[0];
    struct query_expr *e = query_expr_new(p, op);
    if (!e || !(e->items = query_arena_alloc(p->arena, n * sizeof(struct query_expr *))))
        return NULL;
    memcpy(e->items, items, n * sizeof(struct query_expr *));
    e->n_items = n;
    return e;
}

struct query_expr *query_expr_not(struct query_parser *p, struct query_expr *item)
{
    struct query_expr *e = item ? query_expr_new(p, QUERY_OP_NOT) : NULL;
    if (!e || !(e->items = query_arena_alloc(p->arena, sizeof(struct query_expr *))))
        return NULL;
    e->items[0] = item;
    e->n_items = 1;
    return e;
}

static struct query_expr *and_present(struct query_parser *p, const struct query_field *f,
                                      struct query_expr *not_this)
{
    struct query_field there = *f;
    if (there.what == QUERY_F_EXTRA)
        there.kind = QUERY_UNKNOWN; /* whatever its values are */
    struct query_expr *both[] = {query_expr_on(p, QUERY_OP_PRESENT, &there),
                                 query_expr_not(p, not_this)};
    return query_expr_join(p, QUERY_OP_AND, both, 2);
}

/* ---- what a field takes ---- */

static enum form form_of(const struct query_field *f)
{
    if (f->what == QUERY_F_EXTRA)
        return FORM_ANY;
    if (f->what == QUERY_F_COLUMN) {
        enum flow_type type = (enum flow_type)flow_columns()[f->id].type;
        if (type == FLOW_TYPE_ADDR)
            return FORM_ADDR;
        if (type == FLOW_TYPE_MAC)
            return FORM_MAC;
    } else if (f->id == QUERY_D_SRC_COUNTRY || f->id == QUERY_D_DST_COUNTRY) {
        return FORM_COUNTRY;
    }
    switch ((enum query_kind)f->kind) {
    case QUERY_U64:
    case QUERY_U64_LIST:
        return FORM_UNSIGNED;
    case QUERY_S64:
        return FORM_SIGNED;
    case QUERY_F64:
        return FORM_REAL;
    case QUERY_BOOL:
        return FORM_BOOL;
    case QUERY_TIME:
        return FORM_TIME;
    case QUERY_OCTETS:
        return FORM_OCTETS;
    case QUERY_TEXT:
    case QUERY_TEXT_LIST:
    case QUERY_UNKNOWN:
        break;
    }
    return FORM_TEXT;
}

static bool is_number(enum form f)
{
    return f == FORM_UNSIGNED || f == FORM_SIGNED || f == FORM_TIME;
}

/* The largest value of a field of unsigned numbers. */
static uint64_t most_of(const struct query_subject *s)
{
    const struct query_field *f = &s->fields[0];
    if (s->part)
        return 255;
    if (f->what == QUERY_F_COLUMN) {
        size_t octets = flow_type_octets((enum flow_type)flow_columns()[f->id].type);
        return octets < 8 ? (UINT64_C(1) << octets * 8) - 1
                          : (s->ms ? UINT64_MAX / 1000 - 1 : UINT64_MAX);
    }
    if (f->what == QUERY_F_DERIVED && f->id == QUERY_D_MPLS_LABEL)
        return (1 << 20) - 1;
    if (f->what == QUERY_F_DERIVED && f->id == QUERY_D_MPLS_EXP_N)
        return 7;
    if (f->what == QUERY_F_DERIVED && (f->id == QUERY_D_ACL_IN_ID || f->id == QUERY_D_ACL_OUT_ID))
        return UINT32_MAX;
    return UINT64_MAX;
}

static const char *expected_of(const struct query_subject *s, enum form form, bool list)
{
    const struct query_names *names = query_field_names(&s->fields[0]);
    if (s->fields[0].what == QUERY_F_COLUMN && s->fields[0].id == FLOW_tcp_flags)
        return "letters of FSRPAUEC, X for all of FSRPAU, or a number";
    if (names)
        return list ? "names, numbers or ranges (1-5) in [ ]" : "a name or a number";
    switch (form) {
    case FORM_UNSIGNED:
    case FORM_SIGNED:
        return list ? "numbers or ranges (1-1023) in [ ]"
                    : "a number (0x1f, 10k), or =, !=, <, <=, >, >=, in [ ], present";
    case FORM_REAL:
        return "a number";
    case FORM_BOOL:
        return "true or false";
    case FORM_TIME:
        return "a time: 2026, 2026-11-22, 2026-11-22T21:05:00.5, with Z or +01:00 for UTC";
    case FORM_ADDR:
        return list ? "addresses or prefixes (10.0.0.0/8) in [ ]"
                    : "an IPv4 or IPv6 address, a prefix (10.0.0.0/8) or a host name";
    case FORM_MAC:
        return "a MAC address (00:00:5e:00:53:01)";
    case FORM_COUNTRY:
        return "a country's code of two letters";
    case FORM_OCTETS:
        return "octets in hexadecimal (0x0d000001), an app_id also as engine..selector (13..1)";
    case FORM_TEXT:
    case FORM_ANY:
        break;
    }
    return list ? "texts in [ ]" : "a text, in quotes if it is more than a word";
}

/* ---- single values ---- */

/* Digits with 0x or a suffix. 1: good, 0: no number, -1: too large. */
static int unsigned_of(struct query_word w, uint64_t *out)
{
    uint64_t v = 0, factor = 1;
    size_t i = 0, end = w.len;
    unsigned base = 10;
    if (w.len > 2 && w.at[0] == '0' && (w.at[1] | 0x20) == 'x') {
        base = 16;
        i = 2;
    } else if (w.len > 1) {
        switch (w.at[w.len - 1] | 0x20) {
        case 'k':
            factor = 1000;
            break;
        case 'm':
            factor = 1000000;
            break;
        case 'g':
            factor = 1000000000;
            break;
        case 't':
            factor = 1000000000000;
            break;
        default:
            break;
        }
        end -= factor > 1;
    }
    if (i == end)
        return 0;
    bool big = false;
    for (; i < end; i++) {
        unsigned digit;
        char c = w.at[i];
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (base == 16 && (c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (unsigned)((c | 0x20) - 'a') + 10;
        else
            return 0;
        big = big || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
              __builtin_add_overflow(v, (uint64_t)digit, &v);
    }
    big = big || __builtin_mul_overflow(v, factor, &v);
    *out = v;
    return big ? -1 : 1;
}

static int signed_of(struct query_word w, uint64_t *out)
{
    bool minus = w.len > 1 && w.at[0] == '-';
    uint64_t v;
    int good = unsigned_of((struct query_word){w.at + minus, w.len - minus}, &v);
    if (good != 1)
        return good;
    if (v > (uint64_t)INT64_MAX + minus)
        return -1;
    *out = minus ? 0 - v : v;
    return 1;
}

static bool real_of(struct query_word w, double *out)
{
    char text[64], *end;
    uint64_t v;
    if (unsigned_of(w, &v) == 1) {
        *out = (double)v;
        return true;
    }
    if (w.len == 0 || w.len >= sizeof text)
        return false;
    for (size_t i = 0; i < w.len; i++)
        if (!strchr("0123456789.eE+-", w.at[i]))
            return false;
    memcpy(text, w.at, w.len);
    text[w.len] = '\0';
    *out = strtod(text, &end);
    return *end == '\0' && end != text && *out - *out == 0.0; /* finite */
}

/* "low-high" or "low..high" apart; false: it is no range. */
static bool range_of(struct query_word w, struct query_word *low, struct query_word *high)
{
    for (size_t i = 1; i + 1 < w.len; i++) {
        size_t mark = w.at[i] == '.' && w.at[i + 1] == '.' ? 2 : w.at[i] == '-' ? 1 : 0;
        if (mark && i + mark < w.len) {
            *low = (struct query_word){w.at, i};
            *high = (struct query_word){w.at + i + mark, w.len - i - mark};
            return true;
        }
    }
    return false;
}

/* "low..high" apart, for times, which have - inside. */
static bool dots_of(struct query_word w, struct query_word *low, struct query_word *high)
{
    const char *dots = memmem(w.at, w.len, "..", 2);
    if (!dots)
        return false;
    *low = (struct query_word){w.at, (size_t)(dots - w.at)};
    *high = (struct query_word){dots + 2, w.len - low->len - 2};
    return low->len > 0 && high->len > 0;
}

/* An address with or without /bits; bits is 255 without. NULL: good; "": it does not look like one; else what is wrong. */
static const char *prefix_of(struct query_word w, struct query_prefix *out)
{
    char text[64];
    const char *slash = memchr(w.at, '/', w.len);
    size_t len = slash ? (size_t)(slash - w.at) : w.len;
    bool colon = memchr(w.at, ':', len) != NULL;
    size_t dotted = 0;
    while (dotted < len && strchr("0123456789.", w.at[dotted]))
        dotted++;
    if (!colon && (dotted < len || !len))
        return slash ? "no address stands before the /" : "";
    if (len >= sizeof text)
        return "no address is that long";
    memset(out, 0, sizeof *out);
    memcpy(text, w.at, len);
    text[len] = '\0';
    uint64_t bits = 255;
    if (slash &&
        (unsigned_of((struct query_word){slash + 1, w.len - len - 1}, &bits) != 1 || bits > 128))
        return "the prefix length must be 0 to 32, or 0 to 128 for IPv6";
    if (!colon) {
        if (inet_pton(AF_INET, text, out->addr) != 1)
            return "an IPv4 address needs four numbers of 0 to 255";
        out->family = 4;
    } else {
        static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
        if (inet_pton(AF_INET6, text, out->addr) != 1)
            return "not an IPv6 address";
        out->family = 6;
        /* Files have mapped addresses as IPv4. */
        if (memcmp(out->addr, mapped, 12) == 0 && (bits == 255 || bits >= 96)) {
            memmove(out->addr, out->addr + 12, 4);
            memset(out->addr + 4, 0, 12);
            out->family = 4;
            bits -= bits == 255 ? 0 : 96;
        }
    }
    if (out->family == 4 && bits > 32 && bits != 255)
        return "the prefix length of an IPv4 address is at most 32";
    out->bits = (uint8_t)bits;
    return NULL;
}

/* Host bits to zero; a length where there was none. */
static void prefix_cut(struct query_prefix *x)
{
    unsigned most = x->family == 4 ? 32 : 128;
    if (x->bits > most)
        x->bits = (uint8_t)most;
    for (unsigned i = x->bits; i < most; i++)
        x->addr[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

/* One more in an array that grows; false: out of memory. */
static bool grow(void **array, size_t n, size_t size)
{
    if (n & (n - 1)) /* room up to the next power of two */
        return true;
    void *bigger = realloc(*array, (n ? n * 2 : 1) * size);
    if (!bigger)
        return false;
    *array = bigger;
    return true;
}

static weir_status add_range(struct query_parser *p, struct values *v, uint64_t low, uint64_t high)
{
    void *array = v->ranges;
    bool grown = grow(&array, v->n_ranges, sizeof *v->ranges);
    v->ranges = array;
    if (!grown)
        return query_no_memory(p);
    v->ranges[v->n_ranges++] = (struct query_range){low, high};
    return WEIR_OK;
}

static weir_status add_prefix(struct query_parser *p, struct values *v,
                              const struct query_prefix *x)
{
    void *array = v->prefixes;
    bool grown = grow(&array, v->n_prefixes, sizeof *v->prefixes);
    v->prefixes = array;
    if (!grown)
        return query_no_memory(p);
    v->prefixes[v->n_prefixes++] = *x;
    return WEIR_OK;
}

static weir_status add_text(struct query_parser *p, struct values *v, const char *text, size_t len)
{
    void *array = v->texts;
    bool grown = grow(&array, v->n_texts, sizeof *v->texts);
    v->texts = array;
    char *copy = grown ? query_arena_text(p->arena, text, len) : NULL;
    if (!copy)
        return query_no_memory(p);
    v->texts[v->n_texts++] = (struct query_text){copy, (uint32_t)len};
    return WEIR_OK;
}

static weir_status bad_value(struct query_parser *p, const struct query_subject *s, enum form form,
                             bool list, const struct query_token *t, const char *why)
{
    char text[64];
    return query_wrong(p, WEIR_EFORMAT, t, 1, expected_of(s, form, list), "%s: %s", why,
                       query_token_text(t, text));
}

static weir_status too_large(struct query_parser *p, const struct query_subject *s, enum form form,
                             const struct query_token *t)
{
    char text[64];
    if (form == FORM_SIGNED)
        return query_wrong(p, WEIR_EFORMAT, t, 1, NULL, "%s does not fit into 64 bits",
                           query_token_text(t, text));
    const char *name = s->part == 1   ? "the engine type"
                       : s->part == 2 ? "the engine id"
                                      : s->fields[0].name;
    return query_wrong(p, WEIR_EFORMAT, t, 1, NULL, "%s is above %llu, the most that %s can be",
                       query_token_text(t, text), (unsigned long long)most_of(s), name);
}

static weir_status number_value(struct query_parser *p, const struct query_subject *s,
                                enum form form, const struct query_token *t, bool list,
                                struct values *v)
{
    struct query_word w = query_token_word(t), low, high;
    const struct query_names *names = query_field_names(&s->fields[0]);
    int named = names ? query_name_number(names, w) : -1;
    uint64_t a, b;
    if (named >= 0)
        return add_range(p, v, (uint64_t)named, (uint64_t)named);
    if (s->fields[0].what == QUERY_F_COLUMN && s->fields[0].id == FLOW_tcp_flags &&
        (named = query_flags_number(w)) >= 0)
        return add_range(p, v, (uint64_t)named, (uint64_t)named);
    int (*parse)(struct query_word, uint64_t *) = form == FORM_SIGNED ? signed_of : unsigned_of;
    int good = parse(w, &a);
    b = a;
    if (good == 0 && list && range_of(w, &low, &high)) {
        int second = parse(high, &b);
        good = parse(low, &a);
        good = good == 0 || second == 0 ? 0 : good < 0 || second < 0 ? -1 : 1;
        if (good == 1 && (form == FORM_SIGNED ? (int64_t)a > (int64_t)b : a > b))
            return bad_value(p, s, form, list, t, "a range that ends before it begins");
    }
    if (good == 0 && names) {
        char why[64];
        (void)snprintf(why, sizeof why, "unknown %s", names->what);
        return bad_value(p, s, form, list, t, why);
    }
    if (good == 0)
        return bad_value(p, s, form, list, t, "not a number");
    if (good < 0 || (form == FORM_UNSIGNED && b > most_of(s)))
        return too_large(p, s, form, t);
    if (s->ms) {
        a *= 1000;
        b = b * 1000 + 999;
    }
    return add_range(p, v, a, b);
}

static weir_status time_value(struct query_parser *p, const struct query_subject *s,
                              const struct query_token *t, bool list, struct values *v)
{
    struct query_word low = query_token_word(t), high = low;
    struct query_when a, b;
    bool two = list && dots_of(query_token_word(t), &low, &high);
    const char *wrong = query_when_parse(low.at, low.len, &a);
    if (!wrong && a.used < low.len)
        wrong = "not a time";
    b = a;
    if (!wrong && two)
        wrong = query_when_parse(high.at, high.len, &b);
    if (!wrong && two && b.used < high.len)
        wrong = "not a time";
    if (!wrong && b.us + b.span_us - 1 < a.us)
        wrong = "a range that ends before it begins";
    if (wrong)
        return bad_value(p, s, FORM_TIME, list, t, wrong);
    return add_range(p, v, (uint64_t)a.us, (uint64_t)(b.us + b.span_us - 1));
}

static weir_status resolve(struct query_parser *p, const struct query_subject *s,
                           const struct query_token *t, bool list, struct values *v)
{
    struct query_word w = query_token_word(t);
    char shown[64];
    bool letter = false;
    for (size_t i = 0; i < w.len; i++) {
        char c = w.at[i];
        bool is_letter = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (unsigned char)c >= 0x80;
        if (!is_letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_')
            return bad_value(p, s, FORM_ADDR, list, t, "not an address");
        letter = letter || is_letter;
    }
    if (!letter || w.len > 253)
        return bad_value(p, s, FORM_ADDR, list, t, "not an address");
    if (!p->options || !p->options->resolve)
        return bad_value(p, s, FORM_ADDR, list, t, "host names are not looked up here");
    char *name = query_arena_text(p->arena, w.at, w.len);
    if (!name)
        return query_no_memory(p);
    /* The resolver enlarges an array of its own, so that ours keeps its spare room. */
    struct query_prefix *found = NULL;
    size_t n = 0;
    weir_status status = p->options->resolve(p->options->user, name, &found, &n, p->err);
    if (status == WEIR_OK && n == 0)
        status = query_wrong(p, WEIR_EFORMAT, t, 1, NULL, "host %s has no address",
                             query_token_text(t, shown));
    else if (status != WEIR_OK && status != WEIR_ENOMEM) {
        char why[100];
        (void)snprintf(why, sizeof why, "%.99s", p->err ? p->err->msg : "no answer");
        status = query_wrong(p, WEIR_EFORMAT, t, 1, NULL, "host %s: %s", query_token_text(t, shown),
                             why);
    }
    for (size_t i = 0; status == WEIR_OK && i < n; i++) {
        prefix_cut(&found[i]);
        status = add_prefix(p, v, &found[i]);
    }
    free(found);
    return status;
}

/* "255.255.0.0" as a number of bits; false: it is no mask. */
static bool mask_of(const struct query_token *t, uint8_t *bits)
{
    struct query_prefix mask;
    if (t->kind != QUERY_T_WORD || prefix_of(query_token_word(t), &mask) || mask.family != 4 ||
        mask.bits != 255)
        return false;
    uint32_t v = (uint32_t)mask.addr[0] << 24 | (uint32_t)mask.addr[1] << 16 |
                 (uint32_t)mask.addr[2] << 8 | mask.addr[3];
    uint32_t host = ~v;
    if (host & (host + 1))
        return false;
    *bits = (uint8_t)(v ? __builtin_popcount(v) : 0);
    return true;
}

/* t is p->t, or the token of a list. */
static weir_status addr_value(struct query_parser *p, const struct query_subject *s,
                              const struct query_token *t, bool list, struct values *v)
{
    struct query_prefix x;
    const char *wrong = prefix_of(query_token_word(t), &x);
    if (wrong && !*wrong) {
        if (s->net)
            return bad_value(p, s, FORM_ADDR, list, t, "not a prefix");
        return resolve(p, s, t, list, v);
    }
    if (wrong)
        return bad_value(p, s, FORM_ADDR, list, t, wrong);
    if (s->net && !list && x.bits == 255) {
        const struct query_token *mask = p->t;
        if (mask->kind == QUERY_T_WORD && mask_of(mask, &x.bits) && x.family == 4)
            p->t++;
        else
            return query_wrong(p, WEIR_EFORMAT, mask, 1,
                               "/bits at the address, or a mask (255.255.0.0)",
                               "the network has no length");
    }
    prefix_cut(&x);
    return add_prefix(p, v, &x);
}

static weir_status mac_value(struct query_parser *p, const struct query_subject *s,
                             const struct query_token *t, bool list, struct values *v)
{
    uint8_t mac[6];
    char text[BASE_MAC_TEXT];
    const char *at = t->at, *end = t->at + t->len;
    for (int i = 0; i < 6; i++) {
        unsigned octet = 0;
        int digits = 0;
        for (; at < end && digits < 2 && *at && strchr("0123456789abcdefABCDEF", *at); digits++) {
            char c = *at++;
            octet =
                octet * 16 + (c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a') + 10);
        }
        bool mark = i == 5 ? at == end : at < end && (*at == ':' || *at == '-');
        if (!digits || !mark)
            return bad_value(p, s, FORM_MAC, list, t, "not a MAC address");
        at += i < 5;
        mac[i] = (uint8_t)octet;
    }
    return add_text(p, v, text, base_mac_text(text, mac));
}

static weir_status octets_value(struct query_parser *p, const struct query_subject *s,
                                const struct query_token *t, bool list, struct values *v)
{
    struct query_word w = query_token_word(t);
    size_t skip = w.len > 2 && w.at[0] == '0' && (w.at[1] | 0x20) == 'x' ? 2 : 0;
    uint64_t octet, selector;
    struct query_word low, high;
    if (s->fields[0].what == QUERY_F_COLUMN && s->fields[0].id == FLOW_app_id &&
        dots_of(w, &low, &high)) { /* as nfdump shows it; RFC 6759 has 1 octet and, mostly, 3 */
        if (unsigned_of(low, &octet) != 1 || octet > 255 || unsigned_of(high, &selector) != 1 ||
            selector > 0xffffff)
            return bad_value(p, s, FORM_OCTETS, list, t, "not an engine and a selector");
        char id[4] = {(char)octet, (char)(selector >> 16), (char)(selector >> 8), (char)selector};
        return add_text(p, v, id, sizeof id);
    }
    if (w.len == skip || (w.len - skip) % 2)
        return bad_value(p, s, FORM_OCTETS, list, t, "not octets");
    char *octets = query_arena_alloc(p->arena, w.len);
    if (!octets)
        return query_no_memory(p);
    for (size_t i = skip; i < w.len; i += 2) {
        char hex[4] = {'0', 'x', w.at[i], w.at[i + 1]};
        if (unsigned_of((struct query_word){hex, 4}, &octet) != 1)
            return bad_value(p, s, FORM_OCTETS, list, t, "not octets");
        octets[(i - skip) / 2] = (char)octet;
    }
    return add_text(p, v, octets, (w.len - skip) / 2);
}

static weir_status real_value(struct query_parser *p, const struct query_subject *s,
                              const struct query_token *t, bool list, struct values *v)
{
    struct query_word low = query_token_word(t), high = low;
    double a, b;
    uint64_t bits[2];
    bool two = list && dots_of(query_token_word(t), &low, &high);
    if (!two && list && !real_of(low, &a))
        two = range_of(low, &low, &high);
    if (!real_of(low, &a) || !real_of(two ? high : low, &b))
        return bad_value(p, s, FORM_REAL, list, t, "not a number");
    if (a > b)
        return bad_value(p, s, FORM_REAL, list, t, "a range that ends before it begins");
    memcpy(&bits[0], &a, sizeof a);
    memcpy(&bits[1], &b, sizeof b);
    return add_range(p, v, bits[0], bits[1]);
}

static weir_status one_value(struct query_parser *p, const struct query_subject *s,
                             const struct query_token *t, bool list, struct values *v)
{
    switch (v->form) {
    case FORM_UNSIGNED:
    case FORM_SIGNED:
        return number_value(p, s, v->form, t, list, v);
    case FORM_REAL:
        return real_value(p, s, t, list, v);
    case FORM_TIME:
        return time_value(p, s, t, list, v);
    case FORM_BOOL:
        if (query_token_is(t, "true") || query_token_is(t, "1"))
            return add_range(p, v, 1, 1);
        if (query_token_is(t, "false") || query_token_is(t, "0"))
            return add_range(p, v, 0, 0);
        return bad_value(p, s, v->form, list, t, "neither true nor false");
    case FORM_ADDR:
        return addr_value(p, s, t, list, v);
    case FORM_MAC:
        return mac_value(p, s, t, list, v);
    case FORM_OCTETS:
        return octets_value(p, s, t, list, v);
    case FORM_COUNTRY: {
        char code[2];
        if (t->len != 2)
            return bad_value(p, s, v->form, list, t, "not a country's code");
        for (int i = 0; i < 2; i++) {
            code[i] = (char)(t->at[i] & ~0x20);
            if (code[i] < 'A' || code[i] > 'Z')
                return bad_value(p, s, v->form, list, t, "not a country's code");
        }
        return add_text(p, v, code, 2);
    }
    case FORM_TEXT:
    case FORM_ANY:
        break;
    }
    return add_text(p, v, t->at, t->len);
}

/* What a value of an extra column looks like. */
static enum form looks_like(const struct query_token *t, bool list)
{
    struct query_word w = query_token_word(t), low, high;
    struct query_prefix x;
    struct query_when when;
    uint64_t v;
    double d;
    if (t->kind == QUERY_T_STRING)
        return FORM_TEXT;
    if (unsigned_of(w, &v) == 1)
        return FORM_UNSIGNED;
    if (signed_of(w, &v) == 1)
        return FORM_SIGNED;
    if (real_of(w, &d))
        return FORM_REAL;
    const char *wrong = prefix_of(w, &x);
    if (!wrong)
        return FORM_ADDR;
    bool dots = list && dots_of(w, &low, &high);
    if (w.len >= 8 && !query_when_parse(dots ? low.at : w.at, dots ? low.len : w.len, &when) &&
        when.used == (dots ? low.len : w.len) && when.span_us <= 86400 * INT64_C(1000000))
        return FORM_TIME;
    if (list && range_of(w, &low, &high)) {
        if (unsigned_of(low, &v) == 1 && unsigned_of(high, &v) == 1)
            return FORM_UNSIGNED;
        if (signed_of(low, &v) == 1 && signed_of(high, &v) == 1)
            return FORM_SIGNED;
        if (real_of(low, &d) && real_of(high, &d))
            return FORM_REAL;
    }
    return FORM_TEXT;
}

/* The form that suits both. */
static enum form common(enum form a, enum form b)
{
    if (a == b)
        return a;
    if (a > FORM_REAL || b > FORM_REAL)
        return FORM_TEXT;
    return a > b ? a : b; /* unsigned, signed, real */
}

static bool is_value(const struct query_token *t)
{
    return t->kind == QUERY_T_STRING || (t->kind == QUERY_T_WORD && !query_token_is(t, "and") &&
                                         !query_token_is(t, "or") && !query_token_is(t, "not"));
}

/* "[ a b, c ]" at p->t. */
static weir_status list_values(struct query_parser *p, const struct query_subject *s,
                               struct values *v)
{
    if (p->t->kind != QUERY_T_LIST)
        return query_expected(p, p->t, "[ and a list");
    const struct query_token *t = ++p->t;
    if (v->form == FORM_ANY) {
        v->form =
            t->kind == QUERY_T_WORD || t->kind == QUERY_T_STRING ? looks_like(t, true) : FORM_TEXT;
        for (; t->kind == QUERY_T_WORD || t->kind == QUERY_T_STRING || t->kind == QUERY_T_COMMA;
             t++)
            if (t->kind != QUERY_T_COMMA)
                v->form = common(v->form, looks_like(t, true));
    }
    bool comma = true; /* at the beginning a comma is as wrong as behind one */
    for (;;) {
        t = p->t;
        if (t->kind == QUERY_T_COMMA && !comma) {
            comma = true;
            p->t++;
        } else if (t->kind == QUERY_T_WORD || t->kind == QUERY_T_STRING) {
            p->t++;
            WEIR_TRY(one_value(p, s, t, true, v));
            comma = false;
        } else if (t->kind == QUERY_T_LIST_END && !comma) {
            p->t++;
            return WEIR_OK;
        } else {
            return query_expected(p, t, expected_of(s, v->form, true));
        }
    }
}

/* ---- conditions ---- */

/* a <= b as the field orders its numbers. */
static bool ordered(bool is_signed, uint64_t a, uint64_t b)
{
    return is_signed ? (int64_t)a <= (int64_t)b : a <= b;
}

static int compare_unsigned(const void *a, const void *b)
{
    const struct query_range *x = a, *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

static int compare_signed(const void *a, const void *b)
{
    const struct query_range *x = a, *y = b;
    return ((int64_t)x->low > (int64_t)y->low) - ((int64_t)x->low < (int64_t)y->low);
}

/* Sorted, those that touch made one. */
static size_t merge_ranges(struct query_range *r, size_t n, bool is_signed)
{
    size_t kept = 0;
    if (n > 1)
        qsort(r, n, sizeof *r, is_signed ? compare_signed : compare_unsigned);
    uint64_t top = is_signed ? (uint64_t)INT64_MAX : UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        struct query_range *last = kept ? &r[kept - 1] : NULL;
        if (last && (last->high == top || ordered(is_signed, r[i].low, last->high + 1))) {
            if (ordered(is_signed, last->high, r[i].high))
                last->high = r[i].high;
        } else {
            r[kept++] = r[i];
        }
    }
    return kept;
}

static void *copied(struct query_parser *p, const void *from, size_t octets)
{
    void *to = query_arena_alloc(p->arena, octets);
    if (to)
        memcpy(to, from, octets);
    return to;
}

static uint8_t kind_of_form(enum form form)
{
    switch (form) {
    case FORM_UNSIGNED:
        return QUERY_U64;
    case FORM_SIGNED:
        return QUERY_S64;
    case FORM_REAL:
        return QUERY_F64;
    case FORM_TIME:
        return QUERY_TIME;
    case FORM_BOOL:
    case FORM_TEXT:
    case FORM_ADDR:
    case FORM_MAC:
    case FORM_COUNTRY:
    case FORM_OCTETS:
    case FORM_ANY:
        break;
    }
    return QUERY_TEXT;
}

/* One of the ranges; they are the arena's. */
static struct query_expr *in_ranges(struct query_parser *p, const struct query_field *f,
                                    struct query_range *r, size_t n)
{
    if (n == 0)
        return query_expr_new(p, QUERY_OP_FALSE);
    struct query_expr *e =
        query_expr_on(p, n == 1 && r->low == r->high ? QUERY_OP_EQ : QUERY_OP_IN, f);
    if (!e)
        return NULL;
    if (e->op == QUERY_OP_EQ) {
        e->number = r->low;
    } else {
        e->numbers = r;
        e->n_numbers = n;
    }
    return e;
}

static struct query_expr *compare(struct query_parser *p, enum query_op op,
                                  const struct query_field *f, uint64_t number)
{
    struct query_expr *e = query_expr_on(p, op, f);
    if (e)
        e->number = number;
    return e;
}

/* Ranges of 0 to 255 as ranges of the domain that has them in its upper or lower half. NULL: out of memory. */
static struct query_expr *engine(struct query_parser *p, const struct query_subject *s,
                                 enum query_op op, const struct values *v)
{
    bool wanted[256] = {false};
    for (size_t i = 0; i < v->n_ranges; i++) {
        uint64_t a = v->ranges[i].low, b = v->ranges[i].high;
        for (uint64_t x = 0; x < 256; x++)
            wanted[x] = wanted[x] || (op == QUERY_OP_LT   ? x < a
                                      : op == QUERY_OP_LE ? x <= a
                                      : op == QUERY_OP_GT ? x > a
                                      : op == QUERY_OP_GE ? x >= a
                                                          : x >= a && x <= b);
    }
    enum { MOST = 65536 / 2 }; /* every other number */
    size_t n = 0;
    struct query_range *r = malloc(MOST * sizeof *r);
    if (!r)
        return NULL;
    for (uint64_t type = 0; type < 256; type++) {
        if (s->part == 1) {
            if (wanted[type] != (op == QUERY_OP_NE))
                r[n++] = (struct query_range){type * 256, type * 256 + 255};
            continue;
        }
        for (uint64_t id = 0; id < 256; id++) {
            if (wanted[id] == (op == QUERY_OP_NE))
                continue;
            uint64_t domain = type * 256 + id;
            if (n && r[n - 1].high + 1 == domain)
                r[n - 1].high = domain;
            else
                r[n++] = (struct query_range){domain, domain};
        }
    }
    n = merge_ranges(r, n, false);
    p->n_conditions += n; /* a few letters make many of them */
    struct query_range *kept = copied(p, r, (n ? n : 1) * sizeof *r);
    free(r);
    return kept ? in_ranges(p, &s->fields[0], kept, n) : NULL;
}

static struct query_expr *number_condition(struct query_parser *p, const struct query_field *f,
                                           enum query_op op, const struct query_subject *s,
                                           const struct values *v)
{
    struct query_range first = v->ranges[0];
    if (op == QUERY_OP_LT || op == QUERY_OP_GE)
        return compare(p, op, f, first.low);
    if (op == QUERY_OP_GT || op == QUERY_OP_LE)
        return compare(p, op, f, s->ms ? first.high : first.low);
    if (op == QUERY_OP_BITS)
        return compare(p, op, f, first.low);
    if (op == QUERY_OP_NE && v->n_ranges == 1 && first.low == first.high)
        return compare(p, QUERY_OP_NE, f, first.low);
    struct query_range *r = copied(p, v->ranges, v->n_ranges * sizeof *r);
    if (!r)
        return NULL;
    bool is_signed = f->kind == QUERY_S64 || f->kind == QUERY_TIME;
    struct query_expr *in = in_ranges(p, f, r, merge_ranges(r, v->n_ranges, is_signed));
    return op == QUERY_OP_NE ? and_present(p, f, in) : in;
}

static struct query_expr *real_condition(struct query_parser *p, const struct query_field *f,
                                         enum query_op op, const struct values *v)
{
    bool single = v->n_ranges == 1 && v->ranges[0].low == v->ranges[0].high;
    if (op != QUERY_OP_EQ && (op != QUERY_OP_NE || single))
        return compare(p, op, f, v->ranges[0].low);
    struct query_expr **items = query_arena_alloc(p->arena, v->n_ranges * sizeof *items);
    if (!items)
        return NULL;
    for (size_t i = 0; i < v->n_ranges; i++) {
        const struct query_range *r = &v->ranges[i];
        if (r->low == r->high) {
            items[i] = compare(p, QUERY_OP_EQ, f, r->low);
        } else {
            struct query_expr *both[] = {compare(p, QUERY_OP_GE, f, r->low),
                                         compare(p, QUERY_OP_LE, f, r->high)};
            items[i] = query_expr_join(p, QUERY_OP_AND, both, 2);
        }
    }
    struct query_expr *any = query_expr_join(p, QUERY_OP_OR, items, v->n_ranges);
    return op == QUERY_OP_NE ? and_present(p, f, any) : any;
}

static struct query_expr *text_condition(struct query_parser *p, const struct query_field *f,
                                         enum query_op op, const struct values *v, void *regex)
{
    struct query_expr *e;
    if (v->form == FORM_ADDR) {
        e = query_expr_on(p, QUERY_OP_PREFIX, f);
        if (!e || !(e->prefixes = copied(p, v->prefixes, v->n_prefixes * sizeof *v->prefixes)))
            return NULL;
        e->n_prefixes = v->n_prefixes;
    } else {
        e = query_expr_on(p, op == QUERY_OP_NE ? QUERY_OP_TEXT : op, f);
        if (!e || !(e->texts = copied(p, v->texts, v->n_texts * sizeof *v->texts)))
            return NULL;
        e->n_texts = v->n_texts;
        e->ignore_case = v->ignore_case;
        e->regex = regex;
    }
    return op == QUERY_OP_NE ? and_present(p, f, e) : e;
}

/* "{2,5}" at *at, which is put on the brace that closes: the larger number, 1 if there is none. */
static uint64_t repetitions(const char *pattern, size_t len, size_t *at)
{
    uint64_t most = 1, now = 0;
    size_t i = *at + 1;
    for (; i < len && pattern[i] != '}'; i++) {
        bool digit = pattern[i] >= '0' && pattern[i] <= '9';
        now = digit && now < 100000 ? now * 10 + (uint64_t)(pattern[i] - '0') : digit ? now : 0;
        most = now > most ? now : most;
    }
    *at = i;
    return most;
}

/* "[^]a-z]" at i: where its ] is. */
static size_t bracket_end(const char *pattern, size_t len, size_t i)
{
    i += i + 1 < len && pattern[i + 1] == '^' ? 2 : 1;
    i += i < len && pattern[i] == ']';
    while (i < len && pattern[i] != ']')
        i++;
    return i;
}

/* Patterns that would make regcomp or regexec slow or large: it writes repeated parts out, a+ as aa*, and searches for
 * back-references. The sizes are of what it writes. NULL: good. */
static const char *costly(const char *pattern, size_t len)
{
    enum { MOST_OCTETS = 1000, MOST_SIZE = 20000 };
    uint64_t sums[MOST_OCTETS + 1], last = 0; /* of each open parenthesis; of the part just read */
    size_t depth = 0;
    if (len > MOST_OCTETS)
        return "the pattern is longer than 1000 octets";
    sums[0] = 0;
    for (size_t i = 0; i < len; i++) {
        uint64_t times = 1;
        char c = pattern[i];
        if (c == '\\' && i + 1 < len && pattern[i + 1] >= '1' && pattern[i + 1] <= '9')
            return "the pattern has a back-reference";
        if (c == '(') {
            sums[++depth] = 0;
            last = 0;
            continue;
        }
        if (c == ')' && depth) {
            last = sums[depth--] + 1;
        } else if (c == '+' || c == '*' || c == '?' || c == '{') {
            times = c == '{' ? repetitions(pattern, len, &i) + 1 : 2;
            sums[depth] -= last;
            last *= times;
        } else {
            i += c == '\\';
            i = c == '[' ? bracket_end(pattern, len, i) : i;
            last = 1;
        }
        sums[depth] += last;
        if (sums[depth] > MOST_SIZE)
            return "the pattern repeats too much";
    }
    return NULL;
}

/* The pattern of ~ and !~, at p->t. */
static weir_status pattern_value(struct query_parser *p, const struct query_subject *s,
                                 struct values *v, void **regex)
{
    char why[100] = "";
    const struct query_token *t = p->t;
    if (!is_value(t))
        return query_expected(p, t, "a regular expression in quotes");
    v->form = FORM_TEXT;
    p->t++;
    WEIR_TRY(one_value(p, s, t, false, v));
    if (query_token_is(p->t, "nocase")) {
        v->ignore_case = true;
        p->t++;
    }
    const char *slow = costly(t->at, t->len);
    if (!slow)
        *regex = query_arena_regex(p->arena, v->texts[0].data, v->ignore_case, why, sizeof why);
    if (!slow && !*regex && !why[0])
        return query_no_memory(p);
    if (slow || !*regex)
        return query_wrong(p, WEIR_EFORMAT, t, 1, "a POSIX extended regular expression", "%s",
                           slow ? slow : why);
    return WEIR_OK;
}

/* "field NAME" behind an operator. */
static weir_status other_field(struct query_parser *p, const struct query_subject *s,
                               enum query_op op, struct query_expr **out)
{
    const struct query_token *at = p->t++, *name = p->t;
    struct query_field other;
    if (name->kind != QUERY_T_WORD && name->kind != QUERY_T_STRING)
        return query_expected(p, name, "the name of a field");
    op = op == QUERY_OP_EQ   ? QUERY_OP_SAME
         : op == QUERY_OP_GE ? QUERY_OP_NOT_BELOW
         : op == QUERY_OP_LE ? QUERY_OP_NOT_ABOVE
                             : QUERY_OP_TRUE;
    if (op == QUERY_OP_TRUE)
        return query_wrong(p, WEIR_EFORMAT, at, 2, "=, <= or >= before it",
                           "fields are not compared this way");
    char *text = query_arena_text(p->arena, name->at, name->len);
    if (!text)
        return query_no_memory(p);
    other = query_field_named(text);
    enum form mine = form_of(&s->fields[0]), theirs = form_of(&other);
    bool fits = mine == FORM_ANY || theirs == FORM_ANY ||
                (mine == theirs && (op == QUERY_OP_SAME || is_number(mine))) ||
                (op == QUERY_OP_SAME && !is_number(mine) && !is_number(theirs) &&
                 mine != FORM_REAL && theirs != FORM_REAL);
    if (!fits || other.kind == QUERY_U64_LIST || other.kind == QUERY_TEXT_LIST ||
        s->fields[0].kind == QUERY_U64_LIST || s->fields[0].kind == QUERY_TEXT_LIST)
        return query_wrong(p, WEIR_EFORMAT, name, 1, NULL, "%s and %.40s cannot be compared",
                           s->fields[0].name, other.name);
    p->t++;
    struct query_expr *items[QUERY_MOST_REFS];
    for (size_t i = 0; i < s->n; i++) {
        items[i] = query_expr_on(p, op, &s->fields[i]);
        if (!items[i])
            return query_no_memory(p);
        items[i]->other = other;
    }
    *out = query_expr_join(p, QUERY_OP_OR, items, s->n);
    return *out ? WEIR_OK : query_no_memory(p);
}

/* The operator at p->t; QUERY_OP_TRUE: none stands there. */
static enum query_op operator_of(const struct query_token *t)
{
    static const struct {
        const char *word;
        uint8_t op;
    } words[] = {{"eq", QUERY_OP_EQ},    {"ne", QUERY_OP_NE},
                 {"gt", QUERY_OP_GT},    {"lt", QUERY_OP_LT},
                 {"ge", QUERY_OP_GE},    {"le", QUERY_OP_LE},
                 {"has", QUERY_OP_BITS}, {"contains", QUERY_OP_CONTAINS},
                 {"in", QUERY_OP_IN},    {"present", QUERY_OP_PRESENT}};
    static const uint8_t marks[] = {
        [QUERY_T_EQ] = QUERY_OP_EQ,       [QUERY_T_NE] = QUERY_OP_NE,
        [QUERY_T_LT] = QUERY_OP_LT,       [QUERY_T_LE] = QUERY_OP_LE,
        [QUERY_T_GT] = QUERY_OP_GT,       [QUERY_T_GE] = QUERY_OP_GE,
        [QUERY_T_MATCH] = QUERY_OP_REGEX, [QUERY_T_NO_MATCH] = QUERY_OP_REGEX};
    if (t->kind < ARRAY_LEN(marks) && marks[t->kind])
        return (enum query_op)marks[t->kind];
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (query_token_is(t, words[i].word))
            return (enum query_op)words[i].op;
    return QUERY_OP_TRUE;
}

bool query_is_operator(const struct query_token *t)
{
    return operator_of(t) != QUERY_OP_TRUE ||
           (query_token_is(t, "not") && query_token_is(t + 1, "in"));
}

/* Whether values of this form take the operator; the rest is for texts. */
static bool takes(enum form form, enum query_op op, bool *text)
{
    bool has_text = form == FORM_TEXT || form == FORM_ANY || form == FORM_ADDR ||
                    form == FORM_MAC || form == FORM_COUNTRY;
    *text = false;
    if (op == QUERY_OP_EQ || op == QUERY_OP_NE)
        return true;
    if (op == QUERY_OP_CONTAINS || op == QUERY_OP_REGEX) {
        *text = true;
        return has_text;
    }
    if (op == QUERY_OP_BITS)
        return form == FORM_UNSIGNED || form == FORM_ANY;
    return is_number(form) || form == FORM_REAL || form == FORM_ANY;
}

weir_status query_condition(struct query_parser *p, const struct query_subject *s,
                            struct query_expr **out)
{
    CLEANUP(values_done) struct values v = {.form = form_of(&s->fields[0])};
    struct query_expr *items[QUERY_MOST_REFS];
    void *regex = NULL;
    const struct query_token *t = p->t;
    enum query_op op = operator_of(t);
    bool negative = op == QUERY_OP_NE || t->kind == QUERY_T_NO_MATCH, list = false, text;
    if (query_token_is(t, "not") && query_token_is(t + 1, "in")) {
        op = QUERY_OP_IN;
        negative = true;
        p->t++;
    }
    bool written = op != QUERY_OP_TRUE;
    if (written)
        p->t++;
    else
        op = QUERY_OP_EQ;
    if (op == QUERY_OP_PRESENT) {
        for (size_t i = 0; i < s->n; i++)
            items[i] = query_expr_on(p, QUERY_OP_PRESENT, &s->fields[i]);
        *out = query_expr_join(p, QUERY_OP_OR, items, s->n);
        return *out ? WEIR_OK : query_no_memory(p);
    }
    if (op == QUERY_OP_IN) {
        list = true;
        op = negative ? QUERY_OP_NE : QUERY_OP_EQ;
    }
    if (!takes(v.form, op, &text))
        return query_wrong(p, WEIR_EFORMAT, t, 1,
                           text ? "=, !=, <, <=, >, >=, in [ ], present"
                                : "=, !=, in [ ], present, for texts contains, ~, !~",
                           "%s does not take this operator", s->fields[0].name);
    if (written && !list && !text && !s->part && query_token_is(p->t, "field") &&
        is_value(p->t + 1))
        return other_field(p, s, op, out);
    if (op == QUERY_OP_REGEX) {
        WEIR_TRY(pattern_value(p, s, &v, &regex));
        v.form = FORM_TEXT;
    } else if (list) {
        WEIR_TRY(list_values(p, s, &v));
    } else {
        const struct query_token *value = p->t;
        if (!is_value(value))
            return query_expected(p, value, expected_of(s, v.form, false));
        if (text)
            v.form = FORM_TEXT;
        else if (v.form == FORM_ANY)
            v.form = looks_like(value, false);
        bool numbers = is_number(v.form) || v.form == FORM_REAL;
        if (op != QUERY_OP_EQ && op != QUERY_OP_NE && !text &&
            (!numbers || (op == QUERY_OP_BITS && v.form != FORM_UNSIGNED)))
            return query_expected(p, value, "a number");
        p->t++;
        WEIR_TRY(one_value(p, s, value, false, &v));
        /* "flags SA": all of these, whatever else is set. */
        if (!written && s->fields[0].what == QUERY_F_COLUMN && s->fields[0].id == FLOW_tcp_flags &&
            query_flags_number(query_token_word(value)) >= 0)
            op = QUERY_OP_BITS;
    }
    if (v.form == FORM_TEXT && op != QUERY_OP_REGEX && query_token_is(p->t, "nocase")) {
        v.ignore_case = true;
        p->t++;
    }
    if (v.form == FORM_TEXT || v.form == FORM_MAC || v.form == FORM_COUNTRY ||
        v.form == FORM_OCTETS)
        op = op == QUERY_OP_EQ ? QUERY_OP_TEXT : op;
    if (v.form == FORM_SIGNED && s->fields[0].what == QUERY_F_EXTRA) { /* "-0" */
        v.form = FORM_UNSIGNED;
        for (size_t i = 0; i < v.n_ranges; i++)
            if ((int64_t)v.ranges[i].low < 0)
                v.form = FORM_SIGNED;
    }
    for (size_t i = 0; i < s->n; i++) {
        struct query_field f = s->fields[i];
        if (f.what == QUERY_F_EXTRA)
            f.kind = kind_of_form(v.form);
        if (s->part)
            items[i] = engine(p, s, op, &v);
        else if (is_number(v.form) || v.form == FORM_BOOL)
            items[i] = number_condition(p, &f, op, s, &v);
        else if (v.form == FORM_REAL)
            items[i] = real_condition(p, &f, op, &v);
        else
            items[i] = text_condition(p, &f, op, &v, regex);
        if (items[i] && t->kind == QUERY_T_NO_MATCH)
            items[i] = and_present(p, &f, items[i]);
    }
    /* "port != 80": no port is 80. */
    *out = query_expr_join(p, negative ? QUERY_OP_AND : QUERY_OP_OR, items, s->n);
    if (!*out)
        return query_no_memory(p);
    if (p->n_conditions > QUERY_MAX_CONDITIONS)
        return query_wrong(p, WEIR_ELIMIT, t, 1, "lists: ip in [ ... ]",
                           "the filter has more than %d conditions", (int)QUERY_MAX_CONDITIONS);
    return WEIR_OK;
}
