#include "query/order.h"

#include "query/spill.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* A row: words to sort by, its arrival, then a bit a field (there or not), a word a field, and the octets of texts and lists.
 *
 *   sort words | arrival | there bits | values | octets
 *
 * A text's value is offset << 32 | length of its octets; a list's likewise, its octets are items of 8 (numbers) or of 4 and
 * a text (texts). Sort words of texts are their first octets; equal ones are told apart by the whole text, whose place
 * stands among the values: sorted texts are fields of the row too. */
struct row {
    uint64_t first; /* sort word, or the arrival */
    uint64_t *at;
};

struct room {
    struct room *next;
    size_t cap, used;
    uint64_t data[];
};

struct sort_key {
    int field; /* of the plan */
    int value; /* its place among the values */
    bool descending, address;
};

struct query_sorter {
    struct query_sorter_options o;
    struct sort_key *keys;
    size_t n_keys;
    int *fields; /* those that come out, then those sorted by */
    size_t n_fields;
    size_t o_seq, o_there, o_values, words;
    struct row *rows;
    size_t n, cap;
    struct room *rooms;
    size_t octets;
    uint64_t *worst; /* with a limit: rows behind it are not among the first; NULL: not known */
    struct query_spill spill;
    struct query_extent *runs; /* sorted */
    size_t n_runs, cap_runs;
};

static const uint64_t TOP = UINT64_C(1) << 63;

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

static int field_place(query_sorter *s, int field)
{
    for (size_t i = 0; i < s->n_fields; i++)
        if (s->fields[i] == field)
            return (int)i;
    s->fields[s->n_fields] = field;
    return (int)s->n_fields++;
}

query_sorter *query_sorter_new(const struct query_sorter_options *o)
{
    query_sorter *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->o = *o;
    s->spill.fd = -1;
    s->keys = calloc(o->n_orders + o->n_ties + 1, sizeof *s->keys);
    s->fields = calloc(o->n_fields + o->n_orders + o->n_ties + 1, sizeof *s->fields);
    if (!s->keys || !s->fields) {
        query_sorter_free(s);
        return NULL;
    }
    for (size_t i = 0; i < o->n_fields; i++)
        s->fields[s->n_fields++] = o->fields[i];
    for (size_t i = 0; i < o->n_orders + o->n_ties; i++) {
        struct sort_key *k = &s->keys[s->n_keys++];
        if (i < o->n_orders) {
            /* The plan knows the field: adding it again gives its number. */
            for (size_t f = 0; f < o->plan->n_fields; f++)
                if (query_field_same(&o->plan->fields[f].f, &o->orders[i].field))
                    k->field = (int)f;
            k->descending = o->orders[i].descending;
        } else {
            k->field = o->ties[i - o->n_orders];
        }
        k->value = field_place(s, k->field);
        k->address = o->plan->fields[k->field].address;
    }
    s->o_seq = s->n_keys;
    s->o_there = s->o_seq + 1;
    s->o_values = s->o_there + (s->n_fields + 63) / 64;
    s->words = s->o_values + s->n_fields;
    return s;
}

static void drop_rows(query_sorter *s)
{
    while (s->rooms) {
        struct room *next = s->rooms->next;
        free(s->rooms);
        s->rooms = next;
    }
    s->n = 0;
    s->octets = 0;
    s->worst = NULL;
}

void query_sorter_free(query_sorter *s)
{
    if (!s)
        return;
    drop_rows(s);
    query_spill_close(&s->spill);
    free(s->rows);
    free(s->runs);
    free(s->keys);
    free(s->fields);
    free(s);
}

uint64_t query_sorter_spilled(const query_sorter *s)
{
    return s->spill.end;
}

