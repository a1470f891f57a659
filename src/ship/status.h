/* status -- how far destinations have got, for people, programs and Prometheus: read from the cursors, whoever delivers. */
#ifndef SHIP_STATUS_H
#define SHIP_STATUS_H

#include "ship/ship.h"

struct ship_status {
    char name[ARCHIVE_CURSOR_NAME + 1];
    char *destination; /* the url without password and settings */
    bool running;      /* a process delivers */
    bool damaged;      /* the newest cursor is, and the one before it counts */
    uint64_t hold;     /* octets */
    struct ship_lag lag;
    int64_t now_us, written_us; /* written: the cursor, last; 0: not known */
};

/* Statuses of archive_cursor_read and ship_lag_of; *out is to be done in any case. */
weir_status ship_status_of(const char *archive, const char *name, struct ship_status *out,
                           weir_err *err);
void ship_status_done(struct ship_status *s);

/* Seconds that the oldest row has been waiting, or less; 0: none waits; -1: not known. */
double ship_status_lag(const struct ship_status *s);

void ship_status_json(const struct ship_status *s, base_buf *b); /* one line */
void ship_status_line(const struct ship_status *s,
                      base_buf *b); /* one line, begins with the name */
void ship_status_text(const struct ship_status *s, base_buf *b); /* two lines */
/* Of n destinations, in Prometheus' text format. counters: n of those that this process delivers to; NULL, or one of them: does
 * not. */
void ship_status_metrics(const struct ship_status *s, const struct ship_counters *const *counters,
                         size_t n, base_buf *b);

#endif
