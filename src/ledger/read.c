#include "ledger/ledger.h"

#include "archive/archive.h"
#include "base/hash.h"
#include "ledger/account.h"
#include "ledger/checkpoint.h"
#include "ledger/taken.h"
#include "parquet/reader.h"

#include <weir/decoder.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Rows of one partition are gathered by key, then put in order and handed out:
 *
 *     file, group, window of rows --> keys[] hashed --> found: folded into what is there
 *                                                       new: appended to rows[], stride octets each
 *
 * A row here has values of the columns that were asked for alone, so that an hour of a thousand exporters takes little. */

enum {
    WINDOW = 4096,
    MAX_OCTETS =
        256
        << 20, /* of gathered rows, unless said otherwise; beyond, what there is goes out first */
    MAX_ROWS = 1 << 20, /* of a checkpoint, which stand for nothing where they have no values */
    MAX_COLUMNS = FLOW_N_LEDGER_COLUMNS
};

static const int64_t MINUTE = 60000000, HOUR = 60 * INT64_C(60000000);

/* Minutes beyond are nobody's: far from what can overflow, in nanoseconds too. */
static const int64_t MAX_TIME = INT64_MAX / 1000;

struct key {
    int64_t minute;
    uint8_t exporter[16];
    uint32_t domain;
    uint16_t port, worker;
    uint8_t exporter_len, version, has_domain, zero[5]; /* no padding: hashed as octets */
};
_Static_assert(sizeof(struct key) == 40, "keys are compared as octets");

struct held {
    struct key key;
    uint64_t has[LEDGER_WORDS]; /* bit of the column, not of the slot */
    union ledger_value values[];
};

/* A part of a checkpoint: its rows [from, to), of which the last is the collector's own. */
struct part {
    int64_t minute, last; /* up to when it counts */
    uint32_t from, to;
    uint16_t worker, of; /* the checkpoint */
    bool twice;          /* its rows are in another checkpoint */
};

/* The checkpoints beside an archive, n of them. */
struct fresh {
    flow_batch *rows[LEDGER_CHECKPOINTS];
    size_t n, octets;
    struct part *parts; /* n_parts, by minute, worker and last */
    size_t n_parts, cap;
};

struct gather {
    ledger_taken *taken; /* where own rows are noted; NULL: nowhere */
    bool only_taken;     /* nothing else is wanted */
    uint8_t
        columns[MAX_COLUMNS]; /* that are read besides the key, n of them; their slot in values */
    size_t n;
    size_t stride;
    const struct ledger_range *range;
    struct fresh *fresh; /* NULL: none */
    ledger_each_fn *each;
    void *user;
    bool ended; /* each does not want more */
    char *rows; /* n_rows of stride octets, room for cap */
    size_t n_rows, cap, max;
    uint32_t *index; /* row + 1, slots of them */
    size_t slots;
    uint64_t seed;
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for the ledger");
}

static bool bit_of(const uint64_t *bits, size_t i)
{
    return bits[i / 64] >> i % 64 & 1;
}

/* ---- folding ---- */

static uint64_t sum_u64(uint64_t a, uint64_t b)
{
    uint64_t c;
    return __builtin_add_overflow(a, b, &c) ? UINT64_MAX : c;
}

static int64_t sum_s64(int64_t a, int64_t b)
{
    int64_t c;
    return !__builtin_add_overflow(a, b, &c) ? c : b < 0 ? INT64_MIN : INT64_MAX;
}

static bool less(enum flow_type t, const union ledger_value *a, const union ledger_value *b)
{
    if (t == FLOW_TYPE_F64)
        return a->f64 < b->f64;
    if (t == FLOW_TYPE_S64 || t == FLOW_TYPE_TIME)
        return a->s64 < b->s64;
    return a->u64 < b->u64;
}

/* b, which is there, into a, which is there too. */
static void fold_value(const struct flow_column *c, union ledger_value *a,
                       const union ledger_value *b)
{
    enum flow_type t = (enum flow_type)c->type;
    switch ((enum flow_fold)c->fold) {
    case FLOW_FOLD_KEY:
        break;
    case FLOW_FOLD_SUM:
        if (t == FLOW_TYPE_F64)
            a->f64 += b->f64;
        else if (t == FLOW_TYPE_S64)
            a->s64 = sum_s64(a->s64, b->s64);
        else
            a->u64 = sum_u64(a->u64, b->u64);
        break;
    case FLOW_FOLD_MIN:
        if (less(t, b, a))
            *a = *b;
        break;
    case FLOW_FOLD_MAX:
        if (less(t, a, b))
            *a = *b;
        break;
    case FLOW_FOLD_LAST:
        *a = *b;
        break;
    }
}

void ledger_fold(struct ledger_row *dst, const struct ledger_row *src)
{
    const struct flow_column *columns = flow_ledger_columns();
    for (size_t i = 0; i < FLOW_N_LEDGER_COLUMNS; i++) {
        if (columns[i].fold == FLOW_FOLD_KEY || !bit_of(src->has, i))
            continue;
        if (bit_of(dst->has, i)) {
            fold_value(&columns[i], &dst->values[i], &src->values[i]);
        } else {
            dst->values[i] = src->values[i];
            dst->has[i / 64] |= UINT64_C(1) << i % 64;
        }
    }
}

