#include "parquet/meta.h"

#include "parquet/thrift.h"

#include <math.h>
#include <stdlib.h>

/* More schema elements than this are refused: each costs memory in every row group. */
#define MAX_ELEMENTS 65536

/* The path of a leaf that nobody reads grows no longer: a long name could be repeated for each of many leaves. */
#define MAX_PATH_OCTETS 1024

enum repetition { REQUIRED, OPTIONAL, REPEATED };

/* Field numbers of the LogicalType union that are asked for by name. */
enum logical_id { ID_LIST = 3, ID_DECIMAL = 5, ID_TIME = 7, ID_TIMESTAMP = 8, ID_INTEGER = 10 };
enum converted { CONVERTED_NONE = -1, CONVERTED_LIST = 3, CONVERTED_DECIMAL = 5 };

#define ANY_TYPE UINT8_MAX

/* How each logical type stands in the file: LogicalTypes.md. */
static const struct logical_row {
    uint8_t type;     /* the physical type that carries it, or ANY_TYPE */
    int8_t converted; /* its old name, or CONVERTED_NONE */
    uint8_t id;       /* field of the LogicalType union, 0: none */
    uint8_t detail;   /* bits of an INTEGER, unit of a time: 1 ms, 2 us, 3 ns */
    bool is_unsigned;
} logicals[] = {
    /* clang-format off */
    [PARQUET_L_STRING]       = {PARQUET_BYTE_ARRAY, 0, 1, 0, false},
    [PARQUET_L_JSON]         = {PARQUET_BYTE_ARRAY, 19, 12, 0, false},
    [PARQUET_L_ENUM]         = {PARQUET_BYTE_ARRAY, 4, 4, 0, false},
    [PARQUET_L_BSON]         = {PARQUET_BYTE_ARRAY, 20, 13, 0, false},
    [PARQUET_L_UUID]         = {PARQUET_FIXED, CONVERTED_NONE, 14, 0, false},
    [PARQUET_L_INT8]         = {PARQUET_INT32, 15, ID_INTEGER, 8, false},
    [PARQUET_L_INT16]        = {PARQUET_INT32, 16, ID_INTEGER, 16, false},
    [PARQUET_L_INT32]        = {PARQUET_INT32, 17, ID_INTEGER, 32, false},
    [PARQUET_L_UINT8]        = {PARQUET_INT32, 11, ID_INTEGER, 8, true},
    [PARQUET_L_UINT16]       = {PARQUET_INT32, 12, ID_INTEGER, 16, true},
    [PARQUET_L_UINT32]       = {PARQUET_INT32, 13, ID_INTEGER, 32, true},
    [PARQUET_L_INT64]        = {PARQUET_INT64, 18, ID_INTEGER, 64, false},
    [PARQUET_L_UINT64]       = {PARQUET_INT64, 14, ID_INTEGER, 64, true},
    [PARQUET_L_TIMESTAMP_MS] = {PARQUET_INT64, 9, ID_TIMESTAMP, 1, false},
    [PARQUET_L_TIMESTAMP_US] = {PARQUET_INT64, 10, ID_TIMESTAMP, 2, false},
    [PARQUET_L_TIMESTAMP_NS] = {PARQUET_INT64, CONVERTED_NONE, ID_TIMESTAMP, 3, false},
    [PARQUET_L_DATE]         = {PARQUET_INT32, 6, 6, 0, false},
    [PARQUET_L_TIME_MS]      = {PARQUET_INT32, 7, ID_TIME, 1, false},
    [PARQUET_L_TIME_US]      = {PARQUET_INT64, 8, ID_TIME, 2, false},
    [PARQUET_L_TIME_NS]      = {PARQUET_INT64, CONVERTED_NONE, ID_TIME, 3, false},
    [PARQUET_L_DECIMAL]      = {ANY_TYPE, CONVERTED_DECIMAL, ID_DECIMAL, 0, false},
    [PARQUET_L_FLOAT16]      = {PARQUET_FIXED, CONVERTED_NONE, 15, 0, false},
    [PARQUET_L_INTERVAL]     = {PARQUET_FIXED, 21, 0, 0, false},
    /* clang-format on */
};

/* Everything that a parse keeps, freed at once. */
struct block {
    struct block *next;
    size_t used, cap;
    max_align_t data[];
};

static void *keep(void **memory, size_t n, size_t size)
{
    if (n > (SIZE_MAX / 2) / size)
        return NULL;
    size_t need = (n * size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct block *b = *memory;
    if (!b || b->cap - b->used < need) {
        size_t cap = b && b->cap < 1 << 20 ? b->cap * 2 : 1 << 12;
        if (cap < need)
            cap = need;
        struct block *next = calloc(1, sizeof *next + cap);
        if (!next)
            return NULL;
        next->cap = cap;
        next->next = b;
        *memory = b = next;
    }
    void *p = (char *)b->data + b->used;
    b->used += need;
    return p; /* zero, as calloc gave it */
}

/* ... for the struct that r reads: NULL makes r dead. n 0 gives a pointer too. */
static void *keep_for(struct thrift_rd *r, void **memory, size_t n, size_t size)
{
    void *p = keep(memory, n ? n : 1, size);
    if (!p)
        thrift_fail(r, WEIR_ENOMEM, "out of memory");
    return r->bad == WEIR_OK ? p : NULL;
}

void meta_memory_free(void *memory)
{
    for (struct block *b = memory; b;) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
}

void meta_done(struct meta_file *m)
{
    meta_memory_free(m->memory);
    *m = (struct meta_file){0};
}

static struct parquet_bytes keep_bytes(struct thrift_rd *r, void **memory,
                                       struct parquet_bytes from)
{
    uint8_t *p = keep_for(r, memory, (size_t)from.len + 1, 1);
    if (!p)
        return (struct parquet_bytes){0};
    if (from.len)
        memcpy(p, from.data, from.len);
    return (struct parquet_bytes){p, from.len};
}

static const char *keep_text(struct thrift_rd *r, void **memory, const struct thrift_field *f)
{
    struct parquet_bytes kept = keep_bytes(r, memory, thrift_bytes(r, f));
    return (const char *)kept.data;
}

/* ---- schema ---- */

struct element {
    const char *name;
    int32_t type, type_length, repetition, n_children, converted, scale, precision; /* -1: absent */
    int16_t logical_id;                                                             /* 0: absent */
    uint8_t detail;
    bool is_signed, utc;
};

static uint8_t parse_unit(struct thrift_rd *r, const struct thrift_field *in)
{
    uint8_t unit = 0;
    if (!thrift_struct(r, in))
        return 0;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        unit = f.id >= 1 && f.id <= 3 ? (uint8_t)f.id : 0;
        thrift_skip(r, &f);
    }
    return unit;
}

