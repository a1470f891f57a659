#include "query/filter.h"

#include "base/buf.h"
#include "base/text.h"
#include "query/words.h"

#include <arpa/inet.h>
#include <string.h>

/* ---- the same ---- */

static bool same_texts(const struct query_expr *a, const struct query_expr *b)
{
    if (a->n_texts != b->n_texts || a->ignore_case != b->ignore_case)
        return false;
    for (size_t i = 0; i < a->n_texts; i++)
        if (a->texts[i].len != b->texts[i].len ||
            memcmp(a->texts[i].data, b->texts[i].data, a->texts[i].len) != 0)
            return false;
    return true;
}

bool query_expr_same(const struct query_expr *a, const struct query_expr *b)
{
    if (a->op != b->op)
        return false;
    if (a->op == QUERY_OP_TRUE || a->op == QUERY_OP_FALSE)
        return true;
    if (a->op == QUERY_OP_AND || a->op == QUERY_OP_OR || a->op == QUERY_OP_NOT) {
        if (a->n_items != b->n_items)
            return false;
        for (size_t i = 0; i < a->n_items; i++)
            if (!query_expr_same(a->items[i], b->items[i]))
                return false;
        return true;
    }
    if (!query_field_same(&a->field, &b->field) || a->field.kind != b->field.kind)
        return false;
    if (a->op == QUERY_OP_SAME || a->op == QUERY_OP_NOT_BELOW || a->op == QUERY_OP_NOT_ABOVE)
        return query_field_same(&a->other, &b->other);
    if (a->number != b->number || a->n_numbers != b->n_numbers || a->n_prefixes != b->n_prefixes)
        return false;
    for (size_t i = 0; i < a->n_numbers; i++)
        if (a->numbers[i].low != b->numbers[i].low || a->numbers[i].high != b->numbers[i].high)
            return false;
    for (size_t i = 0; i < a->n_prefixes; i++)
        if (a->prefixes[i].family != b->prefixes[i].family ||
            a->prefixes[i].bits != b->prefixes[i].bits ||
            memcmp(a->prefixes[i].addr, b->prefixes[i].addr, 16) != 0)
            return false;
    return same_texts(a, b);
}

/* ---- as text ---- */

static void put_text(base_buf *out, const char *text, size_t len)
{
    char quote = memchr(text, '"', len) ? '\'' : '"'; /* one text never has both */
    base_buf_char(out, quote);
    base_buf_add(out, text, len);
    base_buf_char(out, quote);
}

/* Whether the parser takes the word for a column of its own accord. */
static bool is_plain(const char *name)
{
    struct query_word w = {name, strlen(name)};
    struct query_field f;
    struct query_phrase phrase;
    size_t used;
    bool net;
    static const char *const reserved[] = {"and", "or", "not"};
    if (!w.len || query_word_field(w, &f) || query_phrase_find(&w, 1, &phrase, &used, &net) || used)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (query_word_is(w, reserved[i]))
            return false;
    for (size_t i = 0; i < w.len; i++) {
        char c = name[i], lower = (char)(c | 0x20);
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && c != '_')
            return false;
    }
    return true;
}

/* Whether the name is a phrase that means something else: "vlan" is either side's, the column vlan only one. */
static bool is_taken(const struct query_field *f)
{
    struct query_word w = {f->name, strlen(f->name)};
    struct query_phrase phrase;
    size_t used;
    bool net;
    if (!query_phrase_find(&w, 1, &phrase, &used, &net))
        return false;
    struct query_field meant = query_ref_field(phrase.refs[0]);
    return phrase.act != QUERY_A_FIELDS || phrase.n_refs != 1 || !query_field_same(&meant, f);
}

static void put_field(base_buf *out, const struct query_field *f)
{
    static const char *const acl[] = {"acl", "ace", "xace"};
    if (f->what == QUERY_F_EXTRA ? !is_plain(f->name) : is_taken(f)) {
        put_text(out, f->name, strlen(f->name));
        return;
    }
    if (f->what == QUERY_F_DERIVED && f->id == QUERY_D_MPLS_LABEL)
        base_buf_printf(out, "mpls label%u", f->n);
    else if (f->what == QUERY_F_DERIVED && f->id == QUERY_D_MPLS_EXP_N)
        base_buf_printf(out, "mpls exp%u", f->n);
    else if (f->what == QUERY_F_DERIVED && f->n >= 1 && f->n <= 3 &&
             (f->id == QUERY_D_ACL_IN_ID || f->id == QUERY_D_ACL_OUT_ID))
        base_buf_printf(out, "%s %s", f->id == QUERY_D_ACL_IN_ID ? "ingress" : "egress",
                        acl[f->n - 1]);
    else
        base_buf_str(out, f->name);
}