/* ---- gathering ---- */

static void gather_init(struct gather *g, const struct ledger_range *range, ledger_each_fn *each,
                        void *user)
{
    const struct flow_column *columns = flow_ledger_columns();
    *g = (struct gather){.range = range, .each = each, .user = user, .seed = base_hash_seed()};
    for (size_t i = 0; i < FLOW_N_LEDGER_COLUMNS; i++)
        if (columns[i].fold != FLOW_FOLD_KEY && (!range->columns || bit_of(range->columns, i)))
            g->columns[g->n++] = (uint8_t)i;
    g->stride = sizeof(struct held) + g->n * sizeof(union ledger_value);
    size_t octets = range->max_octets ? range->max_octets : MAX_OCTETS;
    g->max = octets / g->stride ? octets / g->stride : 1;
}

static void gather_done(struct gather *g)
{
    free(g->rows);
    free(g->index);
}

static struct held *row_at(const struct gather *g, size_t i)
{
    return (struct held *)(void *)(g->rows + i * g->stride);
}

static int compare(const void *a, const void *b, void *user)
{
    const struct gather *g = user;
    const struct key *x = &row_at(g, *(const uint32_t *)a)->key,
                     *y = &row_at(g, *(const uint32_t *)b)->key;
    if (x->minute != y->minute)
        return x->minute < y->minute ? -1 : 1;
    if (x->exporter_len != y->exporter_len)
        return x->exporter_len < y->exporter_len ? -1 : 1;
    int c = memcmp(x->exporter, y->exporter, sizeof x->exporter);
    if (c)
        return c;
    if (x->port != y->port)
        return x->port < y->port ? -1 : 1;
    if (x->has_domain != y->has_domain)
        return x->has_domain < y->has_domain ? -1 : 1;
    if (x->domain != y->domain)
        return x->domain < y->domain ? -1 : 1;
    if (x->version != y->version)
        return x->version < y->version ? -1 : 1;
    return x->worker < y->worker ? -1 : x->worker > y->worker;
}

static void give(struct gather *g, const struct held *h)
{
    const struct key *k = &h->key;
    struct ledger_row row = {.minute_us = k->minute,
                             .exporter_len = k->exporter_len,
                             .exporter_port = k->port,
                             .domain = k->domain,
                             .has_domain = k->has_domain,
                             .version = k->version,
                             .worker = k->worker};
    memcpy(row.exporter, k->exporter, sizeof row.exporter);
    memcpy(row.has, h->has, sizeof row.has);
    for (size_t i = 0; i < g->n; i++)
        row.values[g->columns[i]] = h->values[i];
    g->ended = !g->each(g->user, &row);
}

/* All that was gathered, in order; nothing is left. */
static weir_status gather_give(struct gather *g, weir_err *err)
{
    if (!g->n_rows)
        return WEIR_OK;
    uint32_t *order = malloc(g->n_rows * sizeof *order);
    if (!order)
        return no_memory(err);
    bool sorted = true;
    for (size_t i = 0; i < g->n_rows; i++)
        order[i] = (uint32_t)i;
    for (size_t i = 1; i < g->n_rows && sorted; i++)
        sorted = compare(&order[i - 1], &order[i], g) < 0;
    if (!sorted)
        qsort_r(order, g->n_rows, sizeof *order, compare, g);
    for (size_t i = 0; i < g->n_rows && !g->ended; i++)
        give(g, row_at(g, order[i]));
    free(order);
    g->n_rows = 0;
    memset(g->index, 0, g->slots * sizeof *g->index);
    return WEIR_OK;
}

/* Room for one more row. What is full goes out in pieces, each folded and in order by itself. */
static weir_status gather_room(struct gather *g, weir_err *err)
{
    if (g->n_rows == g->max)
        return gather_give(g, err);
    if (g->n_rows == g->cap) {
        size_t cap = g->cap ? 2 * g->cap : 256;
        cap = cap < g->max ? cap : g->max;
        char *rows = realloc(g->rows, cap * g->stride);
        if (!rows)
            return no_memory(err);
        g->rows = rows;
        g->cap = cap;
    }
    if (g->slots < 2 * (g->n_rows + 1)) {
        size_t slots = g->slots ? 2 * g->slots : 1024;
        uint32_t *index = calloc(slots, sizeof *index);
        if (!index)
            return no_memory(err);
        for (size_t i = 0; i < g->n_rows; i++) {
            size_t at = base_hash(&row_at(g, i)->key, sizeof(struct key), g->seed) & (slots - 1);
            while (index[at])
                at = (at + 1) & (slots - 1);
            index[at] = (uint32_t)i + 1;
        }
        free(g->index);
        g->index = index;
        g->slots = slots;
    }
    return WEIR_OK;
}

