/* lines -- the lines of a file as the collectors write them: gzip of any number of members, or plain text, from
 * a file or standard input, unpacked by a thread of its own while the caller works on what came before.
 *
 * A file may be damaged: a collector that was killed, or still writes, leaves a last member without its end, and
 * one that was started again appends whole members after it. What can be read is read; lines_damage tells what
 * could not. Holds about 2 MiB plus one line of at most max_line octets. */
#ifndef ANALYZE_LINES_H
#define ANALYZE_LINES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lines lines;

struct line {
    const char *text; /* text[len] is '\n', whatever ended the line; valid until the next call */
    size_t len;
    uint64_t number; /* from 1 */
    bool too_long;   /* more than max_line octets: text is empty */
    bool cut;        /* the input ended inside this line, or right after it without a newline */
};

struct lines_damage {
    bool truncated;    /* the last gzip member has no end */
    uint64_t n_broken; /* places where something other than gzip stood, or a member was damaged */
    uint64_t first_at; /* octet offset of the first of these in the compressed input */
};

/* Reads fd, which stays the caller's. WEIR_ENOMEM; WEIR_EIO no thread. *out: lines_free. */
weir_status lines_new(lines **out, int fd, size_t max_line, weir_err *err);
void lines_free(lines *l);

/* WEIR_OK with *line; WEIR_END after the last; WEIR_EIO reading failed (lines before it were delivered);
 * WEIR_ENOMEM. */
weir_status lines_next(lines *l, struct line *line, weir_err *err);

/* After WEIR_END. */
struct lines_damage lines_damage(lines *l);

#endif
