#include "parquet/writer.h"

#include "base/hash.h"
#include "parquet/bloom.h"
#include "parquet/chunk.h"

#include <stdlib.h>

#define MAGIC "PAR1"
#define MAX_COLUMNS 32768
#define DEFAULT_DICT_OCTETS (64 << 20)
#define MAX_DICT_OCTETS (1 << 30)

/* What is kept of a written row group until finish, and what parquet_writer_group_meta gives out:
 *
 *   u32  'WPG1'
 *   u32  octets of the RowGroup struct, then of the column index, then of the offset index
 *        the three; in the RowGroup places in an index are relative to that index, plus 1
 *   u64  XXH64 of all before */
#define KEPT_MAGIC UINT32_C(0x57504731)
#define KEPT_HEADER 16
#define KEPT_CHECK 8

struct kept {
    uint8_t *data;
    size_t len;
};

struct parquet_writer {
    struct chunk_encoder encoder;
    char *created_by;
    int sorted_by;
    bool sorted_descending;
    bool broken, finished;

    /* One a column. */
    struct meta_leaf *leaves;
    bool *bloom;
    struct meta_chunk *chunks; /* of the row group being written, with the memory of their bounds */
    struct bounds *bounds;
    size_t n_columns;

    struct kept *groups;
    size_t n_groups, cap_groups;
    int64_t n_rows;
};

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "parquet writer: out of memory");
}

void parquet_writer_free(parquet_writer *w)
{
    if (!w)
        return;
    chunk_encoder_done(&w->encoder);
    for (size_t i = 0; i < w->n_columns; i++)
        free((void *)(uintptr_t)w->leaves[i].column.name);
    for (size_t i = 0; i < w->n_groups; i++)
        free(w->groups[i].data);
    free(w->created_by);
    free(w->leaves);
    free(w->bloom);
    free(w->chunks);
    free(w->bounds);
    free(w->groups);
    free(w);
}

static int find(const parquet_writer *w, const char *name)
{
    for (size_t i = 0; i < w->n_columns; i++)
        if (strcmp(w->leaves[i].column.name, name) == 0)
            return (int)i;
    return -1;
}

/* array resized to n elements of a size, or NULL. */
static void *resized(void *array, size_t n, size_t size)
{
    return n <= SIZE_MAX / size ? realloc(array, n * size) : NULL;
}

static bool room_for_columns(parquet_writer *w, size_t n)
{
    struct meta_leaf *leaves = resized(w->leaves, n, sizeof *leaves);
    w->leaves = leaves ? leaves : w->leaves;
    bool *bloom = resized(w->bloom, n, sizeof *bloom);
    w->bloom = bloom ? bloom : w->bloom;
    struct meta_chunk *chunks = resized(w->chunks, n, sizeof *chunks);
    w->chunks = chunks ? chunks : w->chunks;
    struct bounds *bounds = resized(w->bounds, n, sizeof *bounds);
    w->bounds = bounds ? bounds : w->bounds;
    return leaves && bloom && chunks && bounds;
}

static weir_status add_columns(parquet_writer *w, const struct parquet_column *columns, size_t n,
                               const bool *bloom, weir_err *err)
{
    if (n > MAX_COLUMNS - w->n_columns)
        return weir_err_set(err, WEIR_ELIMIT, 0, "parquet writer: more than %d columns",
                            MAX_COLUMNS);
    if (!room_for_columns(w, w->n_columns + n))
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        const char *problem = meta_column_problem(&columns[i]);
        if (!problem && find(w, columns[i].name) >= 0)
            problem = "is there twice";
        if (problem)
            return weir_err_set(err, WEIR_EINVAL, 0, "parquet writer: column %s %s",
                                columns[i].name ? columns[i].name : "?", problem);
        struct meta_leaf leaf = {.column = columns[i]};
        leaf.column.name = strdup(columns[i].name);
        if (!leaf.column.name)
            return no_memory(err);
        meta_leaf_levels(&leaf);
        w->bloom[w->n_columns] = bloom && bloom[i];
        w->leaves[w->n_columns++] = leaf;
    }
    return WEIR_OK;
}