/* The row of a key, new or not; NULL: out of memory. */
static struct held *gather_row(struct gather *g, const struct key *key, weir_err *err)
{
    if (gather_room(g, err) != WEIR_OK)
        return NULL;
    size_t at = base_hash(key, sizeof *key, g->seed) & (g->slots - 1);
    while (g->index[at]) {
        struct held *h = row_at(g, g->index[at] - 1);
        if (memcmp(&h->key, key, sizeof *key) == 0)
            return h;
        at = (at + 1) & (g->slots - 1);
    }
    struct held *h = row_at(g, g->n_rows);
    h->key = *key;
    memset(h->has, 0, sizeof h->has);
    g->index[at] = (uint32_t)++g->n_rows;
    return h;
}

static void held_fold(const struct gather *g, struct held *h, size_t slot,
                      const union ledger_value *v)
{
    size_t id = g->columns[slot];
    if (bit_of(h->has, id)) {
        fold_value(&flow_ledger_columns()[id], &h->values[slot], v);
    } else {
        h->values[slot] = *v;
        h->has[id / 64] |= UINT64_C(1) << id % 64;
    }
}

/* The minute of a time, whether anybody asked for it. */
static bool minute_of(const struct ledger_range *r, int64_t time, int64_t *out)
{
    if (time < -MAX_TIME || time > MAX_TIME)
        return false;
    int64_t rest = time % MINUTE;
    *out = time - (rest < 0 ? rest + MINUTE : rest);
    return *out <= r->to_us && *out + MINUTE > r->from_us;
}

/* A whole number that fits the column's type. */
static bool fits(enum flow_type t, uint64_t v, bool is_signed)
{
    switch ((unsigned)t) {
    case FLOW_TYPE_U8:
        return v <= UINT8_MAX;
    case FLOW_TYPE_U16:
        return v <= UINT16_MAX;
    case FLOW_TYPE_U32:
        return v <= UINT32_MAX;
    case FLOW_TYPE_U64:
        return !is_signed || (int64_t)v >= 0;
    default:
        return is_signed || v <= INT64_MAX;
    }
}

