/* balance -- whether an archive has the flows that its ledger counts, no more and no less: rows of its files against
 * flows - flows_lost of the ledger's minutes. Both sides are compared span by span; a span is what hangs together:
 *
 *     files     |--- 21:00 ---|--- 21:05 ---|             |--- 21:15 ---|
 *               |-- worker 1 -|                |-- late rows --|
 *     minutes   x x x x x       x   x x x       x       x   x x
 *     spans     |      1      |      2      | |        3        |            and each minute that no file covers
 *
 * Rows are in the file of their slot and counted in the minute of their packet, so both agree to the flow in every span but
 * for packets that came in the moment between two (see SLACK_US in balance.c). */
#ifndef LEDGER_BALANCE_H
#define LEDGER_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file of flows. Times are microseconds since 1970. */
struct ledger_stored {
    int64_t from_us, to_us; /* its rows were counted in the minutes that overlap [from_us, to_us) */
    int64_t first_us, last_us; /* earliest and latest arrival of them */
    uint64_t rows;
    bool asked; /* the question reads it */
};

/* What an archive has. */
struct ledger_books {
    struct ledger_stored *files; /* n_files of them, in any order; are sorted */
    size_t n_files;
    int64_t
        until_us; /* from here on it is still being written: nothing is said. INT64_MAX: it is not written */
    int64_t
        since_us; /* minutes before which no file covers are the rest of what has expired; INT64_MIN: none */
    bool by_files; /* the question reads files that are named, not all those of a time */
};

/* A minute of the ledger. */
struct ledger_minute {
    int64_t at_us;
    int64_t counted; /* flows that should be stored */
    int64_t about;   /* of them, those that the question may be about */
};

struct ledger_span {
    int64_t from_us, to_us;                 /* whole minutes */
    int64_t counted_from_us, counted_to_us; /* of it, those that count any flow; equal: none */
    int64_t counted, about, stored;
    int64_t more;         /* stored - counted, but for what is a matter of a moment */
    size_t file, n_files; /* of books->files */
    bool asked;           /* all of its files are; true where it has none */
};

/* Widen [from_us, to_us] to all of the spans of files that it touches, and their neighbours: so much of the ledger is needed. */
void ledger_balance_reach(struct ledger_books *b, int64_t *from_us, int64_t *to_us);

/* The spans of b's files within [from_us, to_us] and of these minutes (in any order, also several times the same; are sorted),
 * in order of time. malloc'ed; false: out of memory. */
bool ledger_balance(struct ledger_books *b, struct ledger_minute *minutes, size_t n_minutes,
                    int64_t from_us, int64_t to_us, struct ledger_span **out, size_t *n_out);

#endif