static void parse_logical(struct thrift_rd *r, const struct thrift_field *in, struct element *e)
{
    if (!thrift_struct(r, in))
        return;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        e->logical_id = (int16_t)f.id;
        if (!thrift_struct(r, &f))
            return;
        for (struct thrift_field g = {0}; thrift_next(r, &g);) {
            if (f.id == ID_INTEGER && g.id == 1)
                e->detail = (uint8_t)thrift_int(r, &g);
            else if (f.id == ID_INTEGER && g.id == 2)
                e->is_signed = thrift_bool(r, &g);
            else if (f.id == ID_DECIMAL && g.id == 1)
                e->scale = thrift_i32(r, &g);
            else if (f.id == ID_DECIMAL && g.id == 2)
                e->precision = thrift_i32(r, &g);
            else if ((f.id == ID_TIME || f.id == ID_TIMESTAMP) && g.id == 1)
                e->utc = thrift_bool(r, &g);
            else if ((f.id == ID_TIME || f.id == ID_TIMESTAMP) && g.id == 2)
                e->detail = parse_unit(r, &g);
            else
                thrift_skip(r, &g);
        }
    }
}

static void parse_element(struct thrift_rd *r, void **memory, struct element *e)
{
    *e = (struct element){.type = -1, .repetition = -1, .converted = CONVERTED_NONE};
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        switch (f.id) {
        case 1:
            e->type = thrift_i32(r, &f);
            if (e->type < PARQUET_BOOLEAN || e->type > PARQUET_FIXED)
                thrift_fail(r, WEIR_EFORMAT, "unknown physical type of a column");
            break;
        case 2:
            e->type_length = thrift_i32(r, &f);
            break;
        case 3:
            e->repetition = thrift_i32(r, &f);
            break;
        case 4:
            e->name = keep_text(r, memory, &f);
            break;
        case 5:
            e->n_children = thrift_i32(r, &f);
            break;
        case 6:
            e->converted = thrift_i32(r, &f);
            break;
        case 7:
            e->scale = thrift_i32(r, &f);
            break;
        case 8:
            e->precision = thrift_i32(r, &f);
            break;
        case 10:
            parse_logical(r, &f, e);
            break;
        default:
            thrift_skip(r, &f);
        }
    }
    if (!e->name || e->n_children < 0)
        thrift_fail(r, WEIR_EFORMAT, "a schema element without a name, or with a bad child count");
}

/* The logical type of a leaf: by its union if there is one, else by its converted type. */
static uint8_t logical_of(const struct element *e)
{
    for (size_t i = 1; i < ARRAY_LEN(logicals); i++) {
        const struct logical_row *row = &logicals[i];
        bool same;
        if (e->logical_id)
            same = row->id == e->logical_id && (!row->detail || row->detail == e->detail) &&
                   (row->id != ID_INTEGER || row->is_unsigned == !e->is_signed);
        else
            same = e->converted != CONVERTED_NONE && row->converted == e->converted;
        if (same)
            return row->type == ANY_TYPE || row->type == e->type ? (uint8_t)i : PARQUET_L_OTHER;
    }
    return e->logical_id || e->converted != CONVERTED_NONE ? PARQUET_L_OTHER : PARQUET_L_NONE;
}

static bool ordered(const struct parquet_column *c)
{
    bool octets = c->type == PARQUET_BYTE_ARRAY || c->type == PARQUET_FIXED;
    switch (c->logical) {
    case PARQUET_L_FLOAT16:
    case PARQUET_L_INTERVAL:
    case PARQUET_L_OTHER:
        return false;
    case PARQUET_L_DECIMAL:
        return !octets; /* big-endian two's complement does not sort as octets */
    default:
        return c->type != PARQUET_INT96;
    }
}

static void fill_column(struct meta_leaf *leaf, const struct element *e)
{
    struct parquet_column *c = &leaf->column;
    c->type = (uint8_t)e->type;
    c->logical = logical_of(e);
    bool timed = c->logical >= PARQUET_L_TIMESTAMP_MS && c->logical <= PARQUET_L_TIME_NS &&
                 c->logical != PARQUET_L_DATE;
    c->utc = timed && (e->utc || !e->logical_id); /* the old names meant UTC */
    if (c->logical < ARRAY_LEN(logicals))
        c->unsigned_order = logicals[c->logical].is_unsigned;
    c->scale = e->scale >= 0 && e->scale <= UINT8_MAX ? (uint8_t)e->scale : 0;
    c->precision = e->precision >= 0 && e->precision <= UINT8_MAX ? (uint8_t)e->precision : 0;
    c->type_length = e->type == PARQUET_FIXED ? (uint32_t)e->type_length : 0;
    leaf->ordered = ordered(c);
}