static uint64_t *room_for(query_sorter *s, size_t words)
{
    enum { ROOM = 1 << 14 };
    if (!s->rooms || s->rooms->cap - s->rooms->used < words) {
        size_t cap = words > ROOM ? words : s->rooms ? ROOM : ROOM / 16;
        struct room *r = malloc(sizeof *r + cap * sizeof *r->data);
        if (!r)
            return NULL;
        *r = (struct room){.next = s->rooms, .cap = cap};
        s->rooms = r;
        s->octets += sizeof *r + cap * sizeof *r->data;
    }
    uint64_t *p = s->rooms->data + s->rooms->used;
    s->rooms->used += words;
    return p;
}

/* ---- comparing ---- */

/* 17 octets that order addresses: family, then the address; texts that are no addresses come last, by their text. */
static bool address_key(const char *p, size_t len, uint8_t out[17])
{
    char text[INET6_ADDRSTRLEN + 1];
    memset(out, 0, 17);
    if (!len || len > INET6_ADDRSTRLEN)
        return false;
    memcpy(text, p, len);
    text[len] = 0;
    char *slash = memchr(text, '/', len); /* a network */
    if (slash)
        *slash = 0;
    if (inet_pton(AF_INET, text, out + 1) == 1) {
        out[0] = 4;
        return true;
    }
    out[0] = 6;
    return inet_pton(AF_INET6, text, out + 1) == 1;
}

static uint64_t text_word(const char *p, size_t len, bool address)
{
    uint8_t a[17];
    uint64_t w = 0;
    if (address) {
        if (!address_key(p, len, a))
            return UINT64_MAX;
        for (size_t i = 0; i < 8; i++)
            w = w << 8 | a[i];
        return w;
    }
    for (size_t i = 0; i < 8; i++)
        w = w << 8 | (i < len ? (uint8_t)p[i] : 0);
    return w;
}

static int compare_texts(const uint64_t *a, uint64_t va, const uint64_t *b, uint64_t vb,
                         bool address)
{
    const char *x = (const char *)a + (va >> 32), *y = (const char *)b + (vb >> 32);
    size_t nx = (uint32_t)va, ny = (uint32_t)vb, n = nx < ny ? nx : ny;
    if (address) {
        uint8_t p[17], q[17];
        if (address_key(x, nx, p) && address_key(y, ny, q)) {
            int c = memcmp(p, q, 17);
            if (c)
                return c;
        }
    }
    int c = n ? memcmp(x, y, n) : 0;
    return c ? c : nx < ny ? -1 : nx > ny;
}

static int compare_rows(const query_sorter *s, const uint64_t *a, const uint64_t *b)
{
    for (size_t i = 0; i < s->n_keys; i++) {
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
        const struct sort_key *k = &s->keys[i];
        size_t at = (size_t)k->value;
        bool a_there = parquet_bit(a + s->o_there, at), b_there = parquet_bit(b + s->o_there, at);
        if (a_there != b_there)
            return a_there ? -1 : 1;
        if (!a_there || !query_is_text(query_plan_kind(s->o.plan, k->field)))
            continue;
        int c = compare_texts(a, a[s->o_values + at], b, b[s->o_values + at], k->address);
        if (c)
            return k->descending ? -c : c;
    }
    return a[s->o_seq] < b[s->o_seq] ? -1 : a[s->o_seq] > b[s->o_seq];
}

static int compare_for_qsort(const void *a, const void *b, void *s)
{
    return compare_rows(s, ((const struct row *)a)->at, ((const struct row *)b)->at);
}

/* Sort by the first word, octet by octet, then each run of equal ones by the rest. */
static bool sort_rows(query_sorter *s)
{
    size_t n = s->n;
    if (n > 256) {
        struct row *other = malloc(n * sizeof *other), *from = s->rows, *to = other;
        if (!other)
            return false;
        for (unsigned shift = 0; shift < 64; shift += 8) {
            size_t count[256] = {0};
            for (size_t i = 0; i < n; i++)
                count[from[i].first >> shift & 255]++;
            if (count[from[0].first >> shift & 255] == n)
                continue;
            size_t sum = 0;
            for (size_t i = 0; i < 256; i++) {
                size_t c = count[i];
                count[i] = sum;
                sum += c;
            }
            for (size_t i = 0; i < n; i++)
                to[count[from[i].first >> shift & 255]++] = from[i];
            struct row *t = from;
            from = to;
            to = t;
        }
        if (from != s->rows)
            memcpy(s->rows, from, n * sizeof *from);
        free(other);
        for (size_t i = 0, end; i < n; i = end) {
            for (end = i + 1; end < n && s->rows[end].first == s->rows[i].first; end++)
                ;
            if (end - i > 1)
                qsort_r(s->rows + i, end - i, sizeof *s->rows, compare_for_qsort, s);
        }
    } else if (n > 1) {
        qsort_r(s->rows, n, sizeof *s->rows, compare_for_qsort, s);
    }
    return true;
}