/* Where a sampling rate is from or what sequence numbers count. */
static const char *word_of(const void *text, size_t len)
{
    static const char *const names[] = {"configured", "header", "options", "record",
                                        "packets",    "flows",  "records", "none"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (len == strlen(names[i]) && memcmp(text, names[i], len) == 0)
            return names[i];
    return "unknown";
}

/* ---- files ---- */

enum { KEY_MINUTE, KEY_EXPORTER, KEY_PORT, KEY_DOMAIN, KEY_VERSION, KEY_WORKER, N_KEYS };

static const enum flow_ledger_id key_columns[N_KEYS] = {
    FLOW_LEDGER_minute, FLOW_LEDGER_exporter,         FLOW_LEDGER_exporter_port,
    FLOW_LEDGER_domain, FLOW_LEDGER_protocol_version, FLOW_LEDGER_worker,
};

struct address {
    uint8_t octets[16];
    uint8_t len; /* 0: it is none */
};

/* One column of a row group. */
struct reading {
    enum flow_type want;
    uint8_t type;
    bool is_signed;
    parquet_cursor *cursor; /* NULL: all rows are null */
    const void *dict;
    uint32_t n_dict;
    struct address *addresses; /* of the dictionary, when it has addresses */
    struct parquet_data data;
};

struct group {
    struct reading keys[N_KEYS], columns[MAX_COLUMNS];
    bool check;          /* it may have rows that are in a checkpoint too */
    struct reading last; /* for that */
};

static void address_of(const struct parquet_bytes *text, struct address *out)
{
    char copy[INET6_ADDRSTRLEN];
    *out = (struct address){0};
    if (!text->len || text->len >= sizeof copy)
        return;
    memcpy(copy, text->data, text->len);
    copy[text->len] = 0;
    bool v6 = memchr(copy, ':', text->len) != NULL;
    if (inet_pton(v6 ? AF_INET6 : AF_INET, copy, out->octets) == 1)
        out->len = v6 ? 16 : 4;
    else
        *out = (struct address){0};
}

static bool type_fits(enum flow_type want, const struct parquet_column *c)
{
    if (c->list)
        return false;
    bool whole = c->type == PARQUET_INT32 || c->type == PARQUET_INT64;
    switch ((unsigned)want) {
    case FLOW_TYPE_TIME:
        return c->type == PARQUET_INT64 && c->logical == PARQUET_L_TIMESTAMP_US;
    case FLOW_TYPE_F64:
        return c->type == PARQUET_DOUBLE || c->type == PARQUET_FLOAT;
    case FLOW_TYPE_ADDR:
    case FLOW_TYPE_TEXT:
        return c->type == PARQUET_BYTE_ARRAY;
    default:
        return whole && (c->logical < PARQUET_L_TIMESTAMP_MS || c->logical == PARQUET_L_OTHER);
    }
}

static weir_status open_column(const parquet_file *f, size_t group, enum flow_ledger_id id,
                               uint64_t n_rows, struct reading *c, weir_err *err)
{
    const struct flow_column *column = &flow_ledger_columns()[id];
    int at = parquet_column_find(f, column->name);
    c->want = (enum flow_type)column->type;
    if (at < 0)
        return WEIR_OK;
    const struct parquet_column *type = &parquet_schema_of(f)->columns[at];
    struct parquet_chunk_info info;
    parquet_chunk(f, group, (size_t)at, &info);
    if (info.n_nulls >= 0 && (uint64_t)info.n_nulls == n_rows)
        return WEIR_OK;
    if (!type_fits(c->want, type))
        return weir_err_set(err, WEIR_EFORMAT, 0, "%s: column %s is no %s", parquet_name(f),
                            column->name, flow_type_text(c->want));
    c->type = type->type;
    c->is_signed = !type->unsigned_order;
    WEIR_TRY(parquet_cursor_new(f, group, (size_t)at, &c->cursor, err));
    WEIR_TRY(parquet_cursor_dict(c->cursor, &c->dict, &c->n_dict, err));
    if (c->want != FLOW_TYPE_ADDR || !c->dict)
        return WEIR_OK;
    c->addresses = calloc((size_t)c->n_dict + 1, sizeof *c->addresses);
    if (!c->addresses)
        return no_memory(err);
    for (uint32_t i = 0; i < c->n_dict; i++)
        address_of((const struct parquet_bytes *)c->dict + i, &c->addresses[i]);
    return WEIR_OK;
}

static void close_column(struct reading *c)
{
    parquet_cursor_free(c->cursor);
    free(c->addresses);
}

static weir_status read_column(const parquet_file *f, struct reading *c, size_t n, weir_err *err)
{
    if (!c->cursor)
        return WEIR_OK;
    weir_status st = parquet_cursor_read(c->cursor, n, &c->data, err);
    if (st != WEIR_END && st != WEIR_OK)
        return st;
    if (st == WEIR_END || c->data.n != n || (c->data.codes ? !c->dict : !c->data.values))
        return weir_err_set(err, WEIR_EFORMAT, 0, "%s: a column of the ledger has too few rows",
                            parquet_name(f));
    return WEIR_OK;
}

static bool is_there(const struct reading *c, size_t row)
{
    return c->cursor && (!c->data.valid || parquet_bit(c->data.valid, row));
}

static const void *slot_of(const struct reading *c, size_t row, size_t octets)
{
    const char *values = c->data.codes ? c->dict : c->data.values;
    return values + (c->data.codes ? c->data.codes[row] : row) * octets;
}

/* A whole number of the column's type, widened. */
static bool whole_at(const struct reading *c, size_t row, uint64_t *out)
{
    if (!is_there(c, row))
        return false;
    if (c->type == PARQUET_INT64) {
        memcpy(out, slot_of(c, row, 8), 8);
    } else {
        uint32_t v;
        memcpy(&v, slot_of(c, row, 4), 4);
        *out = c->is_signed ? (uint64_t)(int64_t)(int32_t)v : v;
    }
    return fits(c->want, *out, c->is_signed);
}

static bool value_at(const struct reading *c, size_t row, union ledger_value *out)
{
    float small;
    struct parquet_bytes text;
    switch ((unsigned)c->want) {
    case FLOW_TYPE_F64:
        if (!is_there(c, row))
            return false;
        if (c->type == PARQUET_DOUBLE) {
            memcpy(&out->f64, slot_of(c, row, 8), 8);
        } else {
            memcpy(&small, slot_of(c, row, 4), 4);
            out->f64 = (double)small;
        }
        return out->f64 - out->f64 == 0; /* finite */
    case FLOW_TYPE_TEXT:
        if (!is_there(c, row))
            return false;
        memcpy(&text, slot_of(c, row, sizeof text), sizeof text);
        out->text = word_of(text.data, text.len);
        return true;
    default:
        return whole_at(c, row, &out->u64);
    }
}

/* false: its exporter is no address. */
static bool key_at(const struct gather *g, struct group *x, size_t row, struct key *k, bool *wanted)
{
    uint64_t v;
    struct address a = {0};
    *k = (struct key){0};
    *wanted =
        whole_at(&x->keys[KEY_MINUTE], row, &v) && minute_of(g->range, (int64_t)v, &k->minute);
    if (!*wanted)
        return true;
    const struct reading *e = &x->keys[KEY_EXPORTER];
    if (is_there(e, row)) {
        if (e->data.codes)
            a = e->addresses[e->data.codes[row]];
        else
            address_of(slot_of(e, row, sizeof(struct parquet_bytes)), &a);
        if (!a.len)
            return false;
    }
    memcpy(k->exporter, a.octets, sizeof k->exporter);
    k->exporter_len = a.len;
    k->port = whole_at(&x->keys[KEY_PORT], row, &v) ? (uint16_t)v : 0;
    k->has_domain = whole_at(&x->keys[KEY_DOMAIN], row, &v);
    k->domain = k->has_domain ? (uint32_t)v : 0;
    k->version = whole_at(&x->keys[KEY_VERSION], row, &v) ? (uint8_t)v : 0;
    if (g->range->by_worker)
        k->worker = whole_at(&x->keys[KEY_WORKER], row, &v) ? (uint16_t)v : 0;
    return true;
}

static bool is_own(const struct key *k)
{
    return !k->exporter_len && !k->has_domain && !k->version;
}

/* Whether any row of the window is asked for. */
static bool any_wanted(const struct gather *g, const struct reading *minutes, size_t n)
{
    for (size_t row = 0; row < n; row++) {
        uint64_t v;
        int64_t minute;
        if (whole_at(minutes, row, &v) && minute_of(g->range, (int64_t)v, &minute))
            return true;
    }
    return false;
}

static weir_status pass_over(struct reading *c, size_t n, weir_err *err)
{
    return c->cursor ? parquet_cursor_skip(c->cursor, n, err) : WEIR_OK;
}

static weir_status read_windows(struct gather *g, const parquet_file *f, struct group *x,
                                uint64_t n_rows, weir_err *err)
{
    for (uint64_t done = 0; done < n_rows && !g->ended;) {
        size_t n = n_rows - done < WINDOW ? (size_t)(n_rows - done) : WINDOW;
        done += n;
        WEIR_TRY(read_column(f, &x->keys[KEY_MINUTE], n, err));
        bool any = any_wanted(g, &x->keys[KEY_MINUTE], n);
        for (size_t i = 0; i < N_KEYS; i++)
            if (i != KEY_MINUTE)
                WEIR_TRY(any ? read_column(f, &x->keys[i], n, err)
                             : pass_over(&x->keys[i], n, err));
        WEIR_TRY(any ? read_column(f, &x->last, n, err) : pass_over(&x->last, n, err));
        for (size_t i = 0; i < g->n; i++)
            WEIR_TRY(any ? read_column(f, &x->columns[i], n, err)
                         : pass_over(&x->columns[i], n, err));
        for (size_t row = 0; any && row < n && !g->ended; row++) {
            struct key k;
            union ledger_value v;
            bool wanted;
            if (!key_at(g, x, row, &k, &wanted))
                return weir_err_set(err, WEIR_EFORMAT, 0, "%s: an exporter that is no address",
                                    parquet_name(f));
            if (!wanted)
                continue;
            if (x->check && is_own(&k)) {
                uint64_t worker = 0, last = 0;
                (void)whole_at(&x->keys[KEY_WORKER], row, &worker);
                bool told = whole_at(&x->last, row, &last);
                if (!ledger_taken_add(g->taken, k.minute, (uint16_t)worker,
                                      told ? (int64_t)last : INT64_MIN))
                    return no_memory(err);
            }
            if (g->only_taken)
                continue;
            struct held *h = gather_row(g, &k, err);
            if (!h)
                return WEIR_ENOMEM;
            for (size_t i = 0; i < g->n; i++)
                if (value_at(&x->columns[i], row, &v))
                    held_fold(g, h, i, &v);
        }
    }
    return WEIR_OK;
}

/* Whether what the footer says of its minutes lies outside of what was asked for. */
static bool group_outside(const struct ledger_range *r, const parquet_file *f, size_t group, int at)
{
    struct parquet_chunk_info info;
    int64_t min, max;
    parquet_chunk(f, group, (size_t)at, &info);
    if (!info.min.data || info.min.len != 8 || !info.max.data || info.max.len != 8)
        return false;
    memcpy(&min, info.min.data, 8);
    memcpy(&max, info.max.data, 8);
    return min > r->to_us || (max <= MAX_TIME && max + MINUTE <= r->from_us);
}

static weir_status read_group(struct gather *g, const parquet_file *f, size_t group, weir_err *err)
{
    struct parquet_group_info info;
    int minute = parquet_column_find(f, flow_ledger_columns()[FLOW_LEDGER_minute].name);
    if (minute < 0)
        return weir_err_set(err, WEIR_EFORMAT, 0, "%s: no column minute: it is no ledger",
                            parquet_name(f));
    parquet_group(f, group, &info);
    if (parquet_schema_of(f)->columns[minute].logical == PARQUET_L_TIMESTAMP_US &&
        group_outside(g->range, f, group, minute))
        return WEIR_OK;
    struct group *x = calloc(1, sizeof *x);
    if (!x)
        return no_memory(err);
    weir_status st = WEIR_OK;
    const struct fresh *fresh = g->fresh;
    if (fresh && fresh->n_parts) {
        struct ledger_range minutes = {.from_us = fresh->parts[0].minute,
                                       .to_us = fresh->parts[fresh->n_parts - 1].minute};
        x->check = !group_outside(&minutes, f, group, minute);
    }
    x->check |= g->only_taken;
    if (x->check)
        st = open_column(f, group, FLOW_LEDGER_last, info.n_rows, &x->last, err);
    for (size_t i = 0; i < N_KEYS && st == WEIR_OK; i++)
        if (i != KEY_WORKER || g->range->by_worker || x->check)
            st = open_column(f, group, key_columns[i], info.n_rows, &x->keys[i], err);
    for (size_t i = 0; i < g->n && st == WEIR_OK; i++)
        st = open_column(f, group, (enum flow_ledger_id)g->columns[i], info.n_rows, &x->columns[i],
                         err);
    if (st == WEIR_OK)
        st = read_windows(g, f, x, info.n_rows, err);
    for (size_t i = 0; i < N_KEYS; i++)
        close_column(&x->keys[i]);
    for (size_t i = 0; i < g->n; i++)
        close_column(&x->columns[i]);
    close_column(&x->last);
    free(x);
    return st;
}

/* *first keeps what went wrong first; false: it is no use to go on. */
static bool go_on(weir_status st, const weir_err *why, weir_status *first, weir_err *err)
{
    if (st == WEIR_OK)
        return true;
    if (*first == WEIR_OK || st == WEIR_ENOMEM) {
        *first = st == WEIR_ENOMEM || st == WEIR_EIO ? st : WEIR_EFORMAT;
        if (err)
            *err = *why;
    }
    return st != WEIR_ENOMEM;
}

static bool read_parts(struct gather *g, const struct archive_part *parts, size_t n,
                       weir_status *first, weir_err *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < parquet_n_groups(parts[i].file) && !g->ended; k++) {
            weir_err why = {0};
            if (!go_on(read_group(g, parts[i].file, k, &why), &why, first, err))
                return false;
        }
    weir_err why = {0};
    return g->ended || go_on(gather_give(g, &why), &why, first, err);
}

