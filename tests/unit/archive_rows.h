/* archive_rows -- rows for tests of the archive: numbered by flow_id, everything else follows from the number; and a reader
 * that says which numbers an archive has, how often, and whether the rest of each row is right. */
#ifndef TESTS_ARCHIVE_ROWS_H
#define TESTS_ARCHIVE_ROWS_H

#include "archive/archive.h"
#include "parquet/reader.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_START (INT64_C(1795381200) * 1000000000) /* 2026-11-22T21:00:00Z */

static inline uint64_t rows_mix(uint64_t id)
{
    id *= 0x9e3779b97f4a7c15U;
    return id ^ id >> 29;
}

/* n rows with the numbers first, first + step, ..., received at ns. Every 7th has no dst_addr, every 5th is IPv6. extra: a
 * name of an extra column, or NULL. */
static inline bool rows_fill_steps(flow_batch *b, uint64_t first, uint64_t step, uint32_t n,
                                   int64_t ns, const char *extra)
{
    uint32_t row = flow_batch_add_rows(b, n);
    uint32_t x = extra ? flow_batch_extra(b, extra, FLOW_TYPE_U32, false) : 0;
    bool good = row != UINT32_MAX && x != UINT32_MAX;
    static const uint8_t exporter[4] = {192, 0, 2, 1};
    for (uint32_t i = 0; i < n && good; i++, row++) {
        uint64_t id = first + i * step, mix = rows_mix(id);
        uint8_t addr[16] = {0x20, 0x01, 0x0d, 0xb8};
        addr[14] = (uint8_t)(mix >> 8);
        addr[15] = (uint8_t)mix;
        uint8_t src[4] = {10, 0, (uint8_t)(mix >> 8), (uint8_t)mix};
        good = flow_batch_set_u64(b, FLOW_received, row, (uint64_t)(ns / 1000)) &&
               flow_batch_set_key(b, FLOW_exporter, row, exporter, 4) &&
               (id % 5 ? flow_batch_set_key(b, FLOW_src_addr, row, src, 4)
                       : flow_batch_set_key(b, FLOW_src_addr, row, addr, 16)) &&
               (id % 7 == 0 || flow_batch_set_key(b, FLOW_dst_addr, row, addr, 16)) &&
               flow_batch_set_u64(b, FLOW_src_port, row, mix & 0xffff) &&
               flow_batch_set_u64(b, FLOW_proto, row, id % 3 ? 6 : 17) &&
               flow_batch_set_u64(b, FLOW_bytes, row, mix >> 40) &&
               flow_batch_set_u64(b, FLOW_flow_id, row, id) &&
               (!extra || flow_batch_set_u64(b, x, row, (uint32_t)id));
    }
    return good;
}

static inline bool rows_fill(flow_batch *b, uint64_t first, uint32_t n, int64_t ns,
                             const char *extra)
{
    return rows_fill_steps(b, first, 1, n, ns, extra);
}

/* A row of the ledger, numbered by its packets. */
static inline bool rows_fill_ledger(flow_batch *b, uint64_t number, unsigned worker, int64_t ns)
{
    static const uint8_t exporter[4] = {192, 0, 2, 1};
    uint32_t row = flow_batch_add_rows(b, 1);
    return row != UINT32_MAX &&
           flow_batch_set_u64(b, FLOW_LEDGER_minute, row, (uint64_t)(ns / 1000)) &&
           flow_batch_set_u64(b, FLOW_LEDGER_worker, row, worker) &&
           flow_batch_set_key(b, FLOW_LEDGER_exporter, row, exporter, 4) &&
           flow_batch_set_u64(b, FLOW_LEDGER_packets, row, number) &&
           /* columns that come in later */
           (number % 50 < 25 || flow_batch_set_u64(b, FLOW_LEDGER_flows, row, number));
}

struct rows_seen {
    uint8_t *times; /* of each number below n */
    uint64_t n, total, twice, alien, wrong, failures, parts, open_parts;
    weir_err err; /* of the last failure */
};

/* One column of a group, widened; strings as their dictionary entry or value. */
struct rows_column {
    parquet_cursor *cursor;
    struct parquet_data data;
    const void *dict;
    uint32_t n_dict;
    bool there;
};

static inline bool rows_open(struct rows_column *c, const parquet_file *f, size_t group,
                             const char *name, weir_err *err)
{
    int at = parquet_column_find(f, name);
    *c = (struct rows_column){.there = at >= 0};
    return at < 0 || (parquet_cursor_new(f, group, (size_t)at, &c->cursor, err) == WEIR_OK &&
                      parquet_cursor_dict(c->cursor, &c->dict, &c->n_dict, err) == WEIR_OK);
}

static inline uint64_t rows_u64(const struct rows_column *c, size_t i, size_t size)
{
    uint64_t v = 0;
    const uint8_t *values = c->data.codes ? c->dict : c->data.values;
    memcpy(&v, values + (c->data.codes ? c->data.codes[i] : i) * size, size);
    return v;
}

static inline struct parquet_bytes rows_text(const struct rows_column *c, size_t i)
{
    const struct parquet_bytes *values = c->data.codes ? c->dict : c->data.values;
    return values[c->data.codes ? c->data.codes[i] : i];
}

static inline bool rows_valid(const struct rows_column *c, size_t i)
{
    return c->there && (!c->data.valid || parquet_bit(c->data.valid, i));
}

