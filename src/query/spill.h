/* spill -- a temporary file without a name, for what does not fit into memory: written at its end, read back in pieces. */
#ifndef QUERY_SPILL_H
#define QUERY_SPILL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct query_spill {
    int fd; /* -1: not open */
    uint64_t end;
};

/* A run of octets of the file. */
struct query_extent {
    uint64_t at, len;
};

/* dir: NULL: $TMPDIR or /tmp. WEIR_EIO. */
weir_status query_spill_open(struct query_spill *s, const char *dir, weir_err *err);
void query_spill_close(struct query_spill *s);
/* Append; a full disk is WEIR_EIO. One thread at a time. */
weir_status query_spill_write(struct query_spill *s, const void *data, size_t len, weir_err *err);

/* Reads one extent from its beginning. */
struct query_spill_reader {
    const struct query_spill *spill;
    uint64_t at, end;
    char *data; /* data[have], next to be read at pos */
    size_t have, pos, cap;
};
/* room: octets of the buffer. False: out of memory. */
bool query_spill_reader_init(struct query_spill_reader *r, const struct query_spill *s,
                             struct query_extent extent, size_t room);
void query_spill_reader_done(struct query_spill_reader *r);
bool query_spill_at_end(const struct query_spill_reader *r);
/* The next n octets, borrowed until the next call. WEIR_EIO; WEIR_ENOMEM. */
weir_status query_spill_read(struct query_spill_reader *r, size_t n, const void **out,
                             weir_err *err);

#endif
