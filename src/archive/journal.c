#include "archive/journal.h"

#include "archive/layout.h"
#include "base/hash.h"
#include "base/rd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

static const char magic[8] = "weirjrnl";

enum {
    ROWS_HEAD = 4 + 8 + 8 + 4,
    GROUP_HEAD = 8 + 4 + 8 + 8,
    /* How far back an entry's rows find similar ones: 1 MiB, minutes at 50 flows/s; the other tables have few rows. */
    WINDOW_LOG = 20,
    SMALL_WINDOW_LOG = 16,
    LEVEL = 3,
    LARGE_OCTETS = 128 << 10, /* of rows at once, before compression */
    LARGE_LEVEL = -1,
    LOOK = 1 << 18 /* octets read at a time */
};

/* --- boot ------------------------------------------------------------------------------------------ */

static void boot_id(uint8_t out[ARCHIVE_BOOT_OCTETS])
{
    char text[64] = {0};
    memset(out, 0, ARCHIVE_BOOT_OCTETS);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    size_t digits = 0;
    for (ssize_t i = 0; i < n && digits < 2 * ARCHIVE_BOOT_OCTETS; i++) {
        const char *hex = "0123456789abcdef", *at = text[i] ? strchr(hex, text[i]) : NULL;
        if (!at)
            continue;
        out[digits / 2] = (uint8_t)(out[digits / 2] << 4 | (at - hex));
        digits++;
    }
}

void archive_journal_stamp(struct archive_journal_head *h)
{
    boot_id(h->boot);
    h->id = base_hash_seed();
}

bool archive_journal_same_boot(const struct archive_journal_head *h)
{
    static const uint8_t unknown[ARCHIVE_BOOT_OCTETS];
    uint8_t now[ARCHIVE_BOOT_OCTETS];
    boot_id(now);
    return memcmp(now, unknown, sizeof now) != 0 && memcmp(now, h->boot, sizeof now) == 0;
}

/* --- writing --------------------------------------------------------------------------------------- */

void archive_journal_put_head(base_buf *b, const struct archive_journal_head *h)
{
    size_t start = b->len;
    base_buf_add(b, magic, sizeof magic);
    base_buf_u16(b, ARCHIVE_JOURNAL_VERSION);
    base_buf_u8(b, (uint8_t)h->table);
    base_buf_u8(b, 0);
    base_buf_u32(b, h->worker);
    base_buf_u64(b, (uint64_t)h->slot_ns);
    base_buf_u64(b, (uint64_t)h->slot_length_ns);
    base_buf_add(b, h->boot, sizeof h->boot);
    base_buf_u64(b, h->id);
    if (!b->failed)
        base_buf_u64(b, XXH64(b->data + start, b->len - start, 0));
}

/* Room for an entry's head; returns where it is. */
static size_t begin(base_buf *b)
{
    static const uint8_t empty[ARCHIVE_JOURNAL_ENTRY];
    size_t start = b->len;
    base_buf_add(b, empty, sizeof empty);
    return start;
}

static uint64_t checksum(const void *head, const void *payload, size_t len, uint64_t seed)
{
    XXH64_state_t x;
    (void)XXH64_reset(&x, seed);
    (void)XXH64_update(&x, head, 8);
    (void)XXH64_update(&x, payload, len);
    return XXH64_digest(&x);
}

static void put_be(char *to, uint64_t v, unsigned octets)
{
    for (unsigned i = 0; i < octets; i++)
        to[i] = (char)(uint8_t)(v >> 8 * (octets - 1 - i));
}

static void end(base_buf *b, size_t start, uint64_t at, uint64_t id, enum archive_entry type,
                unsigned flags)
{
    if (b->failed)
        return;
    char *head = b->data + start;
    size_t len = b->len - start - ARCHIVE_JOURNAL_ENTRY;
    put_be(head, len, 4);
    head[4] = (char)type;
    head[5] = (char)flags;
    put_be(head + 8, checksum(head, head + ARCHIVE_JOURNAL_ENTRY, len, id + at + start), 8);
}

