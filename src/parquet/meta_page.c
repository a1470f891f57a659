/* The structs of pages: their headers, the page index, the header of a bloom filter. */
#include "parquet/meta.h"

#include "parquet/thrift.h"

#include <stdlib.h>

/* ---- page headers ---- */

enum page_kind { DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 };

static uint8_t encoding8(struct thrift_rd *r, const struct thrift_field *f)
{
    int32_t v = thrift_i32(r, f);
    return v >= 0 && v < UINT8_MAX ? (uint8_t)v : UINT8_MAX;
}

static void parse_v1(struct thrift_rd *r, bool dict, struct meta_page *p)
{
    p->compressed = true;
    p->n_values = -1;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        if (f.id == 1)
            p->n_values = thrift_natural32(r, &f);
        else if (f.id == 2)
            p->encoding = encoding8(r, &f);
        else if (f.id == 3 && !dict) /* of a dictionary: whether it is sorted */
            p->def_encoding = encoding8(r, &f);
        else if (f.id == 4)
            p->rep_encoding = encoding8(r, &f);
        else
            thrift_skip(r, &f);
    }
}

static void parse_v2(struct thrift_rd *r, struct meta_page *p)
{
    p->compressed = true;
    p->def_encoding = p->rep_encoding = PARQUET_RLE;
    p->n_values = p->n_nulls = p->n_rows = -1;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        switch (f.id) {
        case 1:
            p->n_values = thrift_natural32(r, &f);
            break;
        case 2:
            p->n_nulls = thrift_natural32(r, &f);
            break;
        case 3:
            p->n_rows = thrift_natural32(r, &f);
            break;
        case 4:
            p->encoding = encoding8(r, &f);
            break;
        case 5:
            p->def_octets = thrift_natural32(r, &f);
            break;
        case 6:
            p->rep_octets = thrift_natural32(r, &f);
            break;
        case 7:
            p->compressed = thrift_bool(r, &f);
            break;
        default:
            thrift_skip(r, &f);
        }
    }
    if (p->n_nulls < 0 || p->n_rows < 0 || p->n_nulls > p->n_values || p->n_rows > p->n_values)
        thrift_fail(r, WEIR_EFORMAT, "counts of rows, nulls and values do not agree");
    /* Levels come out of the page's octets, plain and stored. */
    int64_t levels = (int64_t)p->def_octets + p->rep_octets;
    if (levels > p->octets || levels > p->octets_plain)
        thrift_fail(r, WEIR_EFORMAT, "levels are longer than their page");
}

weir_status meta_page_parse(const uint8_t *p, size_t len, uint64_t at, struct meta_page *out,
                            size_t *used, weir_err *err)
{
    struct thrift_rd r = thrift_rd_of(p, len);
    int64_t kind = -1;
    int have = -1; /* which of the kinds' structs was there */
    *out = (struct meta_page){.octets = -1, .octets_plain = -1};
    for (struct thrift_field f = {0}; thrift_next(&r, &f);) {
        switch (f.id) {
        case 1:
            kind = thrift_i32(&r, &f);
            break;
        case 2:
            out->octets_plain = thrift_natural32(&r, &f);
            break;
        case 3:
            out->octets = thrift_natural32(&r, &f);
            break;
        case 4:
            out->crc = (uint32_t)thrift_i32(&r, &f);
            out->has_crc = true;
            break;
        case 5:
        case 7: /* its first two fields are those of a data page */
            have = f.id == 5 ? DATA_PAGE : DICTIONARY_PAGE;
            if (thrift_struct(&r, &f))
                parse_v1(&r, f.id == 7, out);
            break;
        case 8:
            have = DATA_PAGE_V2;
            if (thrift_struct(&r, &f))
                parse_v2(&r, out);
            break;
        default:
            thrift_skip(&r, &f);
        }
    }
    if (kind < DATA_PAGE || kind > DATA_PAGE_V2 || out->octets < 0 || out->octets_plain < 0)
        thrift_fail(&r, WEIR_EFORMAT, "no size, or a kind of page that is unknown");
    else if (kind != INDEX_PAGE && (have != kind || out->n_values < 0))
        thrift_fail(&r, WEIR_EFORMAT, "the header of the page's kind is missing or incomplete");
    WEIR_TRY(thrift_status(&r, at, "page header", err));
    out->kind = (uint8_t)kind;
    *used = r.off;
    return WEIR_OK;
}

