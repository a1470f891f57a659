/* parquet: results as one Parquet file with stable column names, a row group for some hundred thousand rows. */
#include "query/format_in.h"

#include "base/hash.h"
#include "parquet/writer.h"

#include <stdlib.h>

enum { GROUP_ROWS = 1 << 18, GROUP_TEXT = 64 << 20 };

/* One column of the row group that is being gathered. */
struct pcol {
    const char *name;
    uint8_t kind;  /* enum query_kind; QUERY_UNKNOWN until a block has values */
    uint8_t width; /* octets of an integer in the file: 4 or 8; 1 of a boolean */
    bool narrow;   /* INT32 */
    bool list;
    bool rate; /* the sampling rate beside counters that are multiplied by it */
    uint8_t logical;
    uint64_t *valid;
    uint64_t *num;
    uint32_t *codes, *starts;
    size_t cap, items, cap_items; /* rows; items of a list */
    /* texts of the dictionary */
    base_buf texts;
    size_t *at; /* n_texts + 1 */
    uint32_t n_texts, cap_texts;
    uint32_t *slots; /* hash table of text number + 1; n_slots a power of two */
    uint32_t n_slots;
    uint32_t *map; /* code in the block -> code here, UINT32_MAX: not yet */
    uint32_t cap_map;
};

struct pq {
    struct pcol *cols;
    size_t n_cols, rows, text_octets;
    uint64_t seed;
    parquet_writer *writer;
    weir_status (*write)(void *user, const void *data, size_t len, weir_err *err);
    void *user;
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
}

static bool is_text(const struct pcol *c)
{
    return c->kind == QUERY_TEXT || c->kind == QUERY_OCTETS || c->kind == QUERY_TEXT_LIST;
}

/* --- gathering ------------------------------------------------------------------------------------ */

static bool grow(void *array, size_t *cap, size_t n, size_t size)
{
    void **p = array;
    if (n <= *cap)
        return true;
    size_t want = *cap ? *cap : 1024;
    while (want < n)
        want *= 2;
    void *more = realloc(*p, want * size);
    if (!more)
        return false;
    *p = more;
    *cap = want;
    return true;
}

static bool rehash(struct pq *q, struct pcol *c)
{
    uint32_t n = c->n_slots ? 2 * c->n_slots : 1024;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t i = 0; i < c->n_texts; i++) {
        uint64_t h = base_hash(c->texts.data + c->at[i], c->at[i + 1] - c->at[i], q->seed);
        while (slots[h & (n - 1)])
            h++;
        slots[h & (n - 1)] = i + 1;
    }
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    return true;
}

/* The code of a text in this row group; UINT32_MAX: out of memory. */
static uint32_t text_code(struct pq *q, struct pcol *c, const struct query_text *t)
{
    if (2 * c->n_texts >= c->n_slots && !rehash(q, c))
        return UINT32_MAX;
    uint64_t h = base_hash(t->data, t->len, q->seed);
    for (;; h++) {
        uint32_t slot = c->slots[h & (c->n_slots - 1)];
        if (!slot)
            break;
        size_t from = c->at[slot - 1], len = c->at[slot] - from;
        if (len == t->len && (len == 0 || memcmp(c->texts.data + from, t->data, len) == 0))
            return slot - 1;
    }
    size_t cap = c->cap_texts;
    if (!grow(&c->at, &cap, (size_t)c->n_texts + 2, sizeof *c->at))
        return UINT32_MAX;
    c->cap_texts = (uint32_t)cap;
    c->at[c->n_texts] = c->texts.len;
    base_buf_add(&c->texts, t->data, t->len);
    if (c->texts.failed)
        return UINT32_MAX;
    c->at[c->n_texts + 1] = c->texts.len;
    q->text_octets += t->len;
    c->slots[h & (c->n_slots - 1)] = c->n_texts + 1;
    return c->n_texts++;
}

static uint32_t mapped(struct pq *q, struct pcol *c, const struct query_vec *v, uint32_t code)
{
    if (c->map[code] == UINT32_MAX)
        c->map[code] = text_code(q, c, &v->dict[code]);
    return c->map[code];
}

/* Counters in the file stand for all packets already: whoever reads it, we or others, shall not multiply them again. */
static uint64_t at_most_one(uint64_t bits)
{
    double rate;
    memcpy(&rate, &bits, sizeof rate);
    if (rate > 1) {
        rate = 1;
        memcpy(&bits, &rate, sizeof bits);
    }
    return bits;
}

