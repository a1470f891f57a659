#include "query/sql.h"

#include "base/text.h"
#include "query/group.h"
#include "query/plan.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- names and values ---- */

void query_sql_name(base_buf *b, const char *name)
{
    base_buf_char(b, '`');
    for (; *name; name++) {
        if (*name == '`' || *name == '\\')
            base_buf_char(b, '\\');
        base_buf_char(b, *name);
    }
    base_buf_char(b, '`');
}

static bool plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] > '~')
            return false;
    return true;
}

void query_sql_text(base_buf *b, const char *text, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    bool octets = !plain(text, len);
    base_buf_str(b, octets ? "unhex('" : "'");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (octets) {
            base_buf_char(b, digits[c >> 4]);
            base_buf_char(b, digits[c & 15]);
        } else {
            if (c == '\'' || c == '\\')
                base_buf_char(b, '\\');
            base_buf_char(b, (char)c);
        }
    }
    base_buf_str(b, octets ? "')" : "'");
}

/* ---- regular expressions ---- */

/* [...]: p is behind the '['; what is behind its ']', NULL: not the same in both. */
static const char *bracket(const char *p, const char *end, base_buf *out)
{
    base_buf_char(out, '[');
    if (p < end && *p == '^') {
        base_buf_char(out, '^');
        p++;
    }
    for (const char *begin = p; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == ']' && p > begin) {
            base_buf_char(out, ']');
            return p + 1;
        }
        if (c == '[' && p + 1 < end && (p[1] == ':' || p[1] == '.' || p[1] == '=')) {
            const char *close = p[1] == ':' ? memmem(p + 2, (size_t)(end - p - 2), ":]", 2) : NULL;
            if (!close)
                return NULL;
            base_buf_add(out, p, (size_t)(close + 2 - p));
            p = close + 1;
            continue;
        }
        if (c >= 128)
            return NULL; /* octets there, characters here */
        if (c == '[' || c == ']' || c == '\\' || c == '&' || c == '~' || (c == '^'))
            base_buf_char(out, '\\');
        base_buf_char(out, (char)c);
    }
    return NULL;
}

/* {m,n}: p is behind the '{'. RE2 takes no counts above 1000. */
static const char *counts(const char *p, const char *end, base_buf *out)
{
    unsigned long n[2] = {0};
    size_t digits = 0, k = 0;
    base_buf_char(out, '{');
    for (; p < end; p++) {
        base_buf_char(out, *p);
        if (*p == '}')
            return digits && n[0] <= 1000 && n[1] <= 1000 ? p + 1 : NULL;
        if (*p == ',' && !k && digits) {
            k = 1;
        } else if (*p >= '0' && *p <= '9' && digits < 12) {
            n[k] = n[k] * 10 + (unsigned long)(*p - '0');
            digits++;
        } else {
            return NULL;
        }
    }
    return NULL;
}

bool query_sql_regex(const char *posix, size_t len, base_buf *out)
{
    const char *p = posix, *end = posix + len;
    bool atom = false; /* something stands there that may be repeated */
    unsigned open = 0;
    base_buf_str(out, "(?s)");
    while (p < end) {
        char c = *p++;
        switch (c) {
        case '\\': /* \. and the like; what has a letter behind it is different in each dialect */
            if (p == end || !strchr(".[]{}()*+?|^$\\/-\"' ", *p))
                return false;
            base_buf_char(out, '\\');
            base_buf_char(out, *p++);
            atom = true;
            break;
        case '[':
            if (!(p = bracket(p, end, out)))
                return false;
            atom = true;
            break;
        case '(':
            base_buf_str(out, "(?:");
            open++;
            atom = false;
            break;
        case ')':
            if (open)
                open--;
            else
                base_buf_char(out, '\\'); /* POSIX: itself */
            base_buf_char(out, ')');
            atom = true;
            break;
        case '*':
        case '+':
        case '?':
            if (!atom)
                return false;
            base_buf_char(out, c);
            atom = false; /* a** and a*? are not what they are in RE2 */
            break;
        case '{':
            if (!atom || !(p = counts(p, end, out)))
                return false;
            atom = false;
            break;
        case '|':
        case '^':
            base_buf_char(out, c);
            atom = false;
            break;
        case '$':
            base_buf_str(out, "\\z");
            atom = false;
            break;
        default:
            if ((unsigned char)c >= 128)
                base_buf_printf(out, "%c", c);
            else if (strchr("}]", c))
                base_buf_printf(out, "\\%c", c);
            else
                base_buf_char(out, c);
            atom =
                (unsigned char)c < 128; /* a character of several octets would be repeated whole */
            break;
        }
    }
    return !open;
}

/* ---- expressions ---- */

enum form {
    NOTHING, /* null in all rows */
    UNSIGNED,
    SIGNED,
    REAL,
    TIME,    /* Int64 microseconds */
    TEXT,    /* and octets */
    SIXTEEN, /* an address as FixedString(16) */
    IPV6,    /* an address as IPv6 */
    NET,     /* an address in `text` and the length of its prefix in `bits` */
    NUMBERS,
    TEXTS
};

struct value {
    const char *text, *bits;
    const char *
        ticks; /* of TIME: the DateTime64(6) that text makes microseconds of, as the table has it; NULL: none */
    uint8_t form;
    bool ipv6; /* of NET: as IPV6 */
};

enum level {
    OF_TABLE, /* in the innermost SELECT: columns by their names */
    OF_ROWS,  /* of its rows: by the aliases that it gave them */
    OF_GROUPS
};

enum { MOST_BASES = 3000, MOST_PARTS = 1000, MOST_KEYS = 32 };

struct base {
    struct query_field field;
    struct value inner, outer;
};

/* A column that the SELECT with GROUP BY makes. */
struct part {
    const char *what, *alias;
};

struct sql {
    query_arena *arena;
    const struct query *q;
    const struct query_sql_table *t;
    const struct query_result *r;
    weir_err *err;
    weir_status failed; /* the first failure */
    const char *prefix; /* of aliases: no column of the table begins so */
    struct base *bases;
    size_t n_bases;
    bool arrival; /* file and row are wanted of the rows */
    struct part *parts;
    size_t n_parts;
    struct value keys[MOST_KEYS];
    size_t n_keys;
    const char *back,
        *swapped; /* of a merge: the first flow was of the other direction; ports put the sides right */
};

static const char *const ALL_ONES = "toUInt64(18446744073709551615)";

