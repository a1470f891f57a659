#include "query/cells_in.h"

#include <stdlib.h>

enum {
    LITERAL_ROOM = 32, /* literal texts are copied so many octets at once */
    MAX_TEXT = 48,     /* texts that a row has room for without asking */
    AHEAD_TEXT = 4,    /* rows between fetching a text and its use */
    AHEAD_ENTRY = 8    /* the same for its place in the dictionary */
};

/* How a cell is written when the block's column allows it to be done without a question. */
enum fast {
    FAST_NOT,
    FAST_NUMBER,
    FAST_PADDED,       /* right-aligned */
    FAST_PORTS_NUMBER, /* left out for ICMP; num2: proto */
    FAST_PORTS_FLAGS,
    FAST_TEXT,
    FAST_QUOTED,
    FAST_FAMILY,
    FAST_TIME,
    FAST_TIME_UTC,
    FAST_NET,   /* num2: mask */
    FAST_CONST, /* the same in every row of the block */
    FAST_ICMP   /* left out unless num2 is ICMP */
};

/* A cell of the block at hand, with its columns. */
struct query_active {
    const struct query_cell *cell;
    uint8_t fast;
    bool check; /* the text may be long, or odd */
    uint8_t none_len;
    const uint64_t *valid, *valid2; /* NULL: all rows */
    const uint64_t *num, *num2;
    const uint32_t *codes;
    const struct query_text *dict;
    size_t ahead;     /* rows before this one have AHEAD_ENTRY others behind them */
    const char *none; /* for rows without a value, of a cell that is always there */
};

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

const char *query_literal(query_arena *a, const char *text, size_t len)
{
    char *copy = query_arena_alloc(a, len + LITERAL_ROOM);
    return copy ? memcpy(copy, text, len) : NULL;
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
        c.lit = query_literal(a, p->lit.data, p->lit.len);
        c.lit_len = (uint32_t)p->lit.len;
    }
    static const char no_text[LITERAL_ROOM];
    if (!c.lit && !c.lit_len)
        c.lit = no_text;
    if (p->lit.failed || !c.lit)
        p->failed = true;
    else
        p->cells[p->n++] = c;
    base_buf_reset(&p->lit);
}

/* --- a block's columns --------------------------------------------------------------------------- */

/* Texts that JSON, CSV and a terminal take as they are. */
bool query_text_plain(const char *text, size_t len)
{
    return text_plain(text, len);
}

void query_writer_init(struct query_writer *w, base_buf *out, bool plain, bool full_ipv6, bool utc)
{
    *w = (struct query_writer){.out = out, .plain = plain, .full_ipv6 = full_ipv6};
    w->clock.utc = utc;
    w->gmt.utc = true;
    for (unsigned f = 0; f < 256; f++)
        for (unsigned i = 0; i < 8; i++)
            w->flags[f][i] = f & (0x80U >> i) ? "CEUAPRSF"[i] : '.';
    for (unsigned n = 0; n < 1000; n++) {
        w->digits[n][0] = (char)('0' + n / 100);
        w->digits[n][1] = (char)('0' + n / 10 % 10);
        w->digits[n][2] = (char)('0' + n % 10);
    }
}

