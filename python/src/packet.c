/* packet -- one export packet: what it says of templates goes into the caller's dict, its
 * records become flows when they are first asked for.
 *
 * The caller's dict of templates is what counts. Behind its values stands a decoder: the values
 * that a decoder made know it (their handle), and what it does not know, or no longer as the
 * dict has it, is taught to it as a template set before a packet is decoded. */
#include "state.h"

#include <stddef.h>
#include <stdlib.h>
#include <structmember.h>

static PyTypeObject *packet_type;
static PyObject *header_name; /* "header" */

/* ---- packets ---- */

/* Records that stand one behind the other in the packet and have one plan; or objects that were
 * made at once. */
struct span {
    PyObject *plan;
    PyObject *made; /* list, NULL: not yet */
    uint32_t at;    /* octets from the start of the packet */
    uint32_t stride, n;
    bool options;
};

typedef struct {
    PyObject ob_base;    /* what PyObject_HEAD is */
    PyObject *own;       /* attributes, the header among them once it was asked for */
    PyObject *templates; /* the caller's dict, NULL: v1, v5, v7 */
    PyObject *raw;       /* bytes, while flows are to be made */
    PyObject *flows;     /* list, NULL: not yet */
    PyObject *options;   /* the same */
    struct span *spans;
    size_t n_spans, cap_spans;
    bool new_templates;
    PyObject *weakrefs;
} py_packet;

/* One decoding: what the handlers work on. */
struct decoding {
    py_packet *packet;
    py_state *state;
    PyObject *templates; /* the caller's dict, borrowed; NULL: v1, v5, v7 */
    enum py_form form;
    const uint8_t *data; /* what was fed */
    size_t len;
    uint32_t shift; /* of a set that was fed behind a header of its own: where it really stands */
    bool learnt, undecoded, teaching;
    bool failed; /* a Python exception is set */
    bool full;   /* the decoder has no room for a template or a domain */
    weir_fault fault;
    weir_err why; /* code 0: nothing is wrong */
};

static PyObject *fixed_plans[PY_N_FORMS]; /* of v1, v5 and v7 */

static PyObject *fixed_plan(enum py_form form)
{
    if (!fixed_plans[form])
        fixed_plans[form] = py_plan_new(form, NULL);
    return fixed_plans[form];
}

/* The plan for a record, borrowed. NULL: with an exception, or its template is not known in the
 * dict. */
static PyObject *plan_of(struct decoding *c, const weir_record *r)
{
    if (c->form <= PY_FORM_V7)
        return fixed_plan(c->form);
    return py_state_plan(c->state, c->form, r);
}

static struct span *span_add(struct decoding *c)
{
    py_packet *p = c->packet;
    if (p->n_spans == p->cap_spans) {
        size_t cap = p->cap_spans ? 2 * p->cap_spans : 4;
        struct span *grown = realloc(p->spans, cap * sizeof *grown);
        if (!grown) {
            PyErr_NoMemory();
            return NULL;
        }
        p->spans = grown;
        p->cap_spans = cap;
    }
    struct span *s = &p->spans[p->n_spans++];
    memset(s, 0, sizeof *s);
    return s;
}

static void put(struct decoding *c, const weir_record *r, size_t n, bool options)
{
    if (c->failed || c->teaching)
        return;
    PyObject *plan = plan_of(c, r);
    py_packet *p = c->packet;
    struct span *last = p->n_spans ? &p->spans[p->n_spans - 1] : NULL;
    uint32_t at = (uint32_t)(r->data - c->data) + c->shift;
    if (!plan && !PyErr_Occurred()) { /* the decoder remembers what the dict does not have */
        c->undecoded = true;
        return;
    }
    Py_XINCREF(plan);
    if (!plan) {
        c->failed = true;
    } else if (r->tmpl->variable) {
        if (!last || !last->made || last->options != options) {
            last = span_add(c);
            if (last) {
                last->options = options;
                last->at = at;
                last->made = PyList_New(0);
            }
        }
        c->failed = !last || !last->made || py_plan_record(plan, last->made, r) < 0;
    } else if (last && last->plan == plan && last->at + last->n * last->stride == at &&
               last->stride == r->len) {
        last->n += (uint32_t)n;
    } else {
        last = span_add(c);
        if (last) {
            *last = (struct span){
                .plan = plan, .at = at, .stride = r->len, .n = (uint32_t)n, .options = options};
            Py_INCREF(plan);
        }
        c->failed = !last;
    }
    Py_XDECREF(plan);
}

static void on_record(void *user, const weir_record *r)
{
    put(user, r, 1, false);
}

static void on_records(void *user, const weir_record *first, size_t n)
{
    put(user, first, n, false);
}

static void on_options(void *user, const weir_record *r)
{
    put(user, r, 1, true);
}

/* The fields of a template; malloc'ed, NULL with an exception. */
static struct py_row *template_rows(const weir_template *t)
{
    struct py_row *rows = calloc((size_t)t->n_fields + 1, sizeof *rows);
    if (!rows) {
        PyErr_NoMemory();
        return NULL;
    }
    for (uint32_t i = 0; i < t->n_fields; i++) {
        const weir_element *e = t->fields[i].element;
        rows[i] = (struct py_row){e->id, t->fields[i].length, e->pen};
    }
    return rows;
}