/* ---- taking rows ---- */

/* Only the first rows that the limit asks for stay. */
static weir_status cut(query_sorter *s, weir_err *err)
{
    if (!sort_rows(s))
        return no_memory(err);
    if (s->n <= s->o.limit)
        return WEIR_OK;
    struct room *old = s->rooms;
    size_t n = (size_t)s->o.limit;
    s->rooms = NULL;
    s->octets = 0;
    weir_status st = WEIR_OK;
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        const uint64_t *at = s->rows[i].at;
        size_t octets = s->words * sizeof *at;
        for (size_t f = 0; f < s->n_fields; f++) {
            uint8_t kind = query_plan_kind(s->o.plan, s->fields[f]);
            if (query_is_text(kind) || query_is_list(kind)) {
                size_t end = (size_t)(at[s->o_values + f] >> 32) + (uint32_t)at[s->o_values + f];
                octets = end > octets ? end : octets;
            }
        }
        uint64_t *to = room_for(s, (octets + 7) / 8);
        if (!to)
            st = no_memory(err);
        else
            s->rows[i].at = memcpy(to, at, octets);
    }
    while (old) {
        struct room *next = old->next;
        free(old);
        old = next;
    }
    s->n = st == WEIR_OK ? n : 0;
    s->worst = s->n ? s->rows[s->n - 1].at : NULL;
    return st;
}

static size_t row_octets(const query_sorter *s, const uint64_t *at)
{
    size_t octets = s->words * sizeof *at;
    for (size_t f = 0; f < s->n_fields; f++) {
        uint8_t kind = query_plan_kind(s->o.plan, s->fields[f]);
        if (!query_is_text(kind) && !query_is_list(kind))
            continue;
        size_t end = (size_t)(at[s->o_values + f] >> 32) + (uint32_t)at[s->o_values + f];
        octets = end > octets ? end : octets;
    }
    return (octets + 7) / 8 * 8;
}

/* All rows become a sorted run of the temporary file: each behind its length. */
static weir_status write_run(query_sorter *s, weir_err *err)
{
    enum { WRITE = 1 << 18 };
    if (!s->n)
        return WEIR_OK;
    if (!sort_rows(s))
        return no_memory(err);
    if (s->spill.fd < 0)
        WEIR_TRY(query_spill_open(&s->spill, s->o.tmp, err));
    struct query_extent x = {.at = s->spill.end};
    size_t cap = WRITE, len = 0;
    char *data = malloc(cap);
    weir_status st = data ? WEIR_OK : no_memory(err);
    for (size_t i = 0; i < s->n && st == WEIR_OK; i++) {
        uint64_t octets = row_octets(s, s->rows[i].at);
        if (cap - len < octets + 8) {
            st = query_spill_write(&s->spill, data, len, err);
            len = 0;
            if (cap < octets + 8) {
                free(data);
                cap = (size_t)octets + 8;
                if (!(data = malloc(cap)))
                    st = no_memory(err);
            }
        }
        if (st != WEIR_OK)
            break;
        memcpy(data + len, &octets, 8);
        memcpy(data + len + 8, s->rows[i].at, (size_t)octets);
        len += (size_t)octets + 8;
    }
    if (st == WEIR_OK)
        st = query_spill_write(&s->spill, data, len, err);
    free(data);
    if (st != WEIR_OK)
        return st;
    x.len = s->spill.end - x.at;
    if (s->n_runs == s->cap_runs) {
        size_t more = s->cap_runs ? s->cap_runs * 2 : 16;
        struct query_extent *p = realloc(s->runs, more * sizeof *p);
        if (!p)
            return no_memory(err);
        s->runs = p;
        s->cap_runs = more;
    }
    s->runs[s->n_runs++] = x;
    drop_rows(s);
    return WEIR_OK;
}

