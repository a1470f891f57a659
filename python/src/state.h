/* state -- what stands behind a dict of templates: a decoder, and of each template which
 * definition of which decoder it is. Everything here holds the GIL. */
#ifndef WEIR_PY_STATE_H
#define WEIR_PY_STATE_H

#include "ext.h"

enum {
    PY_STATE_MAX_DOMAINS = 1024,    /* that a decoder knows */
    PY_STATE_MAX_OCTETS = 16 << 20, /* of templates that it keeps */
};

/* What is in force for a number of a domain. */
struct py_known;

typedef struct py_state {
    PyObject ob_base; /* what PyObject_HEAD is */
    weir_decoder *decoder;
    struct py_known *known;
    size_t n_known, cap_known; /* a power of two */
    size_t plan_octets;
    uint32_t generation; /* of decoders: serials of an earlier one mean nothing */
    bool busy; /* with a packet: what the interpreter runs in between must not come here too */
} py_state;

/* One field of a definition. */
struct py_row {
    uint16_t id, length;
    uint32_t pen; /* 0: none */
};

/* Of a template in the dict: which definition of which decoder it is, and what that says. */
typedef struct py_handle {
    PyObject ob_base; /* what PyObject_HEAD is */
    py_state *state;
    uint64_t serial;
    uint32_t generation, domain;
    uint16_t id;
    uint8_t form;
    bool options;
    bool shown; /* its fields were given out as objects, which may have been changed since */
    uint32_t n, n_scope;
    struct py_row *rows; /* of NetFlow v9 */
    PyObject *items;     /* of IPFIX: tuple of what is in the list */
} py_handle;

/* A state that knows nothing, NULL with an exception. */
py_state *py_state_new(void);
/* Forget all; what the dict still has is taught again when it is needed. False with an
 * exception. */
bool py_state_reset(py_state *s);

/* The definition that the decoder has for a number of a domain; 0: none. */
uint64_t py_state_serial(const py_state *s, enum py_form form, uint32_t domain, uint16_t id);
/* It has this one now; 0: none. False with an exception. */
bool py_state_know(py_state *s, enum py_form form, uint32_t domain, uint16_t id, uint64_t serial);
/* The plan for a record, borrowed until the next call. NULL: with an exception, or the record's
 * definition is not the one that is known. */
PyObject *py_state_plan(py_state *s, enum py_form form, const weir_record *r);

/* Which definition it is; what it says is added by who calls. NULL with an exception. */
py_handle *py_handle_new(py_state *s, enum py_form form, uint32_t domain, uint16_t id,
                         uint64_t serial);
/* The handle of a value of the caller's dict; NULL: it has none. A new reference. */
py_handle *py_handle_of(PyObject *value);
/* Make it the handle of a value. Values that take no attributes have none. */
void py_handle_put(PyObject *value, py_handle *h);
/* Whether it is of what the decoder has now. */
bool py_handle_is_of(const py_handle *h, const py_state *s, enum py_form form, uint16_t id);
/* Whether a value still says what its handle does: the caller may have changed it. */
bool py_handle_unchanged(PyObject *value, const py_handle *h);
/* Fields as a list of (id, length, enterprise number or None); NULL with an exception. */
PyObject *py_rows_list(const struct py_row *rows, uint32_t n);

#endif