/* What goes into the caller's dict for a template: a new reference, NULL with an exception. */
static PyObject *template_value(const struct decoding *c, uint32_t domain, const weir_template *t)
{
    bool ipfix = c->form == PY_FORM_IPFIX;
    PyObject *make = py_class(ipfix ? PY_CLASS_IPFIX_TEMPLATE : PY_CLASS_V9_TEMPLATE);
    py_handle *h = make ? py_handle_new(c->state, c->form, domain, t->id, t->serial) : NULL;
    if (!h)
        return NULL;
    h->options = t->options;
    h->n = t->n_fields;
    h->n_scope = t->n_scope;
    h->rows = template_rows(t);
    PyObject *value = NULL;
    if (h->rows && ipfix) {
        PyObject *rows = py_rows_list(h->rows, h->n);
        value = rows ? PyObject_CallFunction(make, "OOIO", (PyObject *)h, rows,
                                             (unsigned)h->n_scope, h->options ? Py_True : Py_False)
                     : NULL;
        Py_XDECREF(rows);
        h->items = value ? PyList_AsTuple(value) : NULL;
        if (!h->items)
            Py_CLEAR(value);
        free(h->rows);
        h->rows = NULL;
    } else if (h->rows) {
        value = PyObject_CallFunction(make, "OHIIO", (PyObject *)h, h->id, (unsigned)h->n,
                                      (unsigned)h->n_scope, h->options ? Py_True : Py_False);
    }
    Py_DECREF((PyObject *)h);
    return value;
}

/* A class derived from dict may keep more than the dict does (OrderedDict: the order): its own methods see what is changed. 0, or
 * -1 with an exception. */
static int dict_put(PyObject *dict, PyObject *key, PyObject *value)
{
    return PyDict_CheckExact(dict) ? PyDict_SetItem(dict, key, value)
                                   : PyObject_SetItem(dict, key, value);
}

static int dict_remove(PyObject *dict, PyObject *key)
{
    return PyDict_CheckExact(dict) ? PyDict_DelItem(dict, key) : PyObject_DelItem(dict, key);
}

/* What a template does to the caller's dict. False with an exception. */
static bool learn(struct decoding *c, const weir_packet *p, const weir_template *t,
                  weir_template_event event)
{
    bool gone = event == WEIR_TEMPLATE_WITHDRAWN || event == WEIR_TEMPLATE_EXPIRED;
    if (!py_state_know(c->state, c->form, p->domain, t->id, gone ? 0 : t->serial))
        return false;
    if (c->teaching)
        return true;
    PyObject *id = PyLong_FromUnsignedLong(t->id);
    PyObject *old = id ? PyDict_GetItemWithError(c->templates, id) : NULL;
    bool ok = old || !PyErr_Occurred();
    if (gone) {
        ok = ok && (!old || dict_remove(c->templates, id) == 0);
    } else {
        Py_XINCREF(old);
        py_handle *h = old ? py_handle_of(old) : NULL;
        bool same = h && py_handle_is_of(h, c->state, c->form, t->id) && h->domain == p->domain &&
                    h->serial == t->serial && py_handle_unchanged(old, h);
        c->learnt |= !old;
        /* An IPFIX packet with a template set counts as one with new templates, as in 0.12.2. */
        c->learnt |= c->form == PY_FORM_IPFIX;
        if (ok && !same) {
            PyObject *value = template_value(c, p->domain, t);
            ok = value && dict_put(c->templates, id, value) == 0;
            Py_XDECREF(value);
        }
        Py_XDECREF((PyObject *)h);
        Py_XDECREF(old);
    }
    Py_XDECREF(id);
    return ok;
}

static void on_template(void *user, const weir_packet *p, const weir_template *t,
                        weir_template_event event)
{
    struct decoding *c = user;
    if (!c->failed && !learn(c, p, t, event))
        c->failed = true;
}

static void on_fault(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    (void)p;
    struct decoding *c = user;
    c->full |= fault == WEIR_FAULT_TEMPLATE_LIMIT;
    if (c->why.code)
        return;
    c->fault = fault;
    c->why = *err;
    if (!c->why.code)
        c->why.code = WEIR_EFORMAT;
}

static void on_end(void *user, const weir_packet *p, weir_outcome outcome, const weir_err *err)
{
    (void)p;
    struct decoding *c = user;
    if (outcome == WEIR_PACKET_EXPIRED || outcome == WEIR_PACKET_WAITING)
        c->undecoded = true;
    c->full |= outcome == WEIR_PACKET_REJECTED && err->code == WEIR_ELIMIT;
    if (outcome == WEIR_PACKET_REJECTED && !c->why.code) {
        c->fault = WEIR_N_FAULT;
        c->why = *err;
    }
}

static const weir_handlers handlers = {.record = on_record,
                                       .records = on_records,
                                       .options = on_options,
                                       .tmpl = on_template,
                                       .fault = on_fault,
                                       .end = on_end};

