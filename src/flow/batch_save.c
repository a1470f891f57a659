/* Rows as octets, for the journal. All numbers are little-endian; "varint" is LEB128.
 *
 *   "WFB" version(1)  table(1)  rows varint  n_columns varint
 *   per column that has a value: name_len(1) name  type(1)  flags(1)  n varint, the rows that have a place
 *     NULLS: a bitmap of n bits; then only the rows that are there have what follows
 *     LIST: the number of items of each row, as numbers; then the items
 *     a dictionary: n_keys varint, per key its length as varint and its octets; then codes as numbers
 *     other types: values as numbers
 *   numbers: mode(1), then 0 RAW: width octets each; 1 DELTA: difference to the one before, zigzag varint;
 *     2 RUNS: run length - 1 (1), difference of its value to that of the run before, zigzag varint
 *
 * A run is at most 256 long, so that what a batch takes in memory is bounded by the length of its octets. */
#include "base/rd.h"
#include "base/text.h"
#include "flow/flow.h"

#include <stdlib.h>

enum { VERSION = 1, MODE_RAW = 0, MODE_DELTA = 1, MODE_RUNS = 2, FLAG_LIST = 1, FLAG_NULLS = 2 };
enum { MAX_RUN = 256, ROWS_PER_OCTET = 4096 };

/* ---- numbers ---- */

enum { MAX_VARINT = 10 };

/* v behind `to`, which has room; returns where it ends. */
static inline uint8_t *varint(uint8_t *to, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *to++ = (uint8_t)(v | 0x80);
    *to++ = (uint8_t)v;
    return to;
}

static void put_varint(base_buf *out, uint64_t v)
{
    uint8_t octets[MAX_VARINT];
    base_buf_add(out, octets, (size_t)(varint(octets, v) - octets));
}

static inline size_t varint_len(uint64_t v)
{
    return ((unsigned)(63 - __builtin_clzll(v | 1)) * 37 >> 8) + 1; /* a seventh, of 0 to 63 */
}

static uint64_t zigzag(uint64_t difference)
{
    return difference << 1 ^ (uint64_t)((int64_t)difference >> 63);
}

static uint64_t unzigzag(uint64_t v)
{
    return v >> 1 ^ (0 - (v & 1));
}

static size_t run_at(const uint64_t *v, size_t n)
{
    size_t run = 1;
    while (run < n && run < MAX_RUN && v[run] == v[0])
        run++;
    return run;
}

static void put_numbers(base_buf *out, const uint64_t *v, size_t n, size_t width)
{
    size_t raw = n * width, delta = 0, runs = 0;
    uint64_t before = 0;
    for (size_t i = 0;
         i < n;) { /* a run's numbers but the first differ by nothing: an octet each */
        size_t run = run_at(v + i, n - i), len = varint_len(zigzag(v[i] - before));
        runs += 1 + len;
        delta += len + run - 1;
        before = v[i];
        i += run;
    }
    bool by_runs = runs <= delta && runs <= raw, by_delta = !by_runs && delta < raw;
    size_t room = 1 + (by_runs ? runs : by_delta ? delta : raw);
    uint8_t *to = (uint8_t *)base_buf_room(out, room);
    if (!to)
        return;
    out->len += room;
    *to++ = by_runs ? MODE_RUNS : by_delta ? MODE_DELTA : MODE_RAW;
    before = 0;
    if (by_runs) {
        for (size_t i = 0; i < n;) {
            size_t run = run_at(v + i, n - i);
            *to++ = (uint8_t)(run - 1);
            to = varint(to, zigzag(v[i] - before));
            before = v[i];
            i += run;
        }
    } else if (by_delta) {
        for (size_t i = 0; i < n; before = v[i++])
            to = varint(to, zigzag(v[i] - before));
    } else {
        for (size_t i = 0; i < n; i++, to += width)
            memcpy(to, &v[i], width);
    }
}

static uint64_t get_varint(base_rd *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t octet = base_rd_u8(r);
        if (shift == 63 && octet > 1)
            break;
        v |= (uint64_t)(octet & 0x7f) << shift;
        if (!(octet & 0x80))
            return v;
    }
    r->dead = true;
    return 0;
}

