#include "ship/clickhouse_in.h"

#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

enum {
    SEND_MS = 1000,        /* an INSERT is filled for no longer */
    PACK_OCTETS = 1 << 20, /* of a compressed block */
    PACK_HEADER = 16 + 9   /* checksum, method, lengths */
};

/* Memory of a rush is not kept when few rows come. */
static void empty_buf(base_buf *b)
{
    if (b->cap > SHIP_CH_SEND_OCTETS / 4 && b->len < b->cap / 8)
        base_buf_done(b);
    base_buf_reset(b);
}

void ship_ch_empty_batch(struct ship_ch_batch *b)
{
    empty_buf(&b->body);
    empty_buf(&b->packed);
    base_buf_reset(&b->target);
    free(b->id);
    free(b->last_file);
    b->id = b->last_file = NULL;
    b->table = NULL;
    b->rows = b->puts = 0;
    b->head = 0;
}

/* Its puts are done when nothing before it is left. */
void ship_ch_settle(ship_destination *d)
{
    if (!d->is_flying && d->filling->puts && !d->filling->rows) {
        d->done += d->filling->puts;
        ship_ch_empty_batch(d->filling);
    }
}

/* Go on with what is flying, at most wait_ms. */
weir_status ship_ch_go(ship_destination *d, int wait_ms, weir_err *err)
{
    struct ship_http_answer a;
    bool done;
    if (!d->is_flying)
        return WEIR_OK;
    weir_status s = ship_http_go(d->http, wait_ms, &done, &a, err);
    if (s == WEIR_OK && !done)
        return WEIR_OK;
    d->is_flying = false;
    if (s == WEIR_OK)
        s = ship_ch_judge(d, &a, err);
    if (s == WEIR_OK) {
        d->done += d->flying->puts;
        ship_ch_empty_batch(d->flying);
        ship_ch_settle(d);
    }
    return s;
}

weir_status ship_ch_land(ship_destination *d, weir_err *err)
{
    while (d->is_flying) {
        WEIR_TRY(ship_ch_go(d, SHIP_CH_WAIT_MS, err));
        if (d->is_flying && ship_ch_stopped(d))
            return weir_err_set(err, WEIR_END, 0, "clickhouse: stopped");
    }
    return WEIR_OK;
}

static void put_u32(char *p, size_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (char)(v >> 8 * i & 0xff);
}

/* The body in ClickHouse's own compressed blocks, which all its versions read: 16 octets of checksum (it is told not to look),
 * method, length with these 9 octets, length before, data. */
static weir_status pack(const ship_destination *d, struct ship_ch_batch *b, weir_err *err)
{
    base_buf_reset(&b->packed);
    for (size_t at = 0; at < b->body.len; at += PACK_OCTETS) {
        size_t n = b->body.len - at < PACK_OCTETS ? b->body.len - at : PACK_OCTETS;
        size_t most = d->pack == SHIP_CH_PACK_LZ4 ? (size_t)LZ4_compressBound(PACK_OCTETS)
                                                  : ZSTD_compressBound(PACK_OCTETS);
        char *p = base_buf_room(&b->packed, PACK_HEADER + most);
        if (!p)
            return ship_ch_no_memory(err);
        size_t len;
        if (d->pack == SHIP_CH_PACK_LZ4)
            len =
                (size_t)LZ4_compress_default(b->body.data + at, p + PACK_HEADER, (int)n, (int)most);
        else
            len = ZSTD_compress(p + PACK_HEADER, most, b->body.data + at, n, 1);
        if (!len || (d->pack == SHIP_CH_PACK_ZSTD && ZSTD_isError(len)))
            return ship_ch_no_memory(err);
        memset(p, 0, 16);
        p[16] = (char)(d->pack == SHIP_CH_PACK_LZ4 ? 0x82 : 0x90);
        put_u32(p + 17, len + 9);
        put_u32(p + 21, n);
        b->packed.len += PACK_HEADER + len;
    }
    return WEIR_OK;
}

