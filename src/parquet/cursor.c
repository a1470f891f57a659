/* The values of one column chunk: pages come out of the file and out of their codec one after another, and each gives
 * its rows to the windows that are asked for. */
#include "parquet/codec.h"
#include "parquet/decode.h"
#include "parquet/file.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Values of a page are little-endian and go to their slots as they are. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "slots are copied from pages");

enum {
    READ_AHEAD = 256 << 10, /* octets read at once: they stay in the cache until they are decoded */
    BLOCK_ROUND = 128 << 10,
    READ_HEADER = 1 << 10,      /* the same where only a page's header is looked at */
    HEADER_MAX = 1 << 20,       /* a header with statistics of long strings */
    LEVELS = 512,               /* of a list, decoded at once */
    CODES = 512,                /* likewise, where codes become values */
    MAX_ITEMS = 1 << 26,        /* of the lists of one window */
    MAX_HELD_OCTETS = 1 << 30,  /* pages kept for one window */
    INDEX_WORTH_ROWS = 1 << 17, /* rows to pass over for which the offset index is fetched */
    N_SPARE = 4,
};

enum page_kind { DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 };

/* Memory that octet-array values may point into. */
struct block {
    uint8_t *p;
    size_t cap;
};

struct page {
    uint64_t at; /* its header, in the file */
    uint8_t encoding;
    uint64_t levels_left;          /* not yet taken: rows of a flat column */
    bool all_present;              /* no definition levels need to be looked at */
    struct decode_hybrid def, rep; /* streams of levels */
    const uint8_t *values;         /* the values section */
    size_t values_len;
    bool in_plain; /* ... stands in the cursor's plain, not in raw or the file's memory */
    bool begun;    /* the stream below is set up */
    union {
        struct {
            const uint8_t *at, *end;
        } plain;
        struct {
            size_t at, n; /* bits or values */
        } fixed;
        struct decode_hybrid hybrid;
        struct decode_delta delta;
        struct decode_lengths lengths;
        struct decode_prefixes prefixes;
    };
};

struct parquet_cursor {
    const parquet_file *file;
    const struct meta_leaf *leaf;
    const struct meta_chunk *chunk;
    const struct unpack_ops *ops;
    size_t group, column;
    bool check_crc;
    bool begun;              /* `codes` is known */
    bool codes;              /* windows have codes */
    bool borrows;            /* slots point into pages */
    uint8_t type;            /* enum parquet_type */
    size_t slot;             /* octets of a value's slot */
    uint64_t begin, end, at; /* the chunk in the file; the next page's header */
    uint64_t rows_left;      /* not yet given or passed over by calls */
    uint64_t skip;           /* rows passed over by calls, still to be done */
    uint64_t
        levels_left; /* of the pages from `at` on; after a jump not known for a list: as many as there may be */

    struct page page;
    struct codec_state codec;

    /* The dictionary. */
    bool has_dict;
    struct block dict_plain; /* its page, uncompressed */
    void *dict;              /* slots */
    uint32_t n_dict;

    /* raw[raw_len] are the file's octets from raw_at on; plain is the current page, uncompressed. */
    struct block raw, plain;
    uint64_t raw_at;
    size_t raw_len;
    bool raw_used, plain_used; /* slots of this window point into it */
    struct block *held;        /* what slots of this window point into besides */
    size_t n_held, cap_held, held_octets;
    struct block spare[N_SPARE];

    /* The window. */
    void *slots;
    size_t n_slots, cap_slots;
    struct decode_validity valid, items;
    size_t cap_valid, cap_items; /* bits */
    uint32_t *starts;
    size_t cap_starts;

    /* Of a list: levels that were decoded but not yet taken. */
    uint32_t *rep, *def;
    unsigned level, n_levels;
    struct block level_memory[2]; /* old BIT_PACKED levels, rewritten */

    /* DELTA_BYTE_ARRAY: where the next values go, and the last value. */
    uint8_t *arena;
    size_t arena_left;
    struct block last;
    uint32_t last_len;

    struct meta_page_place *places; /* the offset index */
    size_t n_places;
    bool places_known;
};

static weir_status bad(const parquet_cursor *c, weir_status status, uint64_t at, const char *what,
                       weir_err *err)
{
    return weir_err_set(err, status, at, "%s: row group %zu, column %s, page at %llu: %s",
                        c->file->name, c->group, c->leaf->column.name, (unsigned long long)at,
                        what);
}

static weir_status no_memory(const parquet_cursor *c, weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, c->at, "%s: row group %zu, column %s: out of memory",
                        c->file->name, c->group, c->leaf->column.name);
}

static bool is_dict_encoding(uint8_t encoding)
{
    return encoding == PARQUET_RLE_DICTIONARY || encoding == PARQUET_PLAIN_DICTIONARY;
}

/* ---- memory ---- */

static void block_done(struct block *b)
{
    free(b->p);
    *b = (struct block){0};
}

/* A block of n octets or more, out of the spare ones if one fits. */
static bool block_take(parquet_cursor *c, struct block *b, size_t n)
{
    for (size_t i = 0; i < N_SPARE; i++) {
        if (c->spare[i].cap < n)
            continue;
        *b = c->spare[i];
        c->spare[i] = (struct block){0};
        return true;
    }
    /* Rounded up, so that the next page, which is a little larger, can have it again. */
    size_t cap = n < BLOCK_ROUND / 2 ? n : (n + BLOCK_ROUND - 1) / BLOCK_ROUND * BLOCK_ROUND;
    b->p = malloc(cap);
    b->cap = b->p ? cap : 0;
    return b->p != NULL;
}

static void block_spare(parquet_cursor *c, struct block *b)
{
    size_t least = 0;
    for (size_t i = 1; i < N_SPARE; i++)
        least = c->spare[i].cap < c->spare[least].cap ? i : least;
    if (b->cap > c->spare[least].cap) {
        struct block out = c->spare[least];
        c->spare[least] = *b;
        *b = out;
    }
    block_done(b);
}