static inline void rows_check(struct rows_seen *seen, const struct rows_column *c, size_t i,
                              bool all)
{
    uint64_t id = rows_u64(&c[0], i, 8), mix = rows_mix(id);
    seen->total++;
    if (id >= seen->n) {
        seen->alien++;
        return;
    }
    if (seen->times[id])
        seen->twice++;
    seen->times[id] = 1;
    if (!all)
        return;
    char src[64];
    unsigned high = (unsigned)(mix >> 8 & 0xff), low = (unsigned)(mix & 0xff),
             both = high << 8 | low;
    if (id % 5)
        (void)snprintf(src, sizeof src, "10.0.%u.%u", high, low);
    else if (both)
        (void)snprintf(src, sizeof src, "2001:db8::%x", both);
    else
        (void)snprintf(src, sizeof src, "2001:db8::");
    struct parquet_bytes text = rows_text(&c[1], i);
    bool good = rows_valid(&c[1], i) && text.len == strlen(src) &&
                memcmp(text.data, src, text.len) == 0 && rows_valid(&c[2], i) == (id % 7 != 0) &&
                rows_u64(&c[3], i, 4) == (mix & 0xffff) &&
                rows_u64(&c[4], i, 4) == (id % 3 ? 6 : 17) && rows_u64(&c[5], i, 8) == mix >> 40;
    if (good && c[6].there && rows_valid(&c[6], i))
        good = rows_u64(&c[6], i, 4) == (uint32_t)id;
    seen->wrong += !good;
}

static inline bool rows_group(struct rows_seen *seen, const parquet_file *f, size_t group,
                              const char *extra, bool all, weir_err *err)
{
    const char *names[7] = {"flow_id", "src_addr", "dst_addr", "src_port", "proto", "bytes", extra};
    struct rows_column c[7] = {0};
    size_t n = !all ? 1 : extra ? 7 : 6;
    struct parquet_group_info info;
    parquet_group(f, group, &info);
    bool good = true;
    for (size_t k = 0; k < n && good; k++)
        good = rows_open(&c[k], f, group, names[k], err);
    for (uint64_t at = 0; at < info.n_rows && good;) {
        size_t step = info.n_rows - at < 1000 ? (size_t)(info.n_rows - at) : 1000;
        for (size_t k = 0; k < n && good; k++)
            good =
                !c[k].there || parquet_cursor_read(c[k].cursor, step, &c[k].data, err) == WEIR_OK;
        for (size_t i = 0; i < step && good; i++)
            rows_check(seen, c, i, all);
        at += step;
    }
    for (size_t k = 0; k < n; k++)
        parquet_cursor_free(c[k].cursor);
    return good;
}

static inline bool rows_ledger_group(struct rows_seen *seen, const parquet_file *f, size_t group,
                                     weir_err *err)
{
    struct rows_column c = {0};
    struct parquet_group_info info;
    parquet_group(f, group, &info);
    bool good = rows_open(&c, f, group, "packets", err) && c.there;
    for (uint64_t at = 0; at < info.n_rows && good;) {
        size_t step = info.n_rows - at < 1000 ? (size_t)(info.n_rows - at) : 1000;
        good = parquet_cursor_read(c.cursor, step, &c.data, err) == WEIR_OK;
        for (size_t i = 0; i < step && good; i++) {
            uint64_t id = rows_u64(&c, i, 8);
            seen->total++;
            seen->alien += id >= seen->n;
            if (id < seen->n) {
                seen->twice += seen->times[id];
                seen->times[id] = 1;
            }
        }
        at += step;
    }
    parquet_cursor_free(c.cursor);
    return good;
}

static inline bool rows_read_table(const char *path, enum flow_table table, uint64_t n,
                                   const char *extra, bool all, struct rows_seen *seen)
{
    *seen = (struct rows_seen){.n = n, .times = calloc(n + 1, 1)};
    archive_scan *s = NULL;
    weir_status st = archive_scan_open(path, table, NULL, NULL, &s, &seen->err);
    while (st == WEIR_OK) {
        struct archive_part *parts = NULL;
        size_t n_parts = 0;
        weir_status next = archive_scan_next(s, &parts, &n_parts, &seen->err);
        if (next == WEIR_END)
            break;
        seen->failures += next != WEIR_OK;
        for (size_t i = 0; i < n_parts && next == WEIR_OK; i++) {
            seen->parts++;
            seen->open_parts += parts[i].open;
            for (size_t g = 0; g < parquet_n_groups(parts[i].file); g++)
                seen->failures += table == FLOW_TABLE_LEDGER
                                      ? !rows_ledger_group(seen, parts[i].file, g, &seen->err)
                                      : !rows_group(seen, parts[i].file, g, extra, all, &seen->err);
        }
        archive_scan_release(s, parts, n_parts);
    }
    archive_scan_close(s);
    return st == WEIR_OK && seen->failures == 0 && seen->times;
}

/* Every flow that a reader finds in an archive; numbers from `n` on are alien. all: the other columns too. */
static inline bool rows_read(const char *path, uint64_t n, const char *extra, bool all,
                             struct rows_seen *seen)
{
    return rows_read_table(path, FLOW_TABLE_FLOWS, n, extra, all, seen);
}

/* The same of the ledger. */
static inline bool rows_read_ledger(const char *path, uint64_t n, struct rows_seen *seen)
{
    return rows_read_table(path, FLOW_TABLE_LEDGER, n, NULL, false, seen);
}

static inline void rows_seen_done(struct rows_seen *seen)
{
    free(seen->times);
}

#endif