static void target(const ship_destination *d, struct ship_ch_batch *b)
{
    base_buf *t = &b->target;
    base_buf_reset(t);
    base_buf_str(t, "/?query_id=");
    if (b->id)
        ship_http_escape(t, b->id, strlen(b->id));
    if (d->pack != SHIP_CH_PACK_NONE)
        base_buf_str(t,
                     "&decompress=1&http_native_compression_disable_checksumming_on_decompress=1");
    if (b->table->distributed) /* acknowledged means stored, not queued */
        base_buf_str(t, "&insert_distributed_sync=1");
    if (ship_clickhouse_is_at_least(&d->server, 21, 11))
        base_buf_str(t, "&async_insert=0");
    if (b->id && b->last_file && ship_clickhouse_is_at_least(&d->server, 22, 3)) {
        char row[24];
        (void)snprintf(row, sizeof row, "/%llu", (unsigned long long)b->last_row);
        base_buf_str(t, "&deduplicate_blocks_in_dependent_materialized_views=1"
                        "&insert_deduplication_token=");
        ship_http_escape(t, b->id, strlen(b->id));
        base_buf_str(t, "-");
        ship_http_escape(t, b->last_file, strlen(b->last_file));
        ship_http_escape(t, row, strlen(row));
    }
    base_buf_char(t, '\0');
}

/* What is filled goes off, when what is flying has landed. */
weir_status ship_ch_send_off(ship_destination *d, weir_err *err)
{
    if (!d->filling->rows)
        return WEIR_OK;
    WEIR_TRY(ship_ch_land(d, err));
    struct ship_ch_batch *b = d->filling;
    d->filling = d->flying;
    d->flying = b;
    const char *headers[2];
    target(d, b);
    weir_status s = b->target.failed ? ship_ch_no_memory(err) : WEIR_OK;
    if (s == WEIR_OK && d->pack != SHIP_CH_PACK_NONE)
        s = pack(d, b, err);
    const base_buf *body = d->pack == SHIP_CH_PACK_NONE ? &b->body : &b->packed;
    const struct ship_http_request r = {.target = b->target.data,
                                        .headers = headers,
                                        .n_headers = ship_ch_headers_of(d, headers),
                                        .body = body->data,
                                        .len = body->len};
    if (s == WEIR_OK)
        s = ship_http_start(d->http, &r, err);
    d->is_flying = s == WEIR_OK;
    return s == WEIR_OK ? ship_ch_go(d, 0, err) : s;
}

bool ship_ch_is_due(const ship_destination *d)
{
    const struct ship_ch_batch *b = d->filling;
    return b->rows && (b->rows >= d->most_rows || b->body.len >= SHIP_CH_SEND_OCTETS ||
                       ship_ch_now_ms() - b->began_ms >= SEND_MS);
}

/* "weir/db.table/source/file/": the beginning of the ids of INSERTs with rows of a file. */
void ship_ch_query_id(const ship_destination *d, const struct ship_ch_table *t, base_buf *out)
{
    base_buf_printf(out, "weir/%s.%s/%.*s/", d->database, t->name, (int)d->name.len, d->name.data);
}

/* The SQL before the rows. */
weir_status ship_ch_begin_batch(ship_destination *d, struct ship_ch_table *t, uint64_t row,
                                weir_err *err)
{
    struct ship_ch_batch *b = d->filling;
    base_buf *sql = &b->body, id = {0};
    b->table = t;
    if (b->head)
        return WEIR_OK;
    base_buf_str(sql, "INSERT INTO ");
    ship_clickhouse_table(sql, d->database, t->name);
    for (size_t i = 0; i < t->n_active; i++) {
        const char *name = t->columns[t->active[i]].name;
        base_buf_str(sql, i ? ", " : " (");
        ship_clickhouse_name(sql, name, strlen(name));
    }
    base_buf_str(sql, ") FORMAT RowBinary\n");
    b->head = sql->len;
    b->began_ms = ship_ch_now_ms();
    ship_ch_query_id(d, t, &id);
    base_buf_printf(&id, "%llu", (unsigned long long)row);
    base_buf_char(&id, '\0');
    b->id = id.data;
    return sql->failed || id.failed ? ship_ch_no_memory(err) : WEIR_OK;
}