struct walk {
    struct thrift_rd *r;
    void **memory;
    const struct element *e;
    size_t n, at;
    struct meta_leaf *leaves;
    size_t n_leaves;
};

static const char *join(struct walk *w, const char *path, const char *name)
{
    if (!path)
        return name;
    size_t a = strlen(path), b = strlen(name);
    if (a > MAX_PATH_OCTETS)
        return name;
    char *p = keep_for(w->r, w->memory, a + b + 2, 1);
    if (!p)
        return name;
    memcpy(p, path, a);
    p[a] = '.';
    memcpy(p + a + 1, name, b);
    return p;
}

/* The subtree at w->at, depth first: a leaf, not readable yet, for each of its leaves. */
static void walk_tree(struct walk *w, const char *path, unsigned depth, uint8_t def, uint8_t rep)
{
    if (w->at >= w->n || depth > THRIFT_MAX_DEPTH) {
        thrift_fail(w->r, depth > THRIFT_MAX_DEPTH ? WEIR_ELIMIT : WEIR_EFORMAT,
                    "the schema's tree is deeper than allowed or larger than its list");
        return;
    }
    const struct element *e = &w->e[w->at++];
    if (e->repetition < REQUIRED || e->repetition > REPEATED)
        thrift_fail(w->r, WEIR_EFORMAT, "a schema element without a repetition");
    if (e->type >= 0 && e->n_children > 0)
        thrift_fail(w->r, WEIR_EFORMAT, "a schema element is both a group and a leaf");
    if (e->type == PARQUET_FIXED && e->type_length <= 0)
        thrift_fail(w->r, WEIR_EFORMAT, "a column of fixed length without a length");
    if (w->r->bad != WEIR_OK)
        return;
    def = (uint8_t)(def + (e->repetition != REQUIRED));
    rep = (uint8_t)(rep + (e->repetition == REPEATED));
    if (e->type < 0) {
        const char *inside = e->n_children ? join(w, path, e->name) : path;
        for (int32_t i = 0; i < e->n_children && w->r->bad == WEIR_OK; i++)
            walk_tree(w, inside, depth + 1, def, rep);
        return;
    }
    struct meta_leaf *leaf = &w->leaves[w->n_leaves++];
    *leaf = (struct meta_leaf){.max_def = def, .max_rep = rep};
    leaf->column.name = join(w, path, e->name);
    fill_column(leaf, e);
}

static bool ends_with(const char *s, const char *end)
{
    size_t a = strlen(s), b = strlen(end);
    return a >= b && memcmp(s + a - b, end, b) == 0;
}

/* What the top-level element e[0 .. n) is: a flat column, a list of primitives, or neither. LogicalTypes.md "Lists". */
static void shape(struct meta_leaf *leaf, const struct element *e, size_t n)
{
    struct parquet_column *c = &leaf->column;
    if (n == 1) {
        leaf->readable = true;
        c->list = e->repetition == REPEATED;
        c->optional = e->repetition == OPTIONAL;
        return;
    }
    bool list = e->logical_id == ID_LIST || (!e->logical_id && e->converted == CONVERTED_LIST);
    if (!list || e->repetition == REPEATED || e[1].repetition != REPEATED)
        return;
    if (n == 3) { /* a group of several or of one named so is itself the element: a struct */
        if (e[1].type >= 0 || e[2].repetition == REPEATED || strcmp(e[1].name, "array") == 0 ||
            ends_with(e[1].name, "_tuple"))
            return;
        c->item_optional = e[2].repetition == OPTIONAL;
    } else if (n != 2) {
        return;
    }
    leaf->readable = true;
    c->list = true;
    c->optional = e->repetition == OPTIONAL;
    c->name = e->name;
}

static void parse_schema(struct thrift_rd *r, const struct thrift_field *in, struct meta_file *m)
{
    size_t n = thrift_list(r, in, THRIFT_STRUCT, 3);
    if (n == 0 || n > MAX_ELEMENTS || m->leaves) {
        thrift_fail(r, n > MAX_ELEMENTS ? WEIR_ELIMIT : WEIR_EFORMAT,
                    "no schema, two of them, or one of more than 65536 elements");
        return;
    }
    struct element *e = keep_for(r, &m->memory, n, sizeof *e);
    struct meta_leaf *leaves = keep_for(r, &m->memory, n, sizeof *leaves);
    for (size_t i = 0; i < n && r->bad == WEIR_OK; i++)
        parse_element(r, &m->memory, &e[i]);
    if (r->bad != WEIR_OK)
        return;
    struct walk w = {.r = r, .memory = &m->memory, .e = e, .n = n, .at = 1, .leaves = leaves};
    for (int32_t i = 0; i < e[0].n_children && r->bad == WEIR_OK; i++) {
        size_t from = w.at, first = w.n_leaves;
        walk_tree(&w, NULL, 1, 0, 0);
        if (r->bad == WEIR_OK && w.n_leaves == first + 1)
            shape(&leaves[first], &e[from], w.at - from);
    }
    if (w.at != n)
        thrift_fail(r, WEIR_EFORMAT, "the schema has elements outside its tree");
    m->leaves = leaves;
    m->n_leaves = w.n_leaves;
}