static const char *text(struct sql *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void out_of_memory(struct sql *s)
{
    if (s->failed == WEIR_OK)
        s->failed = weir_err_set(s->err, WEIR_ENOMEM, 0, "query: out of memory");
}

static const char *text(struct sql *s, const char *format, ...)
{
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int n = vsnprintf(NULL, 0, format, list);
    char *p = n >= 0 ? query_arena_alloc(s->arena, (size_t)n + 1) : NULL;
    if (p)
        (void)vsnprintf(p, (size_t)n + 1, format, again);
    else
        out_of_memory(s);
    va_end(list);
    va_end(again);
    return p ? p : "";
}

static const char *kept(struct sql *s, base_buf *b)
{
    const char *p = b->failed ? NULL : query_arena_text(s->arena, b->len ? b->data : "", b->len);
    if (!p)
        out_of_memory(s);
    base_buf_done(b);
    return p ? p : "";
}

static const char *quoted(struct sql *s, const char *p, size_t len)
{
    base_buf b = {0};
    query_sql_text(&b, p, len);
    return kept(s, &b);
}

static const char *name(struct sql *s, const char *p)
{
    base_buf b = {0};
    query_sql_name(&b, p);
    return kept(s, &b);
}

static void refuse(struct sql *s, const char *what, const char *why)
{
    if (s->failed == WEIR_OK)
        s->failed = weir_err_set(s->err, WEIR_ENOTFOUND, 0, "not available with --from: %.80s: %s",
                                 what, why);
}

static struct value nothing(void)
{
    return (struct value){.form = NOTHING, .text = "NULL"};
}

static struct value make(uint8_t form, const char *p)
{
    return (struct value){.form = form, .text = p};
}

static bool is_column(const struct query_field *f, enum flow_column_id id)
{
    return f->what == QUERY_F_COLUMN && f->id == (int)id;
}

static bool is_derived(const struct query_field *f, enum query_derived id)
{
    return f->what == QUERY_F_DERIVED && f->id == (int)id;
}

static bool is_counter(const struct query_field *f)
{
    return f->what == QUERY_F_COLUMN &&
           (f->id == FLOW_bytes || f->id == FLOW_packets || f->id == FLOW_bytes_out ||
            f->id == FLOW_packets_out || f->id == FLOW_bytes_rev || f->id == FLOW_packets_rev);
}

/* ---- columns of the table ---- */

static const struct query_sql_column *find_column(const struct sql *s, const char *p)
{
    for (size_t i = 0; i < s->t->n_columns; i++)
        if (strcmp(s->t->columns[i].name, p) == 0)
            return &s->t->columns[i];
    return NULL;
}

static bool is_time(const struct query_field *f)
{
    return f->what == QUERY_F_COLUMN && (flow_columns()[f->id].type == FLOW_TYPE_TIME ||
                                         flow_columns()[f->id].type == FLOW_TYPE_TIME_NS);
}

static bool is_address(const struct query_field *f)
{
    return f->what == QUERY_F_COLUMN && flow_columns()[f->id].type == FLOW_TYPE_ADDR &&
           !flow_columns()[f->id].list;
}

static bool is_list(const struct query_field *f)
{
    return f->what == QUERY_F_COLUMN && flow_columns()[f->id].list;
}

/* The rate that counters are multiplied by: NaN, 0, fractions and what is not there are none. */
static const char *rate(struct sql *s)
{
    const struct query_sql_column *c = find_column(s, "sampling_rate");
    if (!c || (c->form != QUERY_SQL_REAL && c->form != QUERY_SQL_UNSIGNED))
        return NULL;
    const char *x = "toFloat64(ifNull(`sampling_rate`, 1))";
    return text(s, "if(%s >= 1 AND %s < 18446744073709551616., %s, 1.)", x, x, x);
}

static const char *scaled(struct sql *s, const char *v)
{
    const char *r = rate(s);
    if (s->q->raw || !r)
        return text(s, "toUInt64(%s)", v);
    const char *n = text(s, "toUInt64(ifNull(%s, 0))", v), *w = text(s, "toUInt64(%s)", r),
               *f = text(s, "(toFloat64(%s) * %s + 0.5)", n, r);
    return text(
        s,
        "if(isNull(%s), NULL, if(toFloat64(%s) = %s, if(%s > intDiv(%s, %s), %s, %s * %s), "
        "if(%s >= 18446744073709549568., %s, toUInt64(if(%s >= 18446744073709549568., 0., %s)))))",
        v, w, r, n, ALL_ONES, w, ALL_ONES, n, w, f, ALL_ONES, f, f);
}

static struct value of_form(struct sql *s, const struct query_field *f, uint8_t form, const char *n)
{
    switch ((enum query_sql_form)form) {
    case QUERY_SQL_UNSIGNED:
    case QUERY_SQL_BOOL:
        return make(UNSIGNED, form == QUERY_SQL_BOOL ? text(s, "toUInt8(%s)", n) : n);
    case QUERY_SQL_SIGNED:
        return make(is_time(f) ? TIME : SIGNED, n);
    case QUERY_SQL_REAL:
        return make(REAL, text(s, "toFloat64(%s)", n));
    case QUERY_SQL_TEXT:
        return make(TEXT, n);
    case QUERY_SQL_SIXTEEN:
        return make(is_address(f) ? SIXTEEN : TEXT, n);
    case QUERY_SQL_IPV6:
        return make(IPV6, n);
    case QUERY_SQL_SECONDS:
        return make(TIME, text(s, "toInt64(toUInt32(%s)) * 1000000", n));
    case QUERY_SQL_TICKS:
        return (struct value){
            .form = TIME, .text = text(s, "toUnixTimestamp64Micro(%s)", n), .ticks = n};
    case QUERY_SQL_NUMBERS:
        return make(NUMBERS, n);
    case QUERY_SQL_TEXTS:
        return make(TEXTS, n);
    case QUERY_SQL_OTHER:
        break;
    }
    refuse(s, f->name, "the table has it in a type that cannot be used");
    return nothing();
}

/* A column in the innermost SELECT. */
static struct value table_column(struct sql *s, const struct query_field *f)
{
    const char *p = f->what == QUERY_F_COLUMN ? flow_columns()[f->id].name : f->name;
    const struct query_sql_column *c = find_column(s, p);
    /* Two names are those of where rows come from. */
    if (f->what == QUERY_F_EXTRA && (strcmp(p, "file") == 0 || strcmp(p, "row") == 0))
        c = find_column(s, p = text(s, "element_%s", p));
    if (!c)
        return nothing();
    struct value v = of_form(s, f, c->form, name(s, p));
    if (is_address(f) && v.form != SIXTEEN && v.form != IPV6 && v.form != NOTHING) {
        refuse(s, p, "the table has this address neither as IPv6 nor as FixedString(16)");
        return nothing();
    }
    if (is_counter(f) && v.form == UNSIGNED)
        v.text = scaled(s, v.text);
    return v;
}

/* The alias of a column in the rows of the innermost SELECT. */
static struct value row_column(struct sql *s, const struct query_field *f)
{
    for (size_t i = 0; i < s->n_bases; i++) {
        const struct query_field *known = &s->bases[i].field;
        if (f->what == QUERY_F_EXTRA ? known->what == f->what && strcmp(known->name, f->name) == 0
                                     : known->what == f->what && known->id == f->id)
            return s->bases[i].outer;
    }
    struct base b = {.field = *f, .inner = table_column(s, f)};
    if (b.inner.form == NOTHING)
        return b.inner;
    if (s->n_bases == MOST_BASES) {
        refuse(s, f->name, "so many columns at once");
        return nothing();
    }
    b.outer = b.inner;
    b.outer.ticks = NULL;
    b.outer.text = text(s, "%sc%zu", s->prefix, s->n_bases);
    s->bases[s->n_bases++] = b;
    return b.outer;
}

/* ---- derived fields ---- */

static struct value field(struct sql *s, const struct query_field *f, enum level level);

static struct value column(struct sql *s, enum flow_column_id id, enum level level)
{
    struct query_field f = query_field_column(id);
    return field(s, &f, level);
}

static struct value derived(struct sql *s, enum query_derived id, enum level level)
{
    struct query_field f = query_field_derived(id);
    return field(s, &f, level);
}

static const char *or_0(struct sql *s, struct value v)
{
    return v.form == NOTHING ? "toUInt64(0)" : text(s, "toUInt64(ifNull(%s, 0))", v.text);
}

static struct value duration(struct sql *s, enum level level)
{
    struct value f = column(s, FLOW_first, level), l = column(s, FLOW_last, level);
    if (f.form == NOTHING || l.form == NOTHING)
        return nothing();
    return make(UNSIGNED, text(s, "toUInt64(intDiv((%s - %s) * (%s > %s), 1000))", l.text, f.text,
                               l.text, f.text));
}

/* n * times / by, 0 when by is 0, all ones when it is too large: whole * times + part, where part is below times. */
static struct value per(struct sql *s, struct value n, uint64_t times, struct value by)
{
    const char *x = or_0(s, n), *d = or_0(s, by), *one = text(s, "greatest(%s, toUInt64(1))", d);
    const char *whole = text(s, "intDiv(%s, %s)", x, one);
    if (times == 1)
        return make(UNSIGNED, text(s, "if(%s = 0, toUInt64(0), %s)", d, whole));
    unsigned long long most = UINT64_MAX / times, rest = UINT64_MAX % times;
    const char *part =
        text(s, "intDiv((%s %% %s) * toUInt64(%llu), %s)", x, one, (unsigned long long)times, one);
    return make(UNSIGNED, text(s,
                               "if(%s = 0, toUInt64(0), if(%s > toUInt64(%llu) OR (%s = "
                               "toUInt64(%llu) AND %s > %llu), %s, %s * toUInt64(%llu) + %s))",
                               d, whole, most, whole, most, part, rest, ALL_ONES, whole,
                               (unsigned long long)times, part));
}

static struct value first_of(struct sql *s, struct value a, struct value b)
{
    if (a.form == NOTHING || b.form == NOTHING)
        return make(UNSIGNED, or_0(s, a.form == NOTHING ? b : a));
    return make(UNSIGNED, text(s, "toUInt64(ifNull(%s, ifNull(%s, 0)))", a.text, b.text));
}

static struct value both(struct sql *s, struct value a, struct value b)
{
    const char *x = or_0(s, a), *y = or_0(s, b);
    return make(UNSIGNED, text(s, "if(%s + %s < %s, %s, %s + %s)", x, y, x, ALL_ONES, x, y));
}

/* An address as a constant of a value's form. */
static const char *address(struct sql *s, const uint8_t a[16], bool ipv6)
{
    char t[64];
    if (ipv6) {
        size_t n = base_ipv6_text(t, a);
        return text(s, "toIPv6('%.*s')", (int)n, t);
    }
    size_t n = base_hex_text(t, a, 16);
    return text(s, "toFixedString(unhex('%.*s'), 16)", (int)n, t);
}

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static const char *is_ipv4(struct sql *s, const char *x, bool ipv6)
{
    uint8_t low[16] = {0}, high[16];
    memcpy(low, mapped, sizeof mapped);
    memset(high, 0xff, sizeof high);
    memcpy(high, mapped, sizeof mapped);
    return text(s, "(%s >= %s AND %s <= %s)", x, address(s, low, ipv6), x, address(s, high, ipv6));
}

static struct value family(struct sql *s, enum level level)
{
    struct value sides[] = {column(s, FLOW_src_addr, level), column(s, FLOW_dst_addr, level)};
    const char *of[2] = {NULL, NULL};
    for (size_t i = 0; i < 2; i++)
        if (sides[i].form != NOTHING)
            of[i] =
                text(s, "toUInt64(6 - 2 * %s)", is_ipv4(s, sides[i].text, sides[i].form == IPV6));
    if (!of[0] && !of[1])
        return nothing();
    return make(UNSIGNED, of[0] && of[1] ? text(s, "ifNull(%s, %s)", of[0], of[1])
                          : of[0]        ? of[0]
                                         : of[1]);
}

static struct value net(struct sql *s, const struct query_field *f, bool src, enum level level)
{
    struct value a = column(s, src ? FLOW_src_addr : FLOW_dst_addr, level), mask = nothing();
    bool masked = f->bits4 == 255 || f->bits6 == 255;
    if (masked)
        mask = column(s, src ? FLOW_src_mask : FLOW_dst_mask, level);
    if (a.form == NOTHING || (masked && mask.form == NOTHING))
        return nothing();
    bool ipv6 = a.form == IPV6;
    const char *four = is_ipv4(s, a.text, ipv6), *bits[2];
    for (int i = 0; i < 2; i++) {
        unsigned all = i ? 128 : 32, n = i ? f->bits6 : f->bits4;
        bits[i] = n == 255 ? text(s, "if(%s > %u, %u, %s)", mask.text, all, all, mask.text)
                           : text(s, "%u", n > all ? all : n);
    }
    const char *there = masked ? text(s, "(isNotNull(%s) AND isNotNull(%s))", a.text, mask.text)
                               : text(s, "isNotNull(%s)", a.text);
    const char *length = text(s, "toUInt8(ifNull(if(%s, %s, %s), 0))", four, bits[0], bits[1]);
    const char *b = text(s, "toUInt8(%s + if(ifNull(%s, 0), 96, 0))", length, four);
    const char *cut;
    if (ipv6)
        cut = text(s, "tupleElement(IPv6CIDRToRange(ifNull(%s, toIPv6('::')), %s), 1)", a.text, b);
    else
        cut = text(
            s,
            "toFixedString(substring(concat(substring(ifNull(%s, toFixedString('', 16)), 1, "
            "intDiv(%s, 8)), unhex(hex(toUInt8(bitAnd(reinterpretAsUInt8(substring(concat("
            "substring(ifNull(%s, toFixedString('', 16)), 1, 16), 'x'), intDiv(%s, 8) + 1, 1)), "
            "256 - bitShiftLeft(toUInt16(1), 8 - %s %% 8))))), unhex('"
            "00000000000000000000000000000000')), 1, 16), 16)",
            a.text, b, a.text, b, b);
    return (struct value){.form = NET,
                          .ipv6 = ipv6,
                          .text = text(s, "if(%s, %s, NULL)", there, cut),
                          .bits = text(s, "if(%s, %s, NULL)", there, length)};
}

static struct value derive(struct sql *s, const struct query_field *f, enum level level)
{
    switch ((enum query_derived)f->id) {
    case QUERY_D_DURATION:
        return duration(s, level);
    case QUERY_D_PPS:
        return per(s, column(s, FLOW_packets, level), 1000, derived(s, QUERY_D_DURATION, level));
    case QUERY_D_BPS:
        return per(s, column(s, FLOW_bytes, level), 8000, derived(s, QUERY_D_DURATION, level));
    case QUERY_D_BPP:
        return per(s, column(s, FLOW_bytes, level), 1, column(s, FLOW_packets, level));
    case QUERY_D_OUT_BYTES:
        return first_of(s, column(s, FLOW_bytes_rev, level), column(s, FLOW_bytes_out, level));
    case QUERY_D_OUT_PACKETS:
        return first_of(s, column(s, FLOW_packets_rev, level), column(s, FLOW_packets_out, level));
    case QUERY_D_ALL_BYTES:
        return both(s, column(s, FLOW_bytes, level), derived(s, QUERY_D_OUT_BYTES, level));
    case QUERY_D_ALL_PACKETS:
        return both(s, column(s, FLOW_packets, level), derived(s, QUERY_D_OUT_PACKETS, level));
    case QUERY_D_OUT_PPS:
        return per(s, derived(s, QUERY_D_OUT_PACKETS, level), 1000,
                   derived(s, QUERY_D_DURATION, level));
    case QUERY_D_OUT_BPS:
        return per(s, derived(s, QUERY_D_OUT_BYTES, level), 8000,
                   derived(s, QUERY_D_DURATION, level));
    case QUERY_D_OUT_BPP:
        return per(s, derived(s, QUERY_D_OUT_BYTES, level), 1,
                   derived(s, QUERY_D_OUT_PACKETS, level));
    case QUERY_D_ALL_PPS:
        return per(s, derived(s, QUERY_D_ALL_PACKETS, level), 1000,
                   derived(s, QUERY_D_DURATION, level));
    case QUERY_D_ALL_BPS:
        return per(s, derived(s, QUERY_D_ALL_BYTES, level), 8000,
                   derived(s, QUERY_D_DURATION, level));
    case QUERY_D_ALL_BPP:
        return per(s, derived(s, QUERY_D_ALL_BYTES, level), 1,
                   derived(s, QUERY_D_ALL_PACKETS, level));
    case QUERY_D_N_FLOWS: {
        struct value v = column(s, FLOW_flows, level);
        return make(UNSIGNED,
                    v.form == NOTHING ? "toUInt64(1)" : text(s, "toUInt64(ifNull(%s, 1))", v.text));
    }
    case QUERY_D_SRC_NET:
    case QUERY_D_DST_NET:
        return net(s, f, f->id == QUERY_D_SRC_NET, level);
    case QUERY_D_IP_FAMILY:
        return family(s, level);
    case QUERY_D_TIME_BUCKET: {
        struct value v = column(s, FLOW_first, level);
        long long span = f->span_us > 0 ? f->span_us : 1;
        if (v.form == NOTHING)
            return v;
        return make(TIME, text(s, "%s - (%s %% toInt64(%lld) + toInt64(%lld)) %% toInt64(%lld)",
                               v.text, v.text, span, span, span));
    }
    case QUERY_D_MPLS_LABEL:
    case QUERY_D_MPLS_EXP_N: {
        struct value v =
            column(s, f->id == QUERY_D_MPLS_LABEL ? FLOW_mpls_labels : FLOW_mpls_exp, level);
        if (v.form != NUMBERS || !f->n)
            return nothing();
        return make(UNSIGNED, text(s, "if(length(%s) >= %u, toUInt64(%s[%u]), NULL)", v.text,
                                   (unsigned)f->n, v.text, (unsigned)f->n));
    }
    case QUERY_D_ACL_IN_ID:
    case QUERY_D_ACL_OUT_ID: {
        struct value v = column(s, f->id == QUERY_D_ACL_IN_ID ? FLOW_acl_in : FLOW_acl_out, level);
        if (v.form != TEXT || !f->n)
            return nothing();
        return make(
            UNSIGNED,
            text(s,
                 "if(length(%s) >= %llu, toUInt64(reinterpretAsUInt32(reverse(substring(%s, "
                 "%llu, 4)))), NULL)",
                 v.text, 4ULL * f->n, v.text, 4ULL * f->n - 3));
    }
    case QUERY_D_SRC_AS_NUMBER:
        return column(s, FLOW_src_as, level);
    case QUERY_D_DST_AS_NUMBER:
        return column(s, FLOW_dst_as, level);
    case QUERY_D_SRC_COUNTRY:
    case QUERY_D_DST_COUNTRY:
    case QUERY_D_SRC_CITY:
    case QUERY_D_DST_CITY:
    case QUERY_D_SRC_AS_ORG:
    case QUERY_D_DST_AS_ORG:
        return nothing(); /* as without --geo */
    case QUERY_D_COUNT:
        refuse(s, "count", "rows of the table have no number");
        return nothing();
    case QUERY_N_DERIVED:
        break;
    }
    return nothing();
}

/* ---- groups ---- */

static const char *part(struct sql *s, const char *what)
{
    for (size_t i = 0; i < s->n_parts; i++)
        if (strcmp(s->parts[i].what, what) == 0)
            return s->parts[i].alias;
    if (s->n_parts == MOST_PARTS) {
        refuse(s, "this result", "so many fields of groups at once");
        return "NULL";
    }
    struct part *p = &s->parts[s->n_parts++];
    p->what = what;
    p->alias = text(s, "%sg%zu", s->prefix, s->n_parts);
    return p->alias;
}

/* As many as fit: a sum that would wrap is all ones. x: UInt64, whose halves are added apart: neither sum wraps below 2^32 rows. */
static const char *sum_of(struct sql *s, const char *x)
{
    return text(s,
                "if(sum(bitShiftRight(%s, 32)) + bitShiftRight(sum(bitAnd(%s, 4294967295)), 32) > "
                "4294967295, %s, sum(%s))",
                x, x, ALL_ONES, x);
}

static bool is_sum(const struct query_field *f)
{
    return is_counter(f) || is_column(f, FLOW_flows) || is_derived(f, QUERY_D_OUT_BYTES) ||
           is_derived(f, QUERY_D_OUT_PACKETS) || is_derived(f, QUERY_D_N_FLOWS);
}

static const char *of_first(struct sql *s, const char *x)
{
    if (!s->t->ordered) {
        refuse(s, "a field of a group's first flow",
               "the table has no columns file and row, and so no order");
        return x;
    }
    s->arrival = true;
    return part(s, text(s, "tupleElement(argMin(tuple(%s), tuple(%sfile, %srow)), 1)", x, s->prefix,
                        s->prefix));
}

/* Of a merge: what flows of one direction say of a field, and those of the other of its twin. */
static struct value of_both(struct sql *s, const struct query_field *f)
{
    bool octets = is_column(f, FLOW_bytes) || is_derived(f, QUERY_D_OUT_BYTES);
    enum flow_column_id own = octets ? FLOW_bytes : FLOW_packets;
    enum query_derived out = octets ? QUERY_D_OUT_BYTES : QUERY_D_OUT_PACKETS;
    const char *x = or_0(s, field(s, f, OF_ROWS)),
               *twin = or_0(s, f->what == QUERY_F_COLUMN ? derived(s, out, OF_ROWS)
                                                         : column(s, own, OF_ROWS)),
               *sums[4];
    for (int i = 0; i < 4; i++)
        sums[i] = part(s, sum_of(s, text(s, "if(%sdir = %d, %s, toUInt64(0))", s->prefix, i & 1,
                                         i < 2 ? x : twin)));
    return both(s, make(UNSIGNED, text(s, "if(%s, %s, %s)", s->back, sums[1], sums[0])),
                make(UNSIGNED, text(s, "if(%s, %s, %s)", s->back, sums[2], sums[3])));
}

static struct value group_field(struct sql *s, const struct query_field *f)
{
    const struct query_result *r = s->r;
    for (size_t i = 0; i < r->n_keys; i++)
        if (query_field_same(&r->keys[i], f))
            return s->keys[r->either ? 0 : i];
    for (size_t i = 0; r->either && i < r->n_also; i++)
        if (query_field_same(&r->also[i], f))
            return s->keys[1 + i];
    if (is_derived(f, QUERY_D_COUNT))
        return make(UNSIGNED, part(s, "count()"));
    if (s->back && (is_column(f, FLOW_bytes) || is_column(f, FLOW_packets) ||
                    is_derived(f, QUERY_D_OUT_BYTES) || is_derived(f, QUERY_D_OUT_PACKETS)))
        return of_both(s, f);
    if (is_sum(f)) {
        struct value v = field(s, f, OF_ROWS);
        return make(UNSIGNED, part(s, sum_of(s, or_0(s, v))));
    }
    if (is_column(f, FLOW_first) || is_column(f, FLOW_last)) {
        struct value v = field(s, f, OF_ROWS);
        if (v.form != NOTHING)
            v.text = part(s, text(s, "%s(%s)", f->id == FLOW_first ? "min" : "max", v.text));
        return v;
    }
    if (is_column(f, FLOW_tcp_flags)) {
        struct value v = field(s, f, OF_ROWS);
        return make(UNSIGNED, part(s, text(s, "groupBitOr(%s)", or_0(s, v))));
    }
    if (query_group_of_sums(f))
        return derive(s, f, OF_GROUPS);
    struct value v = field(s, f, OF_ROWS);
    if (v.form == NOTHING)
        return v;
    v.text = of_first(s, v.text);
    if (v.form == NET)
        v.bits = of_first(s, v.bits);
    int twin = s->swapped ? query_group_other_side(f) : -1;
    if (twin >= 0) {
        struct value other = column(s, (enum flow_column_id)twin, OF_ROWS);
        v.text = text(s, "if(%s, %s, %s)", s->swapped,
                      other.form == NOTHING ? "NULL" : of_first(s, other.text), v.text);
    }
    return v;
}

static struct value field(struct sql *s, const struct query_field *f, enum level level)
{
    if (level == OF_GROUPS)
        return group_field(s, f);
    if (f->what == QUERY_F_DERIVED)
        return derive(s, f, level);
    return level == OF_TABLE ? table_column(s, f) : row_column(s, f);
}

/* ---- conditions ---- */

static bool is_text_op(enum query_op op)
{
    return op == QUERY_OP_TEXT || op == QUERY_OP_CONTAINS || op == QUERY_OP_REGEX ||
           op == QUERY_OP_PREFIX;
}

static const char *real(struct sql *s, double v)
{
    char t[BASE_F64_TEXT];
    if (v - v != 0) {
        refuse(s, "a number", "it is not finite");
        return "0.";
    }
    return text(s, "toFloat64(%.*s)", (int)base_f64_text(t, v), t);
}

/* A number of a condition, as values of its field are compared with it. */
static const char *number(struct sql *s, const struct query_expr *e, uint64_t v, bool as_real)
{
    uint8_t kind = e->field.kind;
    bool sign = kind == QUERY_S64 || kind == QUERY_TIME;
    if (kind == QUERY_F64) {
        double d;
        memcpy(&d, &v, sizeof d);
        return real(s, d);
    }
    if (as_real)
        return real(s, sign ? (double)(int64_t)v : (double)v);
    return sign ? text(s, "toInt64(%lld)", (long long)(int64_t)v)
                : text(s, "%llu", (unsigned long long)v);
}

static const char *compare_op(enum query_op op)
{
    switch ((unsigned)op) {
    case QUERY_OP_NE:
        return "!=";
    case QUERY_OP_LT:
        return "<";
    case QUERY_OP_LE:
    case QUERY_OP_NOT_ABOVE:
        return "<=";
    case QUERY_OP_GT:
        return ">";
    case QUERY_OP_GE:
    case QUERY_OP_NOT_BELOW:
        return ">=";
    default:
        return "=";
    }
}

/* DateTime64 has more, but toStartOfFiveMinutes(received), by which tables are sorted, is right from 1970 to 2106 alone. */
static const int64_t LEAST_TICKS = 0, MOST_TICKS = INT64_C(4294967295000000);

/* A time against microseconds. What the table has as DateTime64 is compared as that, so that the server may use its indexes. */
static void time_test(const struct value *v, const char *op, int64_t us, base_buf *out)
{
    bool ticks = v->ticks && us >= LEAST_TICKS && us <= MOST_TICKS;
    base_buf_printf(
        out, ticks ? "%s %s fromUnixTimestamp64Micro(toInt64(%lld), 'UTC')" : "%s %s toInt64(%lld)",
        ticks ? v->ticks : v->text, op, (long long)us);
}

static void compare_number(struct sql *s, const struct query_expr *e, const struct value *v,
                           const char *x, const char *op, uint64_t n, bool as_real, base_buf *out)
{
    if (v->ticks && e->field.kind == QUERY_TIME)
        time_test(v, op, (int64_t)n, out);
    else
        base_buf_printf(out, "%s %s %s", x, op, number(s, e, n, as_real));
}

static void number_test(struct sql *s, const struct query_expr *e, const struct value *v,
                        uint8_t form, const char *x, base_buf *out)
{
    bool as_real = form == REAL || e->field.kind == QUERY_F64;
    if (as_real)
        x = text(s, "toFloat64(%s)", x);
    if (e->op == QUERY_OP_BITS) {
        if (as_real)
            refuse(s, e->field.name, "bits of what is no whole number");
        base_buf_printf(out, "bitAnd(%s, %llu) = %llu", x, (unsigned long long)e->number,
                        (unsigned long long)e->number);
        return;
    }
    if (e->op != QUERY_OP_IN) {
        uint64_t n = e->number;
        if (e->field.kind == QUERY_F64)
            memcpy(&n, &e->real, sizeof n);
        compare_number(s, e, v, x, compare_op(e->op), n, as_real, out);
        return;
    }
    const char *before = "";
    size_t n_single = 0;
    for (size_t i = 0; i < e->n_numbers; i++) {
        const struct query_range *r = &e->numbers[i];
        n_single += r->low == r->high;
        if (r->low == r->high)
            continue;
        base_buf_printf(out, "%s(", before);
        compare_number(s, e, v, x, ">=", r->low, as_real, out);
        base_buf_str(out, " AND ");
        compare_number(s, e, v, x, "<=", r->high, as_real, out);
        base_buf_char(out, ')');
        before = " OR ";
    }
    if (n_single) {
        base_buf_printf(out, "%s%s IN (", before, x);
        before = "";
        for (size_t i = 0; i < e->n_numbers; i++)
            if (e->numbers[i].low == e->numbers[i].high) {
                base_buf_printf(out, "%s%s", before, number(s, e, e->numbers[i].low, as_real));
                before = ", ";
            }
        base_buf_char(out, ')');
    } else if (!e->n_numbers) {
        base_buf_char(out, '0');
    }
}

static bool same_octets(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned n = bits / 8, rest = bits % 8;
    return !memcmp(a, b, n) && (!rest || !((a[n] ^ b[n]) >> (8 - rest)));
}

/* One prefix, as a range of 16 octets. IPv6 prefixes hold no IPv4 addresses, though these stand among them. */
static void prefix_test(struct sql *s, const struct query_prefix *p, bool ipv6, const char *x,
                        base_buf *out)
{
    uint8_t low[16], high[16];
    unsigned bits = p->family == 4 ? 96u + p->bits : p->bits;
    memcpy(low, p->family == 4 ? mapped : p->addr, sizeof mapped);
    memcpy(low + 12, p->family == 4 ? p->addr : p->addr + 12, 4);
    if (bits > 128)
        bits = 128;
    for (unsigned i = 0; i < 16; i++) {
        unsigned in = bits >= 8 * i + 8 ? 8 : bits > 8 * i ? bits - 8 * i : 0;
        high[i] = (uint8_t)(low[i] | (0xffu >> in));
    }
    bool among = p->family == 6 && bits >= 96 && !memcmp(low, mapped, sizeof mapped);
    bool around = p->family == 6 && bits < 96 && same_octets(low, mapped, bits);
    if (among)
        base_buf_char(out, '0'); /* the table has such addresses as IPv4 */
    else if (bits == 128)
        base_buf_printf(out, "%s = %s", x, address(s, low, ipv6));
    else
        base_buf_printf(out, "(%s >= %s AND %s <= %s%s%s)", x, address(s, low, ipv6), x,
                        address(s, high, ipv6), around ? " AND NOT " : "",
                        around ? is_ipv4(s, x, ipv6) : "");
}

/* 16 octets of canonical text; false: no text that an address has. */
static bool address_of(const char *p, size_t len, uint8_t out[16], unsigned *family_of)
{
    char t[INET6_ADDRSTRLEN + 1], again[BASE_IPV6_TEXT];
    if (len > INET6_ADDRSTRLEN)
        return false;
    memcpy(t, p, len);
    t[len] = 0;
    size_t n;
    if (inet_pton(AF_INET, t, out + 12) == 1) {
        memcpy(out, mapped, sizeof mapped);
        n = base_ipv4_text(again, out + 12);
        *family_of = 4;
    } else if (inet_pton(AF_INET6, t, out) == 1) {
        n = base_ipv6_text(again, out);
        *family_of = 6;
    } else {
        return false;
    }
    return n == len && !memcmp(again, t, n);
}

static void address_test(struct sql *s, const struct query_expr *e, bool ipv6, const char *x,
                         base_buf *out)
{
    const char *before = "";
    if (e->op == QUERY_OP_PREFIX) {
        for (size_t i = 0; i < e->n_prefixes; i++) {
            base_buf_str(out, before);
            prefix_test(s, &e->prefixes[i], ipv6, x, out);
            before = " OR ";
        }
        if (!e->n_prefixes)
            base_buf_char(out, '0');
        return;
    }
    if (e->op != QUERY_OP_TEXT) {
        refuse(s, e->field.name, "parts of an address' text; name a prefix");
        return;
    }
    base_buf_char(out, '0');
    for (size_t i = 0; i < e->n_texts; i++) {
        uint8_t a[16];
        unsigned f;
        char lower[INET6_ADDRSTRLEN];
        size_t len = e->texts[i].len;
        if (len > sizeof lower)
            continue;
        for (size_t k = 0; k < len; k++) {
            char c = e->texts[i].data[k];
            lower[k] = (char)(e->ignore_case && c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
        }
        if (address_of(lower, len, a, &f))
            base_buf_printf(out, " OR %s = %s", x, address(s, a, ipv6));
    }
}

static void net_test(struct sql *s, const struct query_expr *e, const struct value *v,
                     base_buf *out)
{
    if (e->op == QUERY_OP_PREFIX) { /* no such text is an address */
        base_buf_char(out, '0');
        return;
    }
    if (e->op != QUERY_OP_TEXT || e->ignore_case) {
        refuse(s, e->field.name, "parts of its text; write = and a prefix");
        return;
    }
    base_buf_char(out, '0');
    for (size_t i = 0; i < e->n_texts; i++) {
        const char *p = e->texts[i].data,
                   *slash = e->texts[i].len ? memchr(p, '/', e->texts[i].len) : NULL;
        uint8_t a[16];
        unsigned f, bits = 0;
        size_t digits = slash ? e->texts[i].len - (size_t)(slash + 1 - p) : 0;
        if (!slash || !digits || digits > 3 || !address_of(p, (size_t)(slash - p), a, &f) ||
            (slash[1] == '0' && digits > 1))
            continue;
        for (size_t k = 0; k < digits; k++)
            bits = slash[1 + k] >= '0' && slash[1 + k] <= '9'
                       ? bits * 10 + (unsigned)(slash[1 + k] - '0')
                       : 1000;
        if (bits <= (f == 4 ? 32 : 128))
            base_buf_printf(out, " OR (%s = %s AND %s = %u)", v->text, address(s, a, v->ipv6),
                            v->bits, bits);
    }
}

static void text_test(struct sql *s, const struct query_expr *e, const char *x, base_buf *out)
{
    const char *before = "";
    const struct query_text *t = e->texts;
    base_buf b = {0};
    switch ((unsigned)e->op) {
    case QUERY_OP_TEXT:
        if (!e->n_texts) {
            base_buf_char(out, '0');
            return;
        }
        base_buf_printf(out, e->ignore_case ? "lower(%s) IN (" : "%s IN (", x);
        for (size_t i = 0; i < e->n_texts; i++, before = ", ")
            base_buf_printf(out, e->ignore_case ? "%slower(%s)" : "%s%s", before,
                            quoted(s, t[i].data, t[i].len));
        base_buf_char(out, ')');
        return;
    case QUERY_OP_CONTAINS:
        if (!e->n_texts)
            base_buf_char(out, '0');
        else if (!t->len)
            base_buf_printf(out, "length(%s) >= 0", x);
        else
            base_buf_printf(out, "%s(%s, %s) > 0",
                            e->ignore_case ? "positionCaseInsensitive" : "position", x,
                            quoted(s, t->data, t->len));
        return;
    case QUERY_OP_REGEX:
        if (!query_sql_regex(t->data, t->len, &b))
            refuse(s, t->data, "this regular expression means something else there");
        base_buf_printf(out, "match(%s, %s%s%s)", x, e->ignore_case ? "concat('(?i)', " : "",
                        b.len ? quoted(s, b.data, b.len) : "''", e->ignore_case ? ")" : "");
        base_buf_done(&b);
        return;
    default: /* a prefix, of what is a text: only of single addresses this is a matter of the text */
        base_buf_printf(out, "%s IN (", x);
        for (size_t i = 0; i < e->n_prefixes; i++) {
            char a[BASE_IPV6_TEXT];
            const struct query_prefix *p = &e->prefixes[i];
            if (p->bits != (p->family == 4 ? 32 : 128))
                refuse(s, e->field.name, "prefixes of an address that the table has as text");
            size_t n = p->family == 4 ? base_ipv4_text(a, p->addr) : base_ipv6_text(a, p->addr);
            base_buf_printf(out, "%s'%.*s'", i ? ", " : "", (int)n, a);
        }
        base_buf_char(out, ')');
        return;
    }
}

/* The condition on one value, of a column or of a list; x: its SQL. */
static void value_test(struct sql *s, const struct query_expr *e, const struct value *v,
                       uint8_t form, const char *x, base_buf *out)
{
    bool of_text = is_text_op(e->op);
    switch ((enum form)form) {
    case UNSIGNED:
    case SIGNED:
    case REAL:
    case TIME:
        if (of_text && form == REAL)
            refuse(s, e->field.name, "a fraction compared with a text");
        if (of_text)
            text_test(s, e, text(s, "toString(%s)", x), out);
        else
            number_test(s, e, v, form, x, out);
        return;
    case TEXT:
        if (!of_text)
            refuse(s, e->field.name, "the table has it as text, which is compared with a number");
        else
            text_test(s, e, x, out);
        return;
    case SIXTEEN:
    case IPV6:
        if (!of_text)
            refuse(s, e->field.name, "an address compared with a number");
        else
            address_test(s, e, form == IPV6, x, out);
        return;
    case NET:
        if (!of_text)
            refuse(s, e->field.name, "a network compared with a number");
        else
            net_test(s, e, v, out);
        return;
    case NOTHING:
    case NUMBERS:
    case TEXTS:
        break;
    }
    base_buf_char(out, '0');
}

static void two_fields(struct sql *s, const struct query_expr *e, const struct value *a,
                       enum level level, base_buf *out)
{
    struct value b = field(s, &e->other, level);
    bool x_number = a->form <= TIME && a->form != NOTHING,
         y_number = b.form <= TIME && b.form != NOTHING;
    if (a->form == NOTHING || b.form == NOTHING || a->form >= NUMBERS || b.form >= NUMBERS ||
        x_number != y_number || (!x_number && e->op != QUERY_OP_SAME)) {
        base_buf_char(out, '0');
        return;
    }
    if (!x_number && a->form != b.form)
        refuse(s, e->field.name, "compared with a field of another type of the table");
    base_buf_printf(out, "%s %s %s", a->text, compare_op(e->op), b.text);
    if (a->form == NET)
        base_buf_printf(out, " AND %s = %s", a->bits, b.bits);
}

static void condition(struct sql *s, const struct query_expr *e, enum level level, bool negated,
                      base_buf *out)
{
    switch ((unsigned)e->op) {
    case QUERY_OP_TRUE:
    case QUERY_OP_FALSE:
        base_buf_char(out, e->op == QUERY_OP_TRUE ? '1' : '0');
        return;
    case QUERY_OP_NOT:
        base_buf_str(out, "NOT (");
        condition(s, e->items[0], level, true, out);
        base_buf_char(out, ')');
        return;
    case QUERY_OP_AND:
    case QUERY_OP_OR:
        if (!e->n_items)
            base_buf_char(out, e->op == QUERY_OP_AND ? '1' : '0');
        for (size_t i = 0; i < e->n_items; i++) {
            base_buf_str(out, !i ? "(" : e->op == QUERY_OP_AND ? " AND (" : " OR (");
            condition(s, e->items[i], level, negated, out);
            base_buf_char(out, ')');
        }
        return;
    default:
        break;
    }
    struct value v = field(s, &e->field, level);
    if (v.form == NOTHING) {
        base_buf_char(out, '0');
        return;
    }
    /* Null is false. Where nothing turns it around it already counts as that, and the server may use its indexes. */
    if (negated)
        base_buf_str(out, "ifNull(");
    bool list = v.form == NUMBERS || v.form == TEXTS;
    if (e->op == QUERY_OP_PRESENT) {
        base_buf_printf(out, list ? "notEmpty(%s)" : "isNotNull(%s)", v.text);
    } else if (e->op == QUERY_OP_SAME || e->op == QUERY_OP_NOT_BELOW ||
               e->op == QUERY_OP_NOT_ABOVE) {
        two_fields(s, e, &v, level, out);
    } else if (list) {
        base_buf_str(out, "arrayExists(x -> (");
        value_test(s, e, &v, v.form == NUMBERS ? UNSIGNED : TEXT, "x", out);
        base_buf_printf(out, "), %s)", v.text);
    } else {
        value_test(s, e, &v, v.form, v.text, out);
    }
    if (negated)
        base_buf_str(out, ", 0)");
}

/* ---- statements ---- */

static weir_status begin(struct sql *s, query_arena *a, const struct query *q,
                         const struct query_sql_table *t, const struct query_result *r,
                         weir_err *err)
{
    *s = (struct sql){.arena = a, .q = q, .t = t, .r = r, .err = err, .prefix = "w_"};
    s->bases = query_arena_alloc(a, MOST_BASES * sizeof *s->bases);
    s->parts = query_arena_alloc(a, MOST_PARTS * sizeof *s->parts);
    if (!s->bases || !s->parts)
        out_of_memory(s);
    for (size_t i = 0; i < t->n_columns; i++)
        if (strncmp(t->columns[i].name, s->prefix, strlen(s->prefix)) == 0) {
            s->prefix = text(s, "%sw_", s->prefix);
            i = (size_t)-1;
        }
    return s->failed;
}

/* The innermost SELECT: the columns that were asked for until now, of the rows that pass. */
static void rows(struct sql *s, base_buf *out)
{
    base_buf where = {0};
    const struct query *q = s->q;
    const char *before = "\nWHERE ";
    struct value last = column(s, FLOW_last, OF_TABLE), first = column(s, FLOW_first, OF_TABLE);
    if (q->from_us != INT64_MIN) {
        base_buf_str(&where, before);
        time_test(&last, ">=", q->from_us, &where);
        before = "\n  AND ";
    }
    if (q->to_us != INT64_MAX) {
        base_buf_str(&where, before);
        time_test(&first, "<=", q->to_us, &where);
        before = "\n  AND ";
    }
    if (q->filter && q->filter->op != QUERY_OP_TRUE) {
        base_buf_printf(&where, "%s(", before);
        condition(s, q->filter, OF_TABLE, false, &where);
        base_buf_char(&where, ')');
    }
    base_buf_str(out, "SELECT 1 AS ");
    base_buf_printf(out, "%sone", s->prefix);
    for (size_t i = 0; i < s->n_bases; i++)
        base_buf_printf(out, ", %s AS %s", s->bases[i].inner.text, s->bases[i].outer.text);
    bool order = q->stop_after != 0;
    if ((s->arrival || order) && s->t->ordered)
        base_buf_printf(out, ", `file` AS %sfile, `row` AS %srow", s->prefix, s->prefix);
    base_buf_str(out, "\nFROM ");
    query_sql_name(out, s->t->database);
    base_buf_char(out, '.');
    query_sql_name(out, s->t->name);
    if (where.failed)
        out_of_memory(s);
    else
        base_buf_add(out, where.data, where.len);
    base_buf_done(&where);
    if (order && !s->t->ordered)
        refuse(s, "-c", "the table has no columns file and row, and so no order");
    if (order)
        base_buf_printf(out, "\nORDER BY `file`, `row`\nLIMIT %llu",
                        (unsigned long long)q->stop_after);
}

/* A value as it comes out, whatever its type in the table. */
static void put_out(struct value v, uint8_t kind, struct query_sql_field *f, base_buf *out)
{
    static const struct {
        const char *type;
        uint8_t out, kind;
    } forms[] = {
        [UNSIGNED] = {"Nullable(UInt64)", QUERY_SQL_OUT_U64, QUERY_U64},
        [SIGNED] = {"Nullable(Int64)", QUERY_SQL_OUT_S64, QUERY_S64},
        [REAL] = {"Nullable(Float64)", QUERY_SQL_OUT_F64, QUERY_F64},
        [TIME] = {"Nullable(Int64)", QUERY_SQL_OUT_S64, QUERY_TIME},
        [TEXT] = {"Nullable(String)", QUERY_SQL_OUT_TEXT, QUERY_TEXT},
        [SIXTEEN] = {"Nullable(FixedString(16))", QUERY_SQL_OUT_ADDR, QUERY_TEXT},
        [IPV6] = {"Nullable(IPv6)", QUERY_SQL_OUT_ADDR, QUERY_TEXT},
        [NET] = {NULL, QUERY_SQL_OUT_NET, QUERY_TEXT},
        [NUMBERS] = {"Array(UInt64)", QUERY_SQL_OUT_NUMBERS, QUERY_U64_LIST},
        [TEXTS] = {"Array(String)", QUERY_SQL_OUT_TEXTS, QUERY_TEXT_LIST},
    };
    *f = (struct query_sql_field){.kind = QUERY_UNKNOWN};
    if (v.form == NOTHING)
        return;
    f->out = forms[v.form].out;
    f->kind = forms[v.form].kind;
    /* Truth values and octets travel as numbers and texts. */
    if ((kind == QUERY_BOOL && v.form == UNSIGNED) || (kind == QUERY_OCTETS && v.form == TEXT))
        f->kind = kind;
    if (v.form == NET)
        base_buf_printf(out, ",\n  CAST(%s AS Nullable(%s)), CAST(%s AS Nullable(UInt8))", v.text,
                        v.ipv6 ? "IPv6" : "FixedString(16)", v.bits);
    else
        base_buf_printf(out, ",\n  CAST(%s AS %s)", v.text, forms[v.form].type);
}

/* "ORDER BY" expressions of a field: what is null comes last, either way. */
static void order_by(struct sql *s, struct value v, bool descending, const char **before,
                     base_buf *out)
{
    const char *how = descending ? " DESC NULLS LAST" : " ASC NULLS LAST";
    switch ((enum form)v.form) {
    case NOTHING:
        return;
    case NUMBERS:
    case TEXTS:
        base_buf_printf(out, "%sempty(%s)", *before, v.text);
        break;
    case SIXTEEN:
    case IPV6:
    case NET: {
        bool ipv6 = v.form == IPV6 || (v.form == NET && v.ipv6);
        base_buf_printf(out, "%s6 - 2 * %s%s, %s%s", *before, is_ipv4(s, v.text, ipv6), how, v.text,
                        how);
        if (v.form == NET)
            base_buf_printf(out, ", toString(%s)%s", v.bits, how);
        break;
    }
    case UNSIGNED:
    case SIGNED:
    case REAL:
    case TIME:
    case TEXT:
        base_buf_printf(out, "%s%s%s", *before, v.text, how);
        break;
    }
    *before = ", ";
}

static void limit(const struct sql *s, base_buf *out)
{
    if (s->r->limit)
        base_buf_printf(out, "\nLIMIT %llu", (unsigned long long)s->r->limit);
}

static void records(struct sql *s, struct query_sql_field *fields, base_buf *out)
{
    const struct query_result *r = s->r;
    base_buf head = {0}, order = {0}, inner = {0};
    const char *before = "\nORDER BY ";
    for (size_t i = 0; i < r->n_fields; i++)
        put_out(field(s, &r->fields[i], OF_ROWS), r->fields[i].kind, &fields[i], &head);
    for (size_t i = 0; i < r->n_orders; i++)
        order_by(s, field(s, &r->orders[i].field, OF_ROWS), r->orders[i].descending, &before,
                 &order);
    if (s->t->ordered) {
        s->arrival = true;
        base_buf_printf(&order, "%s%sfile, %srow", before, s->prefix, s->prefix);
    }
    rows(s, &inner);
    base_buf_str(out, "SELECT toUInt8(1)");
    base_buf_add(out, head.data, head.len);
    base_buf_str(out, "\nFROM (\n");
    base_buf_add(out, inner.data, inner.len);
    base_buf_str(out, "\n)");
    base_buf_add(out, order.data, order.len);
    limit(s, out);
    if (head.failed || order.failed || inner.failed)
        out_of_memory(s);
    base_buf_done(&head);
    base_buf_done(&order);
    base_buf_done(&inner);
}

/* Keys that are alternatives: each row once for each different value, w_side says which of them. Returns the key. */
static struct value either(struct sql *s, base_buf *join)
{
    const struct query_result *r = s->r;
    struct value v[MOST_KEYS];
    size_t n = 0;
    for (size_t i = 0; i < r->n_keys && n < MOST_KEYS; i++) {
        struct value x = field(s, &r->keys[i], OF_ROWS);
        if (x.form != NOTHING)
            v[n++] = x;
        if (x.form == NET || x.form >= NUMBERS)
            refuse(s, r->keys[i].name, "networks and lists as alternatives");
        if (n > 1 && x.form != NOTHING && x.form != v[0].form)
            refuse(s, r->keys[i].name, "the table has its alternatives in different types");
    }
    if (!n)
        return nothing();
    base_buf_str(join, "\nARRAY JOIN [");
    for (size_t i = 0; i < n; i++)
        base_buf_printf(join, "%s%zu", i ? ", " : "", i);
    base_buf_printf(join, "] AS %sside\nWHERE (%sside = 0 AND (isNotNull(%s)", s->prefix, s->prefix,
                    v[0].text);
    if (n > 1)
        base_buf_str(join, " OR (");
    for (size_t i = 1; i < n; i++)
        base_buf_printf(join, "%sisNull(%s)", i > 1 ? " AND " : "", v[i].text);
    base_buf_str(join, n > 1 ? ")))" : " OR 1))");
    base_buf key = {0};
    base_buf_str(&key, n > 1 ? "multiIf(" : "");
    for (size_t i = 0; i < n; i++) {
        bool whole = v[i].form == UNSIGNED;
        if (i) {
            base_buf_printf(join, "\n  OR (%sside = %zu AND isNotNull(%s)", s->prefix, i,
                            v[i].text);
            for (size_t k = 0; k < i; k++)
                base_buf_printf(join, " AND NOT ifNull(%s = %s, 0)", v[k].text, v[i].text);
            base_buf_char(join, ')');
        }
        if (i + 1 < n)
            base_buf_printf(&key, "%sside = %zu, ", s->prefix, i);
        base_buf_printf(&key, whole ? "toUInt64(%s)%s" : "%s%s", v[i].text, i + 1 < n ? ", " : "");
    }
    base_buf_str(&key, n > 1 ? ")" : "");
    v[0].text = kept(s, &key);
    return v[0];
}

static void add_key(struct sql *s, struct value v, base_buf *head, base_buf *by)
{
    struct value *k = &s->keys[s->n_keys];
    *k = v;
    if (v.form != NOTHING) {
        k->text = text(s, "%sk%zu", s->prefix, s->n_keys);
        base_buf_printf(head, ", %s AS %s", v.text, k->text);
        base_buf_printf(by, "%s%s", by->len ? ", " : "", k->text);
        if (v.form == NET) {
            k->bits = text(s, "%sk%zub", s->prefix, s->n_keys);
            base_buf_printf(head, ", %s AS %s", v.bits, k->bits);
            base_buf_printf(by, ", %s", k->bits);
        }
    }
    s->n_keys++;
}

/* Keys of both directions of a connection: the lesser end first, dir says whether they changed places for it. What comes out has the sides of
 * the flow that came first. */
static void merged_keys(struct sql *s, base_buf *head, base_buf *by, base_buf *dir)
{
    static const enum flow_column_id ends[4] = {FLOW_src_addr, FLOW_dst_addr, FLOW_src_port,
                                                FLOW_dst_port};
    const struct query_result *r = s->r;
    struct value v[4], sorted[4];
    size_t at[4];
    for (size_t i = 0; i < 4; i++) {
        struct query_field f = query_field_column(ends[i]);
        for (at[i] = 0; at[i] < r->n_keys && !query_field_same(&r->keys[at[i]], &f); at[i]++)
            ;
        v[i] = field(s, &f, OF_ROWS);
        if (at[i] == r->n_keys || v[i].form == NOTHING || (i % 2 && v[i].form != v[i - 1].form)) {
            refuse(s, "-b and -B", "the table has not addresses and ports of both sides alike");
            return;
        }
    }
    const char *a = v[0].text, *b = v[1].text;
    const char *none = v[0].form == IPV6 ? "toIPv6('::')" : "toFixedString('', 16)";
    const char *x = text(s, "ifNull(%s, %s)", a, none), *y = text(s, "ifNull(%s, %s)", b, none);
    base_buf_printf(dir,
                    "toUInt8(isNull(%s) > isNull(%s) OR (isNull(%s) = isNull(%s) AND (%s > %s OR "
                    "(%s = %s AND ifNull(toInt64(%s), -1) > ifNull(toInt64(%s), -1)))))",
                    a, b, a, b, x, y, x, y, v[2].text, v[3].text);
    for (size_t i = 0; i < r->n_keys; i++) {
        struct value k = field(s, &r->keys[i], OF_ROWS);
        for (size_t e = 0; e < 4; e++)
            if (at[e] == i)
                k.text = text(s, "if(%sdir = 1, %s, %s)", s->prefix, v[e ^ 1].text, v[e].text);
        add_key(s, k, head, by);
    }
    s->back = of_first(s, text(s, "%sdir", s->prefix));
    struct query_field proto = query_field_column(FLOW_proto);
    if (r->merge == QUERY_MERGE_GUESS) {
        struct value p = nothing();
        for (size_t i = 0; i < r->n_keys; i++)
            if (query_field_same(&r->keys[i], &proto))
                p = s->keys[i];
        const char *k = s->keys[at[2]].text, *l = s->keys[at[3]].text;
        s->swapped = p.form == NOTHING ? "0"
                                       : text(s,
                                              "ifNull(%s IN (6, 17) AND if(%s, %s, %s) < 1024 AND "
                                              "if(%s, %s, %s) > 1024, 0)",
                                              p.text, s->back, l, k, s->back, k, l);
        s->back = text(s, "(%s != %s)", s->back, s->swapped);
    }
    for (size_t e = 0; e < 4; e++)
        sorted[e] = s->keys[at[e]];
    for (size_t e = 0; e < 4; e++)
        s->keys[at[e]].text =
            text(s, "if(%s, %s, %s)", s->back, sorted[e ^ 1].text, sorted[e].text);
}

static void groups(struct sql *s, struct query_sql_field *fields, base_buf *out)
{
    const struct query_result *r = s->r;
    base_buf keys = {0}, by = {0}, join = {0}, head = {0}, order = {0}, having = {0}, inner = {0},
             dir = {0};
    const char *before = "\nORDER BY ";
    size_t n = r->either ? 1 + r->n_also : r->n_keys;
    if (n > MOST_KEYS)
        refuse(s, "this result", "so many keys");
    if (s->failed == WEIR_OK && r->either) {
        add_key(s, either(s, &join), &keys, &by);
        for (size_t i = 0; i < r->n_also; i++)
            add_key(s, field(s, &r->also[i], OF_ROWS), &keys, &by);
    }
    bool merged = r->merge != QUERY_MERGE_NONE;
    if (s->failed == WEIR_OK && merged)
        merged_keys(s, &keys, &by, &dir);
    for (size_t i = 0; s->failed == WEIR_OK && !r->either && !merged && i < r->n_keys; i++) {
        struct value v = field(s, &r->keys[i], OF_ROWS);
        if (v.form >= NUMBERS || is_list(&r->keys[i]))
            s->failed = weir_err_set(s->err, WEIR_EINVAL, 0,
                                     "query: %s holds lists and cannot be a key of groups",
                                     r->keys[i].name);
        add_key(s, v, &keys, &by);
    }
    if (s->failed == WEIR_OK) {
        for (size_t i = 0; i < r->n_fields; i++) {
            struct query_field f = query_plan_result_field(r, i);
            put_out(field(s, &f, OF_GROUPS), f.kind, &fields[i], &head);
        }
        for (size_t i = 0; i < r->n_orders; i++)
            order_by(s, field(s, &r->orders[i].field, OF_GROUPS), r->orders[i].descending, &before,
                     &order);
        for (size_t i = 0; i < s->n_keys; i++)
            order_by(s, s->keys[i], false, &before, &order);
        if (r->having)
            condition(s, r->having, OF_GROUPS, false, &having);
        rows(s, &inner);
        base_buf_str(out, "SELECT toUInt8(1)");
        base_buf_add(out, head.data, head.len);
        base_buf_printf(out, "\nFROM (\nSELECT count() AS %sn", s->prefix);
        base_buf_add(out, keys.data, keys.len);
        for (size_t i = 0; i < s->n_parts; i++)
            base_buf_printf(out, ", %s AS %s", s->parts[i].what, s->parts[i].alias);
        base_buf_str(out, "\nFROM (\n");
        if (merged) {
            base_buf_str(out, "SELECT *, ");
            base_buf_add(out, dir.data, dir.len);
            base_buf_printf(out, " AS %sdir\nFROM (\n", s->prefix);
        }
        base_buf_add(out, inner.data, inner.len);
        base_buf_str(out, merged ? "\n)\n)" : "\n)");
        base_buf_add(out, join.data, join.len);
        if (by.len) {
            base_buf_str(out, "\nGROUP BY ");
            base_buf_add(out, by.data, by.len);
        }
        base_buf_printf(out, "\n)\nWHERE %sn > 0", s->prefix);
        if (r->having) {
            base_buf_str(out, " AND (");
            base_buf_add(out, having.data, having.len);
            base_buf_char(out, ')');
        }
        base_buf_add(out, order.data, order.len);
        limit(s, out);
    }
    base_buf *all[] = {&keys, &by, &join, &head, &order, &having, &inner, &dir};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i]->failed)
            out_of_memory(s);
        base_buf_done(all[i]);
    }
}