static bool add_vec(struct pq *q, struct pcol *c, const struct query_vec *v, size_t n)
{
    size_t from = q->rows, cap = c->cap;
    size_t words = c->cap / 64;
    if (from + n > cap) {
        size_t to = cap ? cap : 4096;
        while (to < from + n)
            to *= 2;
        if (!grow(&c->valid, &words, to / 64 + 1, sizeof *c->valid))
            return false;
        size_t starts_cap = cap ? cap + 1 : 0, num_cap = cap, codes_cap = cap;
        if (c->list ? !grow(&c->starts, &starts_cap, to + 1, sizeof *c->starts)
                    : (!grow(&c->num, &num_cap, to, sizeof *c->num) ||
                       !grow(&c->codes, &codes_cap, to, sizeof *c->codes)))
            return false;
        c->cap = to;
    }
    bool there = v->kind != QUERY_UNKNOWN && (v->num || v->codes) && c->kind != QUERY_UNKNOWN;
    bool text = is_text(c);
    if (there && text != (v->codes != NULL))
        there = false; /* another type in another file: it has no place in this column */
    if (there && text) {
        size_t map_cap = c->cap_map;
        if (!grow(&c->map, &map_cap, v->n_dict, sizeof *c->map))
            return false;
        c->cap_map = (uint32_t)map_cap;
        memset(c->map, 0xff, v->n_dict * sizeof *c->map);
    }
    if (c->list && from == 0)
        c->starts[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t row = from + i;
        bool valid = there && (!v->valid || parquet_bit(v->valid, i));
        uint64_t bit = 1ULL << (row & 63);
        c->valid[row >> 6] = valid ? c->valid[row >> 6] | bit : c->valid[row >> 6] & ~bit;
        if (c->list) {
            uint32_t items = valid && v->starts ? v->starts[i + 1] - v->starts[i] : 0;
            size_t num_cap = c->cap_items, codes_cap = c->cap_items;
            if (text ? !grow(&c->codes, &codes_cap, c->items + items, sizeof *c->codes)
                     : !grow(&c->num, &num_cap, c->items + items, sizeof *c->num))
                return false;
            c->cap_items = text ? codes_cap : num_cap;
            for (uint32_t k = 0; k < items; k++) {
                uint32_t at = v->starts[i] + k;
                if (text) {
                    c->codes[c->items] = mapped(q, c, v, v->codes[at]);
                    if (c->codes[c->items] == UINT32_MAX)
                        return false;
                } else {
                    c->num[c->items] = v->num[at];
                }
                c->items++;
            }
            c->starts[row + 1] = (uint32_t)c->items;
        } else if (text) {
            c->codes[row] = valid ? mapped(q, c, v, v->codes[i]) : 0;
            if (c->codes[row] == UINT32_MAX)
                return false;
        } else {
            c->num[row] = valid ? v->num[i] : 0;
            if (c->rate && valid)
                c->num[row] = at_most_one(c->num[row]);
        }
    }
    return true;
}

/* --- writing -------------------------------------------------------------------------------------- */

static weir_status sink(void *user, const void *data, size_t len, weir_err *err)
{
    const struct pq *q = user;
    return q->write(q->user, data, len, err);
}

static void column_of(const struct pcol *c, struct parquet_column *out)
{
    *out = (struct parquet_column){
        .name = c->name, .optional = true, .list = c->list, .logical = c->logical};
    switch (c->kind) {
    case QUERY_F64:
        out->type = PARQUET_DOUBLE;
        break;
    case QUERY_BOOL:
        out->type = PARQUET_BOOLEAN;
        break;
    case QUERY_TEXT:
    case QUERY_TEXT_LIST:
    case QUERY_OCTETS:
    case QUERY_UNKNOWN:
        out->type = PARQUET_BYTE_ARRAY;
        break;
    case QUERY_TIME:
        out->type = PARQUET_INT64;
        out->utc = true;
        break;
    default:
        out->type = c->narrow ? PARQUET_INT32 : PARQUET_INT64;
        out->unsigned_order = c->kind != QUERY_S64;
        break;
    }
}