/* False with an exception. What is wrong with the octets is in c->why. */
static bool feed(struct decoding *c, const uint8_t *data, size_t len)
{
    /* A connection: what it withdraws is withdrawn, and nobody's clock matters. */
    const weir_endpoint from = {.family = 4, .transport = WEIR_STREAM, .addr = {127, 0, 0, 1}};
    c->data = data;
    c->len = len;
    weir_err err = {0};
    weir_status status = weir_decode(c->state->decoder, &from, 1, data, len, &handlers, c, &err);
    if (!c->failed && status == WEIR_ENOMEM) {
        PyErr_NoMemory();
        c->failed = true;
    }
    return !c->failed;
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

enum { V9_HEADER = 20, IPFIX_HEADER = 16, MAX_PACKET = 65535 };

/* A header whose clock and numbers stand still, so that the order in which packets are decoded
 * does not matter. */
static size_t put_header(uint8_t *p, enum py_form form, uint32_t domain, size_t len)
{
    size_t size = form == PY_FORM_IPFIX ? IPFIX_HEADER : V9_HEADER;
    memset(p, 0, size);
    put16(p, form == PY_FORM_IPFIX ? 10 : 9);
    put16(p + 2, form == PY_FORM_IPFIX ? (unsigned)len : 1);
    put32(p + size - 4, domain);
    return size;
}

/* Number `name` of an object, -1 with an exception. */
static long attr_number(PyObject *o, const char *name)
{
    PyObject *v = PyObject_GetAttrString(o, name);
    long n = v ? PyLong_AsLong(v) : -1;
    Py_XDECREF(v);
    return n;
}

/* One field of a template of the caller's, at p; octets, 0 with an exception. */
static size_t put_field(uint8_t *p, long id, long length, long pen)
{
    if (PyErr_Occurred())
        return 0;
    if (id < 0 || id > 0xffff || length < 0 || length > 0xffff || pen < -1 ||
        pen > (long)UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "templates: a field with id %ld and length %ld cannot be",
                     id, length);
        return 0;
    }
    put16(p, pen >= 0 ? (unsigned)id | 0x8000u : (unsigned)id);
    put16(p + 2, (unsigned)length);
    if (pen < 0)
        return 4;
    put32(p + 4, (uint32_t)pen);
    return 8;
}

/* The definition that a value of the caller's dict stands for, as a list of (id, length,
 * enterprise number or None) and the number of scopes: what its method _definition says, or a
 * plain sequence of named tuples as IPFIX has them. A new reference to a tuple (fields, scopes,
 * options), NULL with an exception. */
static PyObject *definition_of(PyObject *value)
{
    PyObject *method = PyObject_GetAttrString(value, "_definition");
    if (method) {
        PyObject *definition = PyObject_CallObject(method, NULL);
        Py_DECREF(method);
        return definition;
    }
    PyErr_Clear();
    if (!PyList_Check(value) && !PyTuple_Check(value)) {
        PyErr_Format(PyExc_TypeError, "templates: %R is not a template", value);
        return NULL;
    }
    PyObject *fields = PyList_New(0);
    Py_ssize_t n = PySequence_Size(value);
    for (Py_ssize_t i = 0; fields && i < n; i++) {
        PyObject *field = PySequence_GetItem(value, i);
        long id = field ? attr_number(field, "id") : -1;
        long length = field && !PyErr_Occurred() ? attr_number(field, "length") : -1;
        PyObject *pen =
            field && !PyErr_Occurred() ? PyObject_GetAttrString(field, "enterprise_number") : NULL;
        if (!pen && PyErr_ExceptionMatches(PyExc_AttributeError) && field && id >= 0 &&
            length >= 0) {
            PyErr_Clear();
            pen = Py_None;
            Py_INCREF(pen);
        }
        PyObject *row = pen ? Py_BuildValue("(llO)", id, length, pen) : NULL;
        if (!row || PyList_Append(fields, row) < 0)
            Py_CLEAR(fields);
        Py_XDECREF(row);
        Py_XDECREF(pen);
        Py_XDECREF(field);
    }
    return fields ? Py_BuildValue("(NiO)", fields, 0, Py_False) : NULL;
}

/* Rows of a definition as octets of fields at p, of which `room` may be filled; octets, 0 with
 * an exception. */
static size_t put_rows(uint8_t *p, size_t room, enum py_form form, PyObject *rows,
                       struct py_row *copy)
{
    size_t at = 0;
    Py_ssize_t n = PyList_Size(rows);
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *row = PyList_GetItem(rows, i), *pen;
        long field, length;
        if (!row || !PyTuple_Check(row) || !PyArg_ParseTuple(row, "llO", &field, &length, &pen)) {
            if (!PyErr_Occurred())
                PyErr_SetString(
                    PyExc_TypeError,
                    "templates: fields are tuples (id, length, enterprise number or None)");
            return 0;
        }
        if (at + 8 > room) {
            PyErr_SetString(PyExc_ValueError, "templates: a template is larger than a packet");
            return 0;
        }
        long number = pen != Py_None ? PyLong_AsLong(pen) : -1;
        size_t octets = put_field(p + at, field, length, form == PY_FORM_IPFIX ? number : -1);
        if (!octets)
            return 0;
        copy[i] =
            (struct py_row){(uint16_t)field, (uint16_t)length, number > 0 ? (uint32_t)number : 0};
        at += octets;
    }
    return at;
}

/* A definition is a packet of its own; it goes to the decoder with nothing else in it. False
 * with an exception. */
