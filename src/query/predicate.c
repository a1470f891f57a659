#include "query/predicate.h"

#include "query/bits.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

static const uint64_t TOP = UINT64_C(1) << 63;

/* ---- one value ---- */

/* A condition on numbers of one kind, ready to be tested. */
struct matcher {
    bool real;             /* compare as doubles, by op */
    bool bits;             /* (v & mask) == mask */
    bool none;             /* nothing matches */
    uint64_t flip;         /* put on values before ranges are looked at: TOP for signed kinds */
    struct query_range *r; /* n of them, rising */
    struct query_range few[2];
    size_t n;
    uint64_t mask;
    uint8_t kind; /* of the values */
};

static bool is_signed(uint8_t kind)
{
    return kind == QUERY_S64 || kind == QUERY_TIME;
}

static double as_double(uint64_t v, uint8_t kind)
{
    double d;
    if (kind == QUERY_F64)
        memcpy(&d, &v, sizeof d);
    else
        d = is_signed(kind) ? (double)(int64_t)v : (double)v;
    return d;
}

/* The literal's bounds in the order of `kind`'s flipped values: false when the range is empty there. */
static bool to_domain(struct query_range *r, bool literal_signed, bool value_signed)
{
    if (literal_signed == value_signed) {
        if (value_signed) {
            r->low ^= TOP;
            r->high ^= TOP;
        }
        return r->low <= r->high;
    }
    if (value_signed) { /* unsigned literal */
        if (r->low > INT64_MAX)
            return false;
        r->low ^= TOP;
        r->high = (r->high > INT64_MAX ? (uint64_t)INT64_MAX : r->high) ^ TOP;
        return r->low <= r->high;
    }
    if ((int64_t)r->high < 0) /* signed literal, unsigned values */
        return false;
    if ((int64_t)r->low < 0)
        r->low = 0;
    return r->low <= r->high;
}

/* r: room for the ranges of QUERY_OP_IN. */
static void matcher_make(struct matcher *m, const struct query_expr *e, uint8_t kind,
                         struct query_range *r)
{
    *m = (struct matcher){.kind = kind, .r = m->few, .flip = is_signed(kind) ? TOP : 0};
    uint8_t literal = e->field.kind;
    if (literal == QUERY_F64 || kind == QUERY_F64) {
        m->real = true;
        return;
    }
    bool sign = is_signed(literal), sign_of_value = is_signed(kind);
    uint64_t lowest = sign ? TOP : 0, highest = sign ? (uint64_t)INT64_MAX : UINT64_MAX,
             v = e->number;
    switch (e->op) {
    case QUERY_OP_EQ:
        m->few[0] = (struct query_range){v, v};
        m->n = 1;
        break;
    case QUERY_OP_NE:
        if (v != lowest)
            m->few[m->n++] = (struct query_range){lowest, v - 1};
        if (v != highest)
            m->few[m->n++] = (struct query_range){v + 1, highest};
        /* A literal that no value can have is different from all of them. */
        if (sign != sign_of_value && (int64_t)v < 0) {
            m->few[0] = (struct query_range){0, UINT64_MAX};
            m->n = 1;
            return;
        }
        /* What lies beyond the literal's kind is different too. */
        if (!sign && sign_of_value) {
            m->few[0] = (struct query_range){0, v ? (v - 1) ^ TOP : INT64_MAX};
            m->few[1] = (struct query_range){(v + 1) ^ TOP, UINT64_MAX};
            m->n = v == INT64_MAX ? 1 : 2;
            return;
        }
        if (sign && !sign_of_value) {
            m->n = 0;
            if (v)
                m->few[m->n++] = (struct query_range){0, v - 1};
            m->few[m->n++] = (struct query_range){v + 1, UINT64_MAX};
            return;
        }
        break;
    case QUERY_OP_LT:
        if (v != lowest) {
            m->few[0] = (struct query_range){lowest, v - 1};
            m->n = 1;
        }
        break;
    case QUERY_OP_LE:
        m->few[0] = (struct query_range){lowest, v};
        m->n = 1;
        break;
    case QUERY_OP_GT:
        if (v != highest) {
            m->few[0] = (struct query_range){v + 1, highest};
            m->n = 1;
        }
        break;
    case QUERY_OP_GE:
        m->few[0] = (struct query_range){v, highest};
        m->n = 1;
        break;
    case QUERY_OP_IN:
        m->r = r;
        for (size_t i = 0; i < e->n_numbers; i++) {
            r[m->n] = e->numbers[i];
            m->n += to_domain(&r[m->n], sign, sign_of_value);
        }
        m->none = !m->n;
        return;
    case QUERY_OP_BITS:
        m->bits = true;
        m->mask = v;
        return;
    case QUERY_OP_TRUE:
    case QUERY_OP_FALSE:
    case QUERY_OP_AND:
    case QUERY_OP_OR:
    case QUERY_OP_NOT:
    case QUERY_OP_PREFIX:
    case QUERY_OP_TEXT:
    case QUERY_OP_CONTAINS:
    case QUERY_OP_REGEX:
    case QUERY_OP_PRESENT:
    case QUERY_OP_SAME:
    case QUERY_OP_NOT_BELOW:
    case QUERY_OP_NOT_ABOVE:
        m->none = true;
        return;
    }
    /* LT and LE on a signed literal reach below 0, GT and GE on an unsigned one above INT64_MAX: open ends stay open
     * in the values' kind. */
    bool open_low = e->op == QUERY_OP_LT || e->op == QUERY_OP_LE,
         open_high = e->op == QUERY_OP_GT || e->op == QUERY_OP_GE;
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        struct query_range x = m->few[i];
        bool above = sign != sign_of_value && !sign && x.low > INT64_MAX; /* of all signed values */
        bool below =
            sign != sign_of_value && sign && (int64_t)x.high < 0; /* of all unsigned ones */
        if (above || below || !to_domain(&x, sign, sign_of_value))
            continue;
        if (open_low)
            x.low = 0;
        if (open_high)
            x.high = UINT64_MAX;
        m->few[n++] = x;
    }
    m->n = n;
    m->none = !n;
}