/* Keep a block until the next window, for slots point into it. */
static weir_status block_hold(parquet_cursor *c, struct block *b, weir_err *err)
{
    if (c->n_held == c->cap_held) {
        size_t cap = c->cap_held ? 2 * c->cap_held : 8;
        struct block *held = realloc(c->held, cap * sizeof *held);
        if (!held)
            return no_memory(c, err);
        c->held = held;
        c->cap_held = cap;
    }
    if (b->cap > MAX_HELD_OCTETS - c->held_octets)
        return bad(c, WEIR_ELIMIT, c->page.at, "the pages of one window are larger than 1 GiB",
                   err);
    c->held_octets += b->cap;
    c->held[c->n_held++] = *b;
    *b = (struct block){0};
    return WEIR_OK;
}

/* Room for n octets in a block that nothing points into. */
static bool block_room(struct block *b, size_t n)
{
    if (b->cap >= n)
        return true;
    uint8_t *p = malloc(n);
    if (!p)
        return false;
    free(b->p);
    *b = (struct block){p, n};
    return true;
}

/* Room for `more` slots besides those that are filled. */
static bool slots_room(parquet_cursor *c, size_t more)
{
    size_t need = c->n_slots + more;
    if (need <= c->cap_slots && c->slots)
        return true;
    if (need > SIZE_MAX / 32)
        return false;
    size_t cap = c->n_slots ? need + need / 2 : need;
    void *slots = realloc(c->slots, (cap + UNPACK_SLACK) * c->slot);
    if (!slots)
        return false;
    c->slots = slots;
    c->cap_slots = cap;
    return true;
}

static bool bits_room(struct decode_validity *v, size_t *cap, size_t n)
{
    if (n <= *cap)
        return true;
    size_t want = v->n ? n + n / 2 : n;
    uint64_t *bits = realloc(v->bits, (want / 64 + 2) * sizeof *bits);
    if (!bits)
        return false;
    v->bits = bits;
    *cap = want;
    return true;
}

/* ---- octets of the chunk ---- */

/* *p: the n octets at `at` of the chunk, until the next call; more may be read ahead, up to `ahead`. */
static weir_status need(parquet_cursor *c, uint64_t at, size_t n, size_t ahead, const uint8_t **p,
                        weir_err *err)
{
    const parquet_file *f = c->file;
    if (at < c->begin || at > c->end || n > c->end - at)
        return bad(c, WEIR_EFORMAT, at, "runs past the end of its column chunk", err);
    if (f->fd < 0) {
        *p = f->data + at;
        return WEIR_OK;
    }
    if (at >= c->raw_at && at - c->raw_at <= c->raw_len && n <= c->raw_len - (at - c->raw_at)) {
        *p = c->raw.p ? c->raw.p + (at - c->raw_at) : (const uint8_t *)"";
        return WEIR_OK;
    }
    size_t want = n > ahead ? n : ahead;
    want = want < c->end - at ? want : (size_t)(c->end - at);
    /* What is there already moves to the front. */
    size_t have =
        at >= c->raw_at && at - c->raw_at < c->raw_len ? c->raw_len - (size_t)(at - c->raw_at) : 0;
    have = have < want ? have : want;
    uint8_t *from = have ? c->raw.p + (at - c->raw_at) : NULL;
    if (c->raw_used || c->raw.cap < want) {
        struct block next;
        size_t cap = want < READ_AHEAD && c->end - c->begin >= READ_AHEAD ? READ_AHEAD : want;
        if (!block_take(c, &next, cap))
            return no_memory(c, err);
        if (have)
            memcpy(next.p, from, have);
        weir_status status = WEIR_OK;
        if (c->raw_used)
            status = block_hold(c, &c->raw, err);
        else
            block_spare(c, &c->raw);
        if (status != WEIR_OK) {
            block_done(&next);
            return status;
        }
        c->raw = next;
        c->raw_used = false;
    } else if (have) {
        memmove(c->raw.p, from, have);
    }
    c->raw_at = at;
    c->raw_len = have;
    WEIR_TRY(file_read(f, at + have, c->raw.p + have, want - have, err));
    c->raw_len = want;
    *p = c->raw.p;
    return WEIR_OK;
}

/* The page header at `at`. *used: its octets. */
static weir_status page_header(parquet_cursor *c, uint64_t at, size_t ahead, struct meta_page *out,
                               size_t *used, weir_err *err)
{
    if (at >= c->end)
        return bad(c, WEIR_ETRUNC, at, "the column chunk ends before its rows do", err);
    for (size_t some = READ_HEADER;; some *= 8) {
        size_t n = some < c->end - at ? some : (size_t)(c->end - at);
        const uint8_t *p;
        weir_err why;
        WEIR_TRY(need(c, at, n, ahead, &p, err));
        weir_status status = meta_page_parse(p, n, at, out, used, &why);
        if (status == WEIR_ETRUNC && n == some && some < HEADER_MAX)
            continue;
        if (status != WEIR_OK)
            return bad(c, status, at, why.msg, err);
        break;
    }
    if ((uint64_t)out->octets > c->end - at - *used)
        return bad(c, WEIR_EFORMAT, at, "runs past the end of its column chunk", err);
    if (out->octets_plain > FILE_MAX_PAGE_OCTETS)
        return bad(c, WEIR_ELIMIT, at, "is larger than 256 MiB", err);
    return WEIR_OK;
}

static weir_status check_crc(parquet_cursor *c, uint64_t at, const struct meta_page *page,
                             const uint8_t *body, weir_err *err)
{
    if (!c->check_crc || !page->has_crc)
        return WEIR_OK;
    if (crc32(0, body, (uInt)page->octets) != page->crc)
        return bad(c, WEIR_EFORMAT, at, "its checksum does not hold", err);
    return WEIR_OK;
}

/* in[in_len] as out_len octets in *to. */
static weir_status unpress(parquet_cursor *c, uint64_t at, const uint8_t *in, size_t in_len,
                           struct block *to, size_t out_len, weir_err *err)
{
    if (!codec_plausible(c->chunk->codec, in_len, out_len))
        return bad(c, WEIR_EFORMAT, at, "cannot have the size that its header tells", err);
    if (to->cap < out_len || !to->p) {
        block_spare(c, to);
        if (!block_take(c, to, out_len ? out_len : 1))
            return no_memory(c, err);
    }
    weir_status status = codec_unpress(&c->codec, c->chunk->codec, in, in_len, to->p, out_len);
    if (status == WEIR_ENOMEM)
        return no_memory(c, err);
    if (status != WEIR_OK)
        return bad(c, WEIR_EFORMAT, at, "its compressed octets are damaged", err);
    return WEIR_OK;
}