static bool feed_definition(struct decoding *c, uint8_t *data, PyObject *rows, struct py_row *copy,
                            uint32_t domain, uint16_t id, uint32_t n_scope, bool options)
{
    uint32_t n = (uint32_t)PyList_Size(rows);
    size_t set = put_header(data, c->form, domain, 0), at = set + 4;
    put16(data + at, id);
    if (c->form == PY_FORM_IPFIX) {
        put16(data + at + 2, n);
        put16(data + at + 4, n_scope);
    } else {
        put16(data + at + 2, options ? n_scope * 4 : n);
        put16(data + at + 4, (n - n_scope) * 4);
    }
    at += options ? 6 : 4;
    size_t octets = put_rows(data + at, MAX_PACKET - 8 - at, c->form, rows, copy);
    if (!octets && PyErr_Occurred())
        return false;
    at += octets;
    while ((at - set) % 4)
        data[at++] = 0;
    put16(data + set, c->form == PY_FORM_IPFIX ? (options ? 3 : 2) : options ? 1 : 0);
    put16(data + set + 2, (unsigned)(at - set));
    if (c->form == PY_FORM_IPFIX)
        put16(data + 2, (unsigned)at);
    weir_err before = c->why;
    c->teaching = true;
    bool ok = feed(c, data, at);
    c->teaching = false;
    c->why = before; /* what is no template for the decoder is not recognised, below */
    c->undecoded = false;
    return ok;
}

/* Tell the decoder what a value of the caller's dict says; *handle: what says so, NULL when that
 * is no template. False with an exception. */
static bool teach(struct decoding *c, PyObject *value, uint32_t domain, uint16_t id,
                  py_handle **handle)
{
    *handle = NULL;
    PyObject *items = PyList_Check(value) ? PyList_AsTuple(value) : NULL;
    PyObject *definition = PyErr_Occurred() ? NULL : definition_of(value), *given;
    Py_ssize_t n_scope;
    int options;
    PyObject *rows = NULL; /* a copy, which nobody changes meanwhile */
    if (definition && PyTuple_Check(definition) &&
        PyArg_ParseTuple(definition, "O!np", &PyList_Type, &given, &n_scope, &options))
        rows = PyList_GetSlice(given, 0, PyList_Size(given));
    else if (definition && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError,
                        "templates: a definition is a tuple (fields, scopes, options)");
    Py_ssize_t n = rows ? PyList_Size(rows) : 0;
    if (rows && (n > MAX_PACKET / 4 || n_scope < 0 || n_scope > n)) {
        PyErr_Format(PyExc_ValueError, "templates: %zd fields of which %zd are scopes cannot be", n,
                     n_scope);
        Py_CLEAR(rows);
    }
    uint8_t *data = rows ? malloc(MAX_PACKET + 8) : NULL;
    struct py_row *copy = rows ? calloc((size_t)n + 1, sizeof *copy) : NULL;
    bool ok = data && copy;
    if (rows && !ok)
        PyErr_NoMemory();
    ok = ok && feed_definition(c, data, rows, copy, domain, id, (uint32_t)n_scope, options);
    uint64_t now = ok ? py_state_serial(c->state, c->form, domain, id) : 0;
    if (now) {
        *handle = py_handle_new(c->state, c->form, domain, id, now);
        ok = *handle != NULL;
    }
    if (*handle) {
        py_handle *h = *handle;
        h->options = options;
        h->shown = true;
        h->n = (uint32_t)n;
        h->n_scope = (uint32_t)n_scope;
        if (c->form == PY_FORM_IPFIX) {
            h->items = items;
            items = NULL;
        } else {
            h->rows = copy;
            copy = NULL;
        }
    }
    free(copy);
    free(data);
    Py_XDECREF(items);
    Py_XDECREF(rows);
    Py_XDECREF(definition);
    return ok;
}

static bool is_ipfix_reserved(unsigned id)
{
    return id < 2 || (id > 3 && id < 256);
}

/* The value of the dict for a number, borrowed; NULL: none, maybe with an exception. */
static PyObject *template_of(const struct decoding *c, unsigned id)
{
    PyObject *key = PyLong_FromLong((long)id);
    PyObject *value = key ? PyDict_GetItemWithError(c->templates, key) : NULL;
    Py_XDECREF(key);
    return value;
}

/* The decoder behind a value of the dict: one that nobody works with at the moment. */
static bool adopt(struct decoding *c, PyObject *value)
{
    Py_XINCREF(value); /* what looking at it runs may take it out of the dict */
    py_handle *h = value && value != Py_None ? py_handle_of(value) : NULL;
    Py_XDECREF(value);
    if (h && !h->state->busy) {
        Py_INCREF((PyObject *)h->state);
        c->state = h->state;
    }
    Py_XDECREF((PyObject *)h);
    return c->state != NULL;
}

/* The decoder for a packet: that of a template which it needs, else of any, else a new one.
 * False with an exception. */
static bool choose(struct decoding *c, const uint8_t *data, size_t len)
{
    for (size_t at = c->form == PY_FORM_IPFIX ? IPFIX_HEADER : V9_HEADER;
         !c->state && at + 4 <= len;) {
        unsigned id = (unsigned)weir_be(data + at, 2), octets = (unsigned)weir_be(data + at + 2, 2);
        PyObject *value = id >= 256 ? template_of(c, id) : NULL;
        if (octets < 4 || PyErr_Occurred() || adopt(c, value))
            break;
        at += octets;
    }
    PyObject *key, *value;
    Py_ssize_t cursor = 0;
    while (!c->state && !PyErr_Occurred() && PyDict_Next(c->templates, &cursor, &key, &value))
        if (adopt(c, value) || value != Py_None)
            break;
    if (PyErr_Occurred())
        return false;
    if (!c->state)
        c->state = py_state_new();
    if (c->state)
        c->state->busy = true;
    return c->state != NULL;
}