/* n numbers of `width` octets; false: they are not there (r is dead) or one is too large. */
static bool get_numbers(base_rd *r, uint64_t *v, size_t n, size_t width)
{
    uint64_t most = width == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * width) - 1, before = 0;
    uint8_t mode = base_rd_u8(r);
    for (size_t i = 0; i < n && !r->dead;) {
        size_t run = 1;
        uint64_t value = 0;
        if (mode == MODE_RAW) {
            const uint8_t *p = base_rd_take(r, width);
            if (p)
                memcpy(&value, p, width);
        } else if (mode == MODE_DELTA || mode == MODE_RUNS) {
            if (mode == MODE_RUNS)
                run += base_rd_u8(r);
            value = before + unzigzag(get_varint(r));
        } else {
            return false;
        }
        if (value > most || run > n - i)
            return false;
        before = value;
        for (; run; run--)
            v[i++] = value;
    }
    return !r->dead;
}

/* ---- saving ---- */

struct span {
    uint32_t from, n; /* rows of the column */
    bool nulls;
    uint64_t *numbers; /* scratch */
    uint32_t *codes;   /* scratch: code + 1 as saved by code in the batch */
};

static bool there(const struct flow_col *c, uint32_t row)
{
    return !c->nulls || (c->valid[row / 64] >> row % 64 & 1);
}

static uint64_t number_at(const struct flow_col *c, size_t i)
{
    uint64_t v = 0;
    memcpy(&v, (const uint8_t *)c->data + i * c->width, c->width);
    return v;
}

/* The values (items, codes) of the span into s->numbers; returns how many. */
static size_t gather(const struct flow_col *c, const struct span *s)
{
    size_t n = 0;
    if (c->list) {
        for (size_t i = c->starts[s->from]; i < c->starts[s->from + s->n]; i++)
            s->numbers[n++] = number_at(c, i);
        return n;
    }
    for (uint32_t i = s->from; i < s->from + s->n; i++)
        if (there(c, i))
            s->numbers[n++] = number_at(c, i);
    return n;
}

static void save_column(const struct flow_col *c, const struct span *s, base_buf *out)
{
    size_t name_len = strlen(c->column->name);
    base_buf_u8(out, (uint8_t)name_len);
    base_buf_add(out, c->column->name, name_len);
    base_buf_u8(out, c->column->type);
    base_buf_u8(out, (uint8_t)((c->list ? FLAG_LIST : 0) | (s->nulls ? FLAG_NULLS : 0)));
    put_varint(out, s->n);
    if (s->nulls) {
        uint8_t octet = 0;
        for (uint32_t i = 0; i < s->n; i++) {
            octet |= (uint8_t)((unsigned)there(c, s->from + i) << i % 8);
            if (i % 8 == 7 || i + 1 == s->n) {
                base_buf_u8(out, octet);
                octet = 0;
            }
        }
    }
    size_t n = 0;
    if (c->list) {
        for (uint32_t i = s->from; i < s->from + s->n; i++)
            if (there(c, i))
                s->numbers[n++] = c->starts[i + 1] - c->starts[i];
        put_numbers(out, s->numbers, n, sizeof(uint32_t));
    }
    n = gather(c, s);
    if (c->dict) {
        uint32_t n_keys = 0;
        memset(s->codes, 0, (c->keys.n + 1) * sizeof *s->codes);
        for (size_t i = 0; i < n; i++)
            if (s->codes[s->numbers[i]] == 0)
                s->codes[s->numbers[i]] = ++n_keys;
        put_varint(out, n_keys);
        n_keys = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t code = (uint32_t)s->numbers[i];
            if (s->codes[code] == n_keys + 1) {
                uint32_t at = c->keys.starts[code], len = c->keys.starts[code + 1] - at;
                put_varint(out, len);
                base_buf_add(out, c->keys.octets + at, len);
                n_keys++;
            }
            s->numbers[i] = s->codes[code] - 1;
        }
    }
    put_numbers(out, s->numbers, n, c->width);
}