/* ---- dictionary ---- */

static bool has_byte_slots(uint8_t type)
{
    return type == PARQUET_BYTE_ARRAY || type == PARQUET_FIXED || type == PARQUET_INT96;
}

/* Octets of a PLAIN value, 0: they differ. */
static uint32_t plain_width(const parquet_cursor *c)
{
    switch ((enum parquet_type)c->type) {
    case PARQUET_INT32:
    case PARQUET_FLOAT:
        return 4;
    case PARQUET_INT64:
    case PARQUET_DOUBLE:
        return 8;
    case PARQUET_INT96:
        return 12;
    case PARQUET_FIXED:
        return c->leaf->column.type_length;
    case PARQUET_BOOLEAN:
    case PARQUET_BYTE_ARRAY:
        break;
    }
    return 0;
}

/* The dictionary page at `at`, whose header is known. */
static weir_status load_dict(parquet_cursor *c, uint64_t at, const struct meta_page *page,
                             size_t used, weir_err *err)
{
    if (c->has_dict)
        return bad(c, WEIR_EFORMAT, at, "is a second dictionary", err);
    if (page->encoding != PARQUET_PLAIN && page->encoding != PARQUET_PLAIN_DICTIONARY)
        return bad(c, WEIR_EFORMAT, at, "a dictionary that is not PLAIN", err);
    size_t len = (size_t)page->octets_plain, n = (size_t)page->n_values;
    uint32_t width = plain_width(c);
    const uint8_t *body;
    WEIR_TRY(need(c, at + used, (size_t)page->octets, READ_AHEAD, &body, err));
    WEIR_TRY(check_crc(c, at, page, body, err));
    if (c->type == PARQUET_BOOLEAN)
        return bad(c, WEIR_EFORMAT, at, "a dictionary of booleans", err);
    if (n > len / (width ? width : 4) || n > FILE_MAX_DICT_VALUES)
        return bad(c, WEIR_EFORMAT, at, "has not the number of values that its header tells", err);
    if (c->chunk->codec != PARQUET_NONE) {
        WEIR_TRY(unpress(c, at, body, (size_t)page->octets, &c->dict_plain, len, err));
    } else if (page->octets != page->octets_plain) {
        return bad(c, WEIR_EFORMAT, at, "is not compressed, but has two sizes", err);
    } else if (c->borrows) {
        if (!block_room(&c->dict_plain, len ? len : 1))
            return no_memory(c, err);
        if (len)
            memcpy(c->dict_plain.p, body, len);
    }
    const uint8_t *values = c->dict_plain.p ? c->dict_plain.p : body;
    c->dict = malloc((n ? n : 1) * c->slot);
    if (!c->dict)
        return no_memory(c, err);
    if (!c->borrows) {
        if (n)
            memcpy(c->dict, values, n * width);
    } else if (width) {
        decode_fixed_bytes(values, width, c->dict, n);
    } else if (!decode_plain_bytes(&values, values + len, c->dict, n)) {
        return bad(c, WEIR_EFORMAT, at, "a value runs past the end of the dictionary", err);
    }
    c->n_dict = (uint32_t)n;
    c->has_dict = true;
    return WEIR_OK;
}

/* Whether all data pages use the dictionary, from their headers. */
static weir_status scan_headers(parquet_cursor *c, bool *all, weir_err *err)
{
    uint64_t levels = (uint64_t)c->chunk->n_values;
    *all = true;
    for (uint64_t at = c->begin; levels && *all;) {
        struct meta_page page;
        size_t used;
        WEIR_TRY(page_header(c, at, READ_HEADER, &page, &used, err));
        if (page.kind == DATA_PAGE || page.kind == DATA_PAGE_V2) {
            *all = is_dict_encoding(page.encoding) && (uint64_t)page.n_values <= levels;
            levels -= *all ? (uint64_t)page.n_values : 0;
        }
        at += used + (size_t)page.octets;
    }
    return WEIR_OK;
}

/* What kind of windows there will be, before the first. */
static weir_status begin(parquet_cursor *c, weir_err *err)
{
    if (c->begun)
        return WEIR_OK;
    const uint32_t dict_bits = 1 << PARQUET_PLAIN_DICTIONARY | 1 << PARQUET_RLE_DICTIONARY;
    c->codes = false;
    if (c->type != PARQUET_BOOLEAN && c->chunk->n_values) {
        if (c->chunk->dict_offset > 0 && c->chunk->dict_pages_only)
            c->codes = true;
        else if (c->chunk->encodings & dict_bits)
            WEIR_TRY(scan_headers(c, &c->codes, err));
    }
    if (c->codes) {
        struct meta_page page;
        size_t used;
        WEIR_TRY(page_header(c, c->at, READ_AHEAD, &page, &used, err));
        c->codes =
            page.kind == DICTIONARY_PAGE; /* some writers leave it out when all rows are null */
        if (c->codes) {
            WEIR_TRY(load_dict(c, c->at, &page, used, err));
            c->at += used + (size_t)page.octets;
            c->slot = sizeof(uint32_t);
            c->borrows = false;
        }
    }
    c->begun = true;
    return WEIR_OK;
}

/* ---- data pages ---- */

/* One stream of levels out of a v1 page; *p moves on. */
static weir_status v1_levels(parquet_cursor *c, const struct meta_page *page, uint8_t encoding,
                             unsigned which, uint8_t most, const uint8_t **p, const uint8_t *end,
                             struct decode_hybrid *out, weir_err *err)
{
    unsigned width = most > 1 ? 2 : 1;
    size_t have = (size_t)(end - *p), used, len;
    if (encoding == PARQUET_RLE) {
        uint32_t octets;
        if (have < 4)
            return bad(c, WEIR_ETRUNC, c->page.at, "ends within its levels", err);
        memcpy(&octets, *p, sizeof octets);
        if (octets > have - 4)
            return bad(c, WEIR_ETRUNC, c->page.at, "its levels run past its end", err);
        *out = decode_hybrid_of(c->ops, *p + 4, octets, width);
        *p += 4 + (size_t)octets;
        return WEIR_OK;
    }
    if (encoding != PARQUET_BIT_PACKED)
        return bad(c, WEIR_EFORMAT, c->page.at, "has levels in an unknown encoding", err);
    size_t n = (size_t)page->n_values;
    if (n > have * 8 / width)
        return bad(c, WEIR_ETRUNC, c->page.at, "its levels run past its end", err);
    struct block *memory = &c->level_memory[which];
    if (!block_room(memory, n * width / 8 + 32))
        return no_memory(c, err);
    if (!decode_bit_packed(*p, have, n, width, memory->p, &len, &used))
        return bad(c, WEIR_ETRUNC, c->page.at, "its levels run past its end", err);
    *out = decode_hybrid_of(c->ops, memory->p, len, width);
    *p += used;
    return WEIR_OK;
}