const char *meta_column_problem(const struct parquet_column *c)
{
    bool known = c->logical < ARRAY_LEN(logicals);
    const struct logical_row *row = known ? &logicals[c->logical] : NULL;
    if (!c->name || !*c->name)
        return "has no name";
    if (c->type > PARQUET_FIXED || c->type == PARQUET_INT96)
        return "has a physical type that is not written";
    if (!known)
        return "has a logical type that is not written";
    if (c->logical != PARQUET_L_NONE && row->type != ANY_TYPE && row->type != c->type)
        return "has a logical type of another physical type";
    if (c->unsigned_order != row->is_unsigned)
        return "has unsigned_order set otherwise than its logical type says";
    if (c->type == PARQUET_FIXED && (c->type_length == 0 || c->type_length > 1 << 20))
        return "has values of a fixed length outside 1 to 1048576";
    if (c->item_optional)
        return "has items that may be null";
    return NULL;
}

void meta_leaf_levels(struct meta_leaf *leaf)
{
    const struct parquet_column *c = &leaf->column;
    leaf->max_def = (uint8_t)(c->optional + c->list + (c->list && c->item_optional));
    leaf->max_rep = c->list;
    leaf->readable = true;
    leaf->ordered = ordered(c);
}

/* ---- row groups ---- */

bool meta_bound_usable(const struct meta_leaf *leaf, struct parquet_bytes bound)
{
    float f;
    double d;
    if (!leaf->ordered || !bound.data)
        return false;
    switch ((enum parquet_type)leaf->column.type) {
    case PARQUET_BOOLEAN:
        return bound.len == 1;
    case PARQUET_INT32:
        return bound.len == 4;
    case PARQUET_INT64:
        return bound.len == 8;
    case PARQUET_FLOAT:
        if (bound.len != sizeof f)
            return false;
        memcpy(&f, bound.data, sizeof f);
        return !isnan(f);
    case PARQUET_DOUBLE:
        if (bound.len != sizeof d)
            return false;
        memcpy(&d, bound.data, sizeof d);
        return !isnan(d);
    case PARQUET_FIXED:
        return bound.len <= leaf->column.type_length;
    case PARQUET_BYTE_ARRAY:
        return true;
    case PARQUET_INT96:
        break;
    }
    return false;
}

/* Whether the old min and max, always of signed order, can be trusted for the leaf. */
static bool old_order(const struct parquet_column *c)
{
    return c->type != PARQUET_BYTE_ARRAY && c->type != PARQUET_FIXED && !c->unsigned_order;
}

static void check_stats(const struct meta_leaf *leaf, bool typed, struct meta_stats *s)
{
    bool ok = s->old ? old_order(&leaf->column) : typed;
    if (!ok || !meta_bound_usable(leaf, s->min))
        s->min = (struct parquet_bytes){0};
    if (!ok || !meta_bound_usable(leaf, s->max))
        s->max = (struct parquet_bytes){0};
}

static void parse_stats(struct thrift_rd *r, void **memory, const struct thrift_field *in,
                        struct meta_stats *s)
{
    struct parquet_bytes old_min = {0}, old_max = {0};
    bool min_exact = true, max_exact = true;
    if (!thrift_struct(r, in))
        return;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        if (f.id == 1)
            old_max = thrift_bytes(r, &f);
        else if (f.id == 2)
            old_min = thrift_bytes(r, &f);
        else if (f.id == 3)
            s->n_nulls = thrift_natural(r, &f);
        else if (f.id == 5)
            s->max = thrift_bytes(r, &f);
        else if (f.id == 6)
            s->min = thrift_bytes(r, &f);
        else if (f.id == 7)
            max_exact = thrift_bool(r, &f);
        else if (f.id == 8)
            min_exact = thrift_bool(r, &f);
        else
            thrift_skip(r, &f);
    }
    if (!s->min.data && !s->max.data && (old_min.data || old_max.data)) {
        s->min = old_min;
        s->max = old_max;
        s->old = true;
    }
    s->min_exact = min_exact;
    s->max_exact = max_exact;
    if (s->min.data)
        s->min = keep_bytes(r, memory, s->min);
    if (s->max.data)
        s->max = keep_bytes(r, memory, s->max);
}

static bool is_dict_encoding(int32_t encoding)
{
    return encoding == PARQUET_PLAIN_DICTIONARY || encoding == PARQUET_RLE_DICTIONARY;
}

/* PageEncodingStats: whether every data page is dictionary-encoded, and how many there are. */
static void parse_encoding_stats(struct thrift_rd *r, const struct thrift_field *in,
                                 struct meta_chunk *c)
{
    size_t n = thrift_list(r, in, THRIFT_STRUCT, 1);
    int64_t pages = 0, other = 0;
    for (size_t i = 0; i < n && r->bad == WEIR_OK; i++) {
        int32_t kind = -1, encoding = -1;
        int64_t count = 0;
        for (struct thrift_field f = {0}; thrift_next(r, &f);) {
            if (f.id == 1)
                kind = thrift_i32(r, &f);
            else if (f.id == 2)
                encoding = thrift_i32(r, &f);
            else if (f.id == 3)
                count = thrift_natural(r, &f);
            else
                thrift_skip(r, &f);
        }
        if ((kind != 0 && kind != 3) || count > INT32_MAX)
            continue;
        pages += count;
        if (!is_dict_encoding(encoding))
            other += count;
    }
    c->n_pages = pages <= INT32_MAX ? (int32_t)pages : 0;
    c->dict_pages_only = pages > 0 && other == 0;
}

static void parse_size_stats(struct thrift_rd *r, const struct thrift_field *in,
                             struct meta_chunk *c)
{
    if (!thrift_struct(r, in))
        return;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        if (f.id == 1)
            c->value_octets = thrift_natural(r, &f);
        else
            thrift_skip(r, &f);
    }
}