static weir_status check_options(const struct parquet_writer_options *o,
                                 const struct parquet_schema *schema, weir_err *err)
{
    const char *why = NULL;
    if (o->codec != PARQUET_NONE && o->codec != PARQUET_ZSTD && o->codec != PARQUET_LZ4_RAW)
        why = "the codec is not one that is written";
    else if (o->codec == PARQUET_ZSTD &&
             (o->level < 1 || o->level > 22 || o->text_level < 0 || o->text_level > 22))
        why = "the level of zstd is not 1 to 22";
    else if (!schema->n)
        why = "there are no columns";
    else if (o->sorted_by >= 0 && (size_t)o->sorted_by >= schema->n)
        why = "the rows are sorted by a column that is not there";
    else if (!o->sink)
        why = "there is no sink";
    return why ? weir_err_set(err, WEIR_EINVAL, 0, "parquet writer: %s", why) : WEIR_OK;
}

static weir_status fill(parquet_writer *w, const struct parquet_writer_options *o,
                        const struct parquet_schema *schema, weir_err *err)
{
    struct chunk_encoder *e = &w->encoder;
    size_t rows = o->page_rows ? o->page_rows : CHUNK_PAGE_ROWS;
    /* Whole octets of the bitmap of nulls belong to a page. */
    e->page_rows = rows < CHUNK_MAX_PAGE_ROWS ? (rows + 7) / 8 * 8 : CHUNK_MAX_PAGE_ROWS;
    e->max_dict_octets = o->max_dict_octets ? o->max_dict_octets : DEFAULT_DICT_OCTETS;
    if (e->max_dict_octets > MAX_DICT_OCTETS)
        e->max_dict_octets = MAX_DICT_OCTETS;
    e->sink = o->sink;
    e->user = o->user;
    e->codec = o->codec;
    e->level = o->level;
    e->text_level = o->text_level ? o->text_level : o->level;
    e->bloom_fpp = o->bloom_fpp;
    e->dict.seed = base_hash_seed();
    w->sorted_by = o->sorted_by;
    w->sorted_descending = o->sorted_descending;
    w->created_by = strdup(o->created_by ? o->created_by : "weir");
    if (!w->created_by)
        return no_memory(err);
    return add_columns(w, schema->columns, schema->n, o->bloom, err);
}

weir_status parquet_writer_new(const struct parquet_writer_options *o,
                               const struct parquet_schema *schema, parquet_writer **out,
                               weir_err *err)
{
    *out = NULL;
    WEIR_TRY(check_options(o, schema, err));
    parquet_writer *w = calloc(1, sizeof *w);
    if (!w)
        return no_memory(err);
    weir_status status = fill(w, o, schema, err);
    if (status == WEIR_OK) {
        base_buf_add(&w->encoder.out, MAGIC, 4);
        status = w->encoder.out.failed ? no_memory(err) : chunk_flush(&w->encoder, err);
    }
    if (status != WEIR_OK) {
        parquet_writer_free(w);
        return status;
    }
    *out = w;
    return WEIR_OK;
}

static weir_status usable(const parquet_writer *w, weir_err *err)
{
    if (!w->broken && !w->finished)
        return WEIR_OK;
    return weir_err_set(err, WEIR_EINVAL, 0, "parquet writer: the file is %s",
                        w->finished ? "finished" : "given up after an error");
}

weir_status parquet_writer_add_columns(parquet_writer *w, const struct parquet_column *columns,
                                       size_t n, weir_err *err)
{
    WEIR_TRY(usable(w, err));
    for (size_t i = 0; i < n; i++)
        if (!columns[i].optional)
            return weir_err_set(err, WEIR_EINVAL, 0,
                                "parquet writer: column %s is added later but may not be null",
                                columns[i].name ? columns[i].name : "?");
    return add_columns(w, columns, n, NULL, err);
}

uint64_t parquet_writer_offset(const parquet_writer *w)
{
    return w->encoder.offset;
}

/* ---- row groups ---- */

static weir_status keep(parquet_writer *w, struct kept k, weir_err *err)
{
    if (w->n_groups == w->cap_groups) {
        size_t cap = w->cap_groups ? w->cap_groups * 2 : 16;
        struct kept *groups = resized(w->groups, cap, sizeof *groups);
        if (!groups)
            return no_memory(err);
        w->groups = groups;
        w->cap_groups = cap;
    }
    w->groups[w->n_groups++] = k;
    return WEIR_OK;
}