static void put_number(base_buf *out, const struct query_field *f, uint64_t number)
{
    char text[BASE_TIME_TEXT + BASE_F64_TEXT];
    double real;
    switch ((enum query_kind)f->kind) {
    case QUERY_S64:
        base_buf_add(out, text, base_s64_text(text, (int64_t)number));
        return;
    case QUERY_TIME:
        base_buf_add(out, text, base_time_text(text, (int64_t)number * 1000, 6));
        return;
    case QUERY_F64:
        memcpy(&real, &number, sizeof real);
        base_buf_add(out, text, base_f64_text(text, real));
        return;
    case QUERY_BOOL:
        base_buf_str(out, number ? "true" : "false");
        return;
    case QUERY_U64:
    case QUERY_U64_LIST:
    case QUERY_TEXT:
    case QUERY_OCTETS:
    case QUERY_TEXT_LIST:
    case QUERY_UNKNOWN:
        break;
    }
    base_buf_add(out, text, base_u64_text(text, number));
}

static void put_prefix(base_buf *out, const struct query_prefix *x)
{
    char text[BASE_IPV6_TEXT];
    bool v4 = x->family == 4;
    base_buf_add(out, text, v4 ? base_ipv4_text(text, x->addr) : base_ipv6_text(text, x->addr));
    if (x->bits != (v4 ? 32 : 128))
        base_buf_printf(out, "/%u", x->bits);
}

static void put_texts(base_buf *out, const struct query_expr *e)
{
    bool list = e->n_texts > 1;
    base_buf_str(out, list ? " in [" : " = ");
    for (size_t i = 0; i < e->n_texts; i++) {
        const struct query_text *t = &e->texts[i];
        if (i)
            base_buf_str(out, ", ");
        if (e->field.kind == QUERY_OCTETS) {
            char *room = base_buf_room(out, 2 * (size_t)t->len + 2);
            if (!room)
                return;
            memcpy(room, "0x", 2);
            const void *octets = t->data;
            out->len += 2 + base_hex_text(room + 2, octets, t->len);
        } else {
            put_text(out, t->data, t->len);
        }
    }
    if (list)
        base_buf_char(out, ']');
}

static void put_condition(base_buf *out, const struct query_expr *e)
{
    static const char *const marks[] = {
        [QUERY_OP_EQ] = " = ",   [QUERY_OP_NE] = " != ",        [QUERY_OP_LT] = " < ",
        [QUERY_OP_LE] = " <= ",  [QUERY_OP_GT] = " > ",         [QUERY_OP_GE] = " >= ",
        [QUERY_OP_SAME] = " = ", [QUERY_OP_NOT_BELOW] = " >= ", [QUERY_OP_NOT_ABOVE] = " <= "};
    char flags[9];
    put_field(out, &e->field);
    switch (e->op) {
    case QUERY_OP_EQ:
    case QUERY_OP_NE:
    case QUERY_OP_LT:
    case QUERY_OP_LE:
    case QUERY_OP_GT:
    case QUERY_OP_GE:
        base_buf_str(out, marks[e->op]);
        put_number(out, &e->field, e->number);
        break;
    case QUERY_OP_IN:
        base_buf_str(out, " in [");
        for (size_t i = 0; i < e->n_numbers; i++) {
            if (i)
                base_buf_str(out, ", ");
            put_number(out, &e->field, e->numbers[i].low);
            if (e->numbers[i].low != e->numbers[i].high) {
                base_buf_str(out, e->field.kind == QUERY_TIME ? ".." : "-");
                put_number(out, &e->field, e->numbers[i].high);
            }
        }
        base_buf_char(out, ']');
        break;
    case QUERY_OP_BITS:
        base_buf_str(out, " has ");
        if (e->number && e->number < 256 && e->field.what == QUERY_F_COLUMN &&
            e->field.id == FLOW_tcp_flags) {
            query_flags_text((unsigned)e->number, flags);
            base_buf_str(out, flags);
        } else {
            put_number(out, &e->field, e->number);
        }
        break;
    case QUERY_OP_PREFIX:
        base_buf_str(out, e->n_prefixes > 1 ? " in [" : " = ");
        for (size_t i = 0; i < e->n_prefixes; i++) {
            if (i)
                base_buf_str(out, ", ");
            put_prefix(out, &e->prefixes[i]);
        }
        if (e->n_prefixes > 1)
            base_buf_char(out, ']');
        break;
    case QUERY_OP_TEXT:
        put_texts(out, e);
        break;
    case QUERY_OP_CONTAINS:
    case QUERY_OP_REGEX:
        base_buf_str(out, e->op == QUERY_OP_REGEX ? " ~ " : " contains ");
        put_text(out, e->texts[0].data, e->texts[0].len);
        break;
    case QUERY_OP_PRESENT:
        base_buf_str(out, " present");
        break;
    case QUERY_OP_SAME:
    case QUERY_OP_NOT_BELOW:
    case QUERY_OP_NOT_ABOVE:
        base_buf_printf(out, "%sfield ", marks[e->op]);
        if (e->other.what == QUERY_F_EXTRA)
            put_text(out, e->other.name, strlen(e->other.name));
        else
            base_buf_str(out, e->other.name);
        break;
    case QUERY_OP_TRUE:
    case QUERY_OP_FALSE:
    case QUERY_OP_AND:
    case QUERY_OP_OR:
    case QUERY_OP_NOT:
        break;
    }
    if (e->ignore_case)
        base_buf_str(out, " nocase");
}