void archive_journal_put_columns(base_buf *b, uint64_t at, uint64_t id,
                                 const struct archive_columns *c, size_t from)
{
    size_t start = begin(b);
    base_buf_u32(b, (uint32_t)(c->n - from));
    for (size_t i = from; i < c->n; i++) {
        const char *type = flow_type_text(c->items[i].type);
        base_buf_u8(b, c->items[i].list);
        base_buf_u8(b, (uint8_t)strlen(type));
        base_buf_u16(b, (uint16_t)strlen(c->items[i].name));
        base_buf_str(b, type);
        base_buf_str(b, c->items[i].name);
    }
    end(b, start, at, id, ARCHIVE_ENTRY_COLUMNS, 0);
}

void archive_journal_put_group(base_buf *b, uint64_t at, uint64_t id, uint64_t group_end,
                               uint32_t rows, int64_t min, int64_t max, const base_buf *meta)
{
    size_t start = begin(b);
    base_buf_u64(b, group_end);
    base_buf_u32(b, rows);
    base_buf_u64(b, (uint64_t)min);
    base_buf_u64(b, (uint64_t)max);
    base_buf_add(b, meta->data, meta->len);
    end(b, start, at, id, ARCHIVE_ENTRY_GROUP, 0);
}

void archive_journal_put_rate(base_buf *b, uint64_t at, uint64_t id, const uint8_t *exporter,
                              uint32_t len, uint32_t domain, uint64_t selector, double rate,
                              const char *source)
{
    size_t start = begin(b);
    uint64_t bits;
    memcpy(&bits, &rate, sizeof bits);
    base_buf_u8(b, (uint8_t)len);
    base_buf_add(b, exporter, len);
    base_buf_u32(b, domain);
    base_buf_u64(b, selector);
    base_buf_u64(b, bits);
    base_buf_str(b, source);
    end(b, start, at, id, ARCHIVE_ENTRY_RATE, 0);
}

weir_status archive_journal_put_rows(base_buf *b, uint64_t at, uint64_t id, ZSTD_CCtx *z,
                                     bool fresh, const flow_batch *rows, uint32_t from,
                                     base_buf *scratch, weir_err *err)
{
    base_buf_reset(scratch);
    flow_batch_save(rows, from, scratch);
    if (scratch->failed)
        return archive_no_memory(err);
    if (scratch->len > ARCHIVE_MAX_ENTRY)
        return weir_err_set(err, WEIR_ELIMIT, 0, "%zu octets of rows at once, a journal takes %d",
                            scratch->len, ARCHIVE_MAX_ENTRY);
    /* Many rows at once: what comes so often must be cheap, and has repetitions enough within itself. */
    bool large = scratch->len >= LARGE_OCTETS;
    fresh |= large;
    if (fresh) {
        (void)ZSTD_CCtx_reset(z, ZSTD_reset_session_only);
        (void)ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, large ? LARGE_LEVEL : LEVEL);
        (void)ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog,
                                     flow_batch_table(rows) == FLOW_TABLE_FLOWS ? WINDOW_LOG
                                                                                : SMALL_WINDOW_LOG);
    }
    int64_t min, max;
    archive_received(rows, from, &min, &max);
    size_t start = begin(b);
    base_buf_u32(b, flow_batch_rows(rows) - from);
    base_buf_u64(b, (uint64_t)min);
    base_buf_u64(b, (uint64_t)max);
    base_buf_u32(b, (uint32_t)scratch->len);
    ZSTD_inBuffer in = {scratch->data, scratch->len, 0};
    for (size_t left = 1; left;) {
        size_t room = ZSTD_compressBound(in.size - in.pos) + 64;
        char *to = base_buf_room(b, room);
        if (!to)
            return archive_no_memory(err);
        ZSTD_outBuffer out = {to, room, 0};
        left = ZSTD_compressStream2(z, &out, &in, ZSTD_e_flush);
        if (ZSTD_isError(left))
            return weir_err_set(err, WEIR_ENOMEM, 0, "cannot compress rows: %s",
                                ZSTD_getErrorName(left));
        b->len += out.pos;
    }
    end(b, start, at, id, ARCHIVE_ENTRY_ROWS, fresh ? ARCHIVE_ENTRY_FRESH : 0);
    return b->failed ? archive_no_memory(err) : WEIR_OK;
}