static int64_t to_ns(int64_t us)
{
    return us < -MAX_TIME ? INT64_MIN : us > MAX_TIME ? INT64_MAX : us * 1000;
}

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool has_below(const char *dir, const char *name, bool (*is)(const char *))
{
    char *path;
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        return false;
    bool there = is(path);
    free(path);
    return there;
}

static bool has_files(const char *dir)
{
    return has_below(dir, "ledger", is_dir);
}

bool ledger_is_there(const char *dir)
{
    return has_files(dir) || has_below(dir, LEDGER_CHECKPOINT_FIRST, is_file) ||
           has_below(dir, LEDGER_CHECKPOINT_SECOND, is_file);
}

/* The files of an archive; false: it is no use to go on. */
static bool read_files(struct gather *g, const char *path, weir_status *first, weir_err *err)
{
    archive_scan *scan;
    weir_err why = {0};
    if (!has_files(path))
        return true;
    weir_status st = archive_scan_open(path, FLOW_TABLE_LEDGER, NULL, NULL, &scan, &why);
    if (st != WEIR_OK)
        return go_on(st, &why, first, err);
    int64_t from = g->range->from_us, to = g->range->to_us;
    if (g->range->late) /* partitions that are not read without it */
        archive_scan_limit(scan, to_ns(to < INT64_MAX - 3 * HOUR ? to + 2 * HOUR + 1 : INT64_MAX),
                           INT64_MAX);
    else
        archive_scan_limit(scan, to_ns(from > INT64_MIN + MINUTE ? from - MINUTE : INT64_MIN),
                           to_ns(to));
    bool good = true;
    while (good && !g->ended) {
        struct archive_part *parts;
        size_t n;
        st = archive_scan_next(scan, &parts, &n, &why);
        if (st == WEIR_END)
            break;
        good = go_on(st, &why, first, err);
        if (st != WEIR_OK)
            continue;
        good = read_parts(g, parts, n, first, err);
        archive_scan_release(scan, parts, n);
    }
    archive_scan_close(scan);
    return good;
}

