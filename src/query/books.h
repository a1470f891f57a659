/* books -- what files of flows a scan has found, as what an archive's ledger counts is held against (ledger/balance.h). Taken
 * from their names and footers alone. */
#ifndef QUERY_BOOKS_H
#define QUERY_BOOKS_H

#include "archive/archive.h"
#include "ledger/balance.h"

typedef struct query_books query_books;

query_books *query_books_new(void);    /* before the scan; NULL: out of memory */
void query_books_free(query_books *b); /* takes NULL */

/* The parts of a partition, of the path with this number. */
void query_books_note(query_books *b, size_t path, const struct archive_part *parts, size_t n);
/* A file that is elsewhere: its name without suffix, how many rows, earliest and latest arrival of them. */
void query_books_add(query_books *b, size_t path, const char *name, uint64_t rows, int64_t first_us,
                     int64_t last_us);
/* The scan has been through: nothing is missing for having been passed over. */
void query_books_whole(query_books *b);
bool query_books_are_whole(const query_books *b); /* takes NULL: false */

/* Earliest and latest arrival of all rows, false: they do not all tell, or there are none. */
bool query_books_times(const query_books *b, int64_t *first_us, int64_t *last_us);

/* The files of one path as those of archive `dir`, which has been read behind the scan. asked: only those that this has too are
 * asked for; NULL: all are. files is malloc'ed. False: they do not tell enough, or out of memory. */
bool query_books_of(const query_books *b, size_t path, const char *dir, const query_books *asked,
                    struct ledger_books *out);

/* The same of files that were added, of an archive that is not here: what is of a slot that ended within ON_ITS_WAY before now_us is
 * still on its way. */
bool query_books_of_added(const query_books *b, size_t path, int64_t now_us,
                          struct ledger_books *out);

#endif
