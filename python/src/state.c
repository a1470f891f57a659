/* state -- what stands behind a dict of templates: see state.h. */
#include "state.h"

#include <stdlib.h>

enum { MAX_PLAN_OCTETS = 16 << 20 }; /* of plans, which are made again when they are wanted again */

static PyTypeObject *state_type, *handle_type;
static PyObject *handle_name, *fields_name, *type_name,
    *length_name; /* "_handle", "fields", "field_type", "field_length" */

/* Open addressing. */
struct py_known {
    uint64_t serial; /* of the definition, 0: there is none */
    PyObject *plan;  /* for its records, NULL: not yet */
    uint32_t domain;
    uint16_t id;
    uint8_t form; /* enum py_form */
    bool used;
};

static void known_clear(py_state *s)
{
    for (size_t i = 0; i < s->cap_known; i++)
        Py_XDECREF(s->known[i].plan);
    free(s->known);
    s->known = NULL;
    s->n_known = s->cap_known = 0;
    s->plan_octets = 0;
}

static void state_dealloc(PyObject *self)
{
    py_state *s = (py_state *)self;
    weir_decoder_free(s->decoder);
    known_clear(s);
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF((PyObject *)type);
}

static void handle_dealloc(PyObject *self)
{
    py_handle *h = (py_handle *)self;
    Py_XDECREF((PyObject *)h->state);
    Py_XDECREF(h->items);
    free(h->rows);
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF((PyObject *)type);
}

/* A decoder that knows nothing, NULL with an exception. */
static weir_decoder *new_decoder(void)
{
    /* The dict decides what is kept: no domain or template makes room for others, nothing waits. */
    const weir_decoder_options o = {.max_exporters = 1,
                                    .max_streams = PY_STATE_MAX_DOMAINS,
                                    .max_exporter_streams = PY_STATE_MAX_DOMAINS,
                                    .max_templates = 65280,
                                    .max_waiting_octets = 1,
                                    .max_waiting_total = 1,
                                    .max_state_octets = PY_STATE_MAX_OCTETS};
    weir_err err = {0};
    weir_decoder *made = weir_decoder_new(&o, &err);
    if (!made)
        PyErr_Format(PyExc_MemoryError, "%s", err.msg);
    return made;
}

py_state *py_state_new(void)
{
    py_state *s = (py_state *)((allocfunc)PyType_GetSlot(state_type, Py_tp_alloc))(state_type, 0);
    if (s && !(s->decoder = new_decoder())) {
        Py_DECREF((PyObject *)s);
        return NULL;
    }
    return s;
}

bool py_state_reset(py_state *s)
{
    weir_decoder *made = new_decoder();
    if (!made)
        return false;
    weir_decoder_free(s->decoder);
    s->decoder = made;
    s->generation++;
    known_clear(s);
    return true;
}

static struct py_known *known_slot(struct py_known *slots, size_t cap, enum py_form form,
                                   uint32_t domain, uint16_t id)
{
    size_t at = (size_t)((((uint64_t)domain << 16 | id) * 0x9e3779b97f4a7c15) >> 20) & (cap - 1);
    while (slots[at].used &&
           (slots[at].domain != domain || slots[at].id != id || slots[at].form != form))
        at = (at + 1) & (cap - 1);
    return &slots[at];
}

/* NULL: nothing was ever said of it. */
static struct py_known *state_find(const py_state *s, enum py_form form, uint32_t domain,
                                   uint16_t id)
{
    if (!s->cap_known)
        return NULL;
    struct py_known *slot = known_slot(s->known, s->cap_known, form, domain, id);
    return slot->used ? slot : NULL;
}

uint64_t py_state_serial(const py_state *s, enum py_form form, uint32_t domain, uint16_t id)
{
    const struct py_known *slot = state_find(s, form, domain, id);
    return slot ? slot->serial : 0;
}

static void drop_plan(py_state *s, struct py_known *slot)
{
    if (!slot->plan)
        return;
    s->plan_octets -= py_plan_octets(slot->plan);
    Py_CLEAR(slot->plan);
}