/* The decoder has to have what the dict has for a number. False with an exception. */
static bool agree(struct decoding *c, PyObject *value, uint32_t domain, uint16_t id)
{
    py_handle *h = py_handle_of(value), *taught = NULL;
    uint64_t have = py_state_serial(c->state, c->form, domain, id);
    /* Another domain's definition is used when this one has none of its own. */
    bool current = h && have && py_handle_is_of(h, c->state, c->form, id) &&
                   (h->domain != domain || (have == h->serial && py_handle_unchanged(value, h)));
    bool ok = current || teach(c, value, domain, id, &taught);
    if (taught && (!h || !py_handle_is_of(h, c->state, c->form, id) || h->domain == domain))
        py_handle_put(value, taught);
    Py_XDECREF((PyObject *)taught);
    Py_XDECREF((PyObject *)h);
    return ok && !PyErr_Occurred();
}

/* Before a packet: for each data set with a template in the dict the decoder has to have that
 * one. skipped[i]: set i is of a template that nobody knows yet, it may come behind it; *some:
 * there is such a one. False with an exception. */
static bool prepare(struct decoding *c, const uint8_t *data, size_t len, uint32_t domain,
                    bool *skipped, bool *some)
{
    if (!c->state && !choose(c, data, len))
        return false;
    size_t number = 0;
    for (size_t at = c->form == PY_FORM_IPFIX ? IPFIX_HEADER : V9_HEADER; at + 4 <= len; number++) {
        unsigned id = (unsigned)weir_be(data + at, 2), octets = (unsigned)weir_be(data + at + 2, 2);
        if (c->form == PY_FORM_IPFIX && is_ipfix_reserved(id)) {
            PyObject *type = PyObject_GetAttrString(py_class(PY_CLASS_IPFIX_MALFORMED), "reserved");
            if (type)
                PyErr_Format(type, "IPFIX set has forbidden ID %u", id);
            Py_XDECREF(type);
            return false;
        }
        if (octets < 4)
            break;
        at += octets;
        if (id < 256)
            continue;
        PyObject *value = template_of(c, id);
        if (!value && PyErr_Occurred())
            return false;
        skipped[number] = !value;
        *some |= !value;
        bool ok = true;
        if (!value || value == Py_None) {
            /* What is not in the dict is not known, whatever the decoder remembers. */
            ok = py_state_know(c->state, c->form, domain, (uint16_t)id, 0);
        } else {
            Py_INCREF(value);
            ok = agree(c, value, domain, (uint16_t)id);
            Py_DECREF(value);
        }
        if (!ok)
            return false;
    }
    return true;
}

/* Sets that could not be decoded because their templates came behind them: once more. False with
 * an exception. */
static bool retry(struct decoding *c, const uint8_t *data, size_t len, uint32_t domain,
                  const bool *skipped)
{
    size_t header = c->form == PY_FORM_IPFIX ? IPFIX_HEADER : V9_HEADER, number = 0;
    uint8_t *one = malloc(len);
    if (!one) {
        PyErr_NoMemory();
        return false;
    }
    bool ok = true;
    c->undecoded = false;
    size_t n_before = c->packet->n_spans;
    for (size_t at = header; ok && at + 4 <= len; number++) {
        unsigned octets = (unsigned)weir_be(data + at + 2, 2);
        if (octets < 4 || octets > len - at)
            break;
        bool again = skipped[number];
        for (size_t i = 0; again && i < n_before; i++) /* unless it stands behind its template */
            again = c->packet->spans[i].at < at || c->packet->spans[i].at >= at + octets;
        if (again) {
            put_header(one, c->form, domain, header + octets);
            memcpy(one + header, data + at, octets);
            c->shift = (uint32_t)(at - header);
            ok = feed(c, one, header + octets);
        }
        at += octets;
    }
    c->shift = 0;
    free(one);
    return ok;
}

/* Raise what the decoder said of the octets. */
static void raise_malformed(const struct decoding *c)
{
    enum py_class cls = PY_CLASS_MALFORMED;
    if (c->form == PY_FORM_IPFIX) {
        cls = PY_CLASS_IPFIX_MALFORMED;
        if (c->fault == WEIR_FAULT_TEMPLATE || c->fault == WEIR_FAULT_TEMPLATE_LIMIT)
            cls = PY_CLASS_IPFIX_TEMPLATE_ERROR;
        else if (c->fault == WEIR_FAULT_RECORD)
            cls = PY_CLASS_IPFIX_RECORD_ERROR;
    }
    PyObject *type = py_class(cls);
    const char *why = c->why.msg[0] ? c->why.msg : weir_status_text(c->why.code);
    if (type && c->full)
        PyErr_Format(type,
                     "%s: the templates dict holds as much as is kept for one, %d MiB; drop what "
                     "is not needed from it",
                     why, PY_STATE_MAX_OCTETS >> 20);
    else if (type)
        PyErr_Format(type, "%s", why);
}