static weir_status end(struct sql *s, const base_buf *out)
{
    if (out->failed)
        out_of_memory(s);
    return s->failed;
}

weir_status query_sql_result(query_arena *a, const struct query *q, size_t result,
                             const struct query_sql_table *t, base_buf *out,
                             struct query_sql_field *fields, weir_err *err)
{
    struct sql s;
    const struct query_result *r = &q->results[result];
    WEIR_TRY(begin(&s, a, q, t, r, err));
    if (r->grouped)
        groups(&s, fields, out);
    else
        records(&s, fields, out);
    return end(&s, out);
}

weir_status query_sql_totals(query_arena *a, const struct query *q, const struct query_sql_table *t,
                             base_buf *out, weir_err *err)
{
    struct sql s;
    base_buf inner = {0};
    WEIR_TRY(begin(&s, a, q, t, NULL, err));
    struct value sums[] = {derived(&s, QUERY_D_N_FLOWS, OF_ROWS), column(&s, FLOW_packets, OF_ROWS),
                           column(&s, FLOW_bytes, OF_ROWS),
                           derived(&s, QUERY_D_OUT_PACKETS, OF_ROWS),
                           derived(&s, QUERY_D_OUT_BYTES, OF_ROWS)};
    struct value times[] = {column(&s, FLOW_first, OF_ROWS), column(&s, FLOW_last, OF_ROWS)};
    struct value known = column(&s, FLOW_sampling_rate, OF_ROWS);
    rows(&s, &inner);
    base_buf_str(out, "SELECT toUInt8(1), CAST((SELECT count() FROM ");
    query_sql_name(out, t->database);
    base_buf_char(out, '.');
    query_sql_name(out, t->name);
    base_buf_str(out, ") AS Nullable(UInt64)), CAST(count() AS Nullable(UInt64))");
    for (size_t i = 0; i < ARRAY_LEN(sums); i++)
        base_buf_printf(out, ",\n  CAST(%s AS Nullable(UInt64))", sum_of(&s, or_0(&s, sums[i])));
    if (q->raw)
        base_buf_str(out, ", CAST(0 AS Nullable(UInt64)), CAST(0 AS Nullable(UInt64))");
    else if (known.form == NOTHING)
        base_buf_str(out, ", CAST(0 AS Nullable(UInt64)), CAST(count() AS Nullable(UInt64))");
    else
        base_buf_printf(out,
                        ",\n  CAST(countIf(ifNull(%s, 1) > 1 AND ifNull(%s, 1) < "
                        "18446744073709551616.) AS Nullable(UInt64)), CAST(countIf(isNull(%s)) AS "
                        "Nullable(UInt64))",
                        known.text, known.text, known.text);
    for (size_t i = 0; i < 2; i++)
        base_buf_printf(
            out, ",\n  CAST(%s AS Nullable(Int64))",
            times[i].form == NOTHING ? "NULL" : text(&s, i ? "max(%s)" : "min(%s)", times[i].text));
    base_buf_str(out, "\nFROM (\n");
    base_buf_add(out, inner.data, inner.len);
    base_buf_str(out, "\n)");
    if (inner.failed)
        out_of_memory(&s);
    base_buf_done(&inner);
    return end(&s, out);
}