void meta_page_write(base_buf *b, const struct meta_page *page)
{
    struct thrift_wr w = thrift_wr_of(b);
    thrift_put_i32(&w, 1, page->kind);
    thrift_put_i32(&w, 2, page->octets_plain);
    thrift_put_i32(&w, 3, page->octets);
    if (page->has_crc)
        thrift_put_i32(&w, 4, (int32_t)page->crc);
    struct thrift_wr k = thrift_put_struct(&w, page->kind == DATA_PAGE ? 5 : 7);
    thrift_put_i32(&k, 1, page->n_values);
    thrift_put_i32(&k, 2, page->encoding);
    if (page->kind == DATA_PAGE) {
        thrift_put_i32(&k, 3, page->def_encoding);
        thrift_put_i32(&k, 4, page->rep_encoding);
    }
    thrift_end(&k);
    thrift_end(&w);
}

/* ---- page index ---- */

void meta_offset_index_write(base_buf *b, const struct meta_page_place *pages, size_t n)
{
    struct thrift_wr w = thrift_wr_of(b);
    thrift_put_list(&w, 1, THRIFT_STRUCT, n);
    for (size_t i = 0; i < n; i++) {
        struct thrift_wr k = thrift_wr_of(b);
        thrift_put_i64(&k, 1, pages[i].offset);
        thrift_put_i32(&k, 2, pages[i].octets);
        thrift_put_i64(&k, 3, pages[i].first_row);
        thrift_end(&k);
    }
    thrift_end(&w);
}

void meta_column_index_write(base_buf *b, const struct meta_page_bounds *pages, size_t n, int order)
{
    struct thrift_wr w = thrift_wr_of(b);
    bool nulls = true;
    thrift_put_list(&w, 1, THRIFT_TRUE, n);
    for (size_t i = 0; i < n; i++) {
        thrift_add_bool(b, pages[i].all_null);
        nulls = nulls && pages[i].n_nulls >= 0;
    }
    thrift_put_list(&w, 2, THRIFT_BINARY, n);
    for (size_t i = 0; i < n; i++)
        thrift_add_bytes(b, pages[i].min.data, pages[i].min.len);
    thrift_put_list(&w, 3, THRIFT_BINARY, n);
    for (size_t i = 0; i < n; i++)
        thrift_add_bytes(b, pages[i].max.data, pages[i].max.len);
    thrift_put_i32(&w, 4, order);
    if (nulls) {
        thrift_put_list(&w, 5, THRIFT_I64, n);
        for (size_t i = 0; i < n; i++)
            thrift_add_int(b, pages[i].n_nulls);
    }
    thrift_end(&w);
}

static struct meta_page_place parse_place(struct thrift_rd *r)
{
    struct meta_page_place p = {-1, -1, -1};
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        if (f.id == 1)
            p.offset = thrift_natural(r, &f);
        else if (f.id == 2)
            p.octets = thrift_natural32(r, &f);
        else if (f.id == 3)
            p.first_row = thrift_natural(r, &f);
        else
            thrift_skip(r, &f);
    }
    if (p.offset < 0 || p.octets < 0 || p.first_row < 0)
        thrift_fail(r, WEIR_EFORMAT, "a page's place lacks a field that it must have");
    return p;
}

weir_status meta_offset_index_parse(const uint8_t *p, size_t len, uint64_t at,
                                    struct meta_page_place **out, size_t *n, weir_err *err)
{
    struct thrift_rd r = thrift_rd_of(p, len);
    struct meta_page_place *pages = NULL;
    *out = NULL;
    *n = 0;
    size_t count = 0;
    for (struct thrift_field f = {0}; thrift_next(&r, &f);) {
        if (f.id != 1 || pages) {
            thrift_skip(&r, &f);
            continue;
        }
        count = thrift_list(&r, &f, THRIFT_STRUCT, 7);
        pages = malloc((count ? count : 1) * sizeof *pages);
        if (!pages)
            thrift_fail(&r, WEIR_ENOMEM, "out of memory");
        for (size_t i = 0; i < count && r.bad == WEIR_OK; i++) {
            pages[i] = parse_place(&r);
            if (i ? pages[i].first_row <= pages[i - 1].first_row : pages[i].first_row != 0)
                thrift_fail(&r, WEIR_EFORMAT, "the pages' first rows do not rise from 0");
        }
    }
    if (!pages)
        thrift_fail(&r, WEIR_EFORMAT, "no pages");
    if (r.bad != WEIR_OK) {
        free(pages);
        return thrift_status(&r, at, "offset index", err);
    }
    *out = pages;
    *n = count;
    return WEIR_OK;
}

