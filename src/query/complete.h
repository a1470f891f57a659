/* complete -- how complete the answer to a query is, by the loss ledger of the archives that it reads: for the exporters
 * that its filter leaves, in the time that it asks for. */
#ifndef QUERY_COMPLETE_H
#define QUERY_COMPLETE_H

#include "ledger/complete.h"
#include "query/run.h"

/* What a filter says of a flow of which only some is known. */
enum query_truth { QUERY_NO, QUERY_MAYBE, QUERY_YES };

/* Of flows of the row's stream: its exporter, port, domain and version are known (as far as the row has them), all else is
 * not. QUERY_NO: no flow of the stream can pass. */
enum query_truth query_truth_of(const struct query_expr *e, const struct ledger_row *row);

struct query_completeness {
    enum {
        QUERY_COMPLETE_KNOWN,     /* ledger says what is known */
        QUERY_COMPLETE_NO_LEDGER, /* files by path, or of before there was one */
        QUERY_COMPLETE_FAILED     /* it could not be read; failed says why */
    } what;
    char failed[160];
    ledger_complete ledger;
};

/* Read it. Minutes of the ledger are those of arrival, and flows come when they have ended: of a query from A to B, those from
 * A to 5 minutes behind B count, but none after now_us. Of files that are named one by one or by a range, the minutes in
 * which their rows arrived. Never fails: what went wrong is what it then says. */
void query_complete_read(const struct query *q, int64_t now_us, struct query_completeness *out);

/* For those who get the ledger's rows from elsewhere (ledger_completing_new): the minutes that count, and which rows are about a query;
 * `user` of query_complete_about is its filter. NULL where all are. */
void query_complete_window(const struct query *q, int64_t now_us, int64_t *from_us, int64_t *to_us);
ledger_about_fn *query_complete_about(const struct query *q);

/* "complete", "99.2 % (...)", "not known: ..."; and one JSON object. */
void query_complete_text(const struct query_completeness *c, bool utc, base_buf *out);
void query_complete_json(const struct query_completeness *c, base_buf *out);

#endif