static struct meta_group group_of(const parquet_writer *w, struct meta_chunk *chunks, size_t n,
                                  size_t n_rows)
{
    struct meta_group g = {.chunks = chunks,
                           .n_chunks = n,
                           .n_rows = (int64_t)n_rows,
                           .sorted_by = w->sorted_by,
                           .sorted_descending = w->sorted_descending};
    for (size_t i = 0; i < n; i++) {
        g.octets += chunks[i].octets;
        g.octets_plain += chunks[i].octets_plain;
    }
    return g;
}

/* Places in the index, one chunk behind the other, from `at`. */
static void place_index(struct meta_chunk *chunks, size_t n, int64_t columns_at, int64_t offsets_at)
{
    for (size_t i = 0; i < n; i++) {
        struct meta_chunk *c = &chunks[i];
        c->column_index_at = c->column_index_octets ? columns_at : 0;
        c->offset_index_at = c->offset_index_octets ? offsets_at : 0;
        columns_at += c->column_index_octets;
        offsets_at += c->offset_index_octets;
    }
}

static weir_status keep_group(parquet_writer *w, const struct meta_group *g,
                              const struct chunk_index *index, weir_err *err)
{
    base_buf b = {0}, row_group = {0};
    meta_group_write(&row_group, w->leaves, g, w->n_groups);
    bool failed = row_group.failed;
    if (!failed && (row_group.len | index->columns.len | index->offsets.len) >> 31)
        failed = true; /* beyond any memory that a writer has */
    base_buf_u32(&b, KEPT_MAGIC);
    base_buf_u32(&b, (uint32_t)row_group.len);
    base_buf_u32(&b, (uint32_t)index->columns.len);
    base_buf_u32(&b, (uint32_t)index->offsets.len);
    base_buf_add(&b, row_group.data, row_group.len);
    base_buf_add(&b, index->columns.data, index->columns.len);
    base_buf_add(&b, index->offsets.data, index->offsets.len);
    base_buf_done(&row_group);
    if (!b.failed)
        base_buf_u64(&b, bloom_hash(b.data, b.len));
    uint8_t *data = failed || b.failed ? NULL : malloc(b.len);
    if (!data) {
        base_buf_done(&b);
        return no_memory(err);
    }
    memcpy(data, b.data, b.len);
    struct kept k = {data, b.len};
    base_buf_done(&b);
    weir_status status = keep(w, k, err);
    if (status != WEIR_OK)
        free(data);
    return status;
}

static weir_status write_chunks(parquet_writer *w, const struct parquet_data *data, size_t n_rows,
                                struct chunk_index *index, weir_err *err)
{
    struct chunk_encoder *e = &w->encoder;
    base_buf_reset(&e->blooms);
    for (size_t i = 0; i < w->n_columns; i++)
        WEIR_TRY(chunk_encode(e, &w->leaves[i], &data[i], n_rows, w->bloom[i], index, &w->bounds[i],
                              &w->chunks[i], err));
    WEIR_TRY(chunk_flush(e, err));
    /* The bloom filters stand behind the row group: they need not be kept in memory until the file ends. */
    for (size_t i = 0; i < w->n_columns; i++)
        if (w->chunks[i].bloom_offset)
            w->chunks[i].bloom_offset += (int64_t)e->offset - 1;
    if (e->blooms.len)
        WEIR_TRY(e->sink(e->user, e->blooms.data, e->blooms.len, err));
    e->offset += e->blooms.len;
    place_index(w->chunks, w->n_columns, 1, 1);
    struct meta_group g = group_of(w, w->chunks, w->n_columns, n_rows);
    return keep_group(w, &g, index, err);
}

weir_status parquet_writer_group(parquet_writer *w, const struct parquet_data *data, size_t n_rows,
                                 weir_err *err)
{
    WEIR_TRY(usable(w, err));
    if (n_rows == 0 || n_rows > INT32_MAX)
        return weir_err_set(err, WEIR_EINVAL, 0, "parquet writer: a row group of %zu rows", n_rows);
    /* In a group of one page the index says nothing that the chunks' statistics do not. */
    struct chunk_index index = {.wanted = n_rows > w->encoder.page_rows};
    weir_status status = write_chunks(w, data, n_rows, &index, err);
    base_buf_done(&index.columns);
    base_buf_done(&index.offsets);
    if (status == WEIR_OK)
        w->n_rows += (int64_t)n_rows;
    else
        w->broken = true;
    return status;
}

