/* batch -- record batches and streams of them as Python objects, and what their files share. The GIL is held. */
#ifndef WEIR_PY_BATCH_H
#define WEIR_PY_BATCH_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "source.h"

#include <stdio.h>

/* netflow.Batch of a schema (held once more) and an array (taken, also on failure). NULL with an exception. */
PyObject *py_batch_new(py_shared_schema *schema, py_shared_array *array);
/* netflow.Decoder's base. */
int py_decoder_add(PyObject *module);

/* Turn a failure into an exception: MemoryError, OSError, FileNotFoundError, else ValueError; its attribute `at` is the
 * place in the input that it speaks of. Returns NULL. */
PyObject *py_raise(weir_status status, const weir_err *err);

/* A sequence of str as C texts, for one call. */
typedef struct py_texts {
    PyObject *kept; /* list of bytes */
    const char **text;
    size_t n;
} py_texts;

/* None: text is NULL and n is 0. false with an exception; done in either case. */
bool py_texts_init(py_texts *t, PyObject *sequence, const char *what);
void py_texts_done(py_texts *t);

/* What Python gives for a weir_decoder_options: a tuple of int, (scope, max_exporters, max_streams,
 * max_exporter_streams, max_templates, max_fields, max_state_octets, max_waiting_octets, max_waiting_total, waiting_s,
 * template_life_s, idle_s, max_depth, max_list_items). false with an exception. */
bool py_decoder_options(PyObject *tuple, weir_decoder_options *out);

/* The built-in elements and those of the files; paths None or empty: *out is NULL. false with an exception. */
bool py_elements(PyObject *paths, weir_elements **out);

/* Counters as a JSON object. */
void py_counters_json(FILE *f, const weir_counters *c);

#endif
