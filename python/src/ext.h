/* ext -- what the files of the extension share. Everything here holds the GIL unless it says
 * otherwise. */
#ifndef WEIR_PY_EXT_H
#define WEIR_PY_EXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <string.h>
#include <weir/decoder.h>

/* Each file adds its types and functions to the module. 0, or -1 with an exception. */
int weir_py_add_record(PyObject *module);
int weir_py_add_state(PyObject *module);
int weir_py_add_packet(PyObject *module);
int weir_py_add_receive(PyObject *module);
int weir_py_add_arrow(PyObject *module);

/* ---- record.c: records as dicts ---- */

/* Which spelling of names and values: that of netflow 0.12.2 for each version (docs/python-
 * format.md). */
enum py_form { PY_FORM_V1, PY_FORM_V5, PY_FORM_V7, PY_FORM_V9, PY_FORM_IPFIX, PY_N_FORMS };

/* How the records of one template become objects: keys made once, places of values known. A
 * Python object of its own, so that packets which have not made their flows yet keep it. */
typedef struct py_plan py_plan;

/* A new reference, NULL with an exception. The template is only read during the call; v1, v5 and
 * v7 have none. */
PyObject *py_plan_new(enum py_form form, const weir_template *t);
/* Memory that it takes, roughly. */
size_t py_plan_octets(const PyObject *plan);

/* Put n records, each `stride` octets behind the one before, into the places of a list from `at`
 * on, which are empty; the template must have no variable field. 0, or -1 with an exception. */
int py_plan_records(PyObject *plan, PyObject *list, Py_ssize_t at, const uint8_t *data,
                    size_t stride, Py_ssize_t n);
/* Append one record of any kind to a list. */
int py_plan_record(PyObject *plan, PyObject *list, const weir_record *r);

/* An object that may be kept by packets and templates: class given from Python (see
 * _weir.register), NULL with an exception when there is none. Borrowed. */
enum py_class {
    PY_CLASS_V1_FLOW,
    PY_CLASS_V5_FLOW,
    PY_CLASS_V7_FLOW,
    PY_CLASS_V9_FLOW,
    PY_CLASS_V9_OPTIONS,
    PY_CLASS_IPFIX_RECORD,
    PY_CLASS_V9_TEMPLATE,       /* callable: (handle, id, number of fields, of scopes, options) */
    PY_CLASS_IPFIX_TEMPLATE,    /* callable: (handle, fields, number of scopes, options) */
    PY_CLASS_V9_NOT_RECOGNIZED, /* exceptions */
    PY_CLASS_IPFIX_NOT_RECOGNIZED,
    PY_CLASS_MALFORMED,
    PY_CLASS_IPFIX_MALFORMED,
    PY_CLASS_IPFIX_TEMPLATE_ERROR,
    PY_CLASS_IPFIX_RECORD_ERROR,
    PY_N_CLASSES
};
PyObject *py_class(enum py_class c);

#endif