/* The rows of a column from from_row on; false: none has a value. */
static bool span_of(const struct flow_col *c, uint32_t from_row, struct span *s)
{
    s->from = from_row;
    s->n = 0;
    s->nulls = false;
    for (uint32_t i = from_row; i < c->n; i++)
        if (there(c, i))
            s->n = i - from_row + 1;
    for (uint32_t i = 0; i < s->n && !s->nulls; i++)
        s->nulls = !there(c, from_row + i);
    return s->n > 0;
}

void flow_batch_save(const flow_batch *b, uint32_t from_row, base_buf *out)
{
    struct span s = {0};
    size_t most = 1, most_keys = 1;
    uint32_t n_columns = 0, rows = from_row < b->rows ? b->rows - from_row : 0;
    for (uint32_t i = 0; i < b->n_columns; i++) {
        const struct flow_col *c = &b->cols[i];
        if (!span_of(c, from_row, &s))
            continue;
        n_columns++;
        size_t n = c->list ? c->n_items : 0;
        n = n > s.n ? n : s.n;
        most = n > most ? n : most;
        most_keys = c->keys.n > most_keys ? c->keys.n : most_keys;
    }
    s.numbers = malloc(most * sizeof *s.numbers);
    s.codes = malloc((most_keys + 1) * sizeof *s.codes);
    if (!s.numbers || !s.codes) {
        out->failed = true;
    } else {
        base_buf_add(out, "WFB", 3);
        base_buf_u8(out, VERSION);
        base_buf_u8(out, (uint8_t)b->table);
        put_varint(out, rows);
        put_varint(out, n_columns);
        for (uint32_t i = 0; i < b->n_columns; i++)
            if (span_of(&b->cols[i], from_row, &s))
                save_column(&b->cols[i], &s, out);
    }
    free(s.numbers);
    free(s.codes);
}

/* ---- loading ---- */

struct load {
    flow_batch *b;
    base_rd r;
    const uint8_t *data;
    uint32_t first, rows;
    size_t most; /* octets of the batch */
    weir_err *err;
};

static weir_status bad(struct load *l, const char *what)
{
    uint64_t at = (uint64_t)(l->r.at - l->data);
    if (l->r.dead)
        return weir_err_set(l->err, WEIR_ETRUNC, at, "saved rows end within %s", what);
    return weir_err_set(l->err, WEIR_EFORMAT, at, "saved rows: %s cannot be", what);
}

static bool key_ok(enum flow_type type, const uint8_t *key, uint64_t len)
{
    switch (type) {
    case FLOW_TYPE_ADDR:
        return len == 4 || len == 16;
    case FLOW_TYPE_MAC:
        return len == 6;
    case FLOW_TYPE_TEXT:
    case FLOW_TYPE_JSON:
        return base_utf8_ok(key, len);
    case FLOW_TYPE_OCTETS:
        return true;
    case FLOW_TYPE_BOOL:
    case FLOW_TYPE_U8:
    case FLOW_TYPE_U16:
    case FLOW_TYPE_U32:
    case FLOW_TYPE_U64:
    case FLOW_TYPE_S8:
    case FLOW_TYPE_S16:
    case FLOW_TYPE_S32:
    case FLOW_TYPE_S64:
    case FLOW_TYPE_F64:
    case FLOW_TYPE_TIME:
    case FLOW_TYPE_TIME_NS:
    case FLOW_N_TYPES:
    default:
        return false;
    }
}

static weir_status load_keys(struct load *l, struct flow_col *c, uint32_t **codes, uint64_t *n_keys)
{
    *n_keys = get_varint(&l->r);
    if (l->r.dead || *n_keys > base_rd_left(&l->r)) /* a key takes an octet at least */
        return bad(l, "the number of keys");
    *codes = malloc((*n_keys + 1) * sizeof **codes);
    if (!*codes)
        return WEIR_ENOMEM;
    for (uint64_t i = 0; i < *n_keys; i++) {
        uint64_t len = get_varint(&l->r);
        const uint8_t *key = len <= UINT32_MAX ? base_rd_take(&l->r, len) : NULL;
        if (!key || !key_ok((enum flow_type)c->column->type, key, len))
            return bad(l, "a key");
        (*codes)[i] =
            flow_keys_put(l->b, c, key, (uint32_t)len, flow_key_hash(l->b, key, (uint32_t)len));
        if ((*codes)[i] == UINT32_MAX)
            return WEIR_ENOMEM;
    }
    return WEIR_OK;
}

