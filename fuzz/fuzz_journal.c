/* Any octets as the entries of a journal, made so that their checksums hold: read as far as they are good; what was read
 * can be written as rows, and its row groups described to a reader, or are refused.
 *
 *     u8 type (as in journal.h; 0: octets as they are), u8 flags, u16 length, payload; of rows: head and plain octets */
#include "archive/journal.h"
#include "archive/openfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { ROWS_HEAD = 24 };

static void be(uint8_t *to, uint64_t v, unsigned octets)
{
    for (unsigned i = 0; i < octets; i++)
        to[i] = (uint8_t)(v >> 8 * (octets - 1 - i));
}

/* One entry behind what is in b, whose first octet stands at the journal's beginning. */
static void put(base_buf *b, uint64_t id, ZSTD_CCtx *z, const uint8_t *p, uint8_t type,
                uint8_t flags, size_t len)
{
    size_t at = b->len;
    uint8_t head[ARCHIVE_JOURNAL_ENTRY] = {0};
    base_buf_add(b, head, sizeof head);
    if (type == ARCHIVE_ENTRY_ROWS && len >= ROWS_HEAD) {
        if (flags & ARCHIVE_ENTRY_FRESH)
            (void)ZSTD_CCtx_reset(z, ZSTD_reset_session_only);
        base_buf_add(b, p, ROWS_HEAD);
        char packed[70000];
        ZSTD_inBuffer in = {p + ROWS_HEAD, len - ROWS_HEAD, 0};
        ZSTD_outBuffer out = {packed, sizeof packed, 0};
        FUZZ_CHECK(ZSTD_compressStream2(z, &out, &in, ZSTD_e_flush) == 0);
        base_buf_add(b, packed, out.pos);
    } else {
        base_buf_add(b, p, len);
    }
    FUZZ_CHECK(!b->failed);
    be(head, b->len - at - sizeof head, 4);
    head[4] = type;
    head[5] = flags;
    XXH64_state_t x;
    (void)XXH64_reset(&x, id + at);
    (void)XXH64_update(&x, head, 8);
    (void)XXH64_update(&x, b->data + at + sizeof head, b->len - at - sizeof head);
    be(head + 8, XXH64_digest(&x), 8);
    memcpy(b->data + at, head, sizeof head);
}

static weir_status nowhere(void *user, const void *p, size_t len, weir_err *err)
{
    (void)user;
    (void)p;
    (void)len;
    (void)err;
    return WEIR_OK;
}

/* As readers and recovery use it. */
static void use(struct archive_journal *j)
{
    struct parquet_writer_options o = {.sink = nowhere,
                                       .codec = PARQUET_ZSTD,
                                       .level = 1,
                                       .sorted_by = -1,
                                       .created_by = archive_created_by()};
    parquet_writer *w = NULL;
    base_buf footer = {0};
    if (j->groups.n && archive_resume(&o, &j->columns, &j->groups,
                                      j->groups.items[j->groups.n - 1].end, &w, NULL) == WEIR_OK)
        (void)parquet_writer_preview(w, &footer, NULL);
    parquet_writer_free(w);
    base_buf_done(&footer);
    struct archive_groups none = {0};
    struct archive_rows rows = {0};
    w = NULL;
    if (flow_batch_rows(j->tail) == 0 ||
        archive_columns_take(&j->columns, j->tail, NULL) != WEIR_OK)
        return;
    if (archive_resume(&o, &j->columns, &none, 0, &w, NULL) == WEIR_OK &&
        archive_rows_make(&rows, &j->columns, j->tail, NULL) == WEIR_OK &&
        parquet_writer_group(w, rows.data, flow_batch_rows(j->tail), NULL) == WEIR_OK)
        FUZZ_CHECK(parquet_writer_finish(w, NULL, 0, NULL) == WEIR_OK);
    archive_rows_done(&rows);
    parquet_writer_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct archive_journal_head head = {.id = 4711, .slot_length_ns = 300000000000};
    base_buf b = {0};
    ZSTD_CCtx *z = ZSTD_createCCtx();
    archive_journal_put_head(&b, &head);
    while (len >= 4) {
        size_t n = (size_t)(data[2] << 8 | data[3]);
        n = n < len - 4 ? n : len - 4;
        if (data[0] == 0)
            base_buf_add(&b, data + 4, n);
        else
            put(&b, head.id, z, data + 4, data[0], data[1], n);
        data += 4 + n;
        len -= 4 + n;
    }
    (void)ZSTD_freeCCtx(z);
    int fd = memfd_create("journal", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, b.data, b.len) == (ssize_t)b.len);
    struct archive_journal j;
    weir_err err = {0};
    weir_status s = archive_journal_read(fd, "journal", &j, &err);
    FUZZ_CHECK(s == WEIR_OK);
    FUZZ_CHECK(j.good >= ARCHIVE_JOURNAL_HEAD && j.good + j.behind == b.len &&
               (j.behind == 0) == (*j.why == 0));
    FUZZ_CHECK(j.tail);
    use(&j);
    archive_journal_done(&j);
    (void)close(fd);
    base_buf_done(&b);
    return 0;
}