/* The body of a data page becomes the current page. */
static weir_status open_page(parquet_cursor *c, const struct meta_page *page, uint64_t at,
                             size_t used, weir_err *err)
{
    const struct meta_leaf *leaf = c->leaf;
    const uint8_t *body, *p, *end;
    size_t octets = (size_t)page->octets, plain = (size_t)page->octets_plain;
    c->page.at = at;
    c->page.levels_left = 0;
    WEIR_TRY(need(c, at + used, octets, READ_AHEAD, &body, err));
    WEIR_TRY(check_crc(c, at, page, body, err));
    if (c->plain_used) {
        WEIR_TRY(block_hold(c, &c->plain, err));
        c->plain_used = false;
    }
    bool pressed = c->chunk->codec != PARQUET_NONE;
    size_t levels = 0;
    if (page->kind == DATA_PAGE_V2) {
        levels = (size_t)page->def_octets + (size_t)page->rep_octets;
        if (page->def_octets < 0 || page->rep_octets < 0 || levels > octets || levels > plain)
            return bad(c, WEIR_EFORMAT, at, "its levels are longer than the page", err);
        pressed = pressed && page->compressed && plain > levels;
    }
    if (!pressed && octets != plain && !(page->kind == DATA_PAGE_V2 && plain == levels))
        return bad(c, WEIR_EFORMAT, at, "is not compressed, but has two sizes", err);
    p = body;
    end = body + octets;
    if (pressed) {
        WEIR_TRY(unpress(c, at, body + levels, octets - levels, &c->plain, plain - levels, err));
        p = c->plain.p;
        end = p + (plain - levels);
    } else {
        p += levels;
    }
    c->page.all_present = !leaf->max_def;
    if (page->kind == DATA_PAGE_V2) {
        if (page->n_rows < 0 || page->n_rows > page->n_values || page->n_nulls < 0 ||
            page->n_nulls > page->n_values || (!leaf->max_rep && page->n_rows != page->n_values))
            return bad(c, WEIR_EFORMAT, at, "its numbers of rows and values do not agree", err);
        size_t rep = (size_t)page->rep_octets, def = (size_t)page->def_octets;
        c->page.rep = decode_hybrid_of(c->ops, body, rep, 1);
        c->page.def = decode_hybrid_of(c->ops, body + rep, def, leaf->max_def > 1 ? 2 : 1);
        if (!leaf->max_rep && !page->n_nulls)
            c->page.all_present = true;
    } else {
        if (leaf->max_rep)
            WEIR_TRY(v1_levels(c, page, page->rep_encoding, 0, leaf->max_rep, &p, end, &c->page.rep,
                               err));
        if (leaf->max_def)
            WEIR_TRY(v1_levels(c, page, page->def_encoding, 1, leaf->max_def, &p, end, &c->page.def,
                               err));
    }
    c->page.encoding = page->encoding;
    c->page.values = p;
    c->page.values_len = (size_t)(end - p);
    c->page.in_plain = pressed;
    c->page.begun = false;
    c->page.levels_left = (uint64_t)page->n_values;
    return WEIR_OK;
}

/* Let the offset index tell the page of the row that comes after those to pass over, if that is far away. */
static weir_status jump(parquet_cursor *c, weir_err *err)
{
    if (c->chunk->offset_index_at <= 0 || (c->skip < INDEX_WORTH_ROWS && !c->leaf->max_rep))
        return WEIR_OK;
    if (!c->places_known) {
        WEIR_TRY(file_offset_index(c->file, c->group, c->column, &c->places, &c->n_places, err));
        c->places_known = true;
    }
    uint64_t row = (uint64_t)c->file->meta.groups[c->group].n_rows - c->rows_left;
    uint64_t next_row = row - c->skip; /* the first of the page at c->at */
    size_t low = 0, high = c->n_places;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if ((uint64_t)c->places[middle].first_row <= row)
            low = middle;
        else
            high = middle;
    }
    if (!c->n_places || (uint64_t)c->places[low].first_row <= next_row)
        return WEIR_OK;
    uint64_t first = (uint64_t)c->places[low].first_row, at = (uint64_t)c->places[low].offset;
    if (at < c->at || at >= c->end)
        return bad(c, WEIR_EFORMAT, at, "its place in the offset index is outside its chunk", err);
    uint64_t rows = first - next_row;
    c->skip -= rows;
    c->at = at;
    if (c->leaf->max_rep)
        c->levels_left = INT64_MAX;
    else
        c->levels_left -= rows;
    return WEIR_OK;
}

/* The next data page that is not wholly passed over becomes the current one. The current one has no levels left.
 * WEIR_END: there is no further page. */
static weir_status next_page(parquet_cursor *c, weir_err *err)
{
    for (;;) {
        struct meta_page page;
        size_t used;
        if (c->skip)
            WEIR_TRY(jump(c, err));
        if (c->at >= c->end || !c->levels_left)
            return WEIR_END;
        uint64_t at = c->at;
        WEIR_TRY(page_header(c, at, c->skip ? READ_HEADER : READ_AHEAD, &page, &used, err));
        c->at += used + (size_t)page.octets;
        if (page.kind == INDEX_PAGE)
            continue;
        if (page.kind == DICTIONARY_PAGE) {
            if (at != c->begin)
                return bad(c, WEIR_EFORMAT, at, "a dictionary behind data pages", err);
            WEIR_TRY(load_dict(c, at, &page, used, err));
            continue;
        }
        uint64_t n = (uint64_t)page.n_values;
        if (n > c->levels_left)
            return bad(c, WEIR_EFORMAT, at, "has more values than its column chunk", err);
        c->levels_left -= n;
        uint64_t rows = c->leaf->max_rep ? 0 : n;
        if (c->leaf->max_rep && page.kind == DATA_PAGE_V2 && page.n_rows > 0)
            rows = (uint64_t)page.n_rows;
        if (rows && rows <= c->skip) {
            c->skip -= rows;
            continue;
        }
        if (n)
            return open_page(c, &page, at, used, err);
    }
}