static void spans_clear(py_packet *p)
{
    for (size_t i = 0; i < p->n_spans; i++) {
        Py_CLEAR(p->spans[i].plan);
        Py_CLEAR(p->spans[i].made);
    }
    p->n_spans = 0;
}

/* Teach what is needed, then decode. skipped: len / 4 + 1 of them, false; copy: len octets.
 * False with an exception. */
static bool decode_sets(struct decoding *c, const uint8_t *data, size_t len, bool *skipped,
                        uint8_t *copy)
{
    uint32_t domain =
        (uint32_t)weir_be(data + (c->form == PY_FORM_IPFIX ? IPFIX_HEADER : V9_HEADER) - 4, 4);
    bool some = false;
    if (!prepare(c, data, len, domain, skipped, &some))
        return false;
    memcpy(copy, data, len);
    put_header(copy, c->form, domain, len);
    if (!feed(c, copy, len))
        return false;
    return !(c->undecoded && !c->why.code && c->learnt && some) ||
           retry(c, data, len, domain, skipped);
}

/* Fields of the templates in the dict that have a handle. */
static size_t fields_held(const struct decoding *c)
{
    size_t n = 0;
    PyObject *all = PyDict_Values(c->templates);
    for (Py_ssize_t i = 0; all && i < PyList_Size(all); i++) {
        py_handle *h = py_handle_of(PyList_GetItem(all, i));
        n += h ? 1 + h->n : 0;
        Py_XDECREF((PyObject *)h);
    }
    PyErr_Clear();
    Py_XDECREF(all);
    return n;
}

/* The decoder is full. Unless that is due to what the dict has now, it forgets all, and the
 * packet is decoded once more. False with an exception. */
static bool decode_afresh(struct decoding *c, const uint8_t *data, size_t len, bool *skipped,
                          uint8_t *copy)
{
    if (fields_held(c) > PY_STATE_MAX_OCTETS / sizeof(weir_field) / 2)
        return true; /* what the decoder said is raised */
    if (!py_state_reset(c->state))
        return false;
    spans_clear(c->packet);
    c->full = c->undecoded = false;
    c->why = (weir_err){0};
    memset(skipped, 0, len / 4 + 1);
    return decode_sets(c, data, len, skipped, copy);
}

static bool decode_templated(struct decoding *c, const uint8_t *data, size_t len)
{
    uint8_t small[2560]; /* enough for a datagram on most networks */
    size_t n_sets = len / 4 + 1;
    uint8_t *copy = len + n_sets <= sizeof small ? small : malloc(len + n_sets);
    if (!copy) {
        PyErr_NoMemory();
        return false;
    }
    bool *skipped = (bool *)(copy + len);
    memset(skipped, 0, n_sets);
    bool ok = decode_sets(c, data, len, skipped, copy);
    if (ok && c->full)
        ok = decode_afresh(c, data, len, skipped, copy);
    if (copy != small)
        free(copy);
    c->packet->new_templates = c->learnt;
    if (!ok)
        return false;
    if (c->why.code) {
        raise_malformed(c);
        return false;
    }
    if (c->undecoded) {
        PyObject *type = py_class(c->form == PY_FORM_IPFIX ? PY_CLASS_IPFIX_NOT_RECOGNIZED
                                                           : PY_CLASS_V9_NOT_RECOGNIZED);
        if (type)
            PyErr_SetString(type, "a data set's template is not in the templates that were passed");
        return false;
    }
    return true;
}

/* A packet of v1, v5 or v7: so many records of one size. What is wrong with one that has not the
 * octets that it announces, the decoder says. False with an exception. */
static bool decode_fixed(struct decoding *c, const uint8_t *data, size_t len, size_t header)
{
    static const struct {
        uint8_t version, stride;
    } formats[] = {[PY_FORM_V1] = {1, 48}, [PY_FORM_V5] = {5, 48}, [PY_FORM_V7] = {7, 52}};
    static py_state *state;
    PyObject *plan = fixed_plan(c->form);
    if (!plan)
        return false;
    size_t stride = formats[c->form].stride, n = (size_t)weir_be(data + 2, 2);
    if (n * stride <= len - header) {
        struct span *s = n ? span_add(c) : NULL;
        if (s) {
            *s = (struct span){
                .plan = plan, .at = (uint32_t)header, .stride = (uint32_t)stride, .n = (uint32_t)n};
            Py_INCREF(plan);
        }
        return s || !n;
    }
    if (!state && !(state = py_state_new()))
        return false;
    Py_INCREF((PyObject *)state);
    c->state = state;
    uint8_t *copy = malloc(len);
    if (!copy) {
        PyErr_NoMemory();
        return false;
    }
    memcpy(copy, data, len);
    put16(copy, formats[c->form].version); /* a class reads what it is given as its own version */
    memset(copy + 4, 0, header - 4);       /* clocks stand still */
    bool ok = feed(c, copy, len);
    free(copy);
    if (ok && c->why.code) {
        raise_malformed(c);
        ok = false;
    }
    return ok;
}