static void parse_encodings(struct thrift_rd *r, const struct thrift_field *f, struct meta_chunk *c)
{
    size_t n = thrift_list(r, f, THRIFT_I32, 1);
    for (size_t i = 0; i < n && r->bad == WEIR_OK; i++) {
        int64_t encoding = thrift_item_int(r);
        c->encodings |= UINT32_C(1) << (encoding >= 0 && encoding < 31 ? encoding : 31);
    }
}

/* ColumnMetaData. *seen: a bit for each field that must be there. */
static void parse_chunk_meta(struct thrift_rd *r, void **memory, const struct meta_leaf *leaf,
                             struct meta_chunk *c)
{
    bool has_stats = false;
    uint32_t seen = 0;
    const uint32_t needed = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        if (f.id > 0 && f.id < 32)
            seen |= UINT32_C(1) << f.id;
        int32_t v;
        switch (f.id) {
        case 1:
            if (thrift_i32(r, &f) != leaf->column.type)
                thrift_fail(r, WEIR_EFORMAT, "a column chunk's type is not its column's");
            c->type = leaf->column.type;
            break;
        case 2:
            parse_encodings(r, &f, c);
            break;
        case 4:
            v = thrift_i32(r, &f);
            c->codec = v >= 0 && v < UINT8_MAX ? (uint8_t)v : UINT8_MAX;
            break;
        case 5:
            c->n_values = thrift_natural(r, &f);
            break;
        case 6:
            c->octets_plain = thrift_natural(r, &f);
            break;
        case 7:
            c->octets = thrift_natural(r, &f);
            break;
        case 9:
            c->data_offset = thrift_natural(r, &f);
            break;
        case 11:
            c->dict_offset = thrift_natural(r, &f);
            break;
        case 12:
            parse_stats(r, memory, &f, &c->stats);
            break;
        case 13:
            has_stats = true;
            parse_encoding_stats(r, &f, c);
            break;
        case 14:
            c->bloom_offset = thrift_natural(r, &f);
            break;
        case 15:
            c->bloom_octets = thrift_natural32(r, &f);
            break;
        case 16:
            parse_size_stats(r, &f, c);
            break;
        default:
            thrift_skip(r, &f);
        }
    }
    if ((seen & needed) != needed)
        thrift_fail(r, WEIR_EFORMAT, "a column chunk lacks a field that it must have");
    /* Before encoding_stats: PLAIN is in the list for the dictionary page of RLE_DICTIONARY, and then nothing is
     * known; PLAIN_DICTIONARY counts for both kinds of pages. */
    const uint32_t levels = 1 << PARQUET_RLE | 1 << PARQUET_BIT_PACKED;
    if (!has_stats)
        c->dict_pages_only = (c->encodings & ~levels) == 1 << PARQUET_PLAIN_DICTIONARY;
}

static void parse_chunk(struct thrift_rd *r, void **memory, const struct meta_leaf *leaf,
                        struct meta_chunk *c)
{
    bool has_meta = false;
    c->stats.n_nulls = c->value_octets = -1;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        switch (f.id) {
        case 1:
            if (thrift_bytes(r, &f).len)
                thrift_fail(r, WEIR_EFORMAT, "a column chunk in another file is not supported");
            break;
        case 3:
            if (thrift_struct(r, &f))
                parse_chunk_meta(r, memory, leaf, c);
            has_meta = true;
            break;
        case 4:
            c->offset_index_at = thrift_natural(r, &f);
            break;
        case 5:
            c->offset_index_octets = thrift_natural32(r, &f);
            break;
        case 6:
            c->column_index_at = thrift_natural(r, &f);
            break;
        case 7:
            c->column_index_octets = thrift_natural32(r, &f);
            break;
        case 8:
        case 9:
            thrift_fail(r, WEIR_EFORMAT, "encrypted columns are not supported");
            break;
        default:
            thrift_skip(r, &f);
        }
    }
    if (!has_meta)
        thrift_fail(r, WEIR_EFORMAT, "a column chunk without metadata");
}

static void parse_sorting(struct thrift_rd *r, const struct thrift_field *in, struct meta_group *g)
{
    size_t n = thrift_list(r, in, THRIFT_STRUCT, 1);
    for (size_t i = 0; i < n && r->bad == WEIR_OK; i++) {
        int32_t column = -1;
        bool descending = false;
        for (struct thrift_field f = {0}; thrift_next(r, &f);) {
            if (f.id == 1)
                column = thrift_i32(r, &f);
            else if (f.id == 2)
                descending = thrift_bool(r, &f);
            else
                thrift_skip(r, &f);
        }
        if (i == 0) {
            g->sorted_by = column;
            g->sorted_descending = descending;
        }
    }
}

static void parse_group(struct thrift_rd *r, void **memory, const struct meta_leaf *leaves,
                        size_t n_leaves, bool all, struct meta_group *g)
{
    *g = (struct meta_group){.sorted_by = -1};
    bool has_rows = false;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        size_t n;
        switch (f.id) {
        case 1:
            n = thrift_list(r, &f, THRIFT_STRUCT, 1);
            if (n > n_leaves || (all && n != n_leaves))
                thrift_fail(r, WEIR_EFORMAT, "a row group has not a chunk for each column");
            g->chunks = keep_for(r, memory, n, sizeof *g->chunks);
            g->n_chunks = g->chunks ? n : 0;
            for (size_t i = 0; i < g->n_chunks && r->bad == WEIR_OK; i++)
                parse_chunk(r, memory, &leaves[i], &g->chunks[i]);
            break;
        case 2:
            g->octets_plain = thrift_natural(r, &f);
            break;
        case 3:
            g->n_rows = thrift_natural(r, &f);
            has_rows = true;
            break;
        case 4:
            parse_sorting(r, &f, g);
            break;
        case 6:
            g->octets = thrift_natural(r, &f);
            break;
        default:
            thrift_skip(r, &f);
        }
    }
    if (!has_rows || !g->chunks)
        thrift_fail(r, WEIR_EFORMAT, "a row group without rows or columns");
    if (g->sorted_by < 0 || (size_t)g->sorted_by >= g->n_chunks)
        g->sorted_by = -1;
    int64_t octets = 0;
    for (size_t i = 0; i < g->n_chunks && r->bad == WEIR_OK; i++)
        if (__builtin_add_overflow(octets, g->chunks[i].octets, &octets))
            thrift_fail(r, WEIR_EFORMAT, "a row group's size is outside 64 bits");
    if (!g->octets)
        g->octets = octets;
}