void query_writer_done(struct query_writer *w)
{
    free(w->views);
    free(w->active);
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

/* A number, plainly? */
static bool is_number(const struct query_writer *w, const struct query_cell *c,
                      const struct query_view *view)
{
    if (!view->num)
        return false;
    if (c->op == QUERY_CELL_ANY_JSON || c->op == QUERY_CELL_ANY_CSV)
        return view->v->kind == QUERY_U64;
    return c->op == QUERY_CELL_NUMBER || (c->op == QUERY_CELL_SCALED && w->plain);
}

static struct query_active active_of(const struct query_writer *w, const struct query_cell *c)
{
    struct query_active a = {.cell = c, .none = ""};
    const struct query_view *view = view_of(w, c, 0), *second = view_of(w, c, 4);
    bool always = c->when == QUERY_CELL_ALWAYS, present = always || c->when == QUERY_CELL_PRESENT;
    bool any = c->op == QUERY_CELL_ANY_JSON || c->op == QUERY_CELL_ANY_CSV;
    bool whole = any && view->text && view->v->kind == QUERY_TEXT;
    if (c->when == QUERY_CELL_ICMP && second->num) {
        a.fast = FAST_ICMP;
        a.num2 = second->num;
        a.valid2 = second->v->valid;
        return a;
    }
    if (c->op == QUERY_CELL_KIND && !view->v && !view_of(w, c, 1)->v && c->quote)
        a.none = "\"FLOW\"";
    else if (c->op == QUERY_CELL_SAMPLED && !view->v)
        a.none = "0";
    if (*a.none) {
        a.fast = FAST_CONST;
        a.none_len = (uint8_t)strlen(a.none);
        return a;
    }
    if (!view->v || c->left)
        return a;
    if (present && is_number(w, c, view) && !c->quote)
        a.fast = c->width ? FAST_PADDED : FAST_NUMBER;
    else if (c->width && !(c->op == QUERY_CELL_TIME && c->width == 23))
        return a;
    else if (c->when == QUERY_CELL_PORTS && is_number(w, c, view) && second->num && !c->quote)
        a.fast = FAST_PORTS_NUMBER;
    else if (c->when == QUERY_CELL_PORTS && c->op == QUERY_CELL_FLAGS && view->num && second->num &&
             c->quote)
        a.fast = FAST_PORTS_FLAGS;
    else if (present && whole)
        a.fast = c->op == QUERY_CELL_ANY_JSON ? FAST_QUOTED : FAST_TEXT;
    else if (present && c->op == QUERY_CELL_ADDR && view->text)
        a.fast = FAST_TEXT;
    else if (c->when == QUERY_CELL_FAMILY && whole && c->op == QUERY_CELL_ANY_JSON)
        a.fast = FAST_FAMILY;
    else if (present && (c->op == QUERY_CELL_TIME || c->op == QUERY_CELL_TIME_T) && view->num)
        a.fast = FAST_TIME;
    else if (present && any && view->num && view->v->kind == QUERY_TIME)
        a.fast = FAST_TIME_UTC;
    else if (c->when == QUERY_CELL_SECOND && c->op == QUERY_CELL_NET_ADDR && view->text &&
             view_of(w, c, 1)->num)
        a.fast = FAST_NET;
    if (a.fast == FAST_NOT)
        return a;
    a.check = view->text && !view->plain;
    a.valid = view->v->valid;
    a.num = view->num;
    a.codes = view->text ? view->v->codes : NULL;
    a.dict = view->v->dict;
    a.ahead = a.codes && view->v->n_dict && w->n_rows > AHEAD_ENTRY ? w->n_rows - AHEAD_ENTRY : 0;
    if (a.fast == FAST_NET) {
        a.num2 = view_of(w, c, 1)->num;
        a.valid2 = view_of(w, c, 1)->v->valid;
    } else {
        a.num2 = second->num;
    }
    if (always && a.valid) {
        /* What is written for a row without a value; where that needs more than a text, the careful way. */
        a.none = c->missing                                                 ? c->missing
                 : c->op == QUERY_CELL_ANY_JSON                             ? "null"
                 : c->op == QUERY_CELL_ANY_CSV                              ? ""
                 : c->op == QUERY_CELL_NUMBER || c->op == QUERY_CELL_SCALED ? "0"
                                                                            : NULL;
        if (!a.none || c->width || strlen(a.none) > 200)
            return (struct query_active){.cell = c, .none = ""};
        a.none_len = (uint8_t)strlen(a.none);
    }
    return a;
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
        struct query_active *active = realloc(w->active, (p->n + 1) * sizeof *active);
        if (!active)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        w->active = active;
        w->cap_active = p->n + 1;
    }
    w->n_views = p->n_fields;
    w->n_rows = b->n;
    for (size_t i = 0; i < p->n_fields; i++) {
        struct query_view *view = &w->views[i];
        const struct query_vec *v = &b->vecs[i];
        bool empty = v->kind == QUERY_UNKNOWN || (!v->num && !v->codes);
        *view = (struct query_view){.v = empty ? NULL : v,
                                    .num = empty || v->starts ? NULL : v->num,
                                    .text = !empty && v->codes && !v->starts};
        /* Small dictionaries are looked at as a whole, the texts of large ones row by row. */
        view->plain = view->text && v->n_dict <= b->n / 8 + 1;
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
        w->active[w->n_active++] = active_of(w, c);
        w->bound += cell_bound(w, c);
    }
    return WEIR_OK;
}