/* ---- values ---- */

/* Set up the stream of the page's values. */
static weir_status begin_values(parquet_cursor *c, weir_err *err)
{
    struct page *p = &c->page;
    const uint8_t *at = p->values;
    size_t len = p->values_len;
    bool ok = true, fits = true;
    uint32_t octets = 0;
    if (c->codes && !is_dict_encoding(p->encoding))
        return bad(c, WEIR_EFORMAT, p->at,
                   "does not use the dictionary, as the footer says it does", err);
    switch (p->encoding) {
    case PARQUET_PLAIN:
        if (c->type == PARQUET_BOOLEAN) {
            p->fixed.at = 0;
            p->fixed.n = len * 8;
        } else {
            p->plain.at = at;
            p->plain.end = at + len;
        }
        break;
    case PARQUET_PLAIN_DICTIONARY:
    case PARQUET_RLE_DICTIONARY:
        if (!c->has_dict)
            return bad(c, WEIR_EFORMAT, p->at, "uses a dictionary that is not there", err);
        ok = len > 0 && at[0] <= 32;
        if (ok)
            p->hybrid = decode_hybrid_of(c->ops, at + 1, len - 1, at[0]);
        break;
    case PARQUET_RLE:
        fits = c->type == PARQUET_BOOLEAN;
        if (len >= 4)
            memcpy(&octets, at, sizeof octets);
        ok = len >= 4 && octets <= len - 4;
        if (ok)
            p->hybrid = decode_hybrid_of(c->ops, at + 4, octets, 1);
        break;
    case PARQUET_DELTA_BINARY_PACKED:
        fits = c->type == PARQUET_INT32 || c->type == PARQUET_INT64;
        ok = decode_delta_init(&p->delta, c->ops, at, len, c->type == PARQUET_INT64);
        break;
    case PARQUET_DELTA_LENGTH_BYTE_ARRAY:
        fits = c->type == PARQUET_BYTE_ARRAY;
        ok = decode_lengths_init(&p->lengths, c->ops, at, len);
        break;
    case PARQUET_DELTA_BYTE_ARRAY:
        fits = c->type == PARQUET_BYTE_ARRAY || c->type == PARQUET_FIXED;
        ok = decode_prefixes_init(&p->prefixes, c->ops, at, len);
        c->last_len = 0;
        break;
    case PARQUET_BYTE_STREAM_SPLIT:
        fits = plain_width(c) && c->type != PARQUET_INT96;
        p->fixed.at = 0;
        p->fixed.n = fits ? len / plain_width(c) : 0;
        break;
    default:
        return bad(c, WEIR_EFORMAT, p->at, "has values in an unknown encoding", err);
    }
    if (!fits)
        return bad(c, WEIR_EFORMAT, p->at, "has an encoding that its type cannot have", err);
    if (!ok)
        return bad(c, WEIR_EFORMAT, p->at, "its values begin with a damaged header", err);
    p->begun = true;
    return WEIR_OK;
}

/* n values of a dictionary page as values. */
static bool read_looked_up(parquet_cursor *c, void *out, size_t n)
{
    while (n) {
        uint32_t codes[CODES + UNPACK_SLACK], most = 0;
        size_t k = n < CODES ? n : CODES;
        if (!decode_hybrid_u32(&c->page.hybrid, codes, k, &most) || most >= c->n_dict)
            return false;
        if (c->slot == 4) {
            c->ops->gather32(out, codes, k, c->dict);
        } else if (c->slot == 8) {
            c->ops->gather64(out, codes, k, c->dict);
        } else {
            const struct parquet_bytes *dict = c->dict;
            struct parquet_bytes *to = out;
            for (size_t i = 0; i < k; i++)
                to[i] = dict[codes[i]];
        }
        out = (char *)out + k * c->slot;
        n -= k;
    }
    return true;
}

static bool read_bools(parquet_cursor *c, uint8_t *out, size_t n)
{
    struct page *p = &c->page;
    if (p->encoding == PARQUET_PLAIN) {
        if (n > p->fixed.n - p->fixed.at)
            return false;
        decode_bits(p->values, p->fixed.at, out, n);
        p->fixed.at += n;
        return true;
    }
    while (n) {
        uint32_t bits[CODES + UNPACK_SLACK], most = 0;
        size_t k = n < CODES ? n : CODES;
        if (!decode_hybrid_u32(&p->hybrid, bits, k, &most))
            return false;
        for (size_t i = 0; i < k; i++)
            out[i] = (uint8_t)bits[i];
        out += k;
        n -= k;
    }
    return true;
}

/* `octets` that stay until the next window. */
static weir_status arena_take(parquet_cursor *c, size_t octets, uint8_t **out, weir_err *err)
{
    if (c->arena_left < octets || !c->arena) {
        struct block b;
        size_t cap = octets > READ_AHEAD ? octets : READ_AHEAD;
        if (!block_take(c, &b, cap))
            return no_memory(c, err);
        uint8_t *p = b.p;
        cap = b.cap;
        weir_status status = block_hold(c, &b, err);
        if (status != WEIR_OK) {
            block_done(&b);
            return status;
        }
        c->arena = p;
        c->arena_left = cap;
    }
    *out = c->arena;
    c->arena += octets;
    c->arena_left -= octets;
    return WEIR_OK;
}

static weir_status read_prefixes(parquet_cursor *c, struct parquet_bytes *out, size_t n,
                                 weir_err *err)
{
    while (n) {
        uint32_t prefixes[CODES + UNPACK_SLACK];
        size_t k = n < CODES ? n : CODES;
        struct parquet_bytes last = {c->last.p, c->last_len};
        uint64_t octets;
        uint8_t *memory;
        if (!decode_prefixes_plan(&c->page.prefixes, prefixes, out, k, last, &octets))
            return bad(c, WEIR_EFORMAT, c->page.at, "its values are damaged or run past its end",
                       err);
        if (octets > MAX_HELD_OCTETS)
            return bad(c, WEIR_ELIMIT, c->page.at, "its values are larger than 1 GiB", err);
        WEIR_TRY(arena_take(c, (size_t)octets, &memory, err));
        decode_prefixes_fill(memory, prefixes, out, k, last);
        last = out[k - 1];
        if (!block_room(&c->last, last.len ? last.len : 1))
            return no_memory(c, err);
        if (last.len)
            memcpy(c->last.p, last.data, last.len);
        c->last_len = last.len;
        for (size_t i = 0; c->type == PARQUET_FIXED && i < k; i++)
            if (out[i].len != c->leaf->column.type_length)
                return bad(c, WEIR_EFORMAT, c->page.at, "a value has not the column's length", err);
        out += k;
        n -= k;
    }
    return WEIR_OK;
}