static weir_status load_lists(struct load *l, uint32_t column, uint32_t n, const uint64_t *valid,
                              const uint64_t *lengths, const uint64_t *items)
{
    const struct flow_col *c = &l->b->cols[column];
    size_t width = c->width, most = 1, k = 0, at = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!valid || (valid[i / 64] >> i % 64 & 1))
            most = lengths[k] > most ? lengths[k] : most, k++;
    uint8_t *row = malloc(most * width);
    if (!row)
        return WEIR_ENOMEM;
    bool ok = true;
    k = 0;
    for (uint32_t i = 0; ok && i < n; i++) {
        if (valid && !(valid[i / 64] >> i % 64 & 1))
            continue;
        uint32_t len = (uint32_t)lengths[k++];
        for (uint32_t j = 0; j < len; j++)
            memcpy(row + j * width, &items[at++], width);
        ok = flow_batch_list(l->b, column, l->first + i, row, len);
    }
    free(row);
    return ok ? WEIR_OK : WEIR_ENOMEM;
}

/* n more numbers have room below the caller's limit. */
static weir_status check_room(struct load *l, uint64_t n)
{
    size_t has = l->b->octets;
    if (has <= l->most && n <= (l->most - has) / sizeof(uint64_t))
        return WEIR_OK;
    return weir_err_set(l->err, WEIR_ELIMIT, 0, "saved rows: they would take more than %zu octets",
                        l->most);
}

/* What load_column holds while it works. */
struct scratch {
    uint64_t *valid, *lengths, *numbers;
    uint32_t *codes;
};

static weir_status load_values(struct load *l, uint32_t column, uint32_t n, bool nulls,
                               struct scratch *s)
{
    struct flow_col *c = &l->b->cols[column];
    uint64_t n_numbers = n, n_keys = 0;
    if (nulls) {
        const uint8_t *bits = base_rd_take(&l->r, ((size_t)n + 7) / 8);
        if (!bits || (n % 8 && bits[n / 8] >> n % 8))
            return bad(l, "a bitmap");
        s->valid = calloc((size_t)n / 64 + 1, sizeof *s->valid);
        if (!s->valid)
            return WEIR_ENOMEM;
        memcpy(s->valid, bits, ((size_t)n + 7) / 8);
        n_numbers = 0;
        for (size_t i = 0; i < (size_t)n / 64 + 1; i++)
            n_numbers += (uint64_t)__builtin_popcountll(s->valid[i]);
    }
    if (n_numbers / MAX_RUN > base_rd_left(&l->r))
        return bad(l, "the number of values");
    if (c->list) {
        uint64_t n_items = 0;
        s->lengths = malloc((n_numbers + 1) * sizeof *s->lengths);
        if (!s->lengths)
            return WEIR_ENOMEM;
        if (!get_numbers(&l->r, s->lengths, n_numbers, sizeof(uint32_t)))
            return bad(l, "the lengths of lists");
        for (uint64_t i = 0; i < n_numbers; i++)
            n_items += s->lengths[i];
        n_numbers = n_items;
        if (n_numbers / MAX_RUN > base_rd_left(&l->r))
            return bad(l, "the number of items");
        WEIR_TRY(check_room(l, n_numbers));
    }
    if (c->dict)
        WEIR_TRY(load_keys(l, c, &s->codes, &n_keys));
    s->numbers = malloc((n_numbers + 1) * sizeof *s->numbers);
    if (!s->numbers)
        return WEIR_ENOMEM;
    if (!get_numbers(&l->r, s->numbers, n_numbers, c->width))
        return bad(l, "a run of values");
    for (uint64_t i = 0; i < n_numbers; i++) {
        if (c->dict ? s->numbers[i] >= n_keys
                    : c->column->type == FLOW_TYPE_BOOL && s->numbers[i] > 1)
            return bad(l, "a value");
        if (c->dict)
            s->numbers[i] = s->codes[s->numbers[i]];
    }
    if (c->list)
        return load_lists(l, column, n, s->valid, s->lengths, s->numbers);
    uint8_t *out = flow_col_open(l->b, c, l->first, n, s->valid);
    if (!out)
        return WEIR_ENOMEM;
    const uint64_t none = 0;
    size_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool is = !s->valid || (s->valid[i / 64] >> i % 64 & 1);
        memcpy(out + (size_t)i * c->width, is ? &s->numbers[k] : &none, c->width);
        k += is;
    }
    return WEIR_OK;
}