/* --- rows ---------------------------------------------------------------------------------------- */

/* A number of up to nine digits by three at a time. */
static inline char *put_fast(const struct query_writer *w, char *p, uint64_t v)
{
    unsigned low;
    if (v >= 1000000000)
        return p + base_u64_text(p, v);
    unsigned u = (unsigned)v, skip;
    if (u < 1000) {
        skip = u < 10 ? 2 : u < 100;
        memcpy(p, w->digits[u] + skip, 4);
        return p + 3 - skip;
    }
    unsigned high = u / 1000;
    low = u % 1000;
    if (high >= 1000) {
        unsigned top = high / 1000;
        high %= 1000;
        skip = top < 10 ? 2 : top < 100;
        memcpy(p, w->digits[top] + skip, 4);
        p += 3 - skip;
        memcpy(p, w->digits[high], 4);
        p += 3;
    } else {
        skip = high < 10 ? 2 : high < 100;
        memcpy(p, w->digits[high] + skip, 4);
        p += 3 - skip;
    }
    memcpy(p, w->digits[low], 4);
    return p + 3;
}

static inline char *put_literal(char *p, const char *lit, uint32_t len)
{
    if (len > LITERAL_ROOM)
        return put(p, lit, len);
    memcpy(p, lit, LITERAL_ROOM);
    return p + len;
}

/* 192.0.2.77 cut to `bits`, without a detour over functions for every address form. */
static inline char *put_net(const struct query_writer *w, char *p, const struct query_text *t,
                            uint64_t bits)
{
    uint32_t addr = 0, part = 0;
    unsigned dots = 0;
    for (uint32_t i = 0; i < t->len; i++) {
        unsigned c = (unsigned char)t->data[i];
        unsigned digit = c - '0';
        if (digit < 10) {
            part = part * 10 + digit;
        } else if (c == '.') {
            addr = addr << 8 | (part & 255);
            part = 0;
            dots++;
        } else {
            dots = 9;
            break;
        }
    }
    if (dots != 3 || bits > 32 || t->len > 15) {
        uint8_t o[16];
        return query_addr_octets(t, o) ? p + query_net_text(p, t, bits) : p;
    }
    addr = (addr << 8 | (part & 255)) & (uint32_t)(0xffffffff00000000ULL >> bits);
    for (unsigned k = 0; k < 4; k++) {
        p = put_fast(w, p, addr >> 24);
        addr <<= 8;
        *p++ = '.';
    }
    return p - 1;
}

/* The text of row i. Dictionaries are larger than caches: those of the rows to come are fetched in time. */
static inline const struct query_text *dict_text(const struct query_active *a, size_t i)
{
    if (i < a->ahead) {
        __builtin_prefetch(&a->dict[a->codes[i + AHEAD_ENTRY]]);
        __builtin_prefetch(a->dict[a->codes[i + AHEAD_TEXT]].data);
    }
    return &a->dict[a->codes[i]];
}