/* _decode(data, version, templates or None) */
static PyObject *packet_decode(PyObject *self, PyObject *args)
{
    py_packet *p = (py_packet *)self;
    if (PyTuple_Size(args) != 3) { /* PyArg_ParseTuple takes its time */
        PyErr_SetString(PyExc_TypeError, "_decode: data, version and templates are needed");
        return NULL;
    }
    PyObject *raw = PyTuple_GetItem(args, 0), *templates = PyTuple_GetItem(args, 2);
    long version = PyLong_AsLong(PyTuple_GetItem(args, 1));
    if (version == -1 && PyErr_Occurred())
        return NULL;
    if (p->raw || p->n_spans || p->flows) {
        PyErr_SetString(PyExc_RuntimeError, "_decode: the packet has been decoded");
        return NULL;
    }
    struct decoding c = {.packet = p};
    size_t header;
    switch (version) {
    case 1:
        c.form = PY_FORM_V1;
        header = 16;
        break;
    case 5:
        c.form = PY_FORM_V5;
        header = 24;
        break;
    case 7:
        c.form = PY_FORM_V7;
        header = 24;
        break;
    case 9:
        c.form = PY_FORM_V9;
        header = V9_HEADER;
        break;
    case 10:
        c.form = PY_FORM_IPFIX;
        header = IPFIX_HEADER;
        break;
    default:
        PyErr_Format(PyExc_ValueError, "_decode: no version %ld", version);
        return NULL;
    }
    if (version >= 9 && !PyDict_Check(templates)) {
        PyErr_Format(PyExc_TypeError, "templates must be a dict, not %R",
                     (PyObject *)Py_TYPE(templates));
        return NULL;
    }
    c.templates = version >= 9 ? templates : NULL;
    raw = PyBytes_FromObject(raw); /* the same object when it is bytes */
    if (!raw)
        return NULL;
    p->raw = raw;
    Py_XINCREF(c.templates);
    p->templates = c.templates;
    const uint8_t *data = (const uint8_t *)PyBytes_AsString(raw);
    size_t len = (size_t)PyBytes_Size(raw);
    if (len < header) {
        c.why = (weir_err){.code = WEIR_ETRUNC, .msg = "packet is shorter than its header"};
        raise_malformed(&c);
        return NULL;
    }
    if (version == 10) { /* what stands behind the message is not looked at */
        size_t said = (size_t)weir_be(data + 2, 2);
        if (said < header || said > len) {
            c.why = (weir_err){.code = WEIR_ETRUNC,
                               .msg = "message length is below 16 or beyond the packet"};
            c.fault = WEIR_N_FAULT;
            raise_malformed(&c);
            return NULL;
        }
        len = said;
    }
    if (len > MAX_PACKET) {
        c.why = (weir_err){.code = WEIR_EFORMAT, .msg = "packet is longer than 65535 octets"};
        raise_malformed(&c);
        return NULL;
    }
    bool ok = version >= 9 ? decode_templated(&c, data, len) : decode_fixed(&c, data, len, header);
    if (c.state) {
        c.state->busy = false;
        Py_DECREF((PyObject *)c.state);
    }
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

/* Records of a span into the places of a list from `at` on. 0, or -1 with an exception. */
static int span_records(const struct span *s, const uint8_t *data, PyObject *list, Py_ssize_t at)
{
    if (!s->made)
        return py_plan_records(s->plan, list, at, data + s->at, s->stride, (Py_ssize_t)s->n);
    Py_ssize_t n = PyList_Size(s->made);
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *record = PyList_GetItem(s->made, i);
        Py_INCREF(record);
        if (PyList_SetItem(list, at + i, record) < 0)
            return -1;
    }
    return 0;
}

static Py_ssize_t span_size(const struct span *s)
{
    return s->made ? PyList_Size(s->made) : (Py_ssize_t)s->n;
}

/* Lists of flows or of options records, made when first asked for. */
static PyObject *packet_list(py_packet *p, bool options)
{
    PyObject **place = options ? &p->options : &p->flows;
    if (!*place) {
        Py_ssize_t n = 0, at = 0;
        for (size_t i = 0; i < p->n_spans; i++)
            n += p->spans[i].options == options ? span_size(&p->spans[i]) : 0;
        PyObject *list = PyList_New(n);
        const uint8_t *data = p->raw ? (const uint8_t *)PyBytes_AsString(p->raw) : NULL;
        for (size_t i = 0; list && i < p->n_spans; i++) {
            const struct span *s = &p->spans[i];
            if (s->options != options)
                continue;
            if (span_records(s, data, list, at) < 0)
                Py_CLEAR(list);
            at += span_size(s);
        }
        if (!list)
            return NULL;
        PyObject *before = *place; /* what ran meanwhile may have made one */
        *place = list;
        Py_XDECREF(before);
    }
    Py_INCREF(*place);
    return *place;
}

static PyObject *packet_get_flows(PyObject *self, void *closure)
{
    (void)closure;
    return packet_list((py_packet *)self, false);
}

static PyObject *packet_get_options(PyObject *self, void *closure)
{
    (void)closure;
    return packet_list((py_packet *)self, true);
}

static int packet_set(PyObject **place, PyObject *value)
{
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "cannot be deleted");
        return -1;
    }
    PyObject *old = *place;
    Py_INCREF(value);
    *place = value;
    Py_XDECREF(old);
    return 0;
}

static int packet_set_flows(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    return packet_set(&((py_packet *)self)->flows, value);
}

static int packet_set_options(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    return packet_set(&((py_packet *)self)->options, value);
}

static PyObject *packet_get_new(PyObject *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(((py_packet *)self)->new_templates);
}