/* --- row groups ------------------------------------------------------------------------------------ */

void archive_groups_done(struct archive_groups *g)
{
    free(g->items);
    base_buf_done(&g->metas);
    *g = (struct archive_groups){0};
}

weir_status archive_groups_add(struct archive_groups *g, uint64_t first, uint64_t group_end,
                               uint32_t rows, int64_t min, int64_t max, const void *meta,
                               size_t meta_len, weir_err *err)
{
    if (g->n == g->cap) {
        size_t cap = g->cap ? 2 * g->cap : 8;
        struct archive_group *items = realloc(g->items, cap * sizeof *items);
        if (!items)
            return archive_no_memory(err);
        g->items = items;
        g->cap = cap;
    }
    size_t at = g->metas.len;
    base_buf_add(&g->metas, meta, meta_len);
    if (g->metas.failed) {
        g->metas.failed = false;
        return archive_no_memory(err);
    }
    g->items[g->n++] = (struct archive_group){first, group_end, rows, min, max, at, meta_len};
    return WEIR_OK;
}

struct parquet_bytes *archive_groups_metas(const struct archive_groups *g)
{
    struct parquet_bytes *out = calloc(g->n + 1, sizeof *out);
    for (size_t i = 0; out && i < g->n; i++) {
        const struct archive_group *from = &g->items[i];
        out[i] = (struct parquet_bytes){(const uint8_t *)g->metas.data + from->meta_at,
                                        (uint32_t)from->meta_len};
    }
    return out;
}

/* --- reading --------------------------------------------------------------------------------------- */

struct pending {
    uint64_t at;
    uint32_t len;
    uint8_t type, flags;
    uint64_t sum;
    uint8_t head[8];
};

struct reading {
    int fd;
    const char *name;
    uint64_t size, at; /* at: of the next entry */
    struct archive_journal *j;
    struct pending *pending; /* ROWS and RATE since the last GROUP */
    size_t n_pending, cap_pending;
    uint8_t *look; /* octets of the file from look_at on */
    uint64_t look_at;
    size_t look_len, look_cap;
};

/* *out: len octets of the file at `at`, good until the next call. WEIR_ETRUNC: they are not there. */
static weir_status look(struct reading *r, uint64_t at, size_t len, const uint8_t **out,
                        weir_err *err)
{
    if (at < r->look_at || at + len > r->look_at + r->look_len) {
        size_t want = len > LOOK ? len : LOOK;
        if (want > r->look_cap) {
            free(r->look);
            r->look_len = r->look_cap = 0;
            r->look = malloc(want);
            if (!r->look)
                return archive_no_memory(err);
            r->look_cap = want;
        }
        r->look_at = at;
        r->look_len = 0;
        while (r->look_len < want) {
            ssize_t n =
                pread(r->fd, r->look + r->look_len, want - r->look_len, (off_t)(at + r->look_len));
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return archive_errno(err, errno, "read", r->name);
            if (n == 0)
                break;
            r->look_len += (size_t)n;
        }
        if (r->look_len < len)
            return weir_err_set(err, WEIR_ETRUNC, at, "%s ends in the middle of an entry", r->name);
    }
    *out = r->look + (at - r->look_at);
    return WEIR_OK;
}