/* ---- batches ---- */

static bool batch_there(const struct flow_vec *v, uint32_t row)
{
    return row < v->n && (!v->valid || bit_of(v->valid, row));
}

static bool batch_value(const struct flow_vec *v, uint32_t row, union ledger_value *out)
{
    enum flow_type t = (enum flow_type)v->column->type;
    if (!batch_there(v, row))
        return false;
    if (t == FLOW_TYPE_TEXT) {
        uint32_t code = v->codes[row];
        out->text = word_of(v->dict.keys + v->dict.starts[code],
                            v->dict.starts[code + 1] - v->dict.starts[code]);
        return true;
    }
    size_t octets = flow_type_octets(t);
    out->u64 = 0;
    memcpy(out, (const char *)v->values + row * octets, octets);
    return t != FLOW_TYPE_F64 || out->f64 - out->f64 == 0;
}

static bool batch_key(const struct gather *g, const struct flow_vec *keys, uint32_t row,
                      struct key *k)
{
    union ledger_value v;
    *k = (struct key){0};
    if (!batch_value(&keys[KEY_MINUTE], row, &v) || !minute_of(g->range, v.s64, &k->minute))
        return false;
    const struct flow_vec *e = &keys[KEY_EXPORTER];
    if (batch_there(e, row)) {
        uint32_t code = e->codes[row], len = e->dict.starts[code + 1] - e->dict.starts[code];
        if (len != 4 && len != 16)
            return false;
        memcpy(k->exporter, e->dict.keys + e->dict.starts[code], len);
        k->exporter_len = (uint8_t)len;
    }
    k->port = batch_value(&keys[KEY_PORT], row, &v) ? (uint16_t)v.u64 : 0;
    k->has_domain = batch_value(&keys[KEY_DOMAIN], row, &v);
    k->domain = k->has_domain ? (uint32_t)v.u64 : 0;
    k->version = batch_value(&keys[KEY_VERSION], row, &v) ? (uint8_t)v.u64 : 0;
    if (g->range->by_worker)
        k->worker = batch_value(&keys[KEY_WORKER], row, &v) ? (uint16_t)v.u64 : 0;
    return true;
}