/* The type of a column of the schema, as the archive has it. */
static void type_of(struct pcol *c, const struct query_field *f)
{
    static const struct {
        uint8_t type, logical;
        bool narrow;
    } of[] = {
        {FLOW_TYPE_U8, PARQUET_L_UINT8, true},   {FLOW_TYPE_U16, PARQUET_L_UINT16, true},
        {FLOW_TYPE_U32, PARQUET_L_UINT32, true}, {FLOW_TYPE_S8, PARQUET_L_INT8, true},
        {FLOW_TYPE_S16, PARQUET_L_INT16, true},  {FLOW_TYPE_S32, PARQUET_L_INT32, true},
        {FLOW_TYPE_JSON, PARQUET_L_JSON, false},
    };
    switch (c->kind) {
    case QUERY_TEXT:
    case QUERY_TEXT_LIST:
    case QUERY_UNKNOWN:
        c->logical = PARQUET_L_STRING;
        break;
    case QUERY_TIME:
        c->logical = PARQUET_L_TIMESTAMP_US;
        break;
    case QUERY_U64:
    case QUERY_U64_LIST:
        c->logical = PARQUET_L_UINT64;
        break;
    case QUERY_S64:
        c->logical = PARQUET_L_INT64;
        break;
    default:
        c->logical = PARQUET_L_NONE;
        break;
    }
    bool number = c->kind == QUERY_U64 || c->kind == QUERY_S64 || c->kind == QUERY_U64_LIST;
    for (size_t i = 0; f->what == QUERY_F_COLUMN && i < ARRAY_LEN(of); i++)
        if (of[i].type == flow_columns()[f->id].type && (number || of[i].type == FLOW_TYPE_JSON)) {
            c->logical = of[i].logical;
            c->narrow = of[i].narrow;
        }
}

static weir_status open_writer(struct pq *q, weir_err *err)
{
    struct parquet_column *columns = calloc(q->n_cols ? q->n_cols : 1, sizeof *columns);
    if (!columns)
        return no_memory(err);
    for (size_t i = 0; i < q->n_cols; i++)
        column_of(&q->cols[i], &columns[i]);
    struct parquet_writer_options o = {.sink = sink,
                                       .user = q,
                                       .codec = PARQUET_ZSTD,
                                       .level = 1,
                                       .sorted_by = -1,
                                       .created_by = "weir version " WEIR_VERSION};
    struct parquet_schema schema = {columns, q->n_cols};
    weir_status s = parquet_writer_new(&o, &schema, &q->writer, err);
    free(columns);
    return s;
}

static void reset_group(struct pq *q)
{
    for (size_t i = 0; i < q->n_cols; i++) {
        struct pcol *c = &q->cols[i];
        base_buf_reset(&c->texts);
        c->n_texts = 0;
        c->items = 0;
        if (c->slots)
            memset(c->slots, 0, c->n_slots * sizeof *c->slots);
    }
    q->rows = q->text_octets = 0;
}

static weir_status write_group(struct pq *q, weir_err *err)
{
    if (q->rows == 0)
        return WEIR_OK;
    struct parquet_data *data = calloc(q->n_cols, sizeof *data);
    struct parquet_bytes **dicts = calloc(q->n_cols, sizeof *dicts);
    void **narrow = calloc(q->n_cols, sizeof *narrow);
    weir_status s = data && dicts && narrow ? WEIR_OK : no_memory(err);
    for (size_t i = 0; s == WEIR_OK && i < q->n_cols; i++) {
        struct pcol *c = &q->cols[i];
        size_t n = c->list ? c->items : q->rows;
        bool any = false;
        for (size_t k = 0; k < (q->rows + 63) / 64 && !any; k++)
            any = (k == q->rows / 64 ? c->valid[k] & ((1ULL << (q->rows & 63)) - 1)
                                     : c->valid[k]) != 0;
        if (!any)
            continue; /* n 0: all null */
        data[i] = (struct parquet_data){
            .n = q->rows, .valid = c->valid, .starts = c->list ? c->starts : NULL};
        if (is_text(c)) {
            dicts[i] = calloc((size_t)c->n_texts + 1, sizeof **dicts);
            if (!dicts[i]) {
                s = no_memory(err);
                break;
            }
            for (uint32_t k = 0; k < c->n_texts; k++)
                dicts[i][k] = (struct parquet_bytes){(const uint8_t *)c->texts.data + c->at[k],
                                                     (uint32_t)(c->at[k + 1] - c->at[k])};
            data[i].codes = c->codes;
            data[i].dict = dicts[i];
            data[i].n_dict = c->n_texts;
            continue;
        }
        data[i].values = c->num;
        data[i].width = 8;
        if (!c->narrow && c->kind != QUERY_BOOL)
            continue;
        narrow[i] = malloc(n * 4 + 1);
        if (!narrow[i]) {
            s = no_memory(err);
            break;
        }
        data[i].values = narrow[i];
        data[i].width = c->narrow ? 4 : 1;
        for (size_t k = 0; k < n; k++) {
            if (c->narrow)
                ((uint32_t *)narrow[i])[k] = (uint32_t)c->num[k];
            else
                ((uint8_t *)narrow[i])[k] = c->num[k] != 0;
        }
    }
    if (s == WEIR_OK)
        s = parquet_writer_group(q->writer, data, q->rows, err);
    for (size_t i = 0; i < q->n_cols; i++) {
        if (dicts)
            free(dicts[i]);
        if (narrow)
            free(narrow[i]);
    }
    free(data);
    free((void *)dicts);
    free((void *)narrow);
    reset_group(q);
    return s;
}