static uint64_t double_word(uint64_t bits)
{
    return bits & TOP ? ~bits : bits | TOP; /* the order of doubles */
}

static uint64_t sort_word(const struct sort_key *k, const struct query_values *v, size_t i)
{
    if (query_is_null(v, i) || query_is_list(v->v.kind))
        return UINT64_MAX; /* behind all others, either way; told apart by their bits */
    uint64_t w;
    if (query_is_text(v->v.kind)) {
        const struct query_text *t = &v->v.dict[query_code(v, i)];
        w = text_word(t->data, t->len, k->address);
    } else {
        w = query_num(v, i);
        if (v->v.kind == QUERY_S64 || v->v.kind == QUERY_TIME)
            w ^= TOP;
        else if (v->v.kind == QUERY_F64)
            w = double_word(w);
    }
    return k->descending ? ~w : w;
}

static size_t list_octets(const struct query_values *v, size_t i)
{
    size_t n = 0;
    for (uint32_t k = v->v.starts[i]; k < v->v.starts[i + 1]; k++)
        n += v->v.kind == QUERY_TEXT_LIST ? 4 + (size_t)v->v.dict[v->v.codes[k]].len : 8;
    return n;
}

static void store_list(const struct query_values *v, size_t i, char *at)
{
    for (uint32_t k = v->v.starts[i]; k < v->v.starts[i + 1]; k++) {
        if (v->v.kind == QUERY_U64_LIST) {
            memcpy(at, &v->v.num[k], 8);
            at += 8;
            continue;
        }
        const struct query_text *t = &v->v.dict[v->v.codes[k]];
        memcpy(at, &t->len, 4);
        if (t->len)
            memcpy(at + 4, t->data, t->len);
        at += 4 + t->len;
    }
}

/* Row i as it is stored; UINT32_MAX octets are more than any row may have. */
static weir_status add_row(query_sorter *s, const struct query_values *const *values, size_t i,
                           const uint64_t *words, uint64_t seq, weir_err *err)
{
    size_t octets = s->words * sizeof(uint64_t);
    for (size_t f = 0; f < s->n_fields; f++) {
        const struct query_values *v = values[f];
        if (query_is_null(v, i))
            continue;
        if (query_is_text(v->v.kind))
            octets += v->v.dict[query_code(v, i)].len;
        else if (query_is_list(v->v.kind))
            octets += list_octets(v, i);
    }
    if (octets > UINT32_MAX)
        return weir_err_set(err, WEIR_ELIMIT, 0, "query: a row of more than 4 GiB");
    uint64_t *at = room_for(s, (octets + 7) / 8);
    if (!at)
        return no_memory(err);
    memcpy(at, words, s->n_keys * sizeof *at);
    at[s->o_seq] = seq;
    memset(at + s->o_there, 0, (s->o_values - s->o_there) * sizeof *at);
    size_t end = s->words * sizeof *at;
    for (size_t f = 0; f < s->n_fields; f++) {
        const struct query_values *v = values[f];
        uint64_t *to = &at[s->o_values + f];
        *to = 0;
        if (query_is_null(v, i))
            continue;
        at[s->o_there + f / 64] |= UINT64_C(1) << (f & 63);
        if (query_is_text(v->v.kind)) {
            const struct query_text *t = &v->v.dict[query_code(v, i)];
            if (t->len)
                memcpy((char *)at + end, t->data, t->len);
            *to = (uint64_t)end << 32 | t->len;
            end += t->len;
        } else if (query_is_list(v->v.kind)) {
            size_t len = list_octets(v, i);
            store_list(v, i, (char *)at + end);
            *to = (uint64_t)end << 32 | len;
            end += len;
        } else {
            *to = query_num(v, i);
        }
    }
    if (s->n == s->cap) {
        size_t more = s->cap ? s->cap * 2 : 256;
        struct row *p = realloc(s->rows, more * sizeof *p);
        if (!p)
            return no_memory(err);
        s->rows = p;
        s->cap = more;
    }
    s->rows[s->n++] = (struct row){.first = at[0], .at = at};
    return WEIR_OK;
}

