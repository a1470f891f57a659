/* columns -- which columns of a flow_batch become an array: those that were named, or those that are there. */
#ifndef ARROW_COLUMNS_H
#define ARROW_COLUMNS_H

#include "arrow/array.h"
#include "flow/batch.h"

/* Columns chosen once, for batches of one table; zero-initialise to start. */
struct arrow_columns {
    enum flow_table table;
    struct arrow_type *types; /* n of them, names among their memory */
    int *column;              /* of the table; -1: an extra column, told by its name */
    size_t n;
};

/* names[n] as in `weir fields`, or of an element that has no column of its own ("e9_12242" one that no registry knows); elements NULL:
 * the built-in ones. WEIR_EFORMAT: no such column, or one that is named twice; WEIR_ENOMEM. done in any case. */
weir_status arrow_columns_named(struct arrow_columns *c, enum flow_table table,
                                const char *const *names, size_t n, const weir_elements *elements,
                                weir_err *err);
/* All columns of the table. WEIR_ENOMEM. */
weir_status arrow_columns_table(struct arrow_columns *c, enum flow_table table, weir_err *err);
void arrow_columns_done(struct arrow_columns *c);

/* The rows of b as one struct array; schema may be NULL. c NULL: the columns that some row has a value for. b is the array's
 * with WEIR_OK, and else as it was. WEIR_ENOMEM; WEIR_ELIMIT: texts of a column have 2 GiB together. */
weir_status arrow_columns_take(const struct arrow_columns *c, flow_batch *b,
                               struct ArrowSchema *schema, struct ArrowArray *array, weir_err *err);

#endif