/* The cells of row i at p that need no care; those that do through query_cell_value. NULL: out of memory. */
static char *put_cells(struct query_writer *w, size_t i, char *p)
{
    for (size_t k = 0; k < w->n_active; k++) {
        const struct query_active *a = &w->active[k];
        const struct query_cell *c = a->cell;
        if (a->valid && !parquet_bit(a->valid, i)) {
            if (c->when != QUERY_CELL_ALWAYS)
                continue;
            p = put_literal(p, c->lit, c->lit_len);
            p = put(p, a->none, a->none_len);
            continue;
        }
        unsigned fast = a->fast;
        const struct query_text *t = NULL;
        if (a->codes) {
            t = dict_text(a, i);
            if (a->check && !(t->len <= MAX_TEXT && text_plain(t->data, t->len)))
                fast = FAST_NOT;
        }
        switch ((enum fast)fast) {
        case FAST_PORTS_NUMBER:
            if (is_icmp(a->num2[i]))
                continue;
            /* fall through */
        case FAST_NUMBER:
            p = put_literal(p, c->lit, c->lit_len);
            p = put_fast(w, p, a->num[i]);
            continue;
        case FAST_PADDED: {
            p = put_literal(p, c->lit, c->lit_len);
            char *from = p;
            p = put_fast(w, p, a->num[i]);
            p = fit(from, p, c->width, false);
            continue;
        }
        case FAST_TEXT:
            p = put_literal(p, c->lit, c->lit_len);
            p = put(p, t->data, t->len);
            continue;
        case FAST_QUOTED:
            p = put_literal(p, c->lit, c->lit_len);
            *p++ = '"';
            p = put(p, t->data, t->len);
            *p++ = '"';
            continue;
        case FAST_FAMILY:
            p = is_ipv6(t) ? put_literal(p, c->lit6, c->lit6_len)
                           : put_literal(p, c->lit, c->lit_len);
            *p++ = '"';
            p = put(p, t->data, t->len);
            *p++ = '"';
            continue;
        case FAST_TIME: {
            p = put_literal(p, c->lit, c->lit_len);
            *p = '"';
            p += c->quote;
            unsigned part = clock_second(&w->clock, (int64_t)a->num[i], p);
            p[10] = c->op == QUERY_CELL_TIME_T ? 'T' : ' ';
            p[19] = '.';
            memcpy(p + 20, w->digits[part / 1000], 4);
            p += 23;
            *p = '"';
            p += c->quote;
            continue;
        }
        case FAST_TIME_UTC: {
            p = put_literal(p, c->lit, c->lit_len);
            *p = '"';
            p += c->op == QUERY_CELL_ANY_JSON;
            unsigned part = clock_second(&w->gmt, (int64_t)a->num[i], p);
            p[10] = 'T';
            p[19] = '.';
            memcpy(p + 20, w->digits[part / 1000], 4);
            memcpy(p + 23, w->digits[part % 1000], 4);
            p[26] = 'Z';
            p += 27;
            *p = '"';
            p += c->op == QUERY_CELL_ANY_JSON;
            continue;
        }
        case FAST_PORTS_FLAGS:
            if (is_icmp(a->num2[i]))
                continue;
            p = put_literal(p, c->lit, c->lit_len);
            *p++ = '"';
            memcpy(p, w->flags[a->num[i] & 255], 8);
            p += 8;
            *p++ = '"';
            continue;
        case FAST_NET:
            if (a->valid2 && !parquet_bit(a->valid2, i))
                continue;
            p = put_literal(p, c->lit, c->lit_len);
            *p++ = '"';
            if (a->num2[i])
                p = put_net(w, p, t, a->num2[i]);
            *p++ = '"';
            continue;
        case FAST_CONST:
            p = put_literal(p, c->lit, c->lit_len);
            p = put(p, a->none, a->none_len);
            continue;
        case FAST_ICMP:
            if (!is_icmp(a->num2[i]) && (!a->valid2 || parquet_bit(a->valid2, i)))
                continue;
            break;
        case FAST_NOT:
            break;
        }
        if (c->when != QUERY_CELL_ALWAYS && !query_cell_due(w, c, i))
            continue;
        if (c->when == QUERY_CELL_FAMILY) {
            t = text_at(view_of(w, c, 0), i);
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
            p = query_cell_value(w, c, i, p);
        if (!p)
            return NULL;
        if (c->quote)
            *p++ = '"';
        if (c->width)
            p = fit(w->out->data + from, p, c->width, c->left);
    }
    return p;
}

weir_status query_writer_row(struct query_writer *w, size_t i, weir_err *err)
{
    char *p = base_buf_room(w->out, w->bound);
    p = p ? put_cells(w, i, p) : NULL;
    if (!p || w->out->failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    w->out->len = (size_t)(p - w->out->data);
    w->rows++;
    return WEIR_OK;
}
