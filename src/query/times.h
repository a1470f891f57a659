/* times -- the least `first` and the greatest `last` of the rows that passed. Columns that a query reads anyway are looked at
 * window by window; otherwise only which rows passed is noted, and pages are read at the end whose bounds say that they
 * may hold something less or greater than what is certain: mostly one page of the whole archive. For the engine's own
 * files. */
#ifndef QUERY_TIMES_H
#define QUERY_TIMES_H

#include "query/scan.h"

/* Rows of one row group that passed and were not looked at. */
struct query_times_pending {
    uint64_t *passed; /* NULL: none */
    const parquet_file *file;
    size_t group, column; /* of the file */
    uint64_t n_rows;
    struct query_times_window *windows;
    size_t n;
    int64_t bound; /* the best that may be there */
    void *owner;   /* of file: held */
};

struct query_times {
    int64_t least, greatest; /* INT64_MAX, INT64_MIN: of no row */
    uint64_t *passed[2]; /* of the row group, a bit a row, for first and last; NULL: none noted */
    int64_t certain
        [2]; /* some row that passed has a `first` of this or less, a `last` of this or more */
    struct query_times_pending pending[2];
    /* Whoever keeps files open: of each owner that is held, once for each call */
    void (*hold)(void *owner);
    void (*release)(void *owner);
};

void query_times_init(struct query_times *t, void (*hold)(void *owner),
                      void (*release)(void *owner));
/* The rows of e's window. */
weir_status query_times_add(struct query_times *t, struct query_eval *e, weir_err *err);
/* All rows of the row group passed, and its footer knows: *known. */
weir_status query_times_by_footer(struct query_times *t, struct query_scan *s, bool *known,
                                  weir_err *err);
/* The row group ends; its file stays open while owner is held. */
weir_status query_times_end(struct query_times *t, struct query_scan *s, void *owner,
                            weir_err *err);
/* Look at what is pending, if it may say more than is known. Nothing is pending afterwards, in any case. */
weir_status query_times_finish(struct query_times *t, weir_err *err);
void query_times_done(struct query_times *t);

#endif