/* Rows are kept up to twice the limit, then cut. */
static bool is_full(const query_sorter *s)
{
    return s->o.limit && s->n >= 2 * s->o.limit && s->n >= 512;
}

/* Rows that may be among the first, by their first sort word: e becomes theirs, kept[] their places in the old one. NULL:
 * all may. */
static weir_status narrow(query_sorter *s, struct query_eval *e, const uint32_t **kept,
                          weir_err *err)
{
    const struct query_values *first;
    size_t n = e->rows.n, m = 0;
    *kept = NULL;
    if (!s->worst || !s->n_keys)
        return WEIR_OK;
    WEIR_TRY(query_eval_field(e, s->keys[0].field, &first, err));
    uint32_t *at = query_bump_array(e->memory, n + 1, sizeof *at);
    if (!at)
        return no_memory(err);
    const struct sort_key *k = &s->keys[0];
    if (first->v.kind == QUERY_U64 && !first->v.valid && !first->constant) {
        uint64_t flip = k->descending ? UINT64_MAX : 0, worst = s->worst[0];
        const uint64_t *num = first->v.num;
        for (size_t i = 0; i < n; i++) {
            at[m] = (uint32_t)i;
            m += (num[i] ^ flip) <= worst;
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            at[m] = (uint32_t)i;
            m += sort_word(k, first, i) <= s->worst[0];
        }
    }
    *kept = at;
    struct query_eval all = *e;
    uint32_t *rows = query_bump_array(e->memory, m + 1, sizeof *rows);
    if (!rows)
        return no_memory(err);
    for (size_t i = 0; i < m; i++)
        rows[i] = all.rows.at ? all.rows.at[at[i]] : at[i];
    if (!query_eval_init(e, all.plan, all.scan, all.memory,
                         (struct query_rows){.at = rows, .n = m}))
        return no_memory(err);
    e->base = all.base;
    e->user = all.user;
    return WEIR_OK;
}

weir_status query_sorter_add(query_sorter *s, struct query_eval *rows, const uint64_t *seq,
                             weir_err *err)
{
    struct query_eval e = *rows;
    const uint32_t *kept;
    WEIR_TRY(narrow(s, &e, &kept, err));
    size_t n = e.rows.n;
    if (!n)
        return WEIR_OK;
    const struct query_values **keys = query_bump_array(e.memory, s->n_keys + 1, sizeof *keys);
    const struct query_values **values =
        query_bump_array(e.memory, s->n_fields + 1, sizeof *values);
    uint64_t *words = query_bump_array(e.memory, s->n_keys + 1, sizeof *words);
    if (!keys || !values || !words)
        return no_memory(err);
    for (size_t k = 0; k < s->n_keys; k++)
        WEIR_TRY(query_eval_field(&e, s->keys[k].field, &keys[k], err));
    for (size_t f = 0; f < s->n_fields; f++)
        WEIR_TRY(query_eval_field(&e, s->fields[f], &values[f], err));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < s->n_keys; k++)
            words[k] = sort_word(&s->keys[k], keys[k], i);
        if (s->worst && s->n_keys && words[0] > s->worst[0])
            continue;
        WEIR_TRY(add_row(s, values, i, words, seq[kept ? kept[i] : i], err));
        if (is_full(s))
            WEIR_TRY(cut(s, err));
    }
    if (s->octets + s->cap * 2 * sizeof *s->rows > s->o.max_octets && s->n) {
        if (s->o.limit)
            WEIR_TRY(cut(s, err));
        if (s->octets + s->cap * 2 * sizeof *s->rows > s->o.max_octets && s->n > 1024)
            WEIR_TRY(write_run(s, err));
    }
    return WEIR_OK;
}

