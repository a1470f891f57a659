/* rows -- Arrow arrays as Python objects: rows as dicts or tuples, columns as lists, without pyarrow.
 * The GIL is held. */
#ifndef WEIR_PY_ROWS_H
#define WEIR_PY_ROWS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <weir/arrow.h>

/* How values are made. */
typedef struct py_rows_options {
    bool raw_times; /* times as integers in the column's unit instead of datetime */
    bool no_nulls;  /* dicts: leave out what is null */
} py_rows_options;

/* The rows of a struct array as a list of dicts, or of tuples. columns: a sequence of names, which decides what is
 * there and in which order; NULL: all. NULL with an exception: KeyError a name that is no column, TypeError a type
 * that has no Python form, ValueError an array that contradicts itself. */
PyObject *py_rows_dicts(const struct ArrowSchema *schema, const struct ArrowArray *array,
                        PyObject *columns, py_rows_options o);
PyObject *py_rows_tuples(const struct ArrowSchema *schema, const struct ArrowArray *array,
                         PyObject *columns, py_rows_options o);
/* The values of one column. */
PyObject *py_rows_column(const struct ArrowSchema *schema, const struct ArrowArray *array,
                         PyObject *name, py_rows_options o);

/* Names of the columns: a tuple of interned str. */
PyObject *py_rows_names(const struct ArrowSchema *schema);

#endif