static weir_status read_head(struct reading *r, weir_err *err)
{
    const uint8_t *p;
    struct archive_journal_head *h = &r->j->head;
    weir_status s = look(r, 0, ARCHIVE_JOURNAL_HEAD, &p, err);
    size_t n = r->look_len < sizeof magic ? r->look_len : sizeof magic;
    if (s == WEIR_ETRUNC && n &&
        memcmp(r->look, magic, n) != 0) /* and never was the begin of one */
        return weir_err_set(err, WEIR_EFORMAT, 0, "%s is no journal", r->name);
    if (s != WEIR_OK)
        return s;
    base_rd d = base_rd_of(p, ARCHIVE_JOURNAL_HEAD);
    bool good = memcmp(p, magic, sizeof magic) == 0;
    (void)base_rd_u64(&d);
    uint16_t version = base_rd_u16(&d);
    if (good && version != ARCHIVE_JOURNAL_VERSION)
        return weir_err_set(err, WEIR_EVERSION, 8, "%s: journal of version %u, known is %d",
                            r->name, version, ARCHIVE_JOURNAL_VERSION);
    uint8_t table = base_rd_u8(&d);
    (void)base_rd_u8(&d);
    h->table = table < FLOW_N_TABLES ? (enum flow_table)table : FLOW_TABLE_FLOWS;
    h->worker = base_rd_u32(&d);
    h->slot_ns = (int64_t)base_rd_u64(&d);
    h->slot_length_ns = (int64_t)base_rd_u64(&d);
    const uint8_t *boot = base_rd_take(&d, sizeof h->boot);
    if (boot)
        memcpy(h->boot, boot, sizeof h->boot);
    h->id = base_rd_u64(&d);
    if (!good || base_rd_u64(&d) != XXH64(p, ARCHIVE_JOURNAL_HEAD - 8, 0) || table >= FLOW_N_TABLES)
        return weir_err_set(err, WEIR_EFORMAT, 0, "%s is no journal, or its header is damaged",
                            r->name);
    r->at = ARCHIVE_JOURNAL_HEAD;
    return WEIR_OK;
}

static bool type_by_text(const uint8_t *text, size_t len, enum flow_type *out)
{
    for (int t = 0; t < FLOW_N_TYPES; t++) {
        const char *name = flow_type_text((enum flow_type)t);
        if (strlen(name) == len && memcmp(name, text, len) == 0) {
            *out = (enum flow_type)t;
            return true;
        }
    }
    return false;
}

static weir_status read_columns(struct reading *r, const uint8_t *p, size_t len, weir_err *err)
{
    base_rd d = base_rd_of(p, len);
    uint32_t n = base_rd_u32(&d);
    for (uint32_t i = 0; i < n && !d.dead; i++) {
        bool list = base_rd_u8(&d) != 0;
        size_t type_len = base_rd_u8(&d), name_len = base_rd_u16(&d);
        const uint8_t *type_text = base_rd_take(&d, type_len), *name = base_rd_take(&d, name_len);
        enum flow_type type = FLOW_TYPE_U8;
        if (d.dead || !type_by_text(type_text, type_len, &type) || memchr(name, 0, name_len))
            return weir_err_set(err, WEIR_EFORMAT, r->at, "column %u is damaged", i);
        WEIR_TRY(
            archive_columns_add(&r->j->columns, (const char *)name, name_len, type, list, err));
    }
    return d.dead ? weir_err_set(err, WEIR_EFORMAT, r->at, "list of columns is damaged") : WEIR_OK;
}

static weir_status read_group(struct reading *r, const uint8_t *p, size_t len, weir_err *err)
{
    base_rd d = base_rd_of(p, len);
    uint64_t group_end = base_rd_u64(&d);
    uint32_t rows = base_rd_u32(&d);
    int64_t min = (int64_t)base_rd_u64(&d), max = (int64_t)base_rd_u64(&d);
    struct archive_groups *g = &r->j->groups;
    uint64_t first = g->n ? g->items[g->n - 1].end : 0;
    if (d.dead || group_end < first || group_end > INT64_MAX || rows == 0 || base_rd_left(&d) == 0)
        return weir_err_set(err, WEIR_EFORMAT, r->at, "row group is damaged");
    WEIR_TRY(archive_groups_add(g, first, group_end, rows, min, max, d.at, base_rd_left(&d), err));
    r->n_pending = 0;
    return WEIR_OK;
}

static weir_status hold(struct reading *r, const struct pending *e, weir_err *err)
{
    if (r->n_pending == r->cap_pending) {
        size_t cap = r->cap_pending ? 2 * r->cap_pending : 64;
        struct pending *items = realloc(r->pending, cap * sizeof *items);
        if (!items)
            return archive_no_memory(err);
        r->pending = items;
        r->cap_pending = cap;
    }
    r->pending[r->n_pending++] = *e;
    return WEIR_OK;
}