static bool match_real(const struct query_expr *e, double x)
{
    uint8_t literal = e->field.kind;
    double v = literal == QUERY_F64 ? e->real : as_double(e->number, literal);
    switch ((unsigned)e->op) {
    case QUERY_OP_EQ:
        return x == v;
    case QUERY_OP_NE:
        return x != v;
    case QUERY_OP_LT:
        return x < v;
    case QUERY_OP_LE:
        return x <= v;
    case QUERY_OP_GT:
        return x > v;
    case QUERY_OP_GE:
        return x >= v;
    case QUERY_OP_IN:
        for (size_t i = 0; i < e->n_numbers; i++)
            if (x >= as_double(e->numbers[i].low, literal) &&
                x <= as_double(e->numbers[i].high, literal))
                return true;
        return false;
    case QUERY_OP_BITS:
        return x >= 0 && x < 18446744073709551616.0 && ((uint64_t)x & e->number) == e->number;
    default:
        return false;
    }
}

static bool in_ranges(const struct query_range *r, size_t n, uint64_t v)
{
    if (n <= 4) {
        for (size_t i = 0; i < n; i++)
            if (v - r[i].low <= r[i].high - r[i].low)
                return true;
        return false;
    }
    size_t from = 0, to = n; /* the first range that ends at or behind v */
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (r[mid].high < v)
            from = mid + 1;
        else
            to = mid;
    }
    return from < n && r[from].low <= v;
}

static bool match_number(const struct matcher *m, const struct query_expr *e, uint64_t v)
{
    if (m->real)
        return match_real(e, as_double(v, m->kind));
    if (m->bits)
        return (v & m->mask) == m->mask;
    return in_ranges(m->r, m->n, v ^ m->flip);
}

