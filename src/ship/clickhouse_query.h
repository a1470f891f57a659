/* clickhouse_query -- a query answered by ClickHouse: rendered as SQL (query/sql.h), asked over HTTP, its rows given to the same
 * sink as those of an archive. */
#ifndef SHIP_CLICKHOUSE_QUERY_H
#define SHIP_CLICKHOUSE_QUERY_H

#include "base/buf.h"
#include "query/complete.h"
#include "query/extras.h"
#include "query/filter.h"
#include "query/run.h"

typedef struct ship_clickhouse_query ship_clickhouse_query;

/* url: clickhouse[s]://[user[:password]@]host[:port]/database[?table=NAME&password_file=FILE&ca=FILE&...], as weir ship takes it.
 * Connects, looks at the table. a outlives it. WEIR_EINVAL: the url, the user, no such table; WEIR_EIO; WEIR_END: stop said so. */
weir_status ship_clickhouse_query_open(const char *url, query_arena *a, bool (*stop)(void *user),
                                       void *user, ship_clickhouse_query **out, weir_err *err);
void ship_clickhouse_query_close(ship_clickhouse_query *c); /* takes NULL */

/* Columns of the table that are none of the schema, added to x. */
weir_status ship_clickhouse_query_extras(ship_clickhouse_query *c, struct query_extras *x,
                                         weir_err *err);

/* As query_run; paths of q are not looked at. WEIR_ENOTFOUND: something that is not available. */
weir_status ship_clickhouse_query_run(ship_clickhouse_query *c, const struct query *q,
                                      bool want_totals, const struct query_sink *sink,
                                      struct query_summary *out, weir_err *err);

/* As query_complete_read, by the ledger and the files of all archives that deliver there. */
void ship_clickhouse_query_complete(ship_clickhouse_query *c, const struct query *q, int64_t now_us,
                                    struct query_completeness *out);

/* The SQL of it, statements with ";" behind them, appended to out. */
weir_status ship_clickhouse_query_explain(ship_clickhouse_query *c, const struct query *q,
                                          bool want_totals, base_buf *out, weir_err *err);

#endif