void parquet_writer_group_meta(const parquet_writer *w, base_buf *out)
{
    if (w->n_groups)
        base_buf_add(out, w->groups[w->n_groups - 1].data, w->groups[w->n_groups - 1].len);
}

/* The parts of what was kept. */
struct parts {
    struct parquet_bytes group, columns, offsets;
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool split(struct kept k, struct parts *out)
{
    if (k.len < KEPT_HEADER + KEPT_CHECK || be32(k.data) != KEPT_MAGIC)
        return false;
    const uint8_t *check = k.data + k.len - KEPT_CHECK;
    uint64_t hash = (uint64_t)be32(check) << 32 | be32(check + 4);
    uint32_t group = be32(k.data + 4), columns = be32(k.data + 8), offsets = be32(k.data + 12);
    if ((uint64_t)group + columns + offsets != k.len - KEPT_HEADER - KEPT_CHECK ||
        bloom_hash(k.data, k.len - KEPT_CHECK) != hash)
        return false;
    out->group = (struct parquet_bytes){k.data + KEPT_HEADER, group};
    out->columns = (struct parquet_bytes){out->group.data + group, columns};
    out->offsets = (struct parquet_bytes){out->columns.data + columns, offsets};
    return true;
}

/* A row group from what was kept of it. Its memory is freed with meta_memory_free. */
static weir_status unpack(const parquet_writer *w, size_t i, struct parts *parts,
                          struct meta_group *g, void **memory, weir_err *err)
{
    *memory = NULL;
    if (!split(w->groups[i], parts))
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "parquet writer: what was kept of row group %zu is damaged", i);
    return meta_group_parse(parts->group.data, parts->group.len, 0, w->leaves, w->n_columns, g,
                            memory, err);
}

/* That a row group which was kept by another process fits a file of `offset` octets. */
static weir_status check_group(const parquet_writer *w, size_t i, uint64_t offset, int64_t *n_rows,
                               weir_err *err)
{
    struct parts parts;
    struct meta_group g;
    void *memory;
    WEIR_TRY(unpack(w, i, &parts, &g, &memory, err));
    bool fits = true;
    uint64_t columns = 0, offsets = 0;
    for (size_t k = 0; k < g.n_chunks; k++) {
        const struct meta_chunk *c = &g.chunks[k];
        uint64_t at = (uint64_t)(c->dict_offset ? c->dict_offset : c->data_offset);
        fits = fits && at <= offset && (uint64_t)c->octets <= offset - at &&
               (uint64_t)c->bloom_offset <= offset &&
               (uint64_t)c->bloom_octets <= offset - (uint64_t)c->bloom_offset;
        columns += (uint64_t)c->column_index_octets;
        offsets += (uint64_t)c->offset_index_octets;
    }
    fits = fits && columns == parts.columns.len && offsets == parts.offsets.len &&
           g.n_rows <= INT32_MAX;
    *n_rows = g.n_rows;
    meta_memory_free(memory);
    if (fits)
        return WEIR_OK;
    return weir_err_set(err, WEIR_EFORMAT, offset,
                        "parquet writer: row group %zu does not lie in the file's %llu octets", i,
                        (unsigned long long)offset);
}

static weir_status take_groups(parquet_writer *w, uint64_t offset,
                               const struct parquet_bytes *metas, size_t n, weir_err *err)
{
    for (size_t i = 0; i < n; i++) {
        int64_t n_rows;
        struct kept k = {malloc(metas[i].len ? metas[i].len : 1), metas[i].len};
        if (!k.data)
            return no_memory(err);
        if (k.len)
            memcpy(k.data, metas[i].data, k.len);
        weir_status status = keep(w, k, err);
        if (status != WEIR_OK) {
            free(k.data);
            return status;
        }
        WEIR_TRY(check_group(w, i, offset, &n_rows, err));
        if (__builtin_add_overflow(w->n_rows, n_rows, &w->n_rows))
            return weir_err_set(err, WEIR_EFORMAT, offset, "parquet writer: too many rows");
    }
    return WEIR_OK;
}