static weir_status pq_begin(query_format *f, const struct query *query, size_t result,
                            weir_err *err)
{
    (void)err;
    struct pq *q = f->state;
    const struct query_program *p = &f->results[result].program;
    bool scaled = false;
    for (size_t i = 0; i < q->n_cols; i++)
        scaled = scaled || query_field_scales(&p->fields[i]);
    for (size_t i = 0; i < q->n_cols; i++)
        q->cols[i].rate = scaled && !query->raw && p->fields[i].what == QUERY_F_COLUMN &&
                          p->fields[i].id == FLOW_sampling_rate;
    return WEIR_OK;
}

static weir_status pq_block(query_format *f, size_t result, const struct query_block *b,
                            weir_err *err)
{
    struct pq *q = f->state;
    if (b->n == 0)
        return WEIR_OK;
    if (!q->writer) {
        /* Types that nobody knew before there was a row. */
        for (size_t i = 0; i < q->n_cols; i++) {
            struct pcol *c = &q->cols[i];
            if (c->kind != QUERY_UNKNOWN)
                continue;
            c->kind = b->vecs[i].kind == QUERY_UNKNOWN ? QUERY_TEXT : b->vecs[i].kind;
            c->list = b->vecs[i].starts != NULL;
            type_of(c, &f->results[result].program.fields[i]);
        }
        WEIR_TRY(open_writer(q, err));
    }
    for (size_t i = 0; i < q->n_cols; i++)
        if (!add_vec(q, &q->cols[i], &b->vecs[i], b->n))
            return no_memory(err);
    q->rows += b->n;
    if (q->rows >= GROUP_ROWS || q->text_octets >= GROUP_TEXT)
        return write_group(q, err);
    return WEIR_OK;
}

static weir_status pq_end(query_format *f, size_t result, const struct query_summary *s,
                          weir_err *err)
{
    (void)result;
    (void)s;
    struct pq *q = f->state;
    if (!q->writer) {
        for (size_t i = 0; i < q->n_cols; i++)
            if (q->cols[i].kind == QUERY_UNKNOWN)
                q->cols[i].kind = QUERY_TEXT;
        WEIR_TRY(open_writer(q, err));
    }
    WEIR_TRY(write_group(q, err));
    return parquet_writer_finish(q->writer, NULL, 0, err);
}

static void pq_free(query_format *f)
{
    struct pq *q = f->state;
    if (!q)
        return;
    for (size_t i = 0; i < q->n_cols; i++) {
        struct pcol *c = &q->cols[i];
        free(c->valid);
        free(c->num);
        free(c->codes);
        free(c->starts);
        free(c->at);
        free(c->slots);
        free(c->map);
        base_buf_done(&c->texts);
    }
    free(q->cols);
    parquet_writer_free(q->writer);
    free(q);
}

static const struct query_format_kind pq_kind = {
    .begin = pq_begin, .block = pq_block, .end = pq_end, .free = pq_free, .records = true};

/* --- columns -------------------------------------------------------------------------------------- */