static bool take_plain(struct page *p, size_t n, size_t width, const uint8_t **out)
{
    if (n > (size_t)(p->plain.end - p->plain.at) / width)
        return false;
    *out = p->plain.at;
    p->plain.at += n * width;
    return true;
}

/* n values of the current page, to the slots behind those that are filled. */
static weir_status read_values(parquet_cursor *c, size_t n, weir_err *err)
{
    struct page *p = &c->page;
    if (!n)
        return WEIR_OK;
    if (!p->begun)
        WEIR_TRY(begin_values(c, err));
    if (!slots_room(c, n))
        return no_memory(c, err);
    void *out = (char *)c->slots + c->n_slots * c->slot;
    uint32_t most = 0, width = plain_width(c);
    const uint8_t *from;
    bool ok = false;
    switch (p->encoding) {
    case PARQUET_PLAIN_DICTIONARY:
    case PARQUET_RLE_DICTIONARY:
        if (c->codes)
            ok = decode_hybrid_u32(&p->hybrid, out, n, &most) && most < c->n_dict;
        else
            ok = read_looked_up(c, out, n);
        break;
    case PARQUET_PLAIN:
        if (c->type == PARQUET_BOOLEAN) {
            ok = read_bools(c, out, n);
        } else if (!c->borrows) {
            ok = take_plain(p, n, width, &from);
            if (ok)
                memcpy(out, from, n * width);
        } else if (width) {
            ok = take_plain(p, n, width, &from);
            if (ok)
                decode_fixed_bytes(from, width, out, n);
        } else {
            ok = decode_plain_bytes(&p->plain.at, p->plain.end, out, n);
        }
        break;
    case PARQUET_RLE:
        ok = read_bools(c, out, n);
        break;
    case PARQUET_DELTA_BINARY_PACKED:
        ok = c->slot == 8 ? decode_delta_u64(&p->delta, out, n)
                          : decode_delta_u32(&p->delta, out, n);
        break;
    case PARQUET_DELTA_LENGTH_BYTE_ARRAY:
        ok = decode_lengths_read(&p->lengths, out, n);
        break;
    case PARQUET_DELTA_BYTE_ARRAY:
        WEIR_TRY(read_prefixes(c, out, n, err));
        ok = true;
        break;
    case PARQUET_BYTE_STREAM_SPLIT:
        ok = n <= p->fixed.n - p->fixed.at;
        if (!ok)
            break;
        if (c->borrows) {
            uint8_t *memory;
            WEIR_TRY(arena_take(c, n * width, &memory, err));
            decode_split(p->values, p->fixed.n, p->fixed.at, memory, n, width);
            decode_fixed_bytes(memory, width, out, n);
        } else {
            decode_split(p->values, p->fixed.n, p->fixed.at, out, n, width);
        }
        p->fixed.at += n;
        break;
    default:
        break;
    }
    if (!ok)
        return bad(c, WEIR_EFORMAT, p->at, "its values are damaged or run past its end", err);
    if (c->borrows &&
        (p->encoding == PARQUET_PLAIN || p->encoding == PARQUET_DELTA_LENGTH_BYTE_ARRAY)) {
        if (p->in_plain)
            c->plain_used = true;
        else
            c->raw_used = true;
    }
    c->n_slots += n;
    return WEIR_OK;
}

static weir_status skip_values(parquet_cursor *c, size_t n, weir_err *err)
{
    struct page *p = &c->page;
    if (!n)
        return WEIR_OK;
    if (!p->begun)
        WEIR_TRY(begin_values(c, err));
    uint32_t width = plain_width(c);
    const uint8_t *from;
    bool ok = false;
    switch (p->encoding) {
    case PARQUET_PLAIN:
        if (c->type == PARQUET_BOOLEAN) {
            ok = n <= p->fixed.n - p->fixed.at;
            p->fixed.at += ok ? n : 0;
        } else if (width) {
            ok = take_plain(p, n, width, &from);
        } else {
            ok = decode_plain_bytes_skip(&p->plain.at, p->plain.end, n);
        }
        break;
    case PARQUET_PLAIN_DICTIONARY:
    case PARQUET_RLE_DICTIONARY:
    case PARQUET_RLE:
        ok = decode_hybrid_skip(&p->hybrid, n);
        break;
    case PARQUET_DELTA_BINARY_PACKED:
        ok = decode_delta_skip(&p->delta, n);
        break;
    case PARQUET_DELTA_LENGTH_BYTE_ARRAY:
        ok = decode_lengths_skip(&p->lengths, n);
        break;
    case PARQUET_DELTA_BYTE_ARRAY:
        while (n) {
            struct parquet_bytes some[CODES];
            size_t k = n < CODES ? n : CODES;
            WEIR_TRY(read_prefixes(c, some, k, err));
            n -= k;
        }
        ok = true;
        break;
    case PARQUET_BYTE_STREAM_SPLIT:
        ok = n <= p->fixed.n - p->fixed.at;
        p->fixed.at += ok ? n : 0;
        break;
    default:
        break;
    }
    return ok ? WEIR_OK
              : bad(c, WEIR_EFORMAT, p->at, "its values are damaged or run past its end", err);
}

/* Values move to the places of their bits. */
static void expand(parquet_cursor *c, const struct decode_validity *v)
{
    if (!v->nulls)
        return;
    if (!c->n_slots)
        memset(c->slots, 0, v->n * c->slot);
    else if (c->slot == 4)
        c->ops->expand32(c->slots, v->bits, v->n, c->n_slots);
    else if (c->slot == 8)
        c->ops->expand64(c->slots, v->bits, v->n, c->n_slots);
    else if (c->slot == 1)
        decode_expand8(c->slots, v->bits, v->n, c->n_slots);
    else
        decode_expand_bytes(c->slots, v->bits, v->n, c->n_slots);
}