/* One list of the column index, as long as the others; the first tells the length and makes room. */
static bool index_list(struct thrift_rd *r, const struct thrift_field *f, enum thrift_type type,
                       struct meta_page_bounds **pages, size_t *n)
{
    size_t count = thrift_list(r, f, type, 1);
    if (r->bad != WEIR_OK)
        return false;
    if (!*pages) {
        *pages = calloc(count ? count : 1, sizeof **pages);
        *n = count;
        if (!*pages)
            thrift_fail(r, WEIR_ENOMEM, "out of memory");
        for (size_t i = 0; *pages && i < count; i++)
            (*pages)[i].n_nulls = -1;
    }
    if (count != *n)
        thrift_fail(r, WEIR_EFORMAT, "its lists differ in length");
    return r->bad == WEIR_OK;
}

weir_status meta_column_index_parse(const uint8_t *p, size_t len, uint64_t at,
                                    struct meta_page_bounds **out, size_t *n, weir_err *err)
{
    struct thrift_rd r = thrift_rd_of(p, len);
    struct meta_page_bounds *pages = NULL;
    unsigned seen = 0;
    *out = NULL;
    *n = 0;
    size_t count = 0;
    for (struct thrift_field f = {0}; thrift_next(&r, &f);) {
        if (f.id >= 1 && f.id <= 5)
            seen |= 1U << f.id;
        if (f.id == 1 && index_list(&r, &f, THRIFT_TRUE, &pages, &count)) {
            for (size_t i = 0; i < count; i++)
                pages[i].all_null = thrift_item_bool(&r);
        } else if (f.id == 2 && index_list(&r, &f, THRIFT_BINARY, &pages, &count)) {
            for (size_t i = 0; i < count; i++)
                pages[i].min = thrift_item_bytes(&r);
        } else if (f.id == 3 && index_list(&r, &f, THRIFT_BINARY, &pages, &count)) {
            for (size_t i = 0; i < count; i++)
                pages[i].max = thrift_item_bytes(&r);
        } else if (f.id == 5 && index_list(&r, &f, THRIFT_I64, &pages, &count)) {
            for (size_t i = 0; i < count; i++)
                pages[i].n_nulls = thrift_item_int(&r);
        } else {
            thrift_skip(&r, &f);
        }
    }
    if (!pages || (seen & 0xe) != 0xe)
        thrift_fail(&r, WEIR_EFORMAT, "a list that must be there is missing");
    if (r.bad != WEIR_OK) {
        free(pages);
        return thrift_status(&r, at, "column index", err);
    }
    *out = pages;
    *n = count;
    return WEIR_OK;
}

/* ---- bloom filter header ---- */

/* The field that a union has set. */
static int32_t parse_union(struct thrift_rd *r, const struct thrift_field *in)
{
    int32_t id = 0;
    if (!thrift_struct(r, in))
        return 0;
    for (struct thrift_field f = {0}; thrift_next(r, &f);) {
        id = f.id;
        thrift_skip(r, &f);
    }
    return id;
}

weir_status meta_bloom_parse(const uint8_t *p, size_t len, uint64_t at, uint32_t *n_octets,
                             size_t *used, weir_err *err)
{
    struct thrift_rd r = thrift_rd_of(p, len);
    int32_t octets = 0, algorithm = 0, hash = 0, compression = 0;
    for (struct thrift_field f = {0}; thrift_next(&r, &f);) {
        if (f.id == 1)
            octets = thrift_natural32(&r, &f);
        else if (f.id == 2)
            algorithm = parse_union(&r, &f);
        else if (f.id == 3)
            hash = parse_union(&r, &f);
        else if (f.id == 4)
            compression = parse_union(&r, &f);
        else
            thrift_skip(&r, &f);
    }
    if (octets < 32 || octets % 32)
        thrift_fail(&r, WEIR_EFORMAT, "the size is no multiple of 32 octets");
    if (algorithm != 1 || hash != 1 || compression != 1)
        thrift_fail(&r, WEIR_EFORMAT, "not an uncompressed split-block filter of XXH64");
    WEIR_TRY(thrift_status(&r, at, "bloom filter", err));
    *n_octets = (uint32_t)octets;
    *used = r.off;
    return WEIR_OK;
}

void meta_bloom_write(base_buf *b, uint32_t n_octets)
{
    struct thrift_wr w = thrift_wr_of(b);
    thrift_put_i32(&w, 1, (int32_t)n_octets);
    for (int id = 2; id <= 4; id++) {
        struct thrift_wr k = thrift_put_struct(&w, id);
        thrift_put_empty(&k, 1);
        thrift_end(&k);
    }
    thrift_end(&w);
}