weir_status meta_group_parse(const uint8_t *p, size_t len, uint64_t at,
                             const struct meta_leaf *leaves, size_t n_leaves,
                             struct meta_group *out, void **memory, weir_err *err)
{
    struct thrift_rd r = thrift_rd_of(p, len);
    *memory = NULL;
    parse_group(&r, memory, leaves, n_leaves, false, out);
    for (size_t i = 0; i < out->n_chunks && r.bad == WEIR_OK; i++)
        check_stats(&leaves[i], true, &out->chunks[i].stats);
    if (r.bad == WEIR_OK)
        return WEIR_OK;
    meta_memory_free(*memory);
    *memory = NULL;
    *out = (struct meta_group){.sorted_by = -1};
    return thrift_status(&r, at, "row group", err);
}

static void parse_groups(struct thrift_rd *r, const struct thrift_field *in, struct meta_file *m)
{
    size_t n = thrift_list(r, in, THRIFT_STRUCT, 5);
    if (!m->leaves)
        thrift_fail(r, WEIR_EFORMAT, "the row groups stand before the schema");
    struct meta_group *groups = keep_for(r, &m->memory, n, sizeof *groups);
    int64_t rows = 0;
    for (size_t i = 0; i < n && r->bad == WEIR_OK; i++) {
        parse_group(r, &m->memory, m->leaves, m->n_leaves, true, &groups[i]);
        if (__builtin_add_overflow(rows, groups[i].n_rows, &rows))
            thrift_fail(r, WEIR_EFORMAT, "the number of rows is outside 64 bits");
    }
    m->groups = groups;
    m->n_groups = r->bad == WEIR_OK ? n : 0;
}

static void parse_kv(struct thrift_rd *r, const struct thrift_field *in, struct meta_file *m)
{
    size_t n = thrift_list(r, in, THRIFT_STRUCT, 1);
    struct meta_kv *kv = keep_for(r, &m->memory, n, sizeof *kv);
    for (size_t i = 0; i < n && r->bad == WEIR_OK; i++) {
        for (struct thrift_field f = {0}; thrift_next(r, &f);) {
            if (f.id == 1)
                kv[i].key = keep_text(r, &m->memory, &f);
            else if (f.id == 2)
                kv[i].value = keep_text(r, &m->memory, &f);
            else
                thrift_skip(r, &f);
        }
        if (!kv[i].key)
            thrift_fail(r, WEIR_EFORMAT, "key-value metadata without a key");
    }
    m->kv = kv;
    m->n_kv = r->bad == WEIR_OK ? n : 0;
}

/* A column order other than TYPE_ORDER (field 1) leaves the leaf without an order that we know. */
static void parse_orders(struct thrift_rd *r, const struct thrift_field *in, struct meta_file *m)
{
    size_t n = thrift_list(r, in, THRIFT_STRUCT, 1);
    for (size_t i = 0; i < n && r->bad == WEIR_OK; i++) {
        bool typed = false;
        for (struct thrift_field f = {0}; thrift_next(r, &f);) {
            typed = f.id == 1;
            thrift_skip(r, &f);
        }
        if (!typed && i < m->n_leaves)
            m->leaves[i].ordered = false;
    }
    m->typed_order = n >= m->n_leaves;
}

weir_status meta_parse(const uint8_t *p, size_t len, uint64_t at, struct meta_file *out,
                       weir_err *err)
{
    struct thrift_rd r = thrift_rd_of(p, len);
    *out = (struct meta_file){0};
    int64_t n_rows = -1;
    for (struct thrift_field f = {0}; thrift_next(&r, &f);) {
        switch (f.id) {
        case 2:
            parse_schema(&r, &f, out);
            break;
        case 3:
            n_rows = thrift_natural(&r, &f);
            break;
        case 4:
            parse_groups(&r, &f, out);
            break;
        case 5:
            parse_kv(&r, &f, out);
            break;
        case 6:
            out->created_by = keep_text(&r, &out->memory, &f);
            break;
        case 7:
            parse_orders(&r, &f, out);
            break;
        case 8:
            thrift_fail(&r, WEIR_EFORMAT, "encrypted files are not supported");
            break;
        default:
            thrift_skip(&r, &f);
        }
    }
    if (!out->leaves || n_rows < 0)
        thrift_fail(&r, WEIR_EFORMAT, "no schema or no number of rows");
    for (size_t i = 0; i < out->n_groups && r.bad == WEIR_OK; i++) {
        out->n_rows += out->groups[i].n_rows;
        for (size_t k = 0; k < out->n_leaves; k++)
            check_stats(&out->leaves[k], out->typed_order, &out->groups[i].chunks[k].stats);
    }
    if (r.bad == WEIR_OK && out->n_rows != n_rows)
        thrift_fail(&r, WEIR_EFORMAT, "the number of rows is not that of the row groups");
    if (r.bad == WEIR_OK)
        return WEIR_OK;
    meta_done(out);
    return thrift_status(&r, at, "footer", err);
}

