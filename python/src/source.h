/* source -- Arrow structures that several own: batches that are exported more than once, streams that Python and
 * an Arrow consumer both hold. Plain C: release callbacks come on any thread, with or without the GIL. */
#ifndef WEIR_PY_SOURCE_H
#define WEIR_PY_SOURCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <weir/arrow.h>

/* ---- shared schemas and arrays ---- */

typedef struct py_shared_schema {
    atomic_size_t refs;
    struct ArrowSchema schema;
} py_shared_schema;

typedef struct py_shared_array {
    atomic_size_t refs;
    struct ArrowArray array;
} py_shared_array;

/* Empty, held once, to be filled; NULL: out of memory. drop releases what is in it. */
py_shared_schema *py_schema_new(void);
py_shared_schema *py_schema_hold(py_shared_schema *s);
void py_schema_drop(py_shared_schema *s); /* takes NULL */
py_shared_array *py_array_new(void);
void py_array_drop(py_shared_array *a); /* takes NULL */

/* The same once more, without copying values: *out holds what it is of until it is released; its children may be moved
 * out, as the interface allows. false: out of memory. */
bool py_schema_export(py_shared_schema *s, struct ArrowSchema *out);
bool py_array_export(py_shared_array *a, struct ArrowArray *out);

/* ---- streams ---- */

/* A stream and all it needs. */
typedef struct py_source {
    atomic_size_t refs;
    atomic_bool begun; /* a batch was asked for */
    atomic_bool lent;  /* an exported stream reads it */
    atomic_bool ended; /* the last batch was taken */
    atomic_bool cancelled;
    pthread_mutex_t lock;
    struct ArrowArrayStream stream; /* under lock */
    weir_answer *answer;            /* of a query; not changed once the stream is there */
    weir_elements *elements;        /* of a capture; the decoder reads them */
} py_source;

py_source *py_source_new(void); /* held once; NULL: out of memory */
py_source *py_source_hold(py_source *s);
void py_source_drop(
    py_source *s); /* takes NULL; the last one ends the work, which may take a moment */

/* The question behind it ends: py_source_next, in whatever thread, fails soon. A capture is read on. */
void py_source_cancel(py_source *s);

/* A stream of what has not been read yet. false with *busy: another one that was exported lives; else out of memory. */
bool py_source_export(py_source *s, struct ArrowArrayStream *out, bool *busy);

/* The next batch, out->release NULL at the end; 0, or an errno with its text in msg[n]. Blocks. */
int py_source_next(py_source *s, struct ArrowArray *out, char *msg, size_t n);
int py_source_schema(py_source *s, struct ArrowSchema *out, char *msg, size_t n);

#endif