/* ---- flat columns ---- */

static weir_status skip_flat(parquet_cursor *c, weir_err *err)
{
    while (c->skip) {
        struct page *p = &c->page;
        if (!p->levels_left) {
            weir_status status = next_page(c, err);
            if (status == WEIR_END)
                return bad(c, WEIR_ETRUNC, c->at, "the column chunk ends before its rows do", err);
            WEIR_TRY(status);
            continue;
        }
        size_t k = c->skip < p->levels_left ? (size_t)c->skip : (size_t)p->levels_left, present = k;
        if (k < p->levels_left) {
            if (!p->all_present && !decode_validity_levels(NULL, &p->def, k, &present))
                return bad(c, WEIR_EFORMAT, p->at, "its levels are damaged or run out", err);
            WEIR_TRY(skip_values(c, present, err));
        }
        p->levels_left -= k;
        c->skip -= k;
    }
    return WEIR_OK;
}

static weir_status read_flat(parquet_cursor *c, size_t n, weir_err *err)
{
    if (!slots_room(c, n))
        return no_memory(c, err);
    while (c->valid.n < n) {
        struct page *p = &c->page;
        if (!p->levels_left) {
            weir_status status = next_page(c, err);
            if (status == WEIR_END)
                return bad(c, WEIR_ETRUNC, c->at, "the column chunk ends before its rows do", err);
            WEIR_TRY(status);
        }
        size_t k = n - c->valid.n, present;
        k = k < p->levels_left ? k : (size_t)p->levels_left;
        present = k;
        if (p->all_present)
            decode_validity_run(&c->valid, k, true);
        else if (!decode_validity_levels(&c->valid, &p->def, k, &present))
            return bad(c, WEIR_EFORMAT, p->at, "its levels are damaged or run out", err);
        WEIR_TRY(read_values(c, present, err));
        p->levels_left -= k;
    }
    expand(c, &c->valid);
    return WEIR_OK;
}

/* ---- lists ----
 *
 * Repetition level 0 begins a row. Of definition levels, with o = 1 for an optional list: below o the list is null,
 * o: it is empty, max_def: an item, between them: a null item. */

/* Decode some more levels; WEIR_END: there are none. */
static weir_status more_levels(parquet_cursor *c, weir_err *err)
{
    struct page *p = &c->page;
    if (!p->levels_left)
        WEIR_TRY(next_page(c, err));
    size_t k = p->levels_left < LEVELS ? (size_t)p->levels_left : LEVELS;
    uint32_t most_rep = 0, most_def = 0;
    if (!decode_hybrid_u32(&p->rep, c->rep, k, &most_rep) ||
        !decode_hybrid_u32(&p->def, c->def, k, &most_def) || most_rep > c->leaf->max_rep ||
        most_def > c->leaf->max_def)
        return bad(c, WEIR_EFORMAT, p->at, "its levels are damaged or run out", err);
    p->levels_left -= k;
    c->level = 0;
    c->n_levels = (unsigned)k;
    return WEIR_OK;
}

static weir_status skip_lists(parquet_cursor *c, weir_err *err)
{
    size_t present = 0;
    const uint8_t item = c->leaf->max_def;
    /* With none left to skip this would only take the last row's items: there may be no row before it. */
    if (!c->skip)
        return WEIR_OK;
    for (bool inside = false;;) {
        if (c->level == c->n_levels) {
            WEIR_TRY(skip_values(c, present, err));
            present = 0;
            weir_status status = more_levels(c, err);
            if (status == WEIR_END)
                return c->skip ? bad(c, WEIR_ETRUNC, c->at,
                                     "the column chunk ends before its rows do", err)
                               : WEIR_OK;
            WEIR_TRY(status);
        }
        for (; c->level < c->n_levels; c->level++) {
            if (!c->rep[c->level]) {
                if (!c->skip) {
                    WEIR_TRY(skip_values(c, present, err));
                    return WEIR_OK;
                }
                c->skip--;
                inside = true;
            } else if (!inside) {
                return bad(c, WEIR_EFORMAT, c->page.at, "an item stands before the first row", err);
            }
            present += c->def[c->level] == item;
        }
    }
}

static weir_status read_lists(parquet_cursor *c, size_t n, weir_err *err)
{
    const bool optional = c->leaf->column.optional;
    const uint32_t first_item = optional + 1U, item = c->leaf->max_def;
    size_t rows = 0, items = 0, present = 0;
    bool filled = false; /* the row has items */
    if (n > c->cap_starts || !c->starts) {
        uint32_t *starts = realloc(c->starts, (n + 1) * sizeof *starts);
        if (!starts)
            return no_memory(c, err);
        c->starts = starts;
        c->cap_starts = n;
    }
    for (bool done = false; !done;) {
        if (c->level == c->n_levels) {
            WEIR_TRY(read_values(c, present, err));
            present = 0;
            weir_status status = more_levels(c, err);
            if (status == WEIR_END && rows == n)
                break;
            if (status == WEIR_END)
                return bad(c, WEIR_ETRUNC, c->at, "the column chunk ends before its rows do", err);
            WEIR_TRY(status);
        }
        if (items > MAX_ITEMS)
            return bad(c, WEIR_ELIMIT, c->page.at, "the lists of one window are too long", err);
        if (!bits_room(&c->items, &c->cap_items, items + LEVELS))
            return no_memory(c, err);
        for (; c->level < c->n_levels; c->level++) {
            uint32_t def = c->def[c->level];
            if (!c->rep[c->level]) {
                if (rows == n) {
                    done = true;
                    break;
                }
                c->starts[rows++] = (uint32_t)items;
                decode_validity_one(&c->valid, !optional || def);
                filled = def >= first_item;
            } else if (!rows) {
                return bad(c, WEIR_EFORMAT, c->page.at, "an item stands before the first row", err);
            } else if (!filled || def < first_item) {
                return bad(c, WEIR_EFORMAT, c->page.at, "an empty list has items", err);
            }
            if (def >= first_item) {
                decode_validity_one(&c->items, def == item);
                present += def == item;
                items++;
            }
        }
    }
    WEIR_TRY(read_values(c, present, err));
    c->starts[n] = (uint32_t)items;
    if (!slots_room(c, items - c->n_slots))
        return no_memory(c, err);
    expand(c, &c->items);
    c->n_slots = items;
    return WEIR_OK;
}