static weir_status add(query_format *f, const struct query_field *field, const char *name,
                       weir_err *err)
{
    struct pq *q = f->state;
    struct query_program *p = &f->results[0].program;
    size_t n = p->n_fields;
    struct query_token_use use = query_format_use(f, 0);
    use.has = NULL; /* a column that groups have no value for is null */
    int at = query_token_index(&use, p, field);
    if (at < 0)
        return no_memory(err);
    if (p->n_fields == n)
        return WEIR_OK; /* named twice */
    struct pcol *cols = realloc(q->cols, (n + 1) * sizeof *cols);
    if (!cols)
        return no_memory(err);
    q->cols = cols;
    q->n_cols = n + 1;
    cols[n] = (struct pcol){.name = name, .kind = field->kind};
    cols[n].list = field->kind == QUERY_U64_LIST || field->kind == QUERY_TEXT_LIST;
    type_of(&cols[n], field);
    return WEIR_OK;
}

static weir_status add_column(query_format *f, enum flow_column_id id, const char *name,
                              weir_err *err)
{
    struct query_field field = query_field_column(id);
    return add(f, &field, name ? name : field.name, err);
}

static weir_status add_derived(query_format *f, enum query_derived id, const char *name,
                               weir_err *err)
{
    struct query_field field = query_field_derived(id);
    return add(f, &field, name ? name : field.name, err);
}

static weir_status listed(query_format *f, const char *list, weir_err *err)
{
    struct query_token_use use = query_format_use(f, 0);
    const char *at = list;
    for (;;) {
        const struct query_token *t;
        struct query_field field;
        weir_status s = query_column_next(&use, &at, &t, &field, err);
        if (s == WEIR_END)
            return WEIR_OK;
        if (s != WEIR_OK)
            return s;
        if (t && !t->f[0])
            return weir_err_set(err, WEIR_EFORMAT, 0, "%%%s: is no column", t->name);
        if (t)
            field = t->f[1] && t->op != QUERY_CELL_PORT && t->op != QUERY_CELL_VERSION
                        ? query_field_derived(QUERY_D_DURATION)
                        : query_token_field(t, 0);
        WEIR_TRY(add(f, &field, field.name, err));
    }
}

weir_status query_format_parquet(query_format *f, const char *list, weir_err *err)
{
    static const char *const names[QUERY_N_SN] = {"flows", "packets", "bytes", "pps", "bps", "bpp"};
    f->kind = &pq_kind;
    if (f->n_results > 1)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "a Parquet file holds one table: give one -s with one order");
    struct pq *q = f->state = calloc(1, sizeof *q);
    if (!q)
        return no_memory(err);
    q->seed = base_hash_seed();
    q->write = f->o.write;
    q->user = f->o.user;
    const struct query_stat *stat = f->results[0].stat;
    bool record = stat && stat->record;
    if (list)
        return listed(f, list, err);
    if (stat && !record) {
        WEIR_TRY(add(f, &stat->keys[0], stat->keys[0].name, err));
        if (stat->by_proto)
            WEIR_TRY(add_column(f, FLOW_proto, NULL, err));
        WEIR_TRY(add_column(f, FLOW_first, NULL, err));
        WEIR_TRY(add_column(f, FLOW_last, NULL, err));
        for (int n = 0; n < QUERY_N_SN; n++) {
            struct query_field field = query_stat_field(stat, (enum query_stat_number)n);
            WEIR_TRY(add(f, &field, names[n], err));
        }
        return WEIR_OK;
    }
    if (f->o.n_keys) {
        for (size_t i = 0; i < f->o.n_keys; i++)
            WEIR_TRY(add(f, &f->o.keys[i], f->o.keys[i].name, err));
        WEIR_TRY(add_column(f, FLOW_first, NULL, err));
        WEIR_TRY(add_column(f, FLOW_last, NULL, err));
        WEIR_TRY(add_derived(f, QUERY_D_N_FLOWS, "flows", err));
        WEIR_TRY(add_column(f, FLOW_packets, NULL, err));
        WEIR_TRY(add_column(f, FLOW_bytes, NULL, err));
        WEIR_TRY(add_derived(f, QUERY_D_OUT_PACKETS, NULL, err));
        return add_derived(f, QUERY_D_OUT_BYTES, NULL, err);
    }
    for (int i = 0; i < FLOW_N_COLUMNS; i++)
        WEIR_TRY(add_column(f, (enum flow_column_id)i, NULL, err));
    for (size_t i = 0; i < f->o.n_extras; i++)
        WEIR_TRY(add(f, &f->o.extras[i], f->o.extras[i].name, err));
    return WEIR_OK;
}
