/* source -- which files of an archive a cursor has not passed. */
#ifndef SHIP_SOURCE_H
#define SHIP_SOURCE_H

#include "archive/archive.h"
#include "archive/cursor.h"

typedef struct ship_source ship_source; /* of one thread */

struct ship_file {
    enum flow_table table;
    char *path;       /* as it was when looked at: an open one may have been closed since */
    const char *name; /* in path */
    bool open;        /* is still being written */
    bool compacted;
    uint32_t number;
};

/* tables: bit 1 << FLOW_TABLE_x. Nothing is read yet. WEIR_ENOMEM. */
weir_status ship_source_new(const char *dir, unsigned tables, ship_source **out, weir_err *err);
void ship_source_free(ship_source *s); /* takes NULL */

/* The files that c has not passed, oldest first; borrowed until the next call of any of these. Hours whose directory did not change since are not
 * read again. all: look at all hours, else at the newest and those that had something (a full look takes some microseconds an
 * hour, so one every ten seconds is cheap). WEIR_EIO; WEIR_ENOTFOUND: no such archive; WEIR_ENOMEM. */
weir_status ship_source_look(ship_source *s, const archive_cursor *c, bool all,
                             const struct ship_file **files, size_t *n, weir_err *err);

/* The greatest number of a file that was seen in any look, 0: none. */
uint32_t ship_source_last(const ship_source *s);

/* List what is there for a cursor that is new. begin_now: all rows that are there count as done. */
weir_status ship_source_begin(ship_source *s, bool begin_now, archive_cursor *c, weir_err *err);

/* A file as it is now: its row groups, and behind them the rows that are in none yet. Zero-initialise. */
struct ship_parts {
    archive_scan *scan;
    struct archive_part *parts; /* n, borrowed until done */
    size_t n;
    uint64_t rows;
};
/* WEIR_ENOTFOUND: it is gone, or was closed in the meantime; WEIR_EIO, WEIR_EFORMAT, WEIR_ENOMEM. */
weir_status ship_parts_open(struct ship_parts *p, const struct ship_file *f, weir_err *err);
void ship_parts_done(struct ship_parts *p);

#endif
