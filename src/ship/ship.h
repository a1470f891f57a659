/* ship -- rows of an archive to destinations, each behind a cursor of its own: what was taken from the archive and delivered is
 * known over restarts of either side, and nothing but the archive itself waits for a destination that is away.
 *
 *     archive ──▶ source (files the cursor has not passed) ──▶ follow (rows) ──▶ destination
 *                   ▲                                                              │ done
 *                   └────────────── cursor, DIR/ship/NAME.cursor ◀─────────────────┘
 *
 * At least once, in order within a file. */
#ifndef SHIP_SHIP_H
#define SHIP_SHIP_H

#include "archive/cursor.h"
#include "base/buf.h"
#include "ship/destination.h"

struct ship_options {
    const char *archive; /* directory */
    const char *name;    /* of the cursor, archive_cursor_name_ok */
    const struct ship_destination_ops *ops;
    struct ship_destination_options destination; /* stop and log are ship's own to set */
    const struct query_expr *filter;             /* NULL: all flows */
    bool begin_now; /* of a cursor that is new: only what comes from now on; else all there is */
    bool once;      /* end when all that is there has been delivered */
    uint64_t hold;  /* octets that expiry leaves for it, 0: none */
    void (*log)(void *user, bool trouble, const char *text); /* one line */
    void *user;
};

struct ship_counters {
    uint64_t rows;    /* delivered since it began */
    uint64_t puts;    /* delivered */
    uint64_t retries; /* times that the destination failed */
    bool away;        /* it fails now */
    char why[160];    /* it failed last time */
};

typedef struct ship ship;

/* Takes the cursor's lock and reads it, or makes it, which waits for the end of a compaction. WEIR_ELIMIT: another process delivers under this name; WEIR_EINVAL: a
 * setting, or the cursor is one of another destination; WEIR_EFORMAT: the cursor is damaged; WEIR_EIO; WEIR_ENOMEM. */
weir_status ship_open(const struct ship_options *o, ship **out, weir_err *err);
/* Deliver until ship_stop, or with once until all is delivered. WEIR_OK; with once also WEIR_EIO, WEIR_EINVAL, ...: the
 * destination failed, err says why (without once it is tried again, for ever). */
weir_status ship_run(ship *s, weir_err *err);
void ship_stop(ship *s);                            /* from any thread, or a signal handler */
void ship_read(ship *s, struct ship_counters *out); /* from any thread */
void ship_close(ship *s);                           /* takes NULL */

/* What a cursor has not passed. */
struct ship_lag {
    uint64_t files, rows;
    uint64_t octets;        /* of these files */
    int64_t oldest_us;      /* arrival of the oldest of those rows, 0: not known */
    uint64_t damaged_files; /* files that cannot be read: they are not among the others */
};
weir_status ship_lag_of(const char *archive, const archive_cursor *c, struct ship_lag *out,
                        weir_err *err);

/* A name for a url: letters, digits and dashes of it, without password. out[ARCHIVE_CURSOR_NAME + 1]. */
void ship_name_of(const char *url, char *out);
/* The url without a password, malloc'ed; NULL: out of memory. */
char *ship_url_shown(const char *url);

#endif
