/* array -- columns of values as arrays of the Arrow C data interface. Values are handed over where they lie: arrays share the
 * memory that they lie in, which is freed when the last of them has been released, by whatever thread.
 * https://arrow.apache.org/docs/format/CDataInterface.html */
#ifndef ARROW_ARRAY_H
#define ARROW_ARRAY_H

#include "flow/schema.h"

#include <weir/arrow.h>

/* ---- memory that arrays lie in ---- */

typedef struct arrow_memory arrow_memory;

arrow_memory *arrow_memory_new(void);    /* held once, by the caller; NULL: out of memory */
void arrow_memory_drop(arrow_memory *m); /* takes NULL; thread-safe */
/* What goes with m, when nobody holds it any more: done(what). One thing at most. */
void arrow_memory_keep(arrow_memory *m, void *what, void (*done)(void *what));
/* n octets, zeroed, that live as long as m; one thread at a time. NULL: out of memory. */
void *arrow_memory_alloc(arrow_memory *m, size_t n);
/* Octets of malloc become m's; freed when false is returned (out of memory). */
bool arrow_memory_take(arrow_memory *m, void *octets);

/* A copy, to be freed; NULL: out of memory. */
char *arrow_text(const char *text);

/* ---- columns ---- */

/* What the values of a column are. */
struct arrow_type {
    const char *name;
    enum flow_type type; /* of the items of a list */
    bool list;
};

/* A column's values, in memory of an arrow_memory. All NULL and n_valid 0: null in all rows. */
struct arrow_values {
    size_t n_valid;
    const void *valid;  /* a bit a row, least significant first; NULL: all are there */
    const void *values; /* of types without a dictionary, as in a flow_vec; BOOL: an octet each */
    const uint32_t *codes;
    const int32_t *dict_starts; /* n_dict + 1, into dict_octets; text is UTF-8 */
    const void *dict_octets;
    size_t n_dict;
    const int32_t *starts; /* of a list: rows + 1, into values or codes */
};

/* A struct array with n columns of n_rows rows each, and its schema. Each array made holds m, so that the caller may drop it
 * afterwards; m takes more octets meanwhile (bits of booleans, zeros). out is untouched but with WEIR_OK. WEIR_ENOMEM;
 * WEIR_ELIMIT: more rows or items than Arrow's 32-bit offsets reach. */
weir_status arrow_array_make(const struct arrow_type *types, const struct arrow_values *values,
                             size_t n, size_t n_rows, arrow_memory *m, struct ArrowArray *out,
                             weir_err *err);
weir_status arrow_schema_make(const struct arrow_type *types, size_t n, struct ArrowSchema *out,
                              weir_err *err);

/* "I", "tsu:UTC", ...: how Arrow writes a type; of the values of the dictionary where there is one. Static. */
const char *arrow_format(enum flow_type type);

/* The errno that a callback of a stream returns. */
int arrow_errno(weir_status s);

#endif
