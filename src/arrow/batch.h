/* batch -- what streams need of a weir_batch beyond the public functions: columns that are the same in every batch. */
#ifndef ARROW_BATCH_H
#define ARROW_BATCH_H

#include "arrow/columns.h"

/* As weir_batch_new, but without columns named it has all those of the table. elements: those of the decoder, for names of
 * columns; NULL: the built-in ones. */
weir_batch *arrow_batch_new(const weir_batch_options *o, const weir_elements *elements,
                            weir_err *err);
/* Its columns; of a batch of arrow_batch_new. */
const struct arrow_columns *arrow_batch_columns(const weir_batch *b);
/* Memory of the rows in it. */
size_t arrow_batch_octets(const weir_batch *b);

#endif