static weir_status load_column(struct load *l)
{
    uint8_t name_len = base_rd_u8(&l->r);
    const uint8_t *name = base_rd_take(&l->r, name_len);
    uint8_t type = base_rd_u8(&l->r), flags = base_rd_u8(&l->r);
    uint64_t n = get_varint(&l->r);
    if (l->r.dead || type >= FLOW_N_TYPES || flags > (FLAG_LIST | FLAG_NULLS) || n == 0 ||
        n > l->rows || memchr(name, 0, name_len) || !base_utf8_ok(name, name_len))
        return bad(l, "the head of a column");
    uint32_t column;
    WEIR_TRY(flow_find_column(l->b, (const char *)name, name_len, (enum flow_type)type,
                              flags & FLAG_LIST, &column, l->err));
    if (l->b->cols[column].n > l->first)
        return bad(l, "a column that is there twice");
    const struct flow_col *c = &l->b->cols[column];
    size_t gap = (size_t)(l->first - c->n) * (c->list ? sizeof *c->starts : c->width);
    if (gap && l->b->octets + gap > FLOW_MAX_GAP)
        return weir_err_set(l->err, WEIR_ELIMIT, 0,
                            "saved rows: their columns would add more than %d MiB to %u rows",
                            FLOW_MAX_GAP >> 20, l->first);
    WEIR_TRY(check_room(l, n));
    struct scratch s = {0};
    weir_status status = load_values(l, column, (uint32_t)n, flags & FLAG_NULLS, &s);
    free(s.valid);
    free(s.lengths);
    free(s.numbers);
    free(s.codes);
    if (status == WEIR_ENOMEM)
        return weir_err_set(l->err, WEIR_ENOMEM, 0, "saved rows: no memory for %u rows", l->rows);
    return status;
}

weir_status flow_batch_load(flow_batch *b, const uint8_t *data, size_t len, weir_err *err)
{
    return flow_batch_load_most(b, data, len, SIZE_MAX, err);
}

weir_status flow_batch_load_most(flow_batch *b, const uint8_t *data, size_t len, size_t most,
                                 weir_err *err)
{
    struct load l = {.b = b, .r = base_rd_of(data, len), .data = data, .most = most, .err = err};
    const uint8_t *magic = base_rd_take(&l.r, 3);
    uint8_t version = base_rd_u8(&l.r), table = base_rd_u8(&l.r);
    uint64_t rows = get_varint(&l.r), n_columns = get_varint(&l.r);
    if (l.r.dead)
        return bad(&l, "their head");
    if (memcmp(magic, "WFB", 3) != 0)
        return bad(&l, "the mark at their start");
    if (version != VERSION)
        return weir_err_set(err, WEIR_EFORMAT, 3, "saved rows: version %u, this program reads %d",
                            version, VERSION);
    if (table != b->table)
        return bad(&l, "their table");
    if (rows / ROWS_PER_OCTET > len || n_columns > len)
        return bad(&l, "the number of rows or columns");
    uint32_t had_rows = b->rows;
    l.first = rows < UINT32_MAX ? flow_batch_add_rows(b, (uint32_t)rows) : UINT32_MAX;
    if (l.first == UINT32_MAX)
        return weir_err_set(err, WEIR_ELIMIT, 0, "saved rows: no room for more rows in this batch");
    l.rows = (uint32_t)rows;
    weir_status status = WEIR_OK;
    for (uint64_t i = 0; status == WEIR_OK && i < n_columns; i++)
        status = load_column(&l);
    if (status == WEIR_OK && base_rd_left(&l.r) > 0)
        status = bad(&l, "octets behind the last column");
    if (status != WEIR_OK)
        flow_batch_cut(b, had_rows);
    return status;
}