/* ---- how complete ---- */

/* Bounds of a time column, as its own type has them, so that the server may use its index. */
static void between(const struct query_sql_column *c, int64_t from_us, int64_t to_us, base_buf *out)
{
    const char *before = "\nWHERE ";
    const int64_t bounds[] = {from_us, to_us};
    for (int i = 0; i < 2; i++) {
        int64_t us = bounds[i];
        if (i ? us >= MOST_TICKS : us <= LEAST_TICKS)
            continue;
        us = us < LEAST_TICKS ? LEAST_TICKS : us > MOST_TICKS ? MOST_TICKS : us;
        base_buf_str(out, before);
        query_sql_name(out, c->name);
        base_buf_printf(out,
                        c->form == QUERY_SQL_TICKS
                            ? " %s fromUnixTimestamp64Micro(toInt64(%lld), 'UTC')"
                            : " %s toInt64(%lld)",
                        i ? "<=" : ">=", (long long)us);
        before = " AND ";
    }
}

static void from_table(const struct query_sql_table *t, base_buf *out)
{
    base_buf_str(out, "\nFROM ");
    query_sql_name(out, t->database);
    base_buf_char(out, '.');
    query_sql_name(out, t->name);
}

/* A time column that can be asked for: microseconds as a number or a DateTime64. */
static const struct query_sql_column *time_column(struct sql *s, const char *p)
{
    const struct query_sql_column *c = find_column(s, p);
    return c && (c->form == QUERY_SQL_TICKS || c->form == QUERY_SQL_SIGNED) ? c : NULL;
}