/* Rows [from, to) of a batch. */
static weir_status gather_batch(struct gather *g, const flow_batch *b, uint32_t from, uint32_t to,
                                weir_err *err)
{
    struct flow_vec keys[N_KEYS], *columns = calloc(g->n + 1, sizeof *columns);
    if (!columns)
        return no_memory(err);
    for (size_t i = 0; i < N_KEYS; i++)
        flow_batch_vec(b, key_columns[i], &keys[i]);
    for (size_t i = 0; i < g->n; i++)
        flow_batch_vec(b, g->columns[i], &columns[i]);
    weir_status st = WEIR_OK;
    for (uint32_t row = from; row < to && st == WEIR_OK && !g->ended; row++) {
        struct key k;
        union ledger_value v;
        if (!batch_key(g, keys, row, &k))
            continue;
        struct held *h = gather_row(g, &k, err);
        if (!h)
            st = WEIR_ENOMEM;
        for (size_t i = 0; h && i < g->n; i++)
            if (batch_value(&columns[i], row, &v))
                held_fold(g, h, i, &v);
    }
    free(columns);
    return st;
}

weir_status ledger_each_of_batch(const flow_batch *b, const struct ledger_range *range,
                                 ledger_each_fn *each, void *user, weir_err *err)
{
    struct gather g;
    if (flow_batch_table(b) != FLOW_TABLE_LEDGER)
        return weir_err_set(err, WEIR_EINVAL, 0, "a batch of another table than the ledger");
    gather_init(&g, range, each, user);
    weir_status st = gather_batch(&g, b, 0, flow_batch_rows(b), err);
    if (st == WEIR_OK)
        st = gather_give(&g, err);
    gather_done(&g);
    return st;
}

/* ---- checkpoints ---- */

/* The minute that a live collector counts now is in no file yet, but in the checkpoint of each worker, which is written behind
 * every store: what is in the archive and in the checkpoint at one moment is all that there was up to then. With a store of a
 * minute that is over its rows leave the account, so the checkpoint that follows does not have them any more. Between the
 * two, and for a reader that takes one before the other, rows would count twice or not at all.
 *
 * Not at all: checkpoints are read first. What has left them later is in the archive, of which each partition is seen as it is
 * when it is read, later still; a partition that begins in the meantime is not seen, and then neither is what has replaced
 * the checkpoint's rows. With fewer workers a start moves what higher numbers have left into the first one's checkpoint and
 * removes theirs then: they are read from the highest down.
 *
 * Twice: taken.h says how a part is known that the archive has. Two checkpoints that have the same part are told by the same three
 * values.
 *
 * A clock that was set back makes parts end too early: what is counted of such a minute is seen when it is over. */

static bool fresh_part(struct fresh *f, const struct part *p)
{
    if (f->n_parts == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 16;
        struct part *more = realloc(f->parts, cap * sizeof *more);
        if (!more)
            return false;
        f->parts = more;
        f->cap = cap;
    }
    f->parts[f->n_parts++] = *p;
    return true;
}

/* The parts of checkpoint `of`, without those of minutes that nobody has asked for. */
static weir_status find_parts(const struct gather *g, struct fresh *f, size_t of, weir_err *err)
{
    struct ledger_part found;
    for (uint32_t from = 0; ledger_part_at(f->rows[of], from, &found); from = found.to) {
        struct part p = {.last = found.last_us,
                         .from = found.from,
                         .to = found.to,
                         .worker = found.worker,
                         .of = (uint16_t)of};
        if (found.has_minute && minute_of(g->range, found.minute_us, &p.minute) &&
            !fresh_part(f, &p))
            return no_memory(err);
    }
    return WEIR_OK;
}

static int compare_parts(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    if (x->minute != y->minute)
        return x->minute < y->minute ? -1 : 1;
    if (x->worker != y->worker)
        return x->worker < y->worker ? -1 : 1;
    if (x->last != y->last)
        return x->last < y->last ? -1 : 1;
    return x->of != y->of ? (x->of < y->of ? -1 : 1) : x->from < y->from ? -1 : x->from > y->from;
}

/* What is damaged, or larger than any that a collector writes, is passed over as if it were not there: it is written again
 * each second. */
static weir_status read_checkpoint(const struct gather *g, struct fresh *f, const char *path,
                                   weir_err *err)
{
    struct ledger_checkpoint_data d;
    uint8_t *data = NULL;
    size_t len;
    weir_status st = ledger_checkpoint_read(path, MAX_OCTETS, &data, &len, err);
    if (st != WEIR_OK)
        return st == WEIR_ENOMEM ? st : WEIR_OK;
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    st = b ? ledger_checkpoint_get(data, len, &d, err) : no_memory(err);
    if (st == WEIR_OK && d.account_len)
        st = ledger_account_parse(d.account, d.account_len, false, MAX_OCTETS - f->octets, b, err);
    free(data);
    if (st == WEIR_OK && flow_batch_rows(b) <= MAX_ROWS) {
        f->octets += flow_batch_octets(b) < MAX_OCTETS - f->octets ? flow_batch_octets(b)
                                                                   : MAX_OCTETS - f->octets;
        f->rows[f->n] = b;
        return find_parts(g, f, f->n++, err);
    }
    flow_batch_free(b);
    return st == WEIR_ENOMEM ? st : WEIR_OK;
}