/* One entry at r->at; WEIR_END at the end of the file. ROWS are only noted: mostly a GROUP follows that has them. */
static weir_status read_entry(struct reading *r, weir_err *err)
{
    const uint8_t *p;
    if (r->at >= r->size)
        return WEIR_END;
    WEIR_TRY(look(r, r->at, ARCHIVE_JOURNAL_ENTRY, &p, err));
    base_rd d = base_rd_of(p, ARCHIVE_JOURNAL_ENTRY);
    struct pending e = {.at = r->at};
    memcpy(e.head, p, sizeof e.head);
    e.len = base_rd_u32(&d);
    e.type = base_rd_u8(&d);
    e.flags = base_rd_u8(&d);
    (void)base_rd_u16(&d);
    e.sum = base_rd_u64(&d);
    if (e.len > ARCHIVE_MAX_ENTRY || e.type < ARCHIVE_ENTRY_COLUMNS || e.type > ARCHIVE_ENTRY_RATE)
        return weir_err_set(err, WEIR_EFORMAT, r->at, "no entry of a journal");
    if (r->size - r->at - ARCHIVE_JOURNAL_ENTRY < e.len)
        return weir_err_set(err, WEIR_ETRUNC, r->at, "entry is cut short");
    if (e.type == ARCHIVE_ENTRY_ROWS || e.type == ARCHIVE_ENTRY_RATE) {
        WEIR_TRY(hold(r, &e, err));
    } else {
        WEIR_TRY(look(r, r->at + ARCHIVE_JOURNAL_ENTRY, e.len, &p, err));
        if (checksum(e.head, p, e.len, r->j->head.id + r->at) != e.sum)
            return weir_err_set(err, WEIR_EFORMAT, r->at, "checksum is wrong");
        if (e.type == ARCHIVE_ENTRY_GROUP)
            WEIR_TRY(read_group(r, p, e.len, err));
        else
            WEIR_TRY(read_columns(r, p, e.len, err));
    }
    r->at += ARCHIVE_JOURNAL_ENTRY + (uint64_t)e.len;
    return WEIR_OK;
}

static weir_status load_rows(struct reading *r, const struct pending *e, const uint8_t *p,
                             ZSTD_DCtx *z, base_buf *plain, weir_err *err)
{
    base_rd d = base_rd_of(p, e->len);
    uint32_t rows = base_rd_u32(&d);
    int64_t min = (int64_t)base_rd_u64(&d), max = (int64_t)base_rd_u64(&d);
    uint32_t want = base_rd_u32(&d);
    /* A zstd block of 4 octets gives at most 128 KiB. */
    if (d.dead || want > ARCHIVE_MAX_ENTRY || want / 32768 > base_rd_left(&d))
        return weir_err_set(err, WEIR_EFORMAT, e->at, "rows are damaged");
    if (e->flags & ARCHIVE_ENTRY_FRESH)
        (void)ZSTD_DCtx_reset(z, ZSTD_reset_session_only);
    base_buf_reset(plain);
    char *to = base_buf_room(plain, (size_t)want + 1);
    if (!to)
        return archive_no_memory(err);
    ZSTD_inBuffer in = {d.at, base_rd_left(&d), 0};
    ZSTD_outBuffer out = {to, (size_t)want + 1, 0};
    while (in.pos < in.size || out.pos < want) {
        size_t in_before = in.pos, out_before = out.pos;
        size_t left = ZSTD_decompressStream(z, &out, &in);
        if (ZSTD_isError(left))
            return weir_err_set(err, WEIR_EFORMAT, e->at, "rows are damaged: %s",
                                ZSTD_getErrorName(left));
        if (in.pos == in_before && out.pos == out_before)
            break;
    }
    if (out.pos != want || in.pos != in.size)
        return weir_err_set(err, WEIR_EFORMAT, e->at,
                            "rows have another length than their entry says");
    uint32_t before = flow_batch_rows(r->j->tail);
    WEIR_TRY(flow_batch_load(r->j->tail, (const uint8_t *)to, want, err));
    if (flow_batch_rows(r->j->tail) - before != rows) {
        flow_batch_cut(r->j->tail, before);
        return weir_err_set(err, WEIR_EFORMAT, e->at, "%u rows promised, others found", rows);
    }
    if (min <= max) {
        bool first = r->j->tail_max < r->j->tail_min;
        r->j->tail_min = first || min < r->j->tail_min ? min : r->j->tail_min;
        r->j->tail_max = first || max > r->j->tail_max ? max : r->j->tail_max;
    }
    return WEIR_OK;
}