weir_status query_sorter_merge(query_sorter *s, query_sorter *from, weir_err *err)
{
    if (from->n_runs) { /* its runs are copied, its rows become one */
        WEIR_TRY(write_run(from, err));
        if (s->spill.fd < 0)
            WEIR_TRY(query_spill_open(&s->spill, s->o.tmp, err));
        for (size_t i = 0; i < from->n_runs; i++) {
            struct query_spill_reader r;
            struct query_extent x = {.at = s->spill.end, .len = from->runs[i].len};
            weir_status st = query_spill_reader_init(&r, &from->spill, from->runs[i], 1 << 18)
                                 ? WEIR_OK
                                 : no_memory(err);
            for (uint64_t left = x.len; left && st == WEIR_OK;) {
                const void *p;
                size_t n = left < (1 << 18) ? (size_t)left : 1 << 18;
                st = query_spill_read(&r, n, &p, err);
                if (st == WEIR_OK)
                    st = query_spill_write(&s->spill, p, n, err);
                left -= n;
            }
            query_spill_reader_done(&r);
            WEIR_TRY(st);
            if (s->n_runs == s->cap_runs) {
                size_t more = s->cap_runs ? s->cap_runs * 2 : 16;
                struct query_extent *q = realloc(s->runs, more * sizeof *q);
                if (!q)
                    return no_memory(err);
                s->runs = q;
                s->cap_runs = more;
            }
            s->runs[s->n_runs++] = x;
        }
        from->n_runs = 0;
    }
    if (!from->n)
        return WEIR_OK;
    if (s->cap - s->n < from->n) {
        size_t more = s->n + from->n;
        struct row *p = realloc(s->rows, more * sizeof *p);
        if (!p)
            return no_memory(err);
        s->rows = p;
        s->cap = more;
    }
    memcpy(s->rows + s->n, from->rows, from->n * sizeof *s->rows);
    s->n += from->n;
    from->n = 0;
    struct room **last = &s->rooms;
    while (*last)
        last = &(*last)->next;
    *last = from->rooms;
    s->octets += from->octets;
    from->rooms = NULL;
    from->octets = 0;
    from->worst = NULL;
    if (s->o.limit)
        return cut(s, err);
    return WEIR_OK;
}

/* ---- giving them out ---- */

enum { OUT = 4096 };

struct out {
    query_sorter *s;
    struct query_bump memory;
    const uint64_t *rows[OUT];
    size_t n;
    uint64_t left; /* of the limit */
    weir_status (*put)(void *user, const struct query_block *b, weir_err *err);
    void *user;
};