/* ---- the face ---- */

weir_status parquet_cursor_new(const parquet_file *f, size_t group, size_t column,
                               parquet_cursor **out, weir_err *err)
{
    parquet_cursor *c = calloc(1, sizeof *c);
    if (!c)
        return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", f->name);
    const struct meta_group *g = &f->meta.groups[group];
    c->file = f;
    c->group = group;
    c->column = column;
    c->leaf = file_leaf(f, column);
    c->chunk = file_chunk(f, group, column);
    c->ops = unpack_best();
    c->type = c->leaf->column.type;
    c->borrows = has_byte_slots(c->type);
    c->slot = c->borrows                   ? sizeof(struct parquet_bytes)
              : c->type == PARQUET_BOOLEAN ? 1
                                           : plain_width(c);
    const struct meta_chunk *m = c->chunk;
    int64_t start =
        m->dict_offset > 0 && m->dict_offset < m->data_offset ? m->dict_offset : m->data_offset;
    weir_status status = WEIR_OK;
    const char *codec = codec_unsupported(m->codec);
    if (codec)
        status = weir_err_set(err, WEIR_EFORMAT, (uint64_t)start,
                              "%s: row group %zu, column %s: is compressed with %s (number %u), "
                              "which is not supported",
                              f->name, group, c->leaf->column.name, codec, m->codec);
    else if (start < 0 || m->octets < 0 || !file_holds(f, (uint64_t)start, (uint64_t)m->octets))
        status = weir_err_set(err, WEIR_EFORMAT, (uint64_t)start,
                              "%s: row group %zu, column %s: %lld octets at %lld do not fit the "
                              "file of %llu",
                              f->name, group, c->leaf->column.name, (long long)m->octets,
                              (long long)start, (unsigned long long)f->len);
    else if (m->n_values < g->n_rows || (!c->leaf->max_rep && m->n_values != g->n_rows))
        status =
            weir_err_set(err, WEIR_EFORMAT, (uint64_t)start,
                         "%s: row group %zu, column %s: %lld values for %lld rows", f->name, group,
                         c->leaf->column.name, (long long)m->n_values, (long long)g->n_rows);
    if (status == WEIR_OK && c->leaf->max_rep) {
        c->rep = malloc((LEVELS + UNPACK_SLACK) * sizeof *c->rep);
        c->def = malloc((LEVELS + UNPACK_SLACK) * sizeof *c->def);
        if (!c->rep || !c->def)
            status = no_memory(c, err);
    }
    if (status != WEIR_OK) {
        parquet_cursor_free(c);
        return status;
    }
    c->begin = c->at = (uint64_t)start;
    c->end = c->begin + (uint64_t)m->octets;
    c->rows_left = (uint64_t)g->n_rows;
    c->levels_left = (uint64_t)m->n_values;
    *out = c;
    return WEIR_OK;
}

weir_status cursor_new_checked(const parquet_file *f, size_t group, size_t column,
                               parquet_cursor **out, weir_err *err)
{
    WEIR_TRY(parquet_cursor_new(f, group, column, out, err));
    (*out)->check_crc = true;
    return WEIR_OK;
}

/* What slots of the last window pointed into is free again. */
static void release_held(parquet_cursor *c)
{
    for (size_t i = 0; i < c->n_held; i++)
        block_spare(c, &c->held[i]);
    c->n_held = c->held_octets = 0;
    c->arena = NULL;
    c->arena_left = 0;
    c->raw_used = c->plain_used = false;
}

void parquet_cursor_free(parquet_cursor *c)
{
    if (!c)
        return;
    release_held(c);
    for (size_t i = 0; i < N_SPARE; i++)
        block_done(&c->spare[i]);
    block_done(&c->raw);
    block_done(&c->plain);
    block_done(&c->dict_plain);
    block_done(&c->level_memory[0]);
    block_done(&c->level_memory[1]);
    block_done(&c->last);
    codec_done(&c->codec);
    free(c->held);
    free(c->dict);
    free(c->slots);
    free(c->valid.bits);
    free(c->items.bits);
    free(c->starts);
    free(c->rep);
    free(c->def);
    free(c->places);
    free(c);
}

weir_status parquet_cursor_dict(parquet_cursor *c, const void **values, uint32_t *n, weir_err *err)
{
    WEIR_TRY(begin(c, err));
    *values = c->codes ? c->dict : NULL;
    *n = c->codes ? c->n_dict : 0;
    return WEIR_OK;
}

weir_status parquet_cursor_read(parquet_cursor *c, size_t n, struct parquet_data *out,
                                weir_err *err)
{
    *out = (struct parquet_data){0};
    WEIR_TRY(begin(c, err));
    if (!c->rows_left)
        return WEIR_END;
    n = n < c->rows_left ? n : (size_t)c->rows_left;
    release_held(c);
    c->n_slots = 0;
    c->valid.n = c->items.n = 0;
    c->valid.nulls = c->items.nulls = false;
    if (c->leaf->max_rep) {
        WEIR_TRY(skip_lists(c, err));
        if (!bits_room(&c->valid, &c->cap_valid, n))
            return no_memory(c, err);
        WEIR_TRY(read_lists(c, n, err));
    } else {
        WEIR_TRY(skip_flat(c, err));
        if (c->leaf->max_def && !bits_room(&c->valid, &c->cap_valid, n))
            return no_memory(c, err);
        WEIR_TRY(read_flat(c, n, err));
    }
    c->rows_left -= n;
    out->n = n;
    out->valid = c->valid.nulls ? c->valid.bits : NULL;
    if (c->codes) {
        out->codes = c->slots;
        out->n_dict = c->n_dict;
        out->dict = has_byte_slots(c->type) ? c->dict : NULL;
    } else {
        out->values = c->slots;
    }
    out->width = (uint8_t)(c->codes ? 0 : c->slot);
    if (c->leaf->max_rep) {
        out->starts = c->starts;
        out->item_valid = c->items.nulls ? c->items.bits : NULL;
    }
    return WEIR_OK;
}

weir_status parquet_cursor_skip(parquet_cursor *c, uint64_t n, weir_err *err)
{
    (void)err;
    n = n < c->rows_left ? n : c->rows_left;
    c->skip += n;
    c->rows_left -= n;
    return WEIR_OK;
}