weir_status parquet_writer_resume(const struct parquet_writer_options *o,
                                  const struct parquet_schema *schema, uint64_t offset,
                                  const struct parquet_bytes *metas, size_t n, parquet_writer **out,
                                  weir_err *err)
{
    *out = NULL;
    WEIR_TRY(check_options(o, schema, err));
    if (offset < 4 || offset > INT64_MAX)
        return weir_err_set(err, WEIR_EINVAL, offset,
                            "parquet writer: a file of %llu octets has not begun",
                            (unsigned long long)offset);
    parquet_writer *w = calloc(1, sizeof *w);
    if (!w)
        return no_memory(err);
    weir_status status = fill(w, o, schema, err);
    if (status == WEIR_OK)
        status = take_groups(w, offset, metas, n, err);
    if (status != WEIR_OK) {
        parquet_writer_free(w);
        return status;
    }
    w->encoder.offset = offset;
    *out = w;
    return WEIR_OK;
}

/* ---- the end of the file ---- */

/* Chunks of columns that were added after a row group was written, for all groups, group by group. */
struct added {
    struct meta_chunk *chunks;
    size_t n;
    struct chunk_index index;
};

static void added_done(struct added *a)
{
    free(a->chunks);
    base_buf_done(&a->index.columns);
    base_buf_done(&a->index.offsets);
}

static weir_status add_nulls(const parquet_writer *w, size_t i, struct added *a, base_buf *out,
                             weir_err *err)
{
    struct parts parts;
    struct meta_group g;
    void *memory;
    WEIR_TRY(unpack(w, i, &parts, &g, &memory, err));
    size_t n_chunks = g.n_chunks, missing = w->n_columns - n_chunks, n_rows = (size_t)g.n_rows;
    meta_memory_free(memory);
    if (!missing)
        return WEIR_OK;
    struct meta_chunk *chunks = resized(a->chunks, a->n + missing, sizeof *chunks);
    if (!chunks)
        return no_memory(err);
    a->chunks = chunks;
    a->index.wanted = n_rows > w->encoder.page_rows;
    for (size_t k = 0; k < missing; k++) {
        const struct meta_leaf *leaf = &w->leaves[n_chunks + k];
        if (!leaf->column.optional)
            return weir_err_set(err, WEIR_EINVAL, 0,
                                "parquet writer: column %s may not be null but row group %zu has "
                                "none of it",
                                leaf->column.name, i);
        chunk_encode_null(out, w->encoder.offset, leaf, n_rows, &a->index, &a->chunks[a->n++]);
    }
    return WEIR_OK;
}

/* Octets of the index of the chunks. */
static void index_octets(const struct meta_chunk *chunks, size_t n, size_t *columns,
                         size_t *offsets)
{
    *columns = *offsets = 0;
    for (size_t i = 0; i < n; i++) {
        *columns += (size_t)chunks[i].column_index_octets;
        *offsets += (size_t)chunks[i].offset_index_octets;
    }
}

/* One row group into the footer. *n_added, *columns_at, *offsets_at: how many of the added chunks, and where in the
 * file, the groups before it have come. */
static weir_status put_group(const parquet_writer *w, size_t i, const struct added *a,
                             size_t *n_added, int64_t *columns_at, int64_t *offsets_at,
                             base_buf *out, weir_err *err)
{
    struct parts parts;
    struct meta_group g;
    void *memory;
    WEIR_TRY(unpack(w, i, &parts, &g, &memory, err));
    struct meta_chunk *chunks = calloc(w->n_columns, sizeof *chunks);
    if (!chunks) {
        meta_memory_free(memory);
        return no_memory(err);
    }
    memcpy(chunks, g.chunks, g.n_chunks * sizeof *chunks);
    size_t missing = w->n_columns - g.n_chunks, columns, offsets;
    if (missing)
        memcpy(chunks + g.n_chunks, a->chunks + *n_added, missing * sizeof *chunks);
    place_index(chunks, w->n_columns, *columns_at, *offsets_at);
    struct meta_group whole = group_of(w, chunks, w->n_columns, (size_t)g.n_rows);
    meta_group_write(out, w->leaves, &whole, i);
    index_octets(chunks, w->n_columns, &columns, &offsets);
    *n_added += missing;
    *columns_at += (int64_t)columns;
    *offsets_at += (int64_t)offsets;
    free(chunks);
    meta_memory_free(memory);
    return WEIR_OK;
}

