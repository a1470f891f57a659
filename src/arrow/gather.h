/* gather -- blocks of a query's result into batches: values are copied, texts of several blocks into one dictionary a column. */
#ifndef ARROW_GATHER_H
#define ARROW_GATHER_H

#include "arrow/array.h"
#include "query/run.h"

typedef struct arrow_gather arrow_gather;

/* Columns for these fields of a result: names are the fields' unless names[i] is given; both borrowed. Kinds must be known
 * (QUERY_UNKNOWN is taken for text). rates_one: sampling rates above 1 become 1, for counters are multiplied already. NULL:
 * out of memory. */
arrow_gather *arrow_gather_new(const struct query_field *fields, const char *const *names, size_t n,
                               bool rates_one);
void arrow_gather_free(arrow_gather *g); /* takes NULL */

const struct arrow_type *arrow_gather_types(const arrow_gather *g);
size_t arrow_gather_rows(const arrow_gather *g);
size_t arrow_gather_octets(const arrow_gather *g); /* of the rows that are in it */

/* Rows [from, from + n) of a block. WEIR_ENOMEM; WEIR_ELIMIT: texts of a column have 2 GiB. */
weir_status arrow_gather_add(arrow_gather *g, const struct query_block *b, size_t from, size_t n,
                             weir_err *err);
/* All rows as one array; g is empty then. WEIR_ENOMEM. */
weir_status arrow_gather_take(arrow_gather *g, struct ArrowArray *out, weir_err *err);

#endif