void query_expr_print(const struct query_expr *e, base_buf *out)
{
    bool all = e->op == QUERY_OP_AND;
    switch (e->op) {
    case QUERY_OP_TRUE:
        base_buf_str(out, "any");
        return;
    case QUERY_OP_FALSE:
        base_buf_str(out, "not any");
        return;
    case QUERY_OP_NOT: {
        bool nested = e->items[0]->op == QUERY_OP_AND || e->items[0]->op == QUERY_OP_OR;
        base_buf_str(out, nested ? "not (" : "not ");
        query_expr_print(e->items[0], out);
        if (nested)
            base_buf_char(out, ')');
        return;
    }
    case QUERY_OP_AND:
    case QUERY_OP_OR:
        for (size_t i = 0; i < e->n_items; i++) {
            bool nested = all && e->items[i]->op == QUERY_OP_OR;
            if (i)
                base_buf_str(out, all ? " and " : " or ");
            if (nested)
                base_buf_char(out, '(');
            query_expr_print(e->items[i], out);
            if (nested)
                base_buf_char(out, ')');
        }
        return;
    case QUERY_OP_EQ:
    case QUERY_OP_NE:
    case QUERY_OP_LT:
    case QUERY_OP_LE:
    case QUERY_OP_GT:
    case QUERY_OP_GE:
    case QUERY_OP_IN:
    case QUERY_OP_BITS:
    case QUERY_OP_PREFIX:
    case QUERY_OP_TEXT:
    case QUERY_OP_CONTAINS:
    case QUERY_OP_REGEX:
    case QUERY_OP_PRESENT:
    case QUERY_OP_SAME:
    case QUERY_OP_NOT_BELOW:
    case QUERY_OP_NOT_ABOVE:
        put_condition(out, e);
        return;
    }
}

/* ---- for people ---- */

/* Columns of a terminal that text[n] takes: sequences of UTF-8 count one. */
static size_t columns(const char *text, size_t n)
{
    size_t c = 0;
    for (size_t i = 0; i < n; i++)
        c += ((unsigned char)text[i] & 0xc0) != 0x80;
    return c;
}

void query_error_print(const struct query_error *where, const weir_err *err, const char *what,
                       base_buf *out)
{
    enum { AROUND = 60 }; /* octets of a long line that are shown on each side */
    base_buf_str(out, what);
    base_buf_str(out, ": ");
    base_buf_str(out, err->msg);
    if (where->line > 1)
        base_buf_printf(out, " (line %u)", where->line);
    base_buf_char(out, '\n');
    if (where->text && *where->text) {
        size_t len = strlen(where->text), at = where->column < len ? where->column : len;
        size_t from = at > AROUND ? at - AROUND : 0, to = at + where->len;
        to = to > at + AROUND || to > len ? (at + AROUND < len ? at + AROUND : len) : to;
        size_t mark = to > at ? to - at : 1;
        to = to + AROUND < len ? to + AROUND : len;
        while (from && ((unsigned char)where->text[from] & 0xc0) == 0x80)
            from--;
        while (to < len && ((unsigned char)where->text[to] & 0xc0) == 0x80)
            to++;
        base_buf_str(out, from ? "  ..." : "  ");
        for (size_t i = from; i < to; i++) {
            unsigned char c = (unsigned char)where->text[i];
            base_buf_char(out, c == '\t' ? ' ' : c < 0x20 || c == 0x7f ? '?' : (char)c);
        }
        base_buf_str(out, to < len ? "...\n  " : "\n  ");
        for (size_t i = columns(where->text + from, at - from) + (from ? 3 : 0); i > 0; i--)
            base_buf_char(out, ' ');
        size_t carets = at < len ? columns(where->text + at, mark) : 1;
        base_buf_char(out, '^');
        for (size_t i = 1; i < carets; i++)
            base_buf_char(out, '~');
        base_buf_char(out, '\n');
    }
    if (where->expected[0])
        base_buf_printf(out, "  expected %s\n", where->expected);
}