/* One kind of index of all row groups. */
static weir_status put_indexes(const parquet_writer *w, const struct added *a, bool of_columns,
                               base_buf *out, weir_err *err)
{
    const base_buf *of_added = of_columns ? &a->index.columns : &a->index.offsets;
    size_t n_added = 0, at = 0;
    for (size_t i = 0; i < w->n_groups; i++) {
        struct parts parts;
        struct meta_group g;
        void *memory;
        WEIR_TRY(unpack(w, i, &parts, &g, &memory, err));
        size_t missing = w->n_columns - g.n_chunks, columns, offsets;
        meta_memory_free(memory);
        struct parquet_bytes index = of_columns ? parts.columns : parts.offsets;
        base_buf_add(out, index.data, index.len);
        if (!missing)
            continue;
        index_octets(a->chunks + n_added, missing, &columns, &offsets);
        size_t len = of_columns ? columns : offsets;
        if (len)
            base_buf_add(out, of_added->data + at, len);
        at += len;
        n_added += missing;
    }
    return WEIR_OK;
}

static weir_status put_footer(const parquet_writer *w, const struct added *a,
                              const struct parquet_key_value *kv, size_t n_kv, int64_t columns_at,
                              int64_t offsets_at, base_buf *out, weir_err *err)
{
    struct meta_kv *pairs = calloc(n_kv ? n_kv : 1, sizeof *pairs);
    size_t n_added = 0, from = out->len;
    if (!pairs)
        return no_memory(err);
    for (size_t i = 0; i < n_kv; i++)
        pairs[i] = (struct meta_kv){kv[i].key, kv[i].value};
    struct meta_file m = {.leaves = w->leaves,
                          .n_leaves = w->n_columns,
                          .n_rows = w->n_rows,
                          .kv = pairs,
                          .n_kv = n_kv,
                          .created_by = w->created_by,
                          .typed_order = true};
    weir_status status = WEIR_OK;
    meta_head_write(out, &m, w->n_groups);
    for (size_t i = 0; i < w->n_groups && status == WEIR_OK; i++)
        status = put_group(w, i, a, &n_added, &columns_at, &offsets_at, out, err);
    meta_tail_write(out, &m);
    free(pairs);
    size_t len = out->len - from;
    if (status == WEIR_OK && len > UINT32_MAX)
        return weir_err_set(err, WEIR_ELIMIT, 0, "parquet writer: a footer of %zu octets", len);
    const uint8_t tail[8] = {(uint8_t)len,
                             (uint8_t)(len >> 8),
                             (uint8_t)(len >> 16),
                             (uint8_t)(len >> 24),
                             'P',
                             'A',
                             'R',
                             '1'};
    base_buf_add(out, tail, sizeof tail);
    return status;
}

static weir_status put_end(const parquet_writer *w, const struct parquet_key_value *kv, size_t n_kv,
                           base_buf *out, weir_err *err)
{
    CLEANUP(added_done) struct added a = {0};
    int64_t base = (int64_t)w->encoder.offset;
    for (size_t i = 0; i < w->n_groups; i++)
        WEIR_TRY(add_nulls(w, i, &a, out, err));
    int64_t columns_at = base + (int64_t)out->len;
    WEIR_TRY(put_indexes(w, &a, true, out, err));
    int64_t offsets_at = base + (int64_t)out->len;
    WEIR_TRY(put_indexes(w, &a, false, out, err));
    WEIR_TRY(put_footer(w, &a, kv, n_kv, columns_at, offsets_at, out, err));
    if (out->failed || a.index.columns.failed || a.index.offsets.failed)
        return no_memory(err);
    return WEIR_OK;
}

weir_status parquet_writer_finish(parquet_writer *w, const struct parquet_key_value *kv,
                                  size_t n_kv, weir_err *err)
{
    CLEANUP(base_buf_done) base_buf out = {0};
    WEIR_TRY(usable(w, err));
    w->broken = true;
    WEIR_TRY(put_end(w, kv, n_kv, &out, err));
    WEIR_TRY(w->encoder.sink(w->encoder.user, out.data, out.len, err));
    w->encoder.offset += out.len;
    w->broken = false;
    w->finished = true;
    return WEIR_OK;
}

weir_status parquet_writer_preview(parquet_writer *w, base_buf *out, weir_err *err)
{
    WEIR_TRY(usable(w, err));
    CLEANUP(base_buf_done) base_buf end = {0};
    WEIR_TRY(put_end(w, NULL, 0, &end, err));
    base_buf_add(out, end.data, end.len);
    return out->failed ? no_memory(err) : WEIR_OK;
}