/* Room for one more, what is not in force any more left out. False: no memory. */
static bool known_grow(py_state *s)
{
    size_t n = 0, cap = 64;
    for (size_t i = 0; i < s->cap_known; i++)
        n += s->known[i].used && s->known[i].serial;
    while (cap < 4 * (n + 1))
        cap *= 2;
    struct py_known *grown = calloc(cap, sizeof *grown);
    if (!grown)
        return false;
    for (size_t i = 0; i < s->cap_known; i++) {
        const struct py_known *k = &s->known[i];
        if (k->used && k->serial)
            *known_slot(grown, cap, (enum py_form)k->form, k->domain, k->id) = *k;
    }
    free(s->known);
    s->known = grown;
    s->cap_known = cap;
    s->n_known = n;
    return true;
}

bool py_state_know(py_state *s, enum py_form form, uint32_t domain, uint16_t id, uint64_t serial)
{
    struct py_known *slot = state_find(s, form, domain, id);
    if (!slot && !serial)
        return true;
    if (!slot) {
        if (2 * (s->n_known + 1) > s->cap_known && !known_grow(s)) {
            PyErr_NoMemory();
            return false;
        }
        slot = known_slot(s->known, s->cap_known, form, domain, id);
        *slot = (struct py_known){.domain = domain, .id = id, .form = (uint8_t)form, .used = true};
        s->n_known++;
    }
    if (slot->serial != serial)
        drop_plan(s, slot);
    slot->serial = serial;
    return true;
}

PyObject *py_state_plan(py_state *s, enum py_form form, const weir_record *r)
{
    struct py_known *slot = state_find(s, form, r->packet->domain, r->tmpl->id);
    if (!slot || slot->serial != r->tmpl->serial)
        return NULL;
    if (!slot->plan) {
        PyObject *made = py_plan_new(form, r->tmpl);
        if (!made)
            return NULL;
        if (s->plan_octets + py_plan_octets(made) > MAX_PLAN_OCTETS)
            for (size_t i = 0; i < s->cap_known; i++)
                drop_plan(s, &s->known[i]);
        slot->plan = made;
        s->plan_octets += py_plan_octets(made);
    }
    return slot->plan;
}

py_handle *py_handle_new(py_state *s, enum py_form form, uint32_t domain, uint16_t id,
                         uint64_t serial)
{
    py_handle *h =
        (py_handle *)((allocfunc)PyType_GetSlot(handle_type, Py_tp_alloc))(handle_type, 0);
    if (!h)
        return NULL;
    Py_INCREF((PyObject *)s);
    h->state = s;
    h->generation = s->generation;
    h->domain = domain;
    h->id = id;
    h->form = (uint8_t)form;
    h->serial = serial;
    return h;
}