static const char *micros(const struct query_sql_column *c)
{
    return c->form == QUERY_SQL_TICKS ? "toUnixTimestamp64Micro" : "toInt64";
}

weir_status query_sql_files(query_arena *a, const struct query_sql_table *t, int64_t from_us,
                            int64_t to_us, base_buf *out, weir_err *err)
{
    struct sql s;
    WEIR_TRY(begin(&s, a, NULL, t, NULL, err));
    const struct query_sql_column *c = time_column(&s, "received");
    if (!c || !t->ordered)
        refuse(&s, "files", "the table does not say which file a row came from, and when");
    if (s.failed != WEIR_OK)
        return s.failed;
    base_buf_printf(
        out,
        "SELECT toUInt8(1), CAST(`file` AS Nullable(String)), "
        "CAST(min(%s(`received`)) AS Nullable(Int64)), "
        "CAST(max(%s(`received`)) AS Nullable(Int64)), CAST(count() AS Nullable(UInt64))",
        micros(c), micros(c));
    from_table(t, out);
    between(c, from_us, to_us, out);
    base_buf_str(out, "\nGROUP BY `file`");
    return end(&s, out);
}

weir_status query_sql_ledger(query_arena *a, const struct query_sql_table *t,
                             const enum flow_ledger_id *columns, size_t n, int64_t from_us,
                             int64_t to_us, base_buf *out, struct query_sql_field *fields,
                             weir_err *err)
{
    struct sql s;
    WEIR_TRY(begin(&s, a, NULL, t, NULL, err));
    const struct query_sql_column *minute = time_column(&s, "minute");
    if (!minute)
        refuse(&s, "the ledger", "its table has no times");
    base_buf_str(out, "SELECT toUInt8(1)");
    put_out(t->ordered ? make(TEXT, "`file`") : nothing(), QUERY_TEXT, &fields[0], out);
    for (size_t i = 0; i < n; i++) {
        const struct flow_column *x = &flow_ledger_columns()[columns[i]];
        const struct query_field f = {.what = QUERY_F_EXTRA, .id = -1, .name = x->name};
        struct value v = table_column(&s, &f);
        if (x->type == FLOW_TYPE_ADDR && v.form == TEXT)
            v.form = SIXTEEN;
        put_out(v, QUERY_UNKNOWN, &fields[1 + i], out);
    }
    if (s.failed != WEIR_OK)
        return s.failed;
    from_table(t, out);
    between(minute, from_us, to_us, out);
    base_buf_str(out, "\nORDER BY ");
    if (t->ordered) {
        /* "archive/20261122T210500Z-w0-000017": the archive, then the hour that the file is of, as archives are read. */
        static const char tail[] = "position(reverse(`file`), '/')";
        base_buf_printf(out,
                        "if(%s = 0, '', substring(`file`, 1, length(`file`) - %s)), "
                        "substring(`file`, if(%s = 0, 1, length(`file`) - %s + 2), 11), `minute`, "
                        "`file`, `row`",
                        tail, tail, tail, tail);
    } else {
        base_buf_str(out, "`minute`");
    }
    return end(&s, out);
}