static int packet_set_new(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    int is = value ? PyObject_IsTrue(value) : 0;
    if (is < 0)
        return -1;
    ((py_packet *)self)->new_templates = is != 0;
    return 0;
}

/* The header, made by the class's _header_type when it is first asked for; a new reference. */
static PyObject *packet_get_header(PyObject *self, void *closure)
{
    (void)closure;
    py_packet *p = (py_packet *)self;
    PyObject *header = p->own ? PyDict_GetItemWithError(p->own, header_name) : NULL;
    if (header || PyErr_Occurred()) {
        Py_XINCREF(header);
        return header;
    }
    if (!p->raw) {
        PyErr_SetString(PyExc_AttributeError, "header");
        return NULL;
    }
    PyObject *type = PyObject_GetAttrString(self, "_header_type");
    header = type ? PyObject_CallFunctionObjArgs(type, p->raw, NULL) : NULL;
    Py_XDECREF(type);
    if (header &&
        ((!p->own && !(p->own = PyDict_New())) || PyDict_SetItem(p->own, header_name, header) < 0))
        Py_CLEAR(header);
    return header;
}

static int packet_set_header(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    py_packet *p = (py_packet *)self;
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "cannot be deleted");
        return -1;
    }
    if (!p->own && !(p->own = PyDict_New()))
        return -1;
    return PyDict_SetItem(p->own, header_name, value);
}

static PyObject *packet_get_dict(PyObject *self, void *closure)
{
    (void)closure;
    py_packet *p = (py_packet *)self;
    PyObject *header = p->raw ? packet_get_header(self, NULL) : NULL;
    if (!header && PyErr_Occurred())
        return NULL;
    Py_XDECREF(header);
    if (!p->own && !(p->own = PyDict_New()))
        return NULL;
    Py_INCREF(p->own);
    return p->own;
}

/* [(octets from the start of the packet, records, options)] */
static PyObject *packet_places(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_packet *p = (py_packet *)self;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < p->n_spans; i++) {
        const struct span *s = &p->spans[i];
        PyObject *row =
            Py_BuildValue("(InO)", (unsigned)s->at, span_size(s), s->options ? Py_True : Py_False);
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static int packet_traverse(PyObject *self, visitproc visit, void *arg)
{
    py_packet *p = (py_packet *)self;
    Py_VISIT((PyObject *)Py_TYPE(self));
    Py_VISIT(p->own);
    Py_VISIT(p->templates);
    Py_VISIT(p->flows);
    Py_VISIT(p->options);
    for (size_t i = 0; i < p->n_spans; i++)
        Py_VISIT(p->spans[i].made);
    return 0;
}

static int packet_clear(PyObject *self)
{
    py_packet *p = (py_packet *)self;
    Py_CLEAR(p->own);
    Py_CLEAR(p->templates);
    Py_CLEAR(p->raw);
    Py_CLEAR(p->flows);
    Py_CLEAR(p->options);
    spans_clear(p);
    return 0;
}

static void packet_dealloc(PyObject *self)
{
    py_packet *p = (py_packet *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (p->weakrefs)
        PyObject_ClearWeakRefs(self);
    packet_clear(self);
    free(p->spans);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF((PyObject *)type);
}

static PyMemberDef packet_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(py_packet, own), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(py_packet, weakrefs), READONLY, NULL},
    {"_raw", T_OBJECT, offsetof(py_packet, raw), READONLY, "The octets."},
    {"_templates", T_OBJECT, offsetof(py_packet, templates), 0,
     "The dict of templates that was passed."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef packet_getset[] = {
    {"__dict__", packet_get_dict, NULL, "Attributes.", NULL},
    {"header", packet_get_header, packet_set_header, "The header of the packet.", NULL},
    {"flows", packet_get_flows, packet_set_flows, "Data records, a list.", NULL},
    {"options", packet_get_options, packet_set_options, "Options data records, a list.", NULL},
    {"_new_templates", packet_get_new, packet_set_new, "The packet brought a template.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef packet_methods[] = {
    {"_decode", packet_decode, METH_VARARGS, "_decode(data, version, templates or None)"},
    {"_places", packet_places, METH_NOARGS, "Where records stand: [(octet, records, options)]"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot packet_slots[] = {
    {Py_tp_doc, (void *)"An export packet: flows and options records, made when first asked for."},
    {Py_tp_dealloc, (void *)packet_dealloc},
    {Py_tp_traverse, (void *)packet_traverse},
    {Py_tp_clear, (void *)packet_clear},
    {Py_tp_members, packet_members},
    {Py_tp_getset, packet_getset},
    {Py_tp_methods, packet_methods},
    {0, NULL},
};
static PyType_Spec packet_spec = {"netflow._weir.Packet", sizeof(py_packet), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                                  packet_slots};

int weir_py_add_packet(PyObject *module)
{
    packet_type = (PyTypeObject *)PyType_FromSpec(&packet_spec);
    header_name = PyUnicode_InternFromString("header");
    if (!packet_type || !header_name)
        return -1;
    Py_INCREF((PyObject *)packet_type);
    if (PyModule_AddObject(module, "Packet", (PyObject *)packet_type) < 0) {
        Py_DECREF((PyObject *)packet_type);
        return -1;
    }
    return 0;
}