static weir_status load_rate(struct reading *r, const struct pending *e, const uint8_t *p,
                             weir_err *err)
{
    base_rd d = base_rd_of(p, e->len);
    size_t len = base_rd_u8(&d);
    const uint8_t *exporter = base_rd_take(&d, len);
    uint32_t domain = base_rd_u32(&d);
    uint64_t selector = base_rd_u64(&d), bits = base_rd_u64(&d);
    double rate;
    memcpy(&rate, &bits, sizeof rate);
    if (d.dead || (len != 4 && len != 16))
        return weir_err_set(err, WEIR_EFORMAT, e->at, "rate is damaged");
    char source[64] = {0};
    size_t n = base_rd_left(&d);
    memcpy(source, d.at, n < sizeof source ? n : sizeof source - 1);
    (void)flow_batch_sampling(r->j->tail, exporter, (uint32_t)len, domain, selector, rate, source);
    return WEIR_OK;
}

/* The rows that no group has. An entry that is no good ends the journal there. */
static weir_status load_tail(struct reading *r, weir_err *err)
{
    ZSTD_DCtx *z = r->n_pending ? ZSTD_createDCtx() : NULL;
    base_buf plain = {0};
    if (r->n_pending && !z)
        return archive_no_memory(err);
    weir_status s = WEIR_OK;
    for (size_t i = 0; i < r->n_pending && s == WEIR_OK; i++) {
        const struct pending *e = &r->pending[i];
        const uint8_t *p;
        s = look(r, e->at + ARCHIVE_JOURNAL_ENTRY, e->len, &p, err);
        if (s == WEIR_OK && checksum(e->head, p, e->len, r->j->head.id + e->at) != e->sum)
            s = weir_err_set(err, WEIR_EFORMAT, e->at, "checksum is wrong");
        if (s == WEIR_OK)
            s = e->type == ARCHIVE_ENTRY_ROWS ? load_rows(r, e, p, z, &plain, err)
                                              : load_rate(r, e, p, err);
        if (s != WEIR_OK)
            r->at = e->at;
    }
    (void)ZSTD_freeDCtx(z);
    base_buf_done(&plain);
    return s;
}

weir_status archive_journal_read(int fd, const char *name, struct archive_journal *out,
                                 weir_err *err)
{
    *out = (struct archive_journal){.tail_max = -1};
    struct stat st;
    if (fstat(fd, &st) != 0)
        return archive_errno(err, errno, "read", name);
    struct reading r = {.fd = fd, .name = name, .size = (uint64_t)st.st_size, .j = out};
    weir_err why = {0};
    weir_status s = read_head(&r, err);
    if (s == WEIR_OK) {
        out->tail = flow_batch_new(out->head.table);
        if (!out->tail)
            s = archive_no_memory(err);
    }
    bool cut = false;
    if (s == WEIR_OK) {
        weir_status e;
        while ((e = read_entry(&r, &why)) == WEIR_OK)
            ;
        if (e != WEIR_END) {
            cut = true;
            s = e == WEIR_ENOMEM || e == WEIR_EIO ? e : WEIR_OK;
        }
    }
    if (s == WEIR_OK) {
        weir_status e = load_tail(&r, &why);
        if (e != WEIR_OK) {
            cut = true;
            s = e == WEIR_ENOMEM || e == WEIR_EIO ? e : WEIR_OK;
        }
    }
    if (s != WEIR_OK && cut && err)
        *err = why;
    if (s == WEIR_OK) {
        out->good = r.at;
        out->behind = r.size - r.at;
        if (cut)
            (void)snprintf(out->why, sizeof out->why, "%.79s", why.msg);
    } else {
        archive_journal_done(out);
    }
    free(r.look);
    free(r.pending);
    return s;
}

void archive_journal_done(struct archive_journal *j)
{
    archive_columns_done(&j->columns);
    archive_groups_done(&j->groups);
    flow_batch_free(j->tail);
    *j = (struct archive_journal){0};
}