static bool same_text(const struct query_text *a, const struct query_text *b)
{
    return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

static int compare_texts(const struct query_text *a, const struct query_text *b)
{
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return memcmp(a->data, b->data, a->len);
}

static bool among_texts(const struct query_leaf *leaf, const struct query_text *t)
{
    if (!t->len) {
        for (size_t i = 0; i < leaf->n_texts; i++)
            if (!leaf->texts[i].len)
                return true;
        return false;
    }
    if (leaf->n_texts <= 4) {
        for (size_t i = 0; i < leaf->n_texts; i++)
            if (same_text(&leaf->texts[i], t))
                return true;
        return false;
    }
    size_t from = 0, to = leaf->n_texts;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int c = compare_texts(&leaf->texts[mid], t);
        if (!c)
            return true;
        if (c < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return false;
}

/* Dotted quad of t; false: it is something else. */
static bool ipv4_of(const struct query_text *t, uint8_t out[4])
{
    if (t->len < 7 || t->len > 15)
        return false;
    const char *p = t->data, *end = p + t->len;
    for (unsigned i = 0; i < 4; i++) {
        unsigned v = 0, digits = 0;
        for (; p < end && *p >= '0' && *p <= '9'; p++, digits++)
            v = v * 10 + (unsigned)(*p - '0');
        if (!digits || digits > 3 || v > 255)
            return false;
        out[i] = (uint8_t)v;
        if (i < 3 && (p == end || *p++ != '.'))
            return false;
    }
    return p == end;
}

static bool in_prefix(const struct query_prefix *x, const uint8_t *a)
{
    unsigned whole = x->bits / 8, rest = x->bits % 8;
    if (memcmp(a, x->addr, whole))
        return false;
    return !rest || !((a[whole] ^ x->addr[whole]) >> (8 - rest));
}

static bool match_prefix(const struct query_expr *e, const struct query_text *t)
{
    uint8_t a[16];
    uint8_t family = 4;
    if (!ipv4_of(t, a)) {
        char text[INET6_ADDRSTRLEN + 1];
        bool any6 = false;
        for (size_t i = 0; i < e->n_prefixes && !any6; i++)
            any6 = e->prefixes[i].family == 6;
        if (!any6 || !t->len || t->len > INET6_ADDRSTRLEN || !memchr(t->data, ':', t->len))
            return false;
        memcpy(text, t->data, t->len);
        text[t->len] = 0;
        if (inet_pton(AF_INET6, text, a) != 1)
            return false;
        family = 6;
    }
    for (size_t i = 0; i < e->n_prefixes; i++)
        if (e->prefixes[i].family == family && in_prefix(&e->prefixes[i], a))
            return true;
    return false;
}

static bool contains(const struct query_text *t, const struct query_text *what, bool ignore_case)
{
    if (!what->len)
        return true;
    if (!ignore_case)
        return memmem(t->data, t->len, what->data, what->len) != NULL;
    for (size_t i = 0; i + what->len <= t->len; i++)
        if (!strncasecmp(t->data + i, what->data, what->len))
            return true;
    return false;
}

/* regexec wants a NUL behind the text. */
static bool match_regex(const regex_t *regex, const struct query_text *t)
{
    char few[512], *text = t->len < sizeof few ? few : malloc((size_t)t->len + 1);
    if (!text)
        return false;
    if (t->len)
        memcpy(text, t->data, t->len);
    text[t->len] = 0;
    regmatch_t where = {.rm_so = 0, .rm_eo = (regoff_t)t->len};
    bool met = !regexec(regex, text, 0, &where, REG_STARTEND);
    if (text != few)
        free(text);
    return met;
}

static bool match_text(const struct query_leaf *leaf, const struct query_text *t)
{
    const struct query_expr *e = leaf->e;
    switch ((unsigned)e->op) {
    case QUERY_OP_TEXT:
        if (leaf->equal)
            return among_texts(leaf, t);
        for (size_t i = 0; i < e->n_texts; i++)
            if (e->texts[i].len == t->len &&
                (!t->len || !strncasecmp(e->texts[i].data, t->data, t->len)))
                return true;
        return false;
    case QUERY_OP_CONTAINS:
        return e->n_texts && contains(t, &e->texts[0], e->ignore_case);
    case QUERY_OP_PREFIX:
        return leaf->equal ? among_texts(leaf, t) : match_prefix(e, t);
    case QUERY_OP_REGEX:
        return e->regex && match_regex(e->regex, t);
    default:
        return false;
    }
}

static bool is_text_op(enum query_op op)
{
    return op == QUERY_OP_TEXT || op == QUERY_OP_CONTAINS || op == QUERY_OP_REGEX ||
           op == QUERY_OP_PREFIX;
}

/* A text where a number is asked for. */
static bool text_as_number(const struct query_text *t, const struct query_expr *e)
{
    char text[40], *end;
    if (!t->len || t->len >= sizeof text)
        return false;
    memcpy(text, t->data, t->len);
    text[t->len] = 0;
    double d = strtod(text, &end);
    return end != text && !*end && match_real(e, d);
}

static bool number_as_text(const struct query_leaf *leaf, uint64_t v, uint8_t kind)
{
    char text[BASE_F64_TEXT];
    struct query_text t = {.data = text};
    if (kind == QUERY_F64) {
        double d = as_double(v, kind);
        if (d - d != 0)
            return false;
        t.len = (uint32_t)base_f64_text(text, d);
    } else {
        t.len =
            (uint32_t)(is_signed(kind) ? base_s64_text(text, (int64_t)v) : base_u64_text(text, v));
    }
    return match_text(leaf, &t);
}

/* ---- values of rows, whatever they are ---- */

struct test {
    const struct query_leaf *leaf;
    struct matcher m;
    bool text_op;
};

static weir_status test_make(struct test *t, const struct query_leaf *leaf, uint8_t kind,
                             struct query_bump *memory, weir_err *err)
{
    uint8_t item = kind == QUERY_U64_LIST ? QUERY_U64 : kind;
    t->leaf = leaf;
    t->text_op = is_text_op(leaf->e->op);
    struct query_range *r = NULL;
    if (leaf->e->op == QUERY_OP_IN &&
        !(r = query_bump_array(memory, leaf->e->n_numbers + 1, sizeof *r)))
        return no_memory(err);
    matcher_make(&t->m, leaf->e, item, r);
    if (t->m.r != r)
        t->m.r = t->m.few;
    return WEIR_OK;
}

static bool test_slot(const struct test *t, const struct query_values *v, size_t slot)
{
    uint8_t kind = v->v.kind;
    if (query_is_text(kind) || kind == QUERY_TEXT_LIST) {
        const struct query_text *text = &v->v.dict[v->v.codes[slot]];
        return t->text_op ? match_text(t->leaf, text) : text_as_number(text, t->leaf->e);
    }
    if (t->text_op)
        return number_as_text(t->leaf, v->v.num[slot], t->m.kind);
    return match_number(&t->m, t->leaf->e, v->v.num[slot]);
}

static bool test_row(const struct test *t, const struct query_values *v, size_t i)
{
    if (query_is_null(v, i))
        return false;
    if (t->leaf->e->op == QUERY_OP_PRESENT)
        return true;
    if (!query_is_list(v->v.kind))
        return test_slot(t, v, v->constant ? 0 : i);
    for (uint32_t k = v->v.starts[i]; k < v->v.starts[i + 1]; k++)
        if (test_slot(t, v, k))
            return true;
    return false;
}

static bool compare_fields(const struct query_leaf *leaf, const struct query_values *a,
                           const struct query_values *b, size_t i)
{
    if (query_is_null(a, i) || query_is_null(b, i) || query_is_list(a->v.kind) ||
        query_is_list(b->v.kind))
        return false;
    bool text = query_is_text(a->v.kind);
    if (text != query_is_text(b->v.kind))
        return false;
    if (text) {
        const struct query_text *x = &a->v.dict[query_code(a, i)],
                                *y = &b->v.dict[query_code(b, i)];
        return leaf->e->op == QUERY_OP_SAME && x->len == y->len &&
               (!x->len || !memcmp(x->data, y->data, x->len));
    }
    uint64_t x = query_num(a, i), y = query_num(b, i);
    int order;
    if (a->v.kind == QUERY_F64 || b->v.kind == QUERY_F64) {
        double p = as_double(x, a->v.kind), q = as_double(y, b->v.kind);
        if (p != p || q != q)
            return false;
        order = p < q ? -1 : p > q;
    } else {
        bool x_below = is_signed(a->v.kind) && (int64_t)x < 0,
             y_below = is_signed(b->v.kind) && (int64_t)y < 0;
        order = x_below != y_below ? (x_below ? -1 : 1) : x < y ? -1 : x > y;
    }
    return leaf->e->op == QUERY_OP_SAME        ? order == 0
           : leaf->e->op == QUERY_OP_NOT_BELOW ? order >= 0
                                               : order <= 0;
}

bool query_value_meets(const struct query_expr *e, uint8_t kind, uint64_t num,
                       const struct query_text *text)
{
    struct query_leaf leaf = {.e = e};
    struct matcher m;
    if (e->op == QUERY_OP_PRESENT)
        return true;
    if (kind == QUERY_TEXT)
        return is_text_op(e->op) ? match_text(&leaf, text) : text_as_number(text, e);
    if (is_text_op(e->op))
        return number_as_text(&leaf, num, kind);
    if (e->op != QUERY_OP_IN) {
        matcher_make(&m, e, kind, NULL);
        m.r = m.few;
        return match_number(&m, e, num);
    }
    for (size_t i = 0; i < e->n_numbers; i++) {
        struct query_expr one = *e;
        struct query_range room;
        one.numbers = &e->numbers[i];
        one.n_numbers = 1;
        matcher_make(&m, &one, kind, &room);
        if (match_number(&m, &one, num))
            return true;
    }
    return false;
}

/* Clear in bits those of e's rows that do not meet the condition. */
static weir_status leaf_rows(const struct query_plan *p, const struct query_leaf *leaf,
                             struct query_eval *e, uint64_t *bits, weir_err *err)
{
    (void)p;
    const struct query_values *v, *other;
    size_t n = e->rows.n;
    WEIR_TRY(query_eval_field(e, leaf->field, &v, err));
    if (leaf->other >= 0) {
        WEIR_TRY(query_eval_field(e, leaf->other, &other, err));
        for (size_t i = 0; i < n; i++)
            if (!compare_fields(leaf, v, other, i))
                bits[i >> 6] &= ~(UINT64_C(1) << (i & 63));
        return WEIR_OK;
    }
    if (v->v.kind == QUERY_UNKNOWN) {
        memset(bits, 0, (n + 63) / 64 * sizeof *bits);
        return WEIR_OK;
    }
    struct test t;
    WEIR_TRY(test_make(&t, leaf, v->v.kind, e->memory, err));
    for (size_t w = 0; w < (n + 63) / 64; w++)
        for (uint64_t word = bits[w]; word; word &= word - 1) {
            size_t i = w * 64 + (size_t)__builtin_ctzll(word);
            if (!test_row(&t, v, i))
                bits[w] &= ~(UINT64_C(1) << (i & 63));
        }
    return WEIR_OK;
}

static bool any_bit(const uint64_t *bits, size_t words)
{
    for (size_t w = 0; w < words; w++)
        if (bits[w])
            return true;
    return false;
}

weir_status query_filter_rows(const struct query_plan *p, int node, struct query_eval *e,
                              uint64_t *bits, weir_err *err)
{
    const struct query_node *x = &p->nodes[node];
    size_t words = (e->rows.n + 63) / 64;
    switch ((unsigned)x->op) {
    case QUERY_OP_TRUE:
        return WEIR_OK;
    case QUERY_OP_FALSE:
        memset(bits, 0, words * sizeof *bits);
        return WEIR_OK;
    case QUERY_OP_AND:
        for (size_t i = 0; i < x->n_kids && any_bit(bits, words); i++)
            WEIR_TRY(query_filter_rows(p, x->kids[i], e, bits, err));
        return WEIR_OK;
    case QUERY_OP_OR:
    case QUERY_OP_NOT: {
        uint64_t *met = query_bump_zero(e->memory, (words + 1) * sizeof *met);
        uint64_t *left = query_bump_array(e->memory, words + 1, sizeof *left);
        if (!met || !left)
            return no_memory(err);
        for (size_t i = 0; i < x->n_kids; i++) {
            for (size_t w = 0; w < words; w++)
                left[w] = bits[w] & ~met[w];
            if (!any_bit(left, words))
                break;
            WEIR_TRY(query_filter_rows(p, x->kids[i], e, left, err));
            for (size_t w = 0; w < words; w++)
                met[w] |= left[w];
        }
        for (size_t w = 0; w < words; w++)
            bits[w] &= x->op == QUERY_OP_OR ? met[w] : ~met[w];
        return WEIR_OK;
    }
    default:
        return leaf_rows(p, &p->leaves[x->leaf], e, bits, err);
    }
}

/* ---- bound to a row group ---- */

enum verdict { OPEN, ALL, NONE }; /* of the rows of a window, a page or a row group */
enum how { HOW_ROWS, HOW_TABLE, HOW_CODE, HOW_RANGES, HOW_VALID };

struct page {
    uint64_t first_row;
    uint8_t verdict;
};

struct bound {
    uint8_t verdict;
    uint8_t how;
    struct query_scan_column *column; /* NULL: only HOW_ROWS */
    struct test test;
    uint8_t *table; /* one a code */
    uint32_t code;
    double share; /* of rows that pass, guessed */
    double cost;
    struct page *pages;
    size_t n_pages, page; /* page: the last one looked at */
};

struct query_filter {
    const struct query_plan *plan;
    struct query_scan *scan;
    const struct query_bits_ops *ops;
    struct bound *bound;
    uint8_t *node_verdict;
    double *node_share, *node_cost;
    int **kids; /* of each node, the best first */
};

struct query_filter *query_filter_new(const struct query_plan *p)
{
    struct query_filter *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->plan = p;
    f->ops = query_bits_best();
    f->bound = calloc(p->n_leaves + 1, sizeof *f->bound);
    f->node_verdict = calloc(p->n_nodes + 1, 1);
    f->node_share = calloc(p->n_nodes + 1, sizeof *f->node_share);
    f->node_cost = calloc(p->n_nodes + 1, sizeof *f->node_cost);
    f->kids = calloc(p->n_nodes + 1, sizeof *f->kids);
    if (f->bound && f->node_verdict && f->node_share && f->node_cost && f->kids)
        return f;
    query_filter_free(f);
    return NULL;
}

void query_filter_free(struct query_filter *f)
{
    if (!f)
        return;
    free(f->bound);
    free(f->node_verdict);
    free(f->node_share);
    free(f->node_cost);
    free(f->kids);
    free(f);
}

/* Least and greatest value of numbers, flipped: what the condition says of all values between. */
static enum verdict between(const struct matcher *m, uint64_t low, uint64_t high)
{
    if (m->real || m->bits || low > high)
        return OPEN;
    bool any = false;
    for (size_t i = 0; i < m->n; i++) {
        if (m->r[i].low <= low && high <= m->r[i].high)
            return ALL;
        any = any || (m->r[i].low <= high && low <= m->r[i].high);
    }
    return any ? OPEN : NONE;
}

/* A bound of the footer or the page index as a number of the column's kind. */
static bool bound_number(const struct query_scan_column *c, const struct parquet_bytes *b,
                         uint64_t *out)
{
    if (c->type->type == PARQUET_INT64 && b->data && b->len == 8) {
        memcpy(out, b->data, 8);
    } else if (c->type->type == PARQUET_INT32 && b->data && b->len == 4) {
        uint32_t v;
        memcpy(&v, b->data, 4);
        *out = c->type->unsigned_order ? v : (uint64_t)(int64_t)(int32_t)v;
    } else {
        return false;
    }
    return true;
}

static int compare_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len;
    int c = n ? memcmp(a, b, n) : 0;
    return c ? c : a_len < b_len ? -1 : a_len > b_len;
}

/* Addresses of an IPv4 prefix begin with the text of its whole octets. */
static size_t prefix_text(const struct query_prefix *x, char out[BASE_IPV4_TEXT + 1])
{
    size_t n = 0;
    for (unsigned i = 0; i < x->bits / 8u && i < 3; i++) {
        n += base_u64_text(out + n, x->addr[i]);
        out[n++] = '.';
    }
    return n;
}

/* No text between min and max (which may be cut short, min down and max up) can meet the condition. */
static bool texts_outside(const struct query_leaf *leaf, const struct parquet_bytes *min,
                          const struct parquet_bytes *max)
{
    if (!min->data || !max->data)
        return false;
    const struct query_expr *e = leaf->e;
    if (leaf->equal) {
        for (size_t i = 0; i < leaf->n_texts; i++) {
            const struct query_text *t = &leaf->texts[i];
            if (compare_bytes(t->data, t->len, min->data, min->len) >= 0 &&
                compare_bytes(t->data, t->len, max->data, max->len) <= 0)
                return false;
        }
        return true;
    }
    if (e->op != QUERY_OP_PREFIX)
        return false;
    for (size_t i = 0; i < e->n_prefixes; i++) {
        char low[BASE_IPV4_TEXT + 1], high[BASE_IPV4_TEXT + 1];
        if (e->prefixes[i].family != 4)
            return false;
        size_t n = prefix_text(&e->prefixes[i], low);
        if (!n)
            return false;
        memcpy(high, low, n);
        high[n - 1]++; /* the octet behind '.' */
        if (compare_bytes(max->data, max->len, low, n) >= 0 &&
            compare_bytes(min->data, min->len, high, n) < 0)
            return false;
    }
    return true;
}

/* What bounds say of rows that are not null. */
static enum verdict by_bounds(const struct bound *b, const struct query_leaf *leaf,
                              const struct parquet_bytes *min, const struct parquet_bytes *max)
{
    const struct query_scan_column *c = b->column;
    if (query_is_text(c->kind))
        return query_is_text(c->source_kind) && texts_outside(leaf, min, max) ? NONE : OPEN;
    uint64_t low, high;
    if (b->test.text_op || c->kind != c->source_kind || c->kind == QUERY_F64 ||
        c->type->logical == PARQUET_L_TIMESTAMP_MS || c->type->logical == PARQUET_L_TIMESTAMP_NS ||
        c->type->logical == PARQUET_L_DATE || !bound_number(c, min, &low) ||
        !bound_number(c, max, &high))
        return OPEN;
    return between(&b->test.m, low ^ b->test.m.flip, high ^ b->test.m.flip);
}

static weir_status bind_column(struct query_filter *f, size_t i, weir_err *err)
{
    const struct query_leaf *leaf = &f->plan->leaves[i];
    const struct query_plan_field *field = &f->plan->fields[leaf->field];
    struct bound *b = &f->bound[i];
    struct query_scan *s = f->scan;
    *b = (struct bound){.how = HOW_ROWS, .share = 0.5, .cost = 40};
    if (field->column < 0 || field->complete || leaf->other >= 0)
        return WEIR_OK;
    if (field->scaled) {
        enum query_rate rate;
        WEIR_TRY(query_scan_rate(s, &rate, err));
        if (rate == QUERY_RATE_VARIES)
            return WEIR_OK;
    }
    struct query_scan_column *c;
    WEIR_TRY(query_scan_column(s, field->column, &c, err));
    if (c->all_null) {
        b->verdict = NONE;
        return WEIR_OK;
    }
    if (query_is_list(c->kind))
        return WEIR_OK;
    b->column = c;
    if (leaf->e->op == QUERY_OP_PRESENT) {
        b->how = HOW_VALID;
        b->verdict = c->no_null ? ALL : OPEN;
        b->cost = 1;
        return WEIR_OK;
    }
    WEIR_TRY(test_make(&b->test, leaf, c->kind, &s->group_memory, err));
    if (b->test.m.none && !b->test.text_op && !query_is_text(c->kind)) {
        b->verdict = NONE;
        return WEIR_OK;
    }
    enum verdict v = by_bounds(b, leaf, &c->info.min, &c->info.max);
    if (v == ALL) {
        b->how = HOW_VALID;
        b->cost = 1;
        b->share = 0.99;
    }
    if (v == NONE || (v == ALL && c->no_null))
        b->verdict = (uint8_t)v;
    else if (v == OPEN && !b->test.text_op && c->kind == c->source_kind && !b->test.m.real &&
             !b->test.m.bits && c->type->logical != PARQUET_L_TIMESTAMP_MS &&
             c->type->logical != PARQUET_L_TIMESTAMP_NS && c->type->logical != PARQUET_L_DATE &&
             (c->type->type == PARQUET_INT32 || c->type->type == PARQUET_INT64)) {
        b->how = HOW_RANGES;
        b->cost = 2 + (double)b->test.m.n;
    }
    return WEIR_OK;
}

/* ALL, NONE or OPEN of the filter, by what is known of its leaves. only_time: as if nothing were known of others. */
static enum verdict fold(struct query_filter *f, int node, bool only_time)
{
    const struct query_node *x = &f->plan->nodes[node];
    enum verdict v = OPEN;
    switch ((unsigned)x->op) {
    case QUERY_OP_TRUE:
        v = ALL;
        break;
    case QUERY_OP_FALSE:
        v = NONE;
        break;
    case QUERY_OP_AND:
    case QUERY_OP_OR: {
        enum verdict stop = x->op == QUERY_OP_AND ? NONE : ALL;
        v = x->op == QUERY_OP_AND ? ALL : NONE;
        for (size_t i = 0; i < x->n_kids; i++) {
            enum verdict k = fold(f, x->kids[i], only_time);
            if (k == stop)
                v = stop;
            else if (k == OPEN && v != stop)
                v = OPEN;
        }
        break;
    }
    case QUERY_OP_NOT:
        v = fold(f, x->kids[0], only_time);
        v = v == ALL ? NONE : v == NONE ? ALL : OPEN;
        break;
    default:
        if (!only_time || f->plan->leaves[x->leaf].time)
            v = (enum verdict)f->bound[x->leaf].verdict;
        break;
    }
    if (!only_time)
        f->node_verdict[node] = (uint8_t)v;
    return v;
}

static weir_status ask_bloom(struct query_filter *f, size_t i, weir_err *err)
{
    enum { MAX_ASKED = 64 };
    const struct query_leaf *leaf = &f->plan->leaves[i];
    struct bound *b = &f->bound[i];
    if (b->verdict != OPEN || !b->column || !leaf->equal || !b->column->info.has_bloom ||
        leaf->n_texts > MAX_ASKED || !query_is_text(b->column->source_kind))
        return WEIR_OK;
    for (size_t k = 0; k < leaf->n_texts; k++) {
        struct parquet_bytes value = {.data = (const uint8_t *)leaf->texts[k].data,
                                      .len = leaf->texts[k].len};
        bool may;
        WEIR_TRY(parquet_bloom_may_have(f->scan->file, f->scan->group, (size_t)b->column->in_file,
                                        value, &may, err));
        if (may)
            return WEIR_OK;
    }
    b->verdict = NONE;
    return WEIR_OK;
}

static bool test_entry(const struct bound *b, const struct query_scan_column *c, uint32_t k)
{
    if (c->dict_text || c->text_dict) {
        struct query_text t = query_dict_text(c, k);
        return b->test.text_op ? match_text(b->test.leaf, &t) : text_as_number(&t, b->test.leaf->e);
    }
    if (c->dict_null && c->dict_null[k])
        return false;
    return b->test.text_op ? number_as_text(b->test.leaf, c->dict_num[k], c->kind)
                           : match_number(&b->test.m, b->test.leaf->e, c->dict_num[k]);
}

/* The condition on each entry of the dictionary. */
static weir_status ask_dict(struct query_filter *f, size_t i, weir_err *err)
{
    struct bound *b = &f->bound[i];
    struct query_scan_column *c = b->column;
    if (b->verdict != OPEN || !c || b->how == HOW_VALID || !c->info.has_dict)
        return WEIR_OK;
    WEIR_TRY(query_scan_dict(f->scan, c, err));
    if (!c->dict || !c->n_dict)
        return WEIR_OK;
    uint32_t n = c->n_dict, n_met = 0, only = 0;
    if (!(b->table = query_bump_zero(&f->scan->group_memory, (size_t)n + 4)))
        return no_memory(err);
    /* All entries are different: a single text is found once. */
    uint32_t most = b->test.text_op && b->test.leaf->equal && (c->dict_text || c->text_dict)
                        ? (uint32_t)(b->test.leaf->n_texts < n ? b->test.leaf->n_texts : n)
                        : n;
    const struct matcher *m = &b->test.m;
    if (c->dict_num && !c->dict_null && !b->test.text_op && !m->real && !m->bits && m->n == 1) {
        uint64_t low = m->r[0].low, span = m->r[0].high - low;
        for (uint32_t k = 0; k < n; k++) {
            b->table[k] = (c->dict_num[k] ^ m->flip) - low <= span;
            n_met += b->table[k];
        }
        const uint8_t *one = n_met == 1 ? memchr(b->table, 1, n) : NULL;
        only = one ? (uint32_t)(one - b->table) : 0;
        most = 0;
    }
    for (uint32_t k = 0; k < n && n_met < most; k++)
        if (test_entry(b, c, k)) {
            b->table[k] = 1;
            only = k;
            n_met++;
        }
    b->share = (double)n_met / n;
    if (!n_met) {
        b->verdict = NONE;
    } else if (n_met == n) {
        b->how = HOW_VALID;
        b->verdict = c->no_null ? ALL : OPEN;
        b->cost = 1;
    } else if (n_met == 1) {
        b->how = HOW_CODE;
        b->code = only;
        b->cost = 1;
    } else {
        b->how = HOW_TABLE;
        b->cost = 2;
    }
    return WEIR_OK;
}

static weir_status ask_pages(struct query_filter *f, size_t i, weir_err *err)
{
    struct bound *b = &f->bound[i];
    struct query_scan_column *c = b->column;
    if (b->verdict != OPEN || !c || b->how == HOW_VALID || f->scan->n_rows <= QUERY_WINDOW)
        return WEIR_OK;
    if (query_is_text(c->kind) && !b->test.leaf->equal && b->test.leaf->e->op != QUERY_OP_PREFIX)
        return WEIR_OK;
    struct parquet_page_info *info = NULL;
    size_t n = 0;
    WEIR_TRY(parquet_pages(f->scan->file, f->scan->group, (size_t)c->in_file, &info, &n, err));
    bool useful = false;
    if (n > 1 && !(b->pages = query_bump_array(&f->scan->group_memory, n, sizeof *b->pages))) {
        parquet_pages_free(info);
        return no_memory(err);
    }
    for (size_t k = 0; n > 1 && k < n; k++) {
        enum verdict v =
            info[k].all_null ? NONE : by_bounds(b, b->test.leaf, &info[k].min, &info[k].max);
        if (v == ALL && !c->no_null)
            v = OPEN;
        useful = useful || v != OPEN;
        b->pages[k] = (struct page){.first_row = info[k].first_row, .verdict = (uint8_t)v};
    }
    b->n_pages = useful ? n : 0;
    b->page = 0;
    parquet_pages_free(info);
    return WEIR_OK;
}

/* Guess what each node costs and lets through, and put the kids into the best order. */
static weir_status rank(struct query_filter *f, int node, weir_err *err)
{
    const struct query_node *x = &f->plan->nodes[node];
    double share = 1, cost = 0;
    if (x->leaf >= 0) {
        share = f->bound[x->leaf].share;
        cost = f->bound[x->leaf].cost;
    } else if (x->n_kids) {
        int *kids = query_bump_array(&f->scan->group_memory, x->n_kids, sizeof *kids);
        if (!kids)
            return no_memory(err);
        f->kids[node] = kids;
        bool or = x->op == QUERY_OP_OR;
        for (size_t i = 0; i < x->n_kids; i++) {
            int kid = x->kids[i];
            WEIR_TRY(rank(f, kid, err));
            /* Least cost for each row that need not be looked at again. */
            double done = or ? f->node_share[kid] : 1 - f->node_share[kid];
            double worth = f->node_cost[kid] / (done + 0.001);
            size_t k = i;
            for (; k; k--) {
                int before = kids[k - 1];
                double d = or ? f->node_share[before] : 1 - f->node_share[before];
                if (f->node_cost[before] / (d + 0.001) <= worth)
                    break;
                kids[k] = before;
            }
            kids[k] = kid;
            cost += f->node_cost[kid];
            share *= or || x->op == QUERY_OP_NOT ? 1 - f->node_share[kid] : f->node_share[kid];
        }
        if (or)
            share = 1 - share;
    }
    f->node_share[node] = share;
    f->node_cost[node] = cost;
    return WEIR_OK;
}

weir_status query_filter_open(struct query_filter *f, struct query_scan *s, bool *none, bool *all,
                              enum query_skip *why, weir_err *err)
{
    f->scan = s;
    *none = *all = false;
    size_t n = f->plan->n_filter_leaves;
    for (size_t i = 0; i < n; i++)
        WEIR_TRY(bind_column(f, i, err));
    enum verdict v = fold(f, 0, false);
    *why = v == NONE && fold(f, 0, true) == NONE ? QUERY_SKIP_TIME : QUERY_SKIP_STATISTICS;
    if (v == OPEN) {
        for (size_t i = 0; i < n; i++)
            WEIR_TRY(ask_bloom(f, i, err));
        v = fold(f, 0, false);
        *why = QUERY_SKIP_BLOOM;
    }
    if (v == OPEN) {
        /* Small dictionaries first: they may spare the large ones. */
        for (size_t round = 0; round < 2 && v == OPEN; round++)
            for (size_t i = 0; i < n && v == OPEN; i++) {
                bool text = f->bound[i].column && query_is_text(f->bound[i].column->kind);
                if (text != (round == 1) || f->bound[i].verdict != OPEN)
                    continue;
                WEIR_TRY(ask_dict(f, i, err));
                if (f->bound[i].verdict != OPEN)
                    v = fold(f, 0, false);
            }
        *why = QUERY_SKIP_DICTIONARY;
    }
    if (v == OPEN) {
        for (size_t i = 0; i < n; i++)
            WEIR_TRY(ask_pages(f, i, err));
        WEIR_TRY(rank(f, 0, err));
    }
    *none = v == NONE;
    *all = v == ALL;
    return WEIR_OK;
}

void query_filter_close(struct query_filter *f)
{
    f->scan = NULL;
}

/* What the page index says of the window. */
static enum verdict by_pages(struct bound *b, uint64_t from, uint64_t to)
{
    if (!b->n_pages)
        return OPEN;
    while (b->page + 1 < b->n_pages && b->pages[b->page + 1].first_row <= from)
        b->page++;
    enum verdict v = (enum verdict)b->pages[b->page].verdict;
    for (size_t k = b->page + 1; k < b->n_pages && b->pages[k].first_row < to && v != OPEN; k++)
        if (b->pages[k].verdict != v)
            v = OPEN;
    return v;
}

static weir_status leaf_window(struct query_filter *f, int leaf, uint64_t *bits, weir_err *err)
{
    struct bound *b = &f->bound[leaf];
    struct query_scan *s = f->scan;
    size_t n = s->n, words = (n + 63) / 64;
    enum verdict v = (enum verdict)b->verdict;
    if (v == OPEN)
        v = by_pages(b, s->at, s->at + n);
    if (v == ALL)
        return WEIR_OK;
    if (v == NONE) {
        memset(bits, 0, words * sizeof *bits);
        return WEIR_OK;
    }
    if (b->how != HOW_ROWS) {
        const struct parquet_data *d;
        struct query_scan_column *c = b->column;
        WEIR_TRY(query_scan_data(s, c, &d, err));
        uint64_t met[QUERY_WINDOW / 64], more[QUERY_WINDOW / 64];
        if (d->codes && !c->n_dict) { /* all null */
            memset(bits, 0, words * sizeof *bits);
            return WEIR_OK;
        }
        bool done = true;
        if (b->how == HOW_TABLE && d->codes && query_bits_count(bits, n) < n / 4) {
            for (size_t w = 0; w < words; w++) { /* few rows are left: only those */
                met[w] = 0;
                for (uint64_t word = bits[w]; word; word &= word - 1) {
                    unsigned i = (unsigned)__builtin_ctzll(word);
                    met[w] |= (uint64_t)b->table[d->codes[w * 64 + i]] << i;
                }
            }
        } else if (b->how == HOW_CODE && d->codes) {
            f->ops->equal(d->codes, n, b->code, met);
        } else if (b->how == HOW_TABLE && d->codes) {
            f->ops->table(d->codes, n, b->table, met);
        } else if (b->how == HOW_RANGES && d->values) {
            const struct matcher *m = &b->test.m;
            memset(met, 0, words * sizeof *met);
            for (size_t k = 0; k < m->n; k++) {
                uint64_t low = m->r[k].low ^ m->flip, high = m->r[k].high ^ m->flip;
                if (c->type->type == PARQUET_INT64) {
                    f->ops->range64(d->values, n, low, high - low, more);
                } else if (c->type->unsigned_order) {
                    if (low > UINT32_MAX)
                        continue;
                    uint32_t h = high > UINT32_MAX ? UINT32_MAX : (uint32_t)high;
                    f->ops->range32(d->values, n, (uint32_t)low, h - (uint32_t)low, more);
                } else {
                    int64_t l = (int64_t)low, h = (int64_t)high;
                    if (l > INT32_MAX || h < INT32_MIN)
                        continue;
                    l = l < INT32_MIN ? INT32_MIN : l;
                    h = h > INT32_MAX ? INT32_MAX : h;
                    f->ops->range32(d->values, n, (uint32_t)l, (uint32_t)(h - l), more);
                }
                for (size_t w = 0; w < words; w++)
                    met[w] |= more[w];
            }
        } else if (b->how == HOW_VALID) {
            query_bits_fill(met, n);
        } else {
            done = false;
        }
        if (done) {
            for (size_t w = 0; w < words; w++)
                bits[w] &= met[w] & (d->valid ? d->valid[w] : UINT64_MAX);
            return WEIR_OK;
        }
    }
    /* The rows that are left, one after the other. */
    uint32_t *at = query_bump_array(&s->window_memory, n + 8, sizeof *at);
    uint64_t *met = query_bump_array(&s->window_memory, words + 1, sizeof *met);
    if (!at || !met)
        return no_memory(err);
    size_t left = query_bits_rows(bits, n, at);
    struct query_eval e;
    if (!query_eval_init(&e, f->plan, s, &s->window_memory,
                         (struct query_rows){.at = left == n ? NULL : at, .n = left}))
        return no_memory(err);
    query_bits_fill(met, left);
    WEIR_TRY(leaf_rows(f->plan, &f->plan->leaves[leaf], &e, met, err));
    memset(bits, 0, words * sizeof *bits);
    for (size_t i = 0; i < left; i++)
        bits[at[i] >> 6] |= (uint64_t)parquet_bit(met, i) << (at[i] & 63);
    return WEIR_OK;
}

/* What is known of a node's rows in this window before values are read. */
static enum verdict look(struct query_filter *f, int node)
{
    const struct query_node *x = &f->plan->nodes[node];
    enum verdict v = (enum verdict)f->node_verdict[node];
    if (v != OPEN)
        return v;
    if (x->leaf >= 0)
        return by_pages(&f->bound[x->leaf], f->scan->at, f->scan->at + f->scan->n);
    if (x->op == QUERY_OP_NOT) {
        v = look(f, x->kids[0]);
        return v == ALL ? NONE : v == NONE ? ALL : OPEN;
    }
    if (x->op != QUERY_OP_AND && x->op != QUERY_OP_OR)
        return OPEN;
    enum verdict stop = x->op == QUERY_OP_AND ? NONE : ALL;
    v = x->op == QUERY_OP_AND ? ALL : NONE;
    for (size_t i = 0; i < x->n_kids; i++) {
        enum verdict k = look(f, x->kids[i]);
        if (k == stop)
            return stop;
        if (k == OPEN)
            v = OPEN;
    }
    return v;
}

static weir_status node_window(struct query_filter *f, int node, uint64_t *bits, weir_err *err)
{
    const struct query_node *x = &f->plan->nodes[node];
    struct query_scan *s = f->scan;
    size_t words = (s->n + 63) / 64;
    enum verdict v = look(f, node);
    if (v == ALL)
        return WEIR_OK;
    if (v == NONE) {
        memset(bits, 0, words * sizeof *bits);
        return WEIR_OK;
    }
    if (x->leaf >= 0)
        return leaf_window(f, x->leaf, bits, err);
    if (x->op == QUERY_OP_AND) {
        for (size_t i = 0; i < x->n_kids && any_bit(bits, words); i++)
            WEIR_TRY(node_window(f, f->kids[node][i], bits, err));
        return WEIR_OK;
    }
    uint64_t *met = query_bump_zero(&s->window_memory, (words + 1) * sizeof *met);
    uint64_t *left = query_bump_array(&s->window_memory, words + 1, sizeof *left);
    if (!met || !left)
        return no_memory(err);
    for (size_t i = 0; i < x->n_kids; i++) {
        for (size_t w = 0; w < words; w++)
            left[w] = bits[w] & ~met[w];
        if (!any_bit(left, words))
            break;
        WEIR_TRY(node_window(f, f->kids[node][i], left, err));
        for (size_t w = 0; w < words; w++)
            met[w] |= left[w];
    }
    for (size_t w = 0; w < words; w++)
        bits[w] &= x->op == QUERY_OP_OR ? met[w] : ~met[w];
    return WEIR_OK;
}

weir_status query_filter_window(struct query_filter *f, uint64_t *bits, weir_err *err)
{
    query_bits_fill(bits, f->scan->n);
    return node_window(f, 0, bits, err);
}
