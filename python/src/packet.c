/* packet -- one export packet: what it says of templates goes into the caller's dict, its records become flows when they are
 * first asked for.
 *
 * The caller's dict of templates is what counts. Behind its values stands a decoder: the values that a decoder made know it
 * (their handle), and what it does not know, or no longer as the dict has it, is taught to it as a template set before a
 * packet is decoded. */
#include "ext.h"

#include <stddef.h>
#include <stdlib.h>
#include <structmember.h>

static PyTypeObject *state_type, *handle_type, *packet_type;

/* ---- a decoder and what it knows ---- */

/* (domain, id) -> serial of the definition in force; open addressing, serial 0 is free. */
struct known {
    uint32_t domain;
    uint16_t id;
    uint64_t serial;
};

typedef struct {
    PyObject_HEAD
    weir_decoder *decoder;
    struct known *known;
    size_t n_known, cap_known; /* a power of two */
    PyObject *plans;           /* dict: serial to plan */
} py_state;

typedef struct {
    PyObject_HEAD
    py_state *state;
    uint32_t domain;
    uint16_t id;
    uint64_t serial;
} py_handle;

static void state_dealloc(PyObject *self)
{
    py_state *s = (py_state *)self;
    weir_decoder_free(s->decoder);
    free(s->known);
    Py_XDECREF(s->plans);
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF((PyObject *)type);
}

static void handle_dealloc(PyObject *self)
{
    Py_XDECREF((PyObject *)((py_handle *)self)->state);
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF((PyObject *)type);
}

static py_state *state_new(void)
{
    py_state *s = (py_state *)((allocfunc)PyType_GetSlot(state_type, Py_tp_alloc))(state_type, 0);
    if (!s)
        return NULL;
    /* The dict decides what is kept: no domain or template makes room for others, nothing waits. */
    const weir_decoder_options o = {.max_templates = 65280, .max_exporter_streams = 65536, .max_waiting_octets = 1,
                                    .max_waiting_total = 1, .max_state_octets = (size_t)1 << 30};
    weir_err err = {0};
    s->decoder = weir_decoder_new(&o, &err);
    s->plans = s->decoder ? PyDict_New() : NULL;
    if (!s->decoder)
        PyErr_Format(PyExc_MemoryError, "%s", err.msg);
    if (!s->plans) {
        Py_DECREF((PyObject *)s);
        return NULL;
    }
    return s;
}

static struct known *known_slot(struct known *slots, size_t cap, uint32_t domain, uint16_t id)
{
    size_t at = (size_t)((((uint64_t)domain << 16 | id) * 0x9e3779b97f4a7c15) >> 20) & (cap - 1);
    while (slots[at].serial && (slots[at].domain != domain || slots[at].id != id))
        at = (at + 1) & (cap - 1);
    return &slots[at];
}

/* The definition that the decoder has; 0: none. */
static uint64_t state_serial(const py_state *s, uint32_t domain, uint16_t id)
{
    return s->cap_known ? known_slot(s->known, s->cap_known, domain, id)->serial : 0;
}

static bool state_know(py_state *s, uint32_t domain, uint16_t id, uint64_t serial)
{
    if (2 * (s->n_known + 1) > s->cap_known) {
        size_t cap = s->cap_known ? 2 * s->cap_known : 64;
        struct known *grown = calloc(cap, sizeof *grown);
        if (!grown)
            return false;
        for (size_t i = 0; i < s->cap_known; i++)
            if (s->known[i].serial)
                *known_slot(grown, cap, s->known[i].domain, s->known[i].id) = s->known[i];
        free(s->known);
        s->known = grown;
        s->cap_known = cap;
    }
    struct known *slot = known_slot(s->known, s->cap_known, domain, id);
    s->n_known += !slot->serial;
    *slot = (struct known){domain, id, serial};
    return true;
}

static PyObject *handle_new(py_state *s, uint32_t domain, uint16_t id, uint64_t serial)
{
    py_handle *h = (py_handle *)((allocfunc)PyType_GetSlot(handle_type, Py_tp_alloc))(handle_type, 0);
    if (!h)
        return NULL;
    Py_INCREF((PyObject *)s);
    h->state = s;
    h->domain = domain;
    h->id = id;
    h->serial = serial;
    return (PyObject *)h;
}