py_handle *py_handle_of(PyObject *value)
{
    PyObject *handle = PyObject_GetAttr(value, handle_name);
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

PyObject *py_rows_list(const struct py_row *rows, uint32_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (uint32_t i = 0; list && i < n; i++) {
        const struct py_row *r = &rows[i];
        PyObject *item = r->pen ? Py_BuildValue("(HHI)", r->id, r->length, (unsigned)r->pen)
                                : Py_BuildValue("(HHO)", r->id, r->length, Py_None);
        if (!item || PyList_SetItem(list, (Py_ssize_t)i, item) < 0)
            Py_CLEAR(list);
    }
    return list;
}

/* _show() -> the same; from now on they may be changed. */
static PyObject *handle_show(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_handle *h = (py_handle *)self;
    h->shown = true;
    return py_rows_list(h->rows, h->rows ? h->n : 0);
}

/* Number `name` of an object, -1 without an exception when there is none. */
static long number_of(PyObject *o, PyObject *name)
{
    PyObject *v = PyObject_GetAttr(o, name);
    long n = v ? PyLong_AsLong(v) : -1;
    Py_XDECREF(v);
    if (n == -1)
        PyErr_Clear();
    return n;
}

/* Whether a template of NetFlow v9 still says what its handle does. */
static bool v9_unchanged(PyObject *value, const py_handle *h)
{
    if (!h->shown)
        return true;
    if (h->options) {
        /* What it would teach now. */
        PyObject *definition = PyObject_CallMethod(value, "_definition", NULL);
        PyObject *rows = py_rows_list(h->rows, h->n);
        PyObject *then = rows ? Py_BuildValue("(OIO)", rows, (unsigned)h->n_scope, Py_True) : NULL;
        int same = definition && then ? PyObject_RichCompareBool(definition, then, Py_EQ) : -1;
        if (same < 0)
            PyErr_Clear();
        Py_XDECREF(then);
        Py_XDECREF(rows);
        Py_XDECREF(definition);
        return same == 1;
    }
    PyObject *fields = PyObject_GetAttr(value, fields_name);
    bool same = fields && PyList_Check(fields) && PyList_Size(fields) == (Py_ssize_t)h->n;
    for (uint32_t i = 0; same && i < h->n; i++) {
        PyObject *field = PyList_GetItem(fields, (Py_ssize_t)i);
        Py_XINCREF(field);
        same = field && number_of(field, type_name) == h->rows[i].id &&
               number_of(field, length_name) == h->rows[i].length &&
               PyList_Size(fields) == (Py_ssize_t)h->n;
        Py_XDECREF(field);
    }
    Py_XDECREF(fields);
    PyErr_Clear();
    return same;
}

bool py_handle_unchanged(PyObject *value, const py_handle *h)
{
    if (h->form != PY_FORM_IPFIX)
        return v9_unchanged(value, h);
    if (!h->items || !PyList_Check(value))
        return false;
    Py_ssize_t n = PyList_Size(value);
    bool same = n == PyTuple_Size(h->items);
    for (Py_ssize_t i = 0; same && i < n; i++)
        same = PyList_GetItem(value, i) == PyTuple_GetItem(h->items, i);
    return same;
}

bool py_handle_is_of(const py_handle *h, const py_state *s, enum py_form form, uint16_t id)
{
    return h->state == s && h->generation == s->generation && h->form == (uint8_t)form &&
           h->id == id;
}

void py_handle_put(PyObject *value, py_handle *h)
{
    if (PyObject_SetAttr(value, handle_name, (PyObject *)h) < 0)
        PyErr_Clear(); /* a plain list: is taught again each time */
}

static PyType_Slot state_slots[] = {
    {Py_tp_doc, (void *)"What stands behind a dict of templates."},
    {Py_tp_dealloc, (void *)state_dealloc},
    {0, NULL},
};
static PyType_Spec state_spec = {"netflow._weir.State", sizeof(py_state), 0, Py_TPFLAGS_DEFAULT,
                                 state_slots};

static PyMethodDef handle_methods[] = {
    {"_show", handle_show, METH_NOARGS,
     "_show() -> fields as a list of (id, length, enterprise number or None), which may be changed "
     "from now on."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, (void *)"Which definition of which decoder a template is, and what that says."},
    {Py_tp_dealloc, (void *)handle_dealloc},
    {Py_tp_methods, handle_methods},
    {0, NULL},
};
static PyType_Spec handle_spec = {"netflow._weir.Handle", sizeof(py_handle), 0, Py_TPFLAGS_DEFAULT,
                                  handle_slots};

int weir_py_add_state(PyObject *module)
{
    (void)module;
    state_type = (PyTypeObject *)PyType_FromSpec(&state_spec);
    handle_type = (PyTypeObject *)PyType_FromSpec(&handle_spec);
    handle_name = PyUnicode_InternFromString("_handle");
    fields_name = PyUnicode_InternFromString("fields");
    type_name = PyUnicode_InternFromString("field_type");
    length_name = PyUnicode_InternFromString("field_length");
    return state_type && handle_type && handle_name && fields_name && type_name && length_name ? 0
                                                                                               : -1;
}