static weir_status out_field(struct out *o, size_t f, struct query_vec *v, weir_err *err)
{
    const query_sorter *s = o->s;
    size_t n = o->n, n_there = 0, n_items = 0;
    uint8_t kind = query_plan_kind(s->o.plan, s->fields[f]);
    *v = (struct query_vec){.kind = QUERY_UNKNOWN};
    uint64_t *valid = query_bump_zero(&o->memory, (n / 64 + 1) * sizeof *valid);
    if (!valid)
        return no_memory(err);
    bool list = query_is_list(kind), text = query_is_text(kind);
    for (size_t i = 0; i < n; i++) {
        bool there = parquet_bit(o->rows[i] + s->o_there, f);
        valid[i >> 6] |= (uint64_t)there << (i & 63);
        n_there += there;
        if (there && list)
            n_items += (uint32_t)o->rows[i][s->o_values + f] / (kind == QUERY_TEXT_LIST ? 4 : 8);
    }
    if (!n_there)
        return WEIR_OK;
    size_t slots = list ? n_items : n;
    uint64_t *num = query_bump_array(&o->memory, slots + 1, sizeof *num);
    uint32_t *codes = query_bump_array(&o->memory, slots + 1, sizeof *codes);
    struct query_text *dict = query_bump_array(&o->memory, slots + 1, sizeof *dict);
    uint32_t *starts = list ? query_bump_array(&o->memory, n + 1, sizeof *starts) : NULL;
    if (!num || !codes || !dict || (list && !starts))
        return no_memory(err);
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t x = o->rows[i][s->o_values + f];
        bool there = parquet_bit(valid, i);
        const char *p = (const char *)o->rows[i] + (x >> 32);
        if (list) {
            starts[i] = at;
            for (uint32_t k = 0; there && k < (uint32_t)x; at++) {
                codes[at] = at;
                if (kind == QUERY_U64_LIST) {
                    memcpy(&num[at], p + k, 8);
                    k += 8;
                } else {
                    uint32_t len;
                    memcpy(&len, p + k, 4);
                    dict[at] = (struct query_text){.data = p + k + 4, .len = len};
                    k += 4 + len;
                }
            }
        } else if (text) {
            codes[i] = (uint32_t)i;
            dict[i] = there ? (struct query_text){.data = p, .len = (uint32_t)x}
                            : (struct query_text){.data = ""};
        } else {
            num[i] = x;
        }
    }
    v->kind = kind;
    v->valid = n_there == n ? NULL : valid;
    if (list) {
        starts[n] = at;
        v->starts = starts;
    }
    if (text || kind == QUERY_TEXT_LIST) {
        v->codes = codes;
        v->dict = dict;
        v->n_dict = list ? at : (uint32_t)n;
    } else {
        v->num = num;
    }
    return WEIR_OK;
}

static weir_status out_flush(struct out *o, weir_err *err)
{
    if (!o->n)
        return WEIR_OK;
    query_bump_reset(&o->memory);
    size_t n_fields = o->s->o.n_fields;
    struct query_vec *vecs = query_bump_array(&o->memory, n_fields + 1, sizeof *vecs);
    if (!vecs)
        return no_memory(err);
    for (size_t f = 0; f < n_fields; f++)
        WEIR_TRY(out_field(o, f, &vecs[f], err));
    struct query_block b = {.n = o->n, .vecs = vecs};
    o->n = 0;
    return o->put(o->user, &b, err);
}

struct run {
    struct query_spill_reader r;
    uint64_t *row; /* the next one */
    size_t cap;
};

/* The next row of a run, in memory of its own. WEIR_END: no more. */
static weir_status run_next(struct run *r, weir_err *err)
{
    const void *p;
    uint64_t octets;
    if (query_spill_at_end(&r->r))
        return WEIR_END;
    WEIR_TRY(query_spill_read(&r->r, 8, &p, err));
    memcpy(&octets, p, 8);
    WEIR_TRY(query_spill_read(&r->r, (size_t)octets, &p, err));
    if (octets > r->cap) {
        uint64_t *more = realloc(r->row, (size_t)octets);
        if (!more)
            return no_memory(err);
        r->row = more;
        r->cap = (size_t)octets;
    }
    memcpy(r->row, p, (size_t)octets);
    return WEIR_OK;
}

static void sift(const query_sorter *s, struct run **heap, size_t n, size_t at)
{
    for (;;) {
        size_t kid = at * 2 + 1;
        if (kid >= n)
            return;
        if (kid + 1 < n && compare_rows(s, heap[kid + 1]->row, heap[kid]->row) < 0)
            kid++;
        if (compare_rows(s, heap[at]->row, heap[kid]->row) <= 0)
            return;
        struct run *t = heap[at];
        heap[at] = heap[kid];
        heap[kid] = t;
        at = kid;
    }
}