static void fresh_done(struct fresh *f)
{
    for (size_t i = 0; i < f->n; i++)
        flow_batch_free(f->rows[i]);
    free(f->parts);
}

static weir_status read_checkpoints(struct gather *g, struct fresh *f, const char *dir,
                                    weir_err *err)
{
    weir_status st = WEIR_OK;
    for (unsigned i = LEDGER_CHECKPOINTS; i-- > 0 && st == WEIR_OK;) {
        char *path = ledger_checkpoint_path(dir, i);
        st = path ? read_checkpoint(g, f, path, err) : no_memory(err);
        free(path);
    }
    if (f->n_parts)
        qsort(f->parts, f->n_parts, sizeof *f->parts, compare_parts);
    for (size_t i = 1; i < f->n_parts; i++) {
        const struct part *before = &f->parts[i - 1];
        struct part *p = &f->parts[i];
        p->twice = p->minute == before->minute && p->worker == before->worker &&
                   p->last == before->last && p->of != before->of;
    }
    return st;
}

/* What the archive has not, as a partition of its own. */
static weir_status give_fresh(struct gather *g, weir_err *err)
{
    const struct fresh *f = g->fresh;
    for (size_t i = 0; i < f->n_parts && !g->ended; i++) {
        const struct part *p = &f->parts[i];
        if (!p->twice && !ledger_taken_has(g->taken, p->minute, p->worker, p->last))
            WEIR_TRY(gather_batch(g, f->rows[p->of], p->from, p->to, err));
    }
    return g->ended ? WEIR_OK : gather_give(g, err);
}

/* One archive; false: it is no use to go on. */
static bool read_archive(struct gather *g, const char *path, weir_status *first, weir_err *err)
{
    struct fresh fresh = {0};
    weir_err why = {0};
    if (g->range->late)
        return read_files(g, path, first, err);
    ledger_taken *taken = ledger_taken_new(NULL);
    if (!taken)
        return go_on(no_memory(&why), &why, first, err);
    g->fresh = &fresh;
    g->taken = taken;
    bool good = go_on(read_checkpoints(g, &fresh, path, &why), &why, first, err) &&
                read_files(g, path, first, err) && go_on(give_fresh(g, &why), &why, first, err);
    g->fresh = NULL;
    g->taken = NULL;
    ledger_taken_free(taken);
    fresh_done(&fresh);
    return good;
}

static bool no_row(void *user, const struct ledger_row *row)
{
    (void)user;
    (void)row;
    return true;
}

weir_status ledger_taken_read(const char *dir, int64_t minute_us, ledger_taken *t, weir_err *err)
{
    static const uint64_t none[LEDGER_WORDS];
    const struct ledger_range range = {
        .from_us = minute_us, .to_us = INT64_MAX, .by_worker = true, .columns = none};
    struct gather g;
    weir_status first = WEIR_OK;
    weir_err why;
    gather_init(&g, &range, no_row, NULL);
    g.taken = t;
    g.only_taken = true;
    bool good = read_files(&g, dir, &first, &why);
    gather_done(&g);
    if (!good && err)
        *err = why;
    return good ? WEIR_OK : WEIR_ENOMEM;
}

weir_status ledger_each(const char *const *paths, size_t n_paths, const struct ledger_range *range,
                        ledger_each_fn *each, void *user, weir_err *err)
{
    struct gather g;
    weir_status first = WEIR_OK;
    gather_init(&g, range, each, user);
    for (size_t i = 0; i < n_paths && !g.ended; i++)
        if (!read_archive(&g, paths[i], &first, err))
            break;
    gather_done(&g);
    return first;
}

/* ---- what is missing ---- */

double ledger_flows_a_packet(const struct ledger_row *r)
{
    uint64_t flows = ledger_count(r, FLOW_LEDGER_flows),
             packets = ledger_count(r, FLOW_LEDGER_decoded);
    return flows && packets ? (double)flows / (double)packets : 0;
}

const char *ledger_sequence_unit(const struct ledger_row *r)
{
    return ledger_has(r, FLOW_LEDGER_sequence_unit) ? r->values[FLOW_LEDGER_sequence_unit].text
                                                    : weir_sequence_unit(r->version);
}

double ledger_flows_missing(const struct ledger_row *r, bool *estimated)
{
    const char *unit = ledger_sequence_unit(r);
    double lost = (double)ledger_signed(r, FLOW_LEDGER_sequence_lost);
    uint64_t flows = ledger_count(r, FLOW_LEDGER_flows),
             options = ledger_count(r, FLOW_LEDGER_options);
    if (!ledger_signed(r, FLOW_LEDGER_sequence_lost))
        return 0;
    if (strcmp(unit, "packets") == 0) {
        double average = ledger_flows_a_packet(r);
        *estimated = true;
        return average > 0 ? lost * average : lost;
    }
    if (strcmp(unit, "records") == 0 && options) {
        *estimated = true;
        return lost * ((double)flows / ((double)flows + (double)options));
    }
    return lost;
}