/* ---- writing the footer ---- */

static void write_logical(struct thrift_wr *w, const struct parquet_column *c)
{
    if (c->logical == PARQUET_L_NONE || c->logical >= ARRAY_LEN(logicals))
        return;
    const struct logical_row *row = &logicals[c->logical];
    if (row->converted != CONVERTED_NONE)
        thrift_put_i32(w, 6, row->converted);
    if (c->logical == PARQUET_L_DECIMAL) {
        thrift_put_i32(w, 7, c->scale);
        thrift_put_i32(w, 8, c->precision);
    }
    if (!row->id)
        return;
    struct thrift_wr u = thrift_put_struct(w, 10);
    struct thrift_wr k = thrift_put_struct(&u, row->id);
    if (row->id == ID_INTEGER) {
        thrift_put_i8(&k, 1, (int8_t)row->detail);
        thrift_put_bool(&k, 2, !row->is_unsigned);
    } else if (row->id == ID_TIME || row->id == ID_TIMESTAMP) {
        thrift_put_bool(&k, 1, c->utc);
        struct thrift_wr unit = thrift_put_struct(&k, 2);
        thrift_put_empty(&unit, row->detail);
        thrift_end(&unit);
    } else if (row->id == ID_DECIMAL) {
        thrift_put_i32(&k, 1, c->scale);
        thrift_put_i32(&k, 2, c->precision);
    }
    thrift_end(&k);
    thrift_end(&u);
}

static void write_leaf(base_buf *b, const struct parquet_column *c, const char *name,
                       int repetition)
{
    struct thrift_wr w = thrift_wr_of(b);
    thrift_put_i32(&w, 1, c->type);
    if (c->type == PARQUET_FIXED)
        thrift_put_i32(&w, 2, (int32_t)c->type_length);
    thrift_put_i32(&w, 3, repetition);
    thrift_put_bytes(&w, 4, name, strlen(name));
    write_logical(&w, c);
    thrift_end(&w);
}

static void write_group_element(base_buf *b, const char *name, int repetition, bool list,
                                size_t n_children)
{
    struct thrift_wr w = thrift_wr_of(b);
    if (repetition >= 0)
        thrift_put_i32(&w, 3, repetition);
    thrift_put_bytes(&w, 4, name, strlen(name));
    thrift_put_i32(&w, 5, (int32_t)n_children);
    if (list) {
        thrift_put_i32(&w, 6, CONVERTED_LIST);
        struct thrift_wr u = thrift_put_struct(&w, 10);
        thrift_put_empty(&u, ID_LIST);
        thrift_end(&u);
    }
    thrift_end(&w);
}

static void write_schema(struct thrift_wr *w, const struct meta_file *m)
{
    size_t n = 1;
    for (size_t i = 0; i < m->n_leaves; i++)
        n += m->leaves[i].column.list ? 3 : 1;
    thrift_put_list(w, 2, THRIFT_STRUCT, n);
    write_group_element(w->b, "schema", -1, false, m->n_leaves);
    for (size_t i = 0; i < m->n_leaves; i++) {
        const struct parquet_column *c = &m->leaves[i].column;
        int repetition = c->optional ? OPTIONAL : REQUIRED;
        if (!c->list) {
            write_leaf(w->b, c, c->name, repetition);
            continue;
        }
        write_group_element(w->b, c->name, repetition, true, 1);
        write_group_element(w->b, "list", REPEATED, false, 1);
        write_leaf(w->b, c, "element", c->item_optional ? OPTIONAL : REQUIRED);
    }
}

static void write_stats(struct thrift_wr *w, int id, const struct meta_stats *s)
{
    struct thrift_wr k = thrift_put_struct(w, id);
    if (s->n_nulls >= 0)
        thrift_put_i64(&k, 3, s->n_nulls);
    if (s->max.data)
        thrift_put_bytes(&k, 5, s->max.data, s->max.len);
    if (s->min.data)
        thrift_put_bytes(&k, 6, s->min.data, s->min.len);
    if (s->max.data)
        thrift_put_bool(&k, 7, s->max_exact);
    if (s->min.data)
        thrift_put_bool(&k, 8, s->min_exact);
    thrift_end(&k);
}

static void write_page_count(base_buf *b, int32_t kind, int32_t encoding, int32_t count)
{
    struct thrift_wr w = thrift_wr_of(b);
    thrift_put_i32(&w, 1, kind);
    thrift_put_i32(&w, 2, encoding);
    thrift_put_i32(&w, 3, count);
    thrift_end(&w);
}

/* Our chunks have one encoding of values, beside RLE of levels and PLAIN of the dictionary. */
static int32_t value_encoding(const struct meta_chunk *c)
{
    if (c->dict_pages_only)
        return PARQUET_RLE_DICTIONARY;
    for (int32_t e = PARQUET_BYTE_STREAM_SPLIT; e > PARQUET_PLAIN; e--)
        if (e != PARQUET_RLE && c->encodings >> e & 1)
            return e;
    return c->encodings & 1 << PARQUET_PLAIN ? PARQUET_PLAIN : PARQUET_RLE;
}

static void write_encodings(struct thrift_wr *w, const struct meta_chunk *c)
{
    size_t n = (size_t)__builtin_popcount(c->encodings & 0x7fffffff);
    thrift_put_list(w, 2, THRIFT_I32, n);
    for (int e = 0; e < 31; e++)
        if (c->encodings >> e & 1)
            thrift_add_int(w->b, e);
}

