/* cells -- rows of a batch as text, for comparing them. */
#ifndef TESTS_CELLS_H
#define TESTS_CELLS_H

#include "base/text.h"
#include "flow/batch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static inline bool cells_there(const struct flow_vec *v, uint32_t row)
{
    return row < v->n && (!v->valid || (v->valid[row / 64] >> row % 64 & 1));
}

/* One value: numbers in decimal, times as ISO 8601, text as it is, octets in hex. */
static inline void cells_item(const struct flow_vec *v, uint32_t i, base_buf *out)
{
    enum flow_type type = (enum flow_type)v->column->type;
    if (v->codes) {
        uint32_t at = v->dict.starts[v->codes[i]], len = v->dict.starts[v->codes[i] + 1] - at;
        if (type == FLOW_TYPE_OCTETS)
            base_json_hex(out, v->dict.keys + at, len);
        else
            flow_key_text(type, v->dict.keys + at, len, out);
        return;
    }
    size_t width = flow_type_octets(type);
    uint64_t bits = 0;
    memcpy(&bits, (const uint8_t *)v->values + i * width, width);
    char text[BASE_TIME_TEXT + BASE_F64_TEXT];
    size_t n;
    double f;
    memcpy(&f, &bits, sizeof f);
    if (type == FLOW_TYPE_TIME || type == FLOW_TYPE_TIME_NS)
        n = base_time_text(text, (int64_t)bits * (type == FLOW_TYPE_TIME ? 1000 : 1),
                           type == FLOW_TYPE_TIME ? 6 : 9);
    else if (type == FLOW_TYPE_F64 && !isfinite(f)) /* which base_f64_text leaves to its caller */
        n = (size_t)snprintf(text, sizeof text, "%f", f);
    else if (type == FLOW_TYPE_F64)
        n = base_f64_text(text, f);
    else if (type == FLOW_TYPE_S64)
        n = base_s64_text(text, (int64_t)bits);
    else
        n = base_u64_text(text, bits);
    base_buf_add(out, text, n);
}

/* A cell: "" for null, a list in brackets. */
static inline void cells_cell(const flow_batch *b, uint32_t column, uint32_t row, base_buf *out)
{
    struct flow_vec v;
    flow_batch_vec(b, column, &v);
    if (!cells_there(&v, row))
        return;
    if (!v.column->list) {
        cells_item(&v, row, out);
        return;
    }
    base_buf_char(out, '[');
    for (uint32_t i = v.starts[row]; i < v.starts[row + 1]; i++) {
        if (i > v.starts[row])
            base_buf_char(out, ',');
        cells_item(&v, i, out);
    }
    base_buf_char(out, ']');
}

/* "name=value name=value" of all columns from the first'th on that the row has a value in. */
static inline void cells_row(const flow_batch *b, uint32_t first, uint32_t row, base_buf *out)
{
    for (uint32_t c = first; c < flow_batch_n_columns(b); c++) {
        struct flow_vec v;
        flow_batch_vec(b, c, &v);
        if (!cells_there(&v, row))
            continue;
        if (out->len)
            base_buf_char(out, ' ');
        base_buf_str(out, v.column->name);
        base_buf_char(out, '=');
        cells_cell(b, c, row, out);
    }
}

/* The column of this name; false: there is none or no row has a value in it. */
static inline bool cells_find(const flow_batch *b, const char *name, struct flow_vec *out,
                              uint32_t *column)
{
    for (uint32_t c = 0; c < flow_batch_n_columns(b); c++) {
        flow_batch_vec(b, c, out);
        *column = c;
        if (strcmp(out->column->name, name) == 0)
            return out->n_valid > 0;
    }
    return false;
}

/* Whether two batches have the same rows, whatever the order of their extra columns; else why not, in *why. */
static inline bool cells_same(const flow_batch *a, const flow_batch *b, base_buf *why)
{
    base_buf_reset(why);
    if (flow_batch_rows(a) != flow_batch_rows(b)) {
        base_buf_printf(why, "%u and %u rows", flow_batch_rows(a), flow_batch_rows(b));
        return false;
    }
    base_buf x = {0}, y = {0};
    bool same = true;
    uint32_t filled[2] = {0, 0};
    for (uint32_t c = 0; c < flow_batch_n_columns(b); c++) {
        struct flow_vec v;
        flow_batch_vec(b, c, &v);
        filled[1] += v.n_valid > 0;
    }
    for (uint32_t c = 0; same && c < flow_batch_n_columns(a); c++) {
        struct flow_vec v, w;
        uint32_t other;
        flow_batch_vec(a, c, &v);
        if (v.n_valid == 0)
            continue;
        filled[0]++;
        same = cells_find(b, v.column->name, &w, &other) && w.n_valid == v.n_valid &&
               v.column->type == w.column->type && v.column->list == w.column->list;
        if (!same)
            base_buf_printf(why, "column %s: %u values, not as many in the other", v.column->name,
                            v.n_valid);
        for (uint32_t row = 0; same && row < flow_batch_rows(a); row++) {
            base_buf_reset(&x);
            base_buf_reset(&y);
            base_buf_char(&x, cells_there(&v, row) ? '=' : '-');
            base_buf_char(&y, cells_there(&w, row) ? '=' : '-');
            cells_cell(a, c, row, &x);
            cells_cell(b, other, row, &y);
            same = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
            if (!same)
                base_buf_printf(why, "row %u %s%.*s, not %.*s", row, v.column->name, (int)x.len,
                                x.data, (int)y.len, y.data);
        }
    }
    if (same && filled[0] != filled[1]) {
        base_buf_printf(why, "%u and %u columns have values", filled[0], filled[1]);
        same = false;
    }
    base_buf_char(why, 0);
    base_buf_done(&x);
    base_buf_done(&y);
    return same;
}

#endif