/* Runs [from, to) of s in order: to put, or as one run behind the others when o is NULL. */
static weir_status merge_runs(query_sorter *s, size_t from, size_t to, struct out *o, weir_err *err)
{
    size_t n = 0, all = to - from;
    struct run *runs = calloc(all + 1, sizeof *runs), **heap = calloc(all + 1, sizeof *heap);
    struct query_bump copies = {0};
    size_t copied = 0;
    weir_status st = runs && heap ? WEIR_OK : no_memory(err);
    struct query_extent x = {.at = s->spill.end};
    for (size_t i = 0; i < all && st == WEIR_OK; i++) {
        if (!query_spill_reader_init(&runs[i].r, &s->spill, s->runs[from + i], 1 << 16)) {
            st = no_memory(err);
            break;
        }
        st = run_next(&runs[i], err);
        if (st == WEIR_OK)
            heap[n++] = &runs[i];
        else if (st == WEIR_END)
            st = WEIR_OK;
    }
    for (size_t i = n / 2; i-- && st == WEIR_OK;)
        sift(s, heap, n, i);
    while (n && st == WEIR_OK && (!o || o->left)) {
        uint64_t octets = row_octets(s, heap[0]->row);
        uint64_t *copy = query_bump_alloc(&copies, (size_t)octets + 8);
        if (!copy) {
            st = no_memory(err);
            break;
        }
        copied += (size_t)octets;
        if (o) {
            memcpy(copy, heap[0]->row, (size_t)octets);
            o->rows[o->n++] = copy;
            o->left--;
            if (o->n == OUT || copied > (1 << 20)) {
                st = out_flush(o, err);
                query_bump_reset(&copies);
                copied = 0;
            }
        } else {
            copy[0] = octets;
            memcpy(copy + 1, heap[0]->row, (size_t)octets);
            st = query_spill_write(&s->spill, copy, (size_t)octets + 8, err);
            query_bump_reset(&copies);
        }
        if (st != WEIR_OK)
            break;
        st = run_next(heap[0], err);
        if (st == WEIR_END) {
            heap[0] = heap[--n];
            st = WEIR_OK;
        }
        if (st == WEIR_OK)
            sift(s, heap, n, 0);
    }
    if (st == WEIR_OK && o)
        st = out_flush(o, err);
    for (size_t i = 0; runs && i < all; i++) {
        query_spill_reader_done(&runs[i].r);
        free(runs[i].row);
    }
    free(runs);
    free(heap);
    query_bump_done(&copies);
    if (st == WEIR_OK && !o) {
        x.len = s->spill.end - x.at;
        s->runs[from] = x; /* in the place of those it is made of */
        memmove(s->runs + from + 1, s->runs + to, (s->n_runs - to) * sizeof *s->runs);
        s->n_runs -= all - 1;
    }
    return st;
}

weir_status query_sorter_finish(query_sorter *s,
                                weir_status (*put)(void *user, const struct query_block *b,
                                                   weir_err *err),
                                void *user, weir_err *err)
{
    enum { FAN = 256 };
    struct out *o = calloc(1, sizeof *o);
    if (!o)
        return no_memory(err);
    o->s = s;
    o->put = put;
    o->user = user;
    o->left = s->o.limit ? s->o.limit : UINT64_MAX;
    weir_status st = WEIR_OK;
    if (s->n_runs) {
        st = write_run(s, err);
        for (size_t at = 0; st == WEIR_OK && s->n_runs > FAN;) {
            if (at + 1 >= s->n_runs)
                at = 0;
            size_t to = at + FAN < s->n_runs ? at + FAN : s->n_runs;
            st = merge_runs(s, at, to, NULL, err);
            at++;
        }
        if (st == WEIR_OK)
            st = merge_runs(s, 0, s->n_runs, o, err);
    } else {
        if (!sort_rows(s))
            st = no_memory(err);
        for (size_t i = 0; i < s->n && o->left && st == WEIR_OK; i++) {
            o->rows[o->n++] = s->rows[i].at;
            o->left--;
            if (o->n == OUT)
                st = out_flush(o, err);
        }
        if (st == WEIR_OK)
            st = out_flush(o, err);
    }
    query_bump_done(&o->memory);
    free(o);
    return st;
}