static void write_chunk_meta(struct thrift_wr *w, int id, const struct meta_leaf *leaf,
                             const struct meta_chunk *c)
{
    const char *name = leaf->column.name;
    struct thrift_wr k = thrift_put_struct(w, id);
    thrift_put_i32(&k, 1, c->type);
    write_encodings(&k, c);
    thrift_put_list(&k, 3, THRIFT_BINARY, leaf->column.list ? 3 : 1);
    thrift_add_bytes(k.b, name, strlen(name));
    if (leaf->column.list) {
        thrift_add_bytes(k.b, "list", 4);
        thrift_add_bytes(k.b, "element", 7);
    }
    thrift_put_i32(&k, 4, c->codec);
    thrift_put_i64(&k, 5, c->n_values);
    thrift_put_i64(&k, 6, c->octets_plain);
    thrift_put_i64(&k, 7, c->octets);
    thrift_put_i64(&k, 9, c->data_offset);
    if (c->dict_offset)
        thrift_put_i64(&k, 11, c->dict_offset);
    write_stats(&k, 12, &c->stats);
    if (c->n_pages) {
        thrift_put_list(&k, 13, THRIFT_STRUCT, c->dict_offset ? 2 : 1);
        if (c->dict_offset)
            write_page_count(k.b, 2, PARQUET_PLAIN, 1);
        write_page_count(k.b, 0, value_encoding(c), c->n_pages);
    }
    if (c->bloom_offset) {
        thrift_put_i64(&k, 14, c->bloom_offset);
        thrift_put_i32(&k, 15, c->bloom_octets);
    }
    if (c->value_octets >= 0) {
        struct thrift_wr s = thrift_put_struct(&k, 16);
        thrift_put_i64(&s, 1, c->value_octets);
        thrift_end(&s);
    }
    thrift_end(&k);
}

static void write_chunk(base_buf *b, const struct meta_leaf *leaf, const struct meta_chunk *c)
{
    struct thrift_wr w = thrift_wr_of(b);
    thrift_put_i64(&w, 2, 0);
    write_chunk_meta(&w, 3, leaf, c);
    if (c->offset_index_at) {
        thrift_put_i64(&w, 4, c->offset_index_at);
        thrift_put_i32(&w, 5, c->offset_index_octets);
    }
    if (c->column_index_at) {
        thrift_put_i64(&w, 6, c->column_index_at);
        thrift_put_i32(&w, 7, c->column_index_octets);
    }
    thrift_end(&w);
}

void meta_group_write(base_buf *b, const struct meta_leaf *leaves, const struct meta_group *g,
                      size_t ordinal)
{
    struct thrift_wr w = thrift_wr_of(b);
    thrift_put_list(&w, 1, THRIFT_STRUCT, g->n_chunks);
    for (size_t i = 0; i < g->n_chunks; i++)
        write_chunk(b, &leaves[i], &g->chunks[i]);
    thrift_put_i64(&w, 2, g->octets_plain);
    thrift_put_i64(&w, 3, g->n_rows);
    if (g->sorted_by >= 0) {
        thrift_put_list(&w, 4, THRIFT_STRUCT, 1);
        struct thrift_wr k = thrift_wr_of(b);
        thrift_put_i32(&k, 1, g->sorted_by);
        thrift_put_bool(&k, 2, g->sorted_descending);
        thrift_put_bool(&k, 3, false);
        thrift_end(&k);
    }
    if (g->n_chunks) {
        const struct meta_chunk *c = &g->chunks[0];
        thrift_put_i64(&w, 5, c->dict_offset ? c->dict_offset : c->data_offset);
    }
    thrift_put_i64(&w, 6, g->octets);
    if (ordinal <= INT16_MAX)
        thrift_put_i16(&w, 7, (int16_t)ordinal);
    thrift_end(&w);
}

void meta_head_write(base_buf *b, const struct meta_file *m, size_t n_groups)
{
    struct thrift_wr w = thrift_wr_of(b);
    thrift_put_i32(&w, 1, 1);
    write_schema(&w, m);
    thrift_put_i64(&w, 3, m->n_rows);
    thrift_put_list(&w, 4, THRIFT_STRUCT, n_groups);
}

void meta_tail_write(base_buf *b, const struct meta_file *m)
{
    struct thrift_wr w = {.b = b, .last = 4};
    if (m->n_kv) {
        thrift_put_list(&w, 5, THRIFT_STRUCT, m->n_kv);
        for (size_t i = 0; i < m->n_kv; i++) {
            struct thrift_wr k = thrift_wr_of(b);
            thrift_put_bytes(&k, 1, m->kv[i].key, strlen(m->kv[i].key));
            if (m->kv[i].value)
                thrift_put_bytes(&k, 2, m->kv[i].value, strlen(m->kv[i].value));
            thrift_end(&k);
        }
    }
    if (m->created_by)
        thrift_put_bytes(&w, 6, m->created_by, strlen(m->created_by));
    if (m->typed_order) {
        thrift_put_list(&w, 7, THRIFT_STRUCT, m->n_leaves);
        for (size_t i = 0; i < m->n_leaves; i++) {
            struct thrift_wr k = thrift_wr_of(b);
            thrift_put_empty(&k, 1);
            thrift_end(&k);
        }
    }
    thrift_end(&w);
}

void meta_write(base_buf *b, const struct meta_file *m)
{
    meta_head_write(b, m, m->n_groups);
    for (size_t i = 0; i < m->n_groups; i++)
        meta_group_write(b, m->leaves, &m->groups[i], i);
    meta_tail_write(b, m);
}