/* The handle of a value of the caller's dict; NULL: it has none. A new reference. */
static py_handle *handle_of(PyObject *value)
{
    PyObject *handle = PyObject_GetAttrString(value, "_handle");
    if (!handle) {
        PyErr_Clear();
        return NULL;
    }
    if (Py_TYPE(handle) != handle_type) {
        Py_DECREF(handle);
        return NULL;
    }
    return (py_handle *)handle;
}

/* ---- packets ---- */

/* Records that stand one behind the other in the packet and have one plan; or objects that were made at once. */
struct span {
    PyObject *plan;
    PyObject *made; /* list, NULL: not yet */
    uint32_t at;    /* octets from the start of the packet */
    uint32_t stride, n;
    bool options;
};

typedef struct {
    PyObject_HEAD
    PyObject *own;     /* attributes */
    PyObject *raw;     /* bytes, while flows are to be made */
    PyObject *flows;   /* list, NULL: not yet */
    PyObject *options; /* the same */
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
    weir_fault fault;
    weir_err why; /* code 0: nothing is wrong */
};

static PyObject *plan_of(struct decoding *c, const weir_record *r)
{
    /* The templates of v1, v5 and v7 are not learnt: their serials say nothing. */
    uint64_t number = r->tmpl->serial * PY_N_FORMS + (uint64_t)c->form;
    PyObject *key = PyLong_FromUnsignedLongLong(number);
    if (!key)
        return NULL;
    PyObject *plan = PyDict_GetItemWithError(c->state->plans, key);
    if (plan) {
        Py_INCREF(plan);
    } else if (!PyErr_Occurred()) {
        enum { MAX_PLANS = 8192 };
        if (PyDict_Size(c->state->plans) >= MAX_PLANS)
            PyDict_Clear(c->state->plans);
        plan = py_plan_new(c->form, r->tmpl, number);
        if (plan && PyDict_SetItem(c->state->plans, key, plan) < 0)
            Py_CLEAR(plan);
    }
    Py_DECREF(key);
    return plan;
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
    } else if (last && last->plan == plan && last->at + last->n * last->stride == at && last->stride == r->len) {
        last->n += (uint32_t)n;
    } else {
        last = span_add(c);
        if (last) {
            *last = (struct span){.plan = plan, .at = at, .stride = r->len, .n = (uint32_t)n, .options = options};
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

/* The fields of a template as a list of (id, length, enterprise number or None). */
static PyObject *template_fields(const weir_template *t)
{
    PyObject *fields = PyList_New(0);
    for (uint32_t i = 0; fields && i < t->n_fields; i++) {
        const weir_field *f = &t->fields[i];
        const weir_element *e = f->element;
        PyObject *row = e->pen ? Py_BuildValue("(HHI)", e->id, f->length, (unsigned)e->pen)
                               : Py_BuildValue("(HHO)", e->id, f->length, Py_None);
        if (!row || PyList_Append(fields, row) < 0)
            Py_CLEAR(fields);
        Py_XDECREF(row);
    }
    return fields;
}

static bool learn(struct decoding *c, const weir_packet *p, const weir_template *t, weir_template_event event)
{
    PyObject *id = PyLong_FromUnsignedLong(t->id);
    if (!id)
        return false;
    bool ok = true;
    if (event == WEIR_TEMPLATE_WITHDRAWN || event == WEIR_TEMPLATE_EXPIRED) {
        ok = state_know(c->state, p->domain, t->id, 0) || PyErr_NoMemory();
        int has = c->teaching ? 0 : PyDict_Contains(c->templates, id);
        ok = ok && has >= 0 && (!has || PyDict_DelItem(c->templates, id) == 0);
        Py_DECREF(id);
        return ok;
    }
    if (!state_know(c->state, p->domain, t->id, t->serial)) {
        PyErr_NoMemory();
        Py_DECREF(id);
        return false;
    }
    if (!c->teaching) {
        PyObject *old = PyDict_GetItemWithError(c->templates, id);
        ok = old || !PyErr_Occurred();
        py_handle *h = old ? handle_of(old) : NULL;
        bool same = h && h->state == c->state && h->domain == p->domain && h->id == t->id && h->serial == t->serial;
        Py_XDECREF((PyObject *)h);
        c->learnt |= !old;
        /* An IPFIX packet with a template set counts as one with new templates, as in 0.12.2. */
        c->learnt |= c->form == PY_FORM_IPFIX;
        if (ok && !same) {
            PyObject *make = py_class(c->form == PY_FORM_IPFIX ? PY_CLASS_IPFIX_TEMPLATE : PY_CLASS_V9_TEMPLATE);
            PyObject *fields = make ? template_fields(t) : NULL;
            PyObject *handle = fields ? handle_new(c->state, p->domain, t->id, t->serial) : NULL;
            PyObject *value = handle ? PyObject_CallFunction(make, "HOIOO", t->id, fields, (unsigned)t->n_scope,
                                                             t->options ? Py_True : Py_False, handle)
                                     : NULL;
            ok = value && PyDict_SetItem(c->templates, id, value) == 0;
            Py_XDECREF(value);
            Py_XDECREF(handle);
            Py_XDECREF(fields);
        }
    }
    Py_DECREF(id);
    return ok;
}

static void on_template(void *user, const weir_packet *p, const weir_template *t, weir_template_event event)
{
    struct decoding *c = user;
    if (!c->failed && !learn(c, p, t, event))
        c->failed = true;
}

static void on_fault(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    (void)p;
    struct decoding *c = user;
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

/* A header whose clock and numbers stand still, so that the order in which packets are decoded does not matter. */
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
    if (id < 0 || id > 0xffff || length < 0 || length > 0xffff || pen < -1 || pen > (long)UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "templates: a field with id %ld and length %ld cannot be", id, length);
        return 0;
    }
    put16(p, pen >= 0 ? (unsigned)id | 0x8000u : (unsigned)id);
    put16(p + 2, (unsigned)length);
    if (pen < 0)
        return 4;
    put32(p + 4, (uint32_t)pen);
    return 8;
}

/* The definition that a value of the caller's dict stands for, as a list of (id, length, enterprise number or None) and the
 * number of scopes: what its method _definition says, or a plain sequence of named tuples as IPFIX has them. A new reference
 * to a tuple (fields, scopes, options), NULL with an exception. */
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
        PyObject *pen = field && !PyErr_Occurred() ? PyObject_GetAttrString(field, "enterprise_number") : NULL;
        if (!pen && PyErr_ExceptionMatches(PyExc_AttributeError) && field && id >= 0 && length >= 0) {
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

/* Tell the decoder what a value of the caller's dict says. False with an exception. */
static bool teach(struct decoding *c, PyObject *value, uint32_t domain, uint16_t id)
{
    PyObject *definition = definition_of(value), *fields;
    long n_scope;
    int options;
    if (!definition)
        return false;
    if (!PyTuple_Check(definition) || !PyArg_ParseTuple(definition, "O!lp", &PyList_Type, &fields, &n_scope, &options)) {
        Py_DECREF(definition);
        return false;
    }
    Py_ssize_t n = PyList_Size(fields);
    uint8_t *data = n <= MAX_PACKET / 8 ? malloc(MAX_PACKET + 64) : NULL;
    size_t at = 0, set = 0;
    bool ok = data != NULL;
    if (!ok)
        PyErr_Format(PyExc_ValueError, "templates: %zd fields are more than a template can have", n);
    if (ok) {
        set = put_header(data, c->form, domain, 0);
        at = set + 4;
        put16(data + at, id);
        if (c->form == PY_FORM_IPFIX) {
            put16(data + at + 2, (unsigned)n);
            put16(data + at + 4, (unsigned)n_scope);
            at += options ? 6 : 4;
        } else {
            put16(data + at + 2, options ? (unsigned)n_scope * 4 : (unsigned)n);
            put16(data + at + 4, ((unsigned)n - (unsigned)n_scope) * 4);
            at += options ? 6 : 4;
        }
    }
    for (Py_ssize_t i = 0; ok && i < n; i++) {
        PyObject *row = PyList_GetItem(fields, i), *pen;
        long field, length;
        ok = PyTuple_Check(row) && PyArg_ParseTuple(row, "llO", &field, &length, &pen);
        long number = ok && pen != Py_None ? PyLong_AsLong(pen) : -1;
        size_t octets = ok ? put_field(data + at, field, length, c->form == PY_FORM_IPFIX ? number : -1) : 0;
        ok = octets > 0;
        at += octets;
        if (ok && at > MAX_PACKET - 8) {
            PyErr_SetString(PyExc_ValueError, "templates: a template is larger than a packet");
            ok = false;
        }
    }
    if (ok) {
        while ((at - set) % 4)
            data[at++] = 0;
        put16(data + set, c->form == PY_FORM_IPFIX ? (options ? 3 : 2) : options ? 1 : 0);
        put16(data + set + 2, (unsigned)(at - set));
        if (c->form == PY_FORM_IPFIX)
            put16(data + 2, (unsigned)at);
        weir_err before = c->why;
        c->teaching = true;
        ok = feed(c, data, at);
        c->teaching = false;
        c->why = before; /* what is no template for the decoder is not recognised, below */
        c->undecoded = false;
    }
    free(data);
    Py_DECREF(definition);
    return ok;
}

static bool is_ipfix_reserved(unsigned id)
{
    return id < 2 || (id > 3 && id < 256);
}

/* Before a packet: for each data set with a template in the dict the decoder has to have that one. *state: the decoder behind
 * the first value that has one. False with an exception. */
static bool prepare(struct decoding *c, const uint8_t *data, size_t len, uint32_t domain)
{
    size_t header = c->form == PY_FORM_IPFIX ? IPFIX_HEADER : V9_HEADER;
    /* The decoder: of a template that the packet needs, else of any. */
    for (int round = 0; round < 2; round++) {
        for (size_t at = header; at + 4 <= len;) {
            unsigned id = (unsigned)weir_be(data + at, 2), octets = (unsigned)weir_be(data + at + 2, 2);
            if (octets < 4)
                break;
            at += octets;
            if (id < 256)
                continue;
            PyObject *key = PyLong_FromUnsignedLong(id);
            PyObject *value = key ? PyDict_GetItemWithError(c->templates, key) : NULL;
            Py_XDECREF(key);
            if (!value && PyErr_Occurred())
                return false;
            if (!value || value == Py_None)
                continue;
            Py_INCREF(value);
            py_handle *h = handle_of(value);
            bool ok = true;
            if (round == 0 && h && !c->state) {
                Py_INCREF((PyObject *)h->state);
                c->state = h->state;
            } else if (round == 1) {
                uint64_t have = state_serial(c->state, domain, (uint16_t)id);
                /* Another domain's definition is used when this one has none of its own. */
                bool current = h && h->state == c->state && h->id == id &&
                               (h->domain == domain ? have == h->serial : have != 0);
                if (!current) {
                    ok = teach(c, value, domain, (uint16_t)id);
                    uint64_t now = ok ? state_serial(c->state, domain, (uint16_t)id) : 0;
                    PyObject *handle = now && (!h || h->state != c->state || h->domain == domain)
                                           ? handle_new(c->state, domain, (uint16_t)id, now)
                                           : NULL;
                    if (handle && PyObject_SetAttrString(value, "_handle", handle) < 0)
                        PyErr_Clear(); /* a plain list: is taught again each time */
                    Py_XDECREF(handle);
                    ok = ok && !PyErr_Occurred();
                }
            }
            Py_XDECREF((PyObject *)h);
            Py_DECREF(value);
            if (!ok)
                return false;
        }
        if (round == 0 && !c->state) {
            PyObject *key, *value;
            Py_ssize_t cursor = 0;
            while (!c->state && PyDict_Next(c->templates, &cursor, &key, &value)) {
                py_handle *h = value != Py_None ? handle_of(value) : NULL;
                if (h) {
                    Py_INCREF((PyObject *)h->state);
                    c->state = h->state;
                    Py_DECREF((PyObject *)h);
                }
                break;
            }
            if (!c->state && !(c->state = state_new()))
                return false;
        }
    }
    return true;
}

/* Sets that could not be decoded because their templates came behind them: once more. False with an exception. */
static bool retry(struct decoding *c, const uint8_t *data, size_t len, uint32_t domain, const bool *skipped)
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
    if (type)
        PyErr_Format(type, "%s", c->why.msg[0] ? c->why.msg : weir_status_text(c->why.code));
}

static bool decode_templated(struct decoding *c, const uint8_t *data, size_t len)
{
    size_t header = c->form == PY_FORM_IPFIX ? IPFIX_HEADER : V9_HEADER;
    uint32_t domain = (uint32_t)weir_be(data + header - 4, 4);
    if (!prepare(c, data, len, domain))
        return false;
    /* Which data sets nobody knows yet: they may be told of behind them. */
    bool *skipped = calloc(len / 4 + 1, 1);
    uint8_t *copy = malloc(len);
    bool ok = skipped && copy;
    if (!ok)
        PyErr_NoMemory();
    size_t number = 0;
    bool some = false;
    for (size_t at = header; ok && at + 4 <= len; number++) {
        unsigned id = (unsigned)weir_be(data + at, 2), octets = (unsigned)weir_be(data + at + 2, 2);
        if (c->form == PY_FORM_IPFIX && is_ipfix_reserved(id)) {
            PyObject *type = PyObject_GetAttrString(py_class(PY_CLASS_IPFIX_MALFORMED), "reserved");
            if (type)
                PyErr_Format(type, "IPFIX set has forbidden ID %u", id);
            Py_XDECREF(type);
            ok = false;
        }
        if (id >= 256) {
            PyObject *key = PyLong_FromUnsignedLong(id);
            int has = key ? PyDict_Contains(c->templates, key) : -1;
            Py_XDECREF(key);
            ok = ok && has >= 0;
            skipped[number] = has == 0;
            some |= has == 0;
            /* What is not in the dict is not known, whatever the decoder remembers. */
            if (has == 0 && state_serial(c->state, domain, (uint16_t)id)) {
                state_know(c->state, domain, (uint16_t)id, 0);
            }
        }
        if (octets < 4)
            break;
        at += octets;
    }
    if (ok) {
        memcpy(copy, data, len);
        put_header(copy, c->form, domain, len);
        ok = feed(c, copy, len);
    }
    if (ok && c->undecoded && !c->why.code && c->learnt && some)
        ok = retry(c, data, len, domain, skipped);
    free(copy);
    free(skipped);
    c->packet->new_templates = c->learnt;
    if (!ok)
        return false;
    if (c->why.code) {
        raise_malformed(c);
        return false;
    }
    if (c->undecoded) {
        PyObject *type = py_class(c->form == PY_FORM_IPFIX ? PY_CLASS_IPFIX_NOT_RECOGNIZED : PY_CLASS_V9_NOT_RECOGNIZED);
        if (type)
            PyErr_SetString(type, "a data set's template is not in the templates that were passed");
        return false;
    }
    return true;
}

static py_state *fixed_state; /* of all v1, v5 and v7 packets */

static bool decode_fixed(struct decoding *c, const uint8_t *data, size_t len)
{
    if (!fixed_state && !(fixed_state = state_new()))
        return false;
    Py_INCREF((PyObject *)fixed_state);
    c->state = fixed_state;
    uint8_t *copy = malloc(len);
    if (!copy) {
        PyErr_NoMemory();
        return false;
    }
    static const uint8_t versions[] = {[PY_FORM_V1] = 1, [PY_FORM_V5] = 5, [PY_FORM_V7] = 7};
    memcpy(copy, data, len); /* len >= 16 */
    put16(copy, versions[c->form]); /* a class reads what it is given as its own version */
    memset(copy + 4, 0, 12);        /* clocks stand still */
    if (c->form != PY_FORM_V1 && len >= 24)
        memset(copy + 16, 0, 8); /* sequence, engine and sampling */
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
    PyObject *raw, *templates;
    int version;
    if (!PyArg_ParseTuple(args, "OiO:_decode", &raw, &version, &templates))
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
        PyErr_Format(PyExc_ValueError, "_decode: no version %d", version);
        return NULL;
    }
    if (version >= 9 && !PyDict_Check(templates)) {
        PyErr_Format(PyExc_TypeError, "templates must be a dict, not %R", (PyObject *)Py_TYPE(templates));
        return NULL;
    }
    c.templates = version >= 9 ? templates : NULL;
    raw = PyBytes_FromObject(raw); /* the same object when it is bytes */
    if (!raw)
        return NULL;
    p->raw = raw;
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
            c.why = (weir_err){.code = WEIR_ETRUNC, .msg = "message length is below 16 or beyond the packet"};
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
    bool ok = version >= 9 ? decode_templated(&c, data, len) : decode_fixed(&c, data, len);
    Py_XDECREF((PyObject *)c.state);
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

/* Lists of flows or of options records, made when first asked for. */
static PyObject *packet_list(py_packet *p, bool options)
{
    PyObject **place = options ? &p->options : &p->flows;
    if (!*place) {
        PyObject *list = PyList_New(0);
        const uint8_t *data = p->raw ? (const uint8_t *)PyBytes_AsString(p->raw) : NULL;
        for (size_t i = 0; list && i < p->n_spans; i++) {
            struct span *s = &p->spans[i];
            if (s->options != options)
                continue;
            int failed;
            if (s->made)
                failed = PyList_SetSlice(list, PyList_Size(list), PyList_Size(list), s->made);
            else
                failed = py_plan_records(s->plan, list, data + s->at, s->stride, (Py_ssize_t)s->n);
            if (failed)
                Py_CLEAR(list);
        }
        if (!list)
            return NULL;
        *place = list;
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

static PyObject *packet_get_dict(PyObject *self, void *closure)
{
    (void)closure;
    py_packet *p = (py_packet *)self;
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
        PyObject *row = Py_BuildValue("(InO)", (unsigned)s->at, s->made ? PyList_Size(s->made) : (Py_ssize_t)s->n,
                                      s->options ? Py_True : Py_False);
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static void spans_clear(py_packet *p)
{
    for (size_t i = 0; i < p->n_spans; i++) {
        Py_CLEAR(p->spans[i].plan);
        Py_CLEAR(p->spans[i].made);
    }
    p->n_spans = 0;
}

static int packet_traverse(PyObject *self, visitproc visit, void *arg)
{
    py_packet *p = (py_packet *)self;
    Py_VISIT((PyObject *)Py_TYPE(self));
    Py_VISIT(p->own);
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
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef packet_getset[] = {
    {"__dict__", packet_get_dict, NULL, "Attributes.", NULL},
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
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, packet_slots};

static PyType_Slot state_slots[] = {
    {Py_tp_doc, (void *)"What stands behind a dict of templates."},
    {Py_tp_dealloc, (void *)state_dealloc},
    {0, NULL},
};
static PyType_Spec state_spec = {"netflow._weir.State", sizeof(py_state), 0, Py_TPFLAGS_DEFAULT, state_slots};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, (void *)"Which definition of which decoder a template is."},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {0, NULL},
};
static PyType_Spec handle_spec = {"netflow._weir.Handle", sizeof(py_handle), 0, Py_TPFLAGS_DEFAULT, handle_slots};

int weir_py_add_packet(PyObject *module)
{
    state_type = (PyTypeObject *)PyType_FromSpec(&state_spec);
    handle_type = (PyTypeObject *)PyType_FromSpec(&handle_spec);
    packet_type = (PyTypeObject *)PyType_FromSpec(&packet_spec);
    if (!state_type || !handle_type || !packet_type)
        return -1;
    Py_INCREF((PyObject *)packet_type);
    if (PyModule_AddObject(module, "Packet", (PyObject *)packet_type) < 0) {
        Py_DECREF((PyObject *)packet_type);
        return -1;
    }
    return 0;
}
