/* record -- one flow or options record: its values in a dict, also to be had as attributes. And
 * plans, which make such objects from the octets of records: what a template's fields are called
 * and how their octets become Python values is worked out once. */
#include "ext.h"

#include <stddef.h>
#include <structmember.h>

/* ---- classes and tables that Python gives ---- */

static PyObject *classes[PY_N_CLASSES];
static PyObject *v9_names, *ipfix_names, *scope_names; /* dicts: number to name */

PyObject *py_class(enum py_class c)
{
    if (!classes[c])
        PyErr_SetString(PyExc_RuntimeError,
                        "netflow._weir: classes are not registered, import netflow");
    return classes[c];
}

static PyObject *py_register(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *given, *v9, *ipfix, *scopes;
    if (!PyArg_ParseTuple(args, "O!O!O!O!:register", &PyTuple_Type, &given, &PyDict_Type, &v9,
                          &PyDict_Type, &ipfix, &PyDict_Type, &scopes))
        return NULL;
    /* Classes are those of one interpreter: with another's in their place, exceptions would pass its except clauses. */
    static int64_t home = -1;
    int64_t here = PyInterpreterState_GetID(PyInterpreterState_Get());
    if (here < 0)
        return NULL;
    if (home >= 0 && home != here) {
        PyErr_SetString(
            PyExc_ImportError,
            "netflow works in one interpreter of a process, and another has imported it");
        return NULL;
    }
    home = here;
    if (PyTuple_Size(given) != PY_N_CLASSES) {
        PyErr_Format(PyExc_ValueError, "register: %d classes are needed", (int)PY_N_CLASSES);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PY_N_CLASSES; i++) {
        PyObject *old = classes[i];
        classes[i] = PyTuple_GetItem(given, i);
        Py_INCREF(classes[i]);
        Py_XDECREF(old);
    }
    PyObject **tables[] = {&v9_names, &ipfix_names, &scope_names};
    PyObject *now[] = {v9, ipfix, scopes};
    for (size_t i = 0; i < 3; i++) {
        PyObject *old = *tables[i];
        Py_INCREF(now[i]);
        *tables[i] = now[i];
        Py_XDECREF(old);
    }
    Py_RETURN_NONE;
}

/* ---- plans ---- */

enum how {
    HOW_UINT,    /* an integer of any length */
    HOW_SINT,    /* the same with a sign, up to 8 octets */
    HOW_FLOAT,   /* 4 or 8 octets; of another length an integer */
    HOW_ADDRESS, /* text */
    HOW_STRING,  /* text, the text of a bytes object when it is not UTF-8 */
    HOW_TEXT,    /* the same without NULs at the end */
    HOW_PAIR,    /* (seconds, fraction) */
    HOW_LIST,    /* 1, 2, 4 or 8 octets: an integer; else hex text */
    HOW_HEX
};

/* How the octets of a field are read in records without variable fields. */
enum quick {
    QUICK_NONE, /* by `how` */
    QUICK_U8,
    QUICK_U16,
    QUICK_U32,
    QUICK_U64,
    QUICK_IPV4, /* text of 4 octets */
    QUICK_IPV6, /* text of 16 octets */
    QUICK_U128  /* an integer of 16 octets */
};

struct field {
    PyObject *key;
    uint32_t at;     /* octets from the record; of templates without variable fields */
    uint16_t length; /* octets */
    uint16_t id;
    uint8_t how;
    uint8_t quick;
    bool shared;    /* another field has the same key */
    uint8_t misses; /* records since one had the value of the pattern */
};

/* A record whose values are often met: the others are copies of it with what is different in
 * them. */
struct pattern {
    PyObject *values; /* dict, NULL: there is none */
    uint8_t *octets;
};

struct py_plan {
    PyObject ob_base; /* what PyObject_HEAD is */
    uint32_t n, n_scope;
    uint32_t len;  /* octets of a record without variable fields */
    PyObject *cls; /* of flows, or of options records */
    bool apart;    /* scopes are a dict of their own */
    bool plain;    /* cls is as record_type made it: its objects may be used again */
    bool atomic;   /* no value has references */
    struct pattern pattern;
    struct field *fields;
};

static PyTypeObject *plan_type, *record_type;
static PyObject *data_name; /* "data" */
static bool dicts_unknown;  /* to the garbage collector as long as no value has references */

static void plan_dealloc(PyObject *self)
{
    py_plan *p = (py_plan *)self;
    for (uint32_t i = 0; p->fields && i < p->n; i++)
        Py_XDECREF(p->fields[i].key);
    PyMem_Free(p->fields);
    Py_XDECREF(p->cls);
    Py_XDECREF(p->pattern.values);
    PyMem_Free(p->pattern.octets);
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF((PyObject *)type);
}

size_t py_plan_octets(const PyObject *plan)
{
    enum {
        PER_FIELD = 256
    }; /* its row here, its name and its place and value in the record before */
    const py_plan *p = (const py_plan *)plan;
    return sizeof *p + (size_t)p->n * PER_FIELD + p->len;
}

static enum how how_of_type(unsigned type)
{
    switch (type) {
    case WEIR_TYPE_SIGNED8:
    case WEIR_TYPE_SIGNED16:
    case WEIR_TYPE_SIGNED32:
    case WEIR_TYPE_SIGNED64:
        return HOW_SINT;
    case WEIR_TYPE_FLOAT32:
    case WEIR_TYPE_FLOAT64:
        return HOW_FLOAT;
    case WEIR_TYPE_STRING:
        return HOW_STRING;
    case WEIR_TYPE_DATE_TIME_MICROSECONDS:
    case WEIR_TYPE_DATE_TIME_NANOSECONDS:
        return HOW_PAIR;
    case WEIR_TYPE_BASIC_LIST:
    case WEIR_TYPE_SUB_TEMPLATE_LIST:
    case WEIR_TYPE_SUB_TEMPLATE_MULTI_LIST:
        return HOW_LIST;
    case WEIR_TYPE_OCTET_ARRAY:
        return HOW_HEX;
    default:
        return HOW_UINT;
    }
}

static enum how how_of_unknown(const weir_element *e)
{
    enum how how = how_of_type(e->type);
    return how == HOW_STRING ? HOW_TEXT : how;
}

/* The value of a number in one of the tables; a new reference, NULL without an exception: it has
 * none. */
static PyObject *named(PyObject *table, unsigned long id)
{
    PyObject *number = PyLong_FromUnsignedLong(id);
    if (!number)
        return NULL;
    PyObject *name = PyDict_GetItemWithError(table, number); /* borrowed */
    Py_DECREF(number);
    if (name && !PyUnicode_Check(name))
        name = NULL;
    Py_XINCREF(name);
    return name;
}

static bool is_v9_address(uint16_t id)
{
    switch (id) {
    case 8:
    case 12:
    case 15:
    case 18:
    case 27:
    case 28:
    case 62:
    case 63:
        return true;
    default:
        return false;
    }
}

/* NetFlow v9: integers, but for eight address fields; what 0.12.2 does not know by its type. In
 * its options records addresses are integers too. */
static PyObject *key_v9(const weir_element *e, bool options, enum how *how)
{
    enum { LAST_IANA = 491 }; /* the highest element that 0.12.2 knows */
    PyObject *name = e->pen == 0 && e->id ? named(v9_names, e->id) : NULL;
    if (name || PyErr_Occurred()) {
        *how = !options && is_v9_address(e->id) ? HOW_ADDRESS : HOW_UINT;
        return name;
    }
    if (options && e->pen == 0 && e->id <= LAST_IANA && !(e->flags & WEIR_ELEMENT_UNKNOWN)) {
        *how = HOW_UINT; /* by its IANA name */
        name = named(ipfix_names, e->id);
        if (name || PyErr_Occurred())
            return name;
        const weir_element *iana = weir_element_find(NULL, WEIR_SPACE_IPFIX, 0, e->id);
        return PyUnicode_FromString(iana ? iana->name : e->name);
    }
    if (e->type == WEIR_TYPE_IPV4_ADDRESS || e->type == WEIR_TYPE_IPV6_ADDRESS)
        *how = HOW_ADDRESS;
    else
        *how = how_of_unknown(e);
    if (e->v9_name) {
        /* Another number for a field that is known (40001 for 225): one type for one key. */
        PyObject *text = PyUnicode_FromString(e->v9_name), *number, *known;
        Py_ssize_t at = 0;
        while (text && PyDict_Next(v9_names, &at, &number, &known)) {
            if (PyUnicode_Check(known) && PyUnicode_Compare(known, text) == 0) {
                *how = HOW_UINT;
                break;
            }
        }
        return text;
    }
    return PyUnicode_FromString(e->name);
}

/* IPFIX: by the element's type; an octetArray that 0.12.2 knows is an integer there. */
static PyObject *key_ipfix(const weir_element *e, enum how *how)
{
    enum { LAST_IANA = 491 };
    PyObject *name = e->pen == 0 ? named(ipfix_names, e->id) : NULL;
    *how = HOW_UINT;
    if (name || PyErr_Occurred())
        return name;
    if (e->pen || e->id > LAST_IANA || e->flags & WEIR_ELEMENT_UNKNOWN) {
        *how = how_of_unknown(e);
    } else {
        *how = how_of_type(e->type);
        if (*how == HOW_HEX)
            *how = HOW_UINT;
    }
    return PyUnicode_FromString(e->name);
}

/* Scopes of v9 options: the five names of RFC 3954, else the number. */
static PyObject *key_scope(const weir_element *e, enum how *how)
{
    *how = HOW_UINT;
    PyObject *name = named(scope_names, e->id);
    return name || PyErr_Occurred() ? name : PyLong_FromUnsignedLong(e->id);
}

/* Records of v1, v5 and v7: names in the order of 0.12.2's dicts, which is that of the octets. */
struct fixed {
    const char *key;
    uint8_t at, len;
};

/* clang-format off */
#define FIXED_START                                                                                \
    {"IPV4_SRC_ADDR", 0, 4}, {"IPV4_DST_ADDR", 4, 4}, {"NEXT_HOP", 8, 4}, {"INPUT", 12, 2},        \
    {"OUTPUT", 14, 2}, {"IN_PACKETS", 16, 4}, {"IN_OCTETS", 20, 4}, {"FIRST_SWITCHED", 24, 4},     \
    {"LAST_SWITCHED", 28, 4}, {"SRC_PORT", 32, 2}, {"DST_PORT", 34, 2}
#define FIXED_V5                                                                                   \
    FIXED_START, {"TCP_FLAGS", 37, 1}, {"PROTO", 38, 1}, {"TOS", 39, 1}, {"SRC_AS", 40, 2},        \
    {"DST_AS", 42, 2}, {"SRC_MASK", 44, 1}, {"DST_MASK", 45, 1}
static const struct fixed fixed_v1[] = {
    FIXED_START, {"PROTO", 38, 1}, {"TOS", 39, 1}, {"TCP_FLAGS", 40, 1},
};
static const struct fixed fixed_v5[] = {FIXED_V5};
static const struct fixed fixed_v7[] = {
    FIXED_V5, {"FLAGS_1", 36, 1}, {"FLAGS_2", 46, 2}, {"ROUTER_SC", 48, 4},
};
/* clang-format on */

static const struct {
    const struct fixed *rows;
    uint8_t n, len;
    uint8_t cls;
} fixed_forms[] = {
    [PY_FORM_V1] = {fixed_v1, sizeof fixed_v1 / sizeof *fixed_v1, 48, PY_CLASS_V1_FLOW},
    [PY_FORM_V5] = {fixed_v5, sizeof fixed_v5 / sizeof *fixed_v5, 48, PY_CLASS_V5_FLOW},
    [PY_FORM_V7] = {fixed_v7, sizeof fixed_v7 / sizeof *fixed_v7, 52, PY_CLASS_V7_FLOW},
};

static int plan_fill(py_plan *p, enum py_form form, const weir_template *t)
{
    if (form <= PY_FORM_V7) {
        for (uint32_t i = 0; i < p->n; i++) {
            const struct fixed *row = &fixed_forms[form].rows[i];
            p->fields[i] = (struct field){
                .key = PyUnicode_InternFromString(row->key), .at = row->at, .length = row->len};
            if (!p->fields[i].key)
                return -1;
        }
        return 0;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const weir_element *e = t->fields[i].element;
        enum how how;
        PyObject *key;
        if (form == PY_FORM_IPFIX)
            key = key_ipfix(e, &how);
        else if (p->apart && i < p->n_scope) /* also one whose number is no scope type */
            key = key_scope(e, &how);
        else
            key = key_v9(e, t->options, &how);
        if (!key)
            return -1;
        /* What is interned may stay for ever: not names that are made of numbers on the wire. */
        if (PyUnicode_CheckExact(key) && !(e->flags & WEIR_ELEMENT_UNKNOWN))
            PyUnicode_InternInPlace(&key);
        p->fields[i] = (struct field){
            .key = key, .at = at, .length = t->fields[i].length, .id = e->id, .how = (uint8_t)how};
        at += t->fields[i].length;
    }
    p->len = at;
    return 0;
}

/* Which keys come more than once, within scopes and within the rest. */
static int plan_find_shared(py_plan *p)
{
    PyObject *seen = NULL;
    for (uint32_t i = 0; i < p->n; i++) {
        if (i == 0 || (p->apart && i == p->n_scope)) {
            Py_XDECREF(seen);
            seen = PyDict_New();
        }
        PyObject *number = seen ? PyLong_FromUnsignedLong(i) : NULL;
        PyObject *first = number ? PyDict_GetItemWithError(seen, p->fields[i].key) : NULL;
        if (first) {
            p->fields[i].shared = true;
            p->fields[PyLong_AsUnsignedLong(first)].shared = true;
        } else if (!number || PyErr_Occurred() ||
                   PyDict_SetItem(seen, p->fields[i].key, number) < 0) {
            Py_XDECREF(number);
            Py_XDECREF(seen);
            return -1;
        }
        Py_DECREF(number);
    }
    Py_XDECREF(seen);
    return 0;
}

static void record_dealloc(PyObject *self);

/* Whether a class is as record_type made it. */
static bool is_plain(PyTypeObject *cls)
{
    return PyType_IsSubtype(cls, record_type) &&
           PyType_GetSlot(cls, Py_tp_dealloc) == (void *)record_dealloc;
}

/* Repeated keys take their values one after the other: nothing quick about them. */
static enum quick quick_of(const struct field *f)
{
    if (f->shared)
        return QUICK_NONE;
    bool uint = f->how == HOW_UINT;
    switch (f->length) {
    case 1:
        return uint ? QUICK_U8 : QUICK_NONE;
    case 2:
        return uint ? QUICK_U16 : QUICK_NONE;
    case 4:
        return uint ? QUICK_U32 : f->how == HOW_ADDRESS ? QUICK_IPV4 : QUICK_NONE;
    case 8:
        return uint ? QUICK_U64 : QUICK_NONE;
    case 16:
        return uint ? QUICK_U128 : f->how == HOW_ADDRESS ? QUICK_IPV6 : QUICK_NONE;
    default:
        return QUICK_NONE;
    }
}

PyObject *py_plan_new(enum py_form form, const weir_template *t)
{
    PyObject *cls;
    if (form <= PY_FORM_V7)
        cls = py_class((enum py_class)fixed_forms[form].cls);
    else if (form == PY_FORM_IPFIX)
        cls = py_class(PY_CLASS_IPFIX_RECORD);
    else
        cls = py_class(t->options ? PY_CLASS_V9_OPTIONS : PY_CLASS_V9_FLOW);
    if (!cls)
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(plan_type, Py_tp_alloc);
    py_plan *p = (py_plan *)alloc(plan_type, 0);
    if (!p)
        return NULL;
    p->cls = cls;
    Py_INCREF(cls);
    p->plain = is_plain((PyTypeObject *)cls);
    p->n = form <= PY_FORM_V7 ? fixed_forms[form].n : t->n_fields;
    p->len = form <= PY_FORM_V7 ? fixed_forms[form].len : 0;
    p->apart = form == PY_FORM_V9 && t->options;
    p->n_scope = p->apart ? t->n_scope : 0;
    p->fields = PyMem_Calloc(p->n ? p->n : 1, sizeof *p->fields);
    if (!p->fields)
        PyErr_NoMemory();
    if (!p->fields || plan_fill(p, form, t) < 0 || plan_find_shared(p) < 0) {
        Py_DECREF((PyObject *)p);
        return NULL;
    }
    p->atomic = true;
    for (uint32_t i = 0; i < p->n; i++) {
        p->fields[i].quick = (uint8_t)quick_of(&p->fields[i]);
        p->atomic &= p->fields[i].how != HOW_PAIR;
    }
    return (PyObject *)p;
}

/* ---- values ---- */

/* Small integers are made once, texts of addresses kept in tables that have the last one of each
 * place. Larger integers are made each time: looking for them takes as long. */
enum { N_SMALL = 256, IPV4_BITS = 14, WIDE_BITS = 10 };
static PyObject *smalls[N_SMALL];
static struct {
    uint32_t addr;
    PyObject *text;
} addrs[1 << IPV4_BITS];
static struct wide {
    uint8_t octets[16];
    PyObject *object;
} texts6[1 << WIDE_BITS], ints16[1 << WIDE_BITS];
static struct {
    char text[4];
    uint8_t len;
} decimals[256]; /* "0." to "255." */

static int values_init(void)
{
    for (unsigned i = 0; i < 256; i++) {
        unsigned n = 0;
        if (i >= 100)
            decimals[i].text[n++] = (char)('0' + i / 100);
        if (i >= 10)
            decimals[i].text[n++] = (char)('0' + i / 10 % 10);
        decimals[i].text[n++] = (char)('0' + i % 10);
        decimals[i].text[n++] = '.';
        decimals[i].len = (uint8_t)n;
    }
    for (long i = 0; i < N_SMALL; i++)
        if (!smalls[i] && !(smalls[i] = PyLong_FromLong(i)))
            return -1;
    return 0;
}

/* An integer that is not small. */
static inline PyObject *large_object(uint64_t v)
{
    if (sizeof(long) == 8 && v <= INT64_MAX)
        return PyLong_FromLong((long)v); /* the quickest of them */
    return PyLong_FromUnsignedLongLong(v);
}

static PyObject *int_object(uint64_t v)
{
    if (v >= N_SMALL)
        return large_object(v);
    Py_INCREF(smalls[v]);
    return smalls[v];
}

static PyObject *ipv4_object(uint32_t addr)
{
    size_t slot = (size_t)(addr * 0x9e3779b97f4a7c15 >> (64 - IPV4_BITS));
    if (addrs[slot].text && addrs[slot].addr == addr) {
        Py_INCREF(addrs[slot].text);
        return addrs[slot].text;
    }
    char text[16];
    size_t n = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        memcpy(text + n, decimals[addr >> shift & 255].text, 4); /* n <= 12 */
        n += decimals[addr >> shift & 255].len;
    }
    PyObject *made = PyUnicode_FromStringAndSize(text, (Py_ssize_t)n - 1);
    if (made) {
        PyObject *old = addrs[slot].text;
        Py_INCREF(made);
        addrs[slot].text = made;
        addrs[slot].addr = addr;
        Py_XDECREF(old);
    }
    return made;
}

/* Groups of hex digits, the longest run of two or more zero groups (the first of equals) as
 * "::": the form of ipaddress up to Python 3.12, mapped addresses too. */
static PyObject *ipv6_object(const uint8_t *p)
{
    static const char digits[] = "0123456789abcdef";
    unsigned groups[8];
    int best = -1, best_n = 1;
    for (int i = 0; i < 8; i++)
        groups[i] = (unsigned)p[2 * i] << 8 | p[2 * i + 1];
    for (int i = 0; i < 8; i++) {
        int n = 0;
        while (i + n < 8 && !groups[i + n])
            n++;
        if (n > best_n) {
            best = i;
            best_n = n;
        }
        if (n)
            i += n - 1;
    }
    char text[40];
    size_t n = 0;
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            text[n++] = ':';
            if (i == 0)
                text[n++] = ':';
            i += best_n - 1;
            continue;
        }
        bool begun = false;
        for (int shift = 12; shift >= 0; shift -= 4) {
            unsigned digit = groups[i] >> shift & 15;
            if (digit || begun || shift == 0) {
                text[n++] = digits[digit];
                begun = true;
            }
        }
        if (i < 7)
            text[n++] = ':';
    }
    return PyUnicode_FromStringAndSize(text, (Py_ssize_t)n);
}

static PyObject *hex_object(const uint8_t *p, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *text = PyMem_Malloc(2 * len + 1);
    if (!text)
        return PyErr_NoMemory();
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[p[i] >> 4];
        text[2 * i + 1] = digits[p[i] & 15];
    }
    PyObject *made = PyUnicode_FromStringAndSize(text, (Py_ssize_t)(2 * len));
    PyMem_Free(text);
    return made;
}

static PyObject *uint_object(const uint8_t *p, size_t len)
{
    enum { MAX_DECIMAL = 255 }; /* octets; beyond it text, as in weir's own lines */
    if (len <= 8)
        return int_object(weir_be(p, len));
    if (len > MAX_DECIMAL)
        return hex_object(p, len);
    return PyObject_CallMethod((PyObject *)&PyLong_Type, "from_bytes", "y#s", (const char *)p,
                               (Py_ssize_t)len, "big");
}

/* The value of 16 octets, made by `make` unless it is kept. */
static PyObject *wide_object(struct wide *table, PyObject *(*make)(const uint8_t *),
                             const uint8_t *p)
{
    uint64_t halves[2];
    memcpy(halves, p, sizeof halves);
    uint64_t mixed = (halves[0] ^ halves[1] * 0xff51afd7ed558ccd) * 0x9e3779b97f4a7c15;
    struct wide *slot = &table[mixed >> (64 - WIDE_BITS)];
    if (slot->object && memcmp(slot->octets, p, 16) == 0) {
        Py_INCREF(slot->object);
        return slot->object;
    }
    PyObject *made = make(p);
    if (made) {
        PyObject *old = slot->object;
        Py_INCREF(made);
        slot->object = made;
        memcpy(slot->octets, p, 16);
        Py_XDECREF(old);
    }
    return made;
}

static PyObject *int16_object(const uint8_t *p)
{
    return uint_object(p, 16);
}

static PyObject *string_object(const uint8_t *p, size_t len)
{
    PyObject *text = PyUnicode_DecodeUTF8((const char *)p, (Py_ssize_t)len, "strict");
    if (text || !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        return text;
    PyErr_Clear();
    PyObject *octets = PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)len);
    text = octets ? PyObject_Repr(octets) : NULL;
    Py_XDECREF(octets);
    return text;
}

static PyObject *value_object(enum how how, const uint8_t *p, size_t len)
{
    switch (how) {
    case HOW_UINT:
        break;
    case HOW_SINT:
        if (len == 0 || len > 8)
            break;
        return PyLong_FromLongLong((int64_t)(weir_be(p, len) << (64 - 8 * len)) >> (64 - 8 * len));
    case HOW_FLOAT:
        if (len == 8) {
            uint64_t bits = weir_be(p, 8);
            double v;
            memcpy(&v, &bits, sizeof v);
            return PyFloat_FromDouble(v);
        }
        if (len == 4) {
            uint32_t bits = (uint32_t)weir_be(p, 4);
            float v;
            memcpy(&v, &bits, sizeof v);
            return PyFloat_FromDouble((double)v);
        }
        break;
    case HOW_ADDRESS:
        if (len == 16)
            return wide_object(texts6, ipv6_object, p);
        if (len == 4 || len == 2 || len == 1)
            return ipv4_object((uint32_t)weir_be(p, len));
        return hex_object(p, len);
    case HOW_TEXT:
        while (len && !p[len - 1])
            len--;
        return string_object(p, len);
    case HOW_STRING:
        return string_object(p, len);
    case HOW_PAIR: {
        size_t seconds = len < 4 ? len : 4;
        PyObject *a = uint_object(p, seconds),
                 *b = a ? uint_object(p + seconds, len - seconds) : NULL;
        PyObject *pair = b ? PyTuple_Pack(2, a, b) : NULL;
        Py_XDECREF(a);
        Py_XDECREF(b);
        return pair;
    }
    case HOW_LIST:
        if (len == 1 || len == 2 || len == 4 || len == 8)
            break;
        return hex_object(p, len);
    case HOW_HEX:
        return hex_object(p, len);
    }
    return uint_object(p, len);
}

/* ---- records ---- */

typedef struct {
    PyObject ob_base; /* what PyObject_HEAD is */
    PyObject *data;   /* dict */
    PyObject *scopes; /* dict of v9 options records, else NULL */
    PyObject *own;    /* attributes that somebody set, or NULL */
    PyObject *plan;   /* of IPFIX: knows the numbers of fields; of copies a dict of them; or NULL */
    PyTypeObject *made_as; /* the class it was made with, borrowed: only compared */
    uint32_t len;          /* octets */
    bool plain;            /* made_as has no attributes beyond these */
    PyObject *weakrefs;
} py_record;

static int record_traverse(PyObject *self, visitproc visit, void *arg)
{
    py_record *r = (py_record *)self;
#if PY_VERSION_HEX >= 0x03090000
    Py_VISIT((PyObject *)Py_TYPE(self));
#endif
    Py_VISIT(r->data);
    Py_VISIT(r->scopes);
    Py_VISIT(r->own);
    return 0;
}

static int record_clear(PyObject *self)
{
    py_record *r = (py_record *)self;
    Py_CLEAR(r->data);
    Py_CLEAR(r->scopes);
    Py_CLEAR(r->own);
    Py_CLEAR(r->plan);
    return 0;
}

/* Objects that nobody has any more, for the next ones. All have one size. */
enum { MAX_SPARE = 256 };
static py_record *spare[MAX_SPARE];
static size_t n_spare;

static void record_dealloc(PyObject *self)
{
    py_record *r = (py_record *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (r->weakrefs)
        PyObject_ClearWeakRefs(self);
    record_clear(self);
    if (r->plain && r->made_as == type && n_spare < MAX_SPARE)
        spare[n_spare++] = r;
    else
        ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF((PyObject *)type);
}

static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    py_record *r = (py_record *)alloc(type, 0);
    if (r) {
        r->data = PyDict_New();
        if (!r->data) {
            Py_DECREF((PyObject *)r);
            return NULL;
        }
    }
    return (PyObject *)r;
}

/* Values are attributes too, as in 0.12.2. */
static PyObject *record_getattro(PyObject *self, PyObject *name)
{
    py_record *r = (py_record *)self;
    if (name == data_name && r->data &&
        Py_TYPE(self) == r->made_as) { /* by far what is asked for most */
        Py_INCREF(r->data);
        return r->data;
    }
    if (r->own) {
        PyObject *own = PyDict_GetItemWithError(r->own, name);
        if (own) {
            Py_INCREF(own);
            return own;
        }
        if (PyErr_Occurred())
            return NULL;
    }
    if (r->data && PyDict_Check(r->data)) {
        PyObject *value = PyDict_GetItemWithError(r->data, name);
        if (value) {
            Py_INCREF(value);
            return value;
        }
        if (PyErr_Occurred())
            return NULL;
    }
    return PyObject_GenericGetAttr(self, name);
}

/* What is no attribute of the class goes into a dict of its own. */
static int record_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    py_record *r = (py_record *)self;
    if (PyObject_HasAttr((PyObject *)Py_TYPE(self), name))
        return PyObject_GenericSetAttr(self, name, value);
    if (value) {
        if (!r->own && !(r->own = PyDict_New()))
            return -1;
        return PyDict_SetItem(r->own, name, value);
    }
    int had = r->own ? PyDict_Contains(r->own, name) : 0;
    if (had < 0)
        return -1;
    if (had)
        return PyDict_DelItem(r->own, name);
    PyErr_SetObject(PyExc_AttributeError, name);
    return -1;
}

static PyObject *record_get_dict(PyObject *self, void *closure)
{
    (void)closure;
    py_record *r = (py_record *)self;
    PyObject *all = PyDict_New();
    if (!all || PyDict_SetItemString(all, "data", r->data ? r->data : Py_None) < 0 ||
        (r->scopes && PyDict_SetItemString(all, "scopes", r->scopes) < 0) ||
        (!r->scopes && r->data && PyDict_Check(r->data) && PyDict_Update(all, r->data) < 0) ||
        (r->own && PyDict_Update(all, r->own) < 0)) {
        Py_XDECREF(all);
        return NULL;
    }
    return all;
}

/* The numbers of the fields of an IPFIX record by their names; a new reference, NULL with an
 * exception. */
static PyObject *record_numbers(const py_record *r)
{
    if (r->plan && PyDict_Check(r->plan)) {
        Py_INCREF(r->plan);
        return r->plan;
    }
    const py_plan *p = (const py_plan *)r->plan;
    PyObject *numbers = PyDict_New();
    for (uint32_t i = 0; numbers && p && i < p->n; i++) {
        PyObject *number = PyLong_FromUnsignedLong(p->fields[i].id);
        if (!number || PyDict_SetItem(numbers, p->fields[i].key, number) < 0)
            Py_CLEAR(numbers);
        Py_XDECREF(number);
    }
    return numbers;
}

/* The pairs (number, value) of an IPFIX record. */
static PyObject *record_get_fields(PyObject *self, void *closure)
{
    (void)closure;
    py_record *r = (py_record *)self;
    if (!r->data || !PyDict_Check(r->data)) /* somebody put something else there */
        return PySet_New(NULL);
    PyObject *numbers = record_numbers(r), *pairs = numbers ? PySet_New(NULL) : NULL;
    PyObject *name, *number;
    Py_ssize_t at = 0;
    while (pairs && PyDict_Next(numbers, &at, &name, &number)) {
        PyObject *value = PyDict_GetItemWithError(r->data, name);
        if (!value && !PyErr_Occurred())
            continue;
        PyObject *pair = value ? PyTuple_Pack(2, number, value) : NULL;
        if (!pair || PySet_Add(pairs, pair) < 0)
            Py_CLEAR(pairs);
        Py_XDECREF(pair);
    }
    Py_XDECREF(numbers);
    return pairs;
}

static PyObject *record_get_length(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(((py_record *)self)->len);
}

/* (class, data, scopes, own, octets, numbers of the fields) for copy and pickle. */
static PyObject *record_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_record *r = (py_record *)self;
    PyObject *module = PyImport_ImportModule("netflow._weir");
    PyObject *restore = module ? PyObject_GetAttrString(module, "_restore_record") : NULL;
    Py_XDECREF(module);
    if (!restore)
        return NULL;
    PyObject *numbers = record_numbers(r);
    if (!numbers) {
        Py_DECREF(restore);
        return NULL;
    }
    return Py_BuildValue("(N(OOOOIN))", restore, (PyObject *)Py_TYPE(self),
                         r->data ? r->data : Py_None, r->scopes ? r->scopes : Py_None,
                         r->own ? r->own : Py_None, (unsigned)r->len, numbers);
}

static PyObject *restore_record(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *cls, *data, *scopes, *own, *numbers;
    unsigned len;
    if (!PyArg_ParseTuple(args, "O!O!OOIO!:_restore_record", &PyType_Type, &cls, &PyDict_Type,
                          &data, &scopes, &own, &len, &PyDict_Type, &numbers))
        return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)cls, record_type)) {
        PyErr_SetString(PyExc_TypeError, "_restore_record: not a class of records");
        return NULL;
    }
    py_record *r = (py_record *)record_new((PyTypeObject *)cls, NULL, NULL);
    if (!r)
        return NULL;
    Py_INCREF(data);
    Py_XDECREF(r->data);
    r->data = data;
    if (PyDict_Check(scopes)) {
        Py_INCREF(scopes);
        r->scopes = scopes;
    }
    if (PyDict_Check(own)) {
        Py_INCREF(own);
        r->own = own;
    }
    if (PyDict_Size(numbers)) {
        Py_INCREF(numbers);
        r->plan = numbers;
    }
    r->len = len;
    return (PyObject *)r;
}

/* ---- records from octets ---- */

/* The octets of a field that are as those of the pattern need nothing. */
#define LOAD_OR_SKIP(type)                                                                         \
    type raw;                                                                                      \
    memcpy(&raw, p, sizeof raw);                                                                   \
    if (pattern) {                                                                                 \
        type there;                                                                                \
        memcpy(&there, pattern->octets + f->at, sizeof there);                                     \
        if (raw == there) {                                                                        \
            f->misses = 0;                                                                         \
            continue;                                                                              \
        }                                                                                          \
    }

/* The values of fields [f, end) into dict: all of them, or those that differ from the pattern,
 * of which it is a copy. */
static int fill(PyObject *dict, struct field *f, const struct field *end, const uint8_t *now,
                struct pattern *pattern)
{
    enum { PATIENCE = 32 }; /* so many misses in a row, and the pattern takes the value */
    for (; f < end; f++) {
        const uint8_t *p = now + f->at;
        PyObject *value;
        switch ((enum quick)f->quick) {
        case QUICK_U8: {
            LOAD_OR_SKIP(uint8_t)
            value = smalls[raw];
            Py_INCREF(value);
            break;
        }
        case QUICK_U16: {
            LOAD_OR_SKIP(uint16_t)
            value = int_object(weir_be(p, 2));
            break;
        }
        case QUICK_U32: {
            LOAD_OR_SKIP(uint32_t)
            value = int_object(weir_be(p, 4));
            break;
        }
        case QUICK_U64: {
            LOAD_OR_SKIP(uint64_t)
            value = int_object(weir_be(p, 8));
            break;
        }
        case QUICK_IPV4: {
            LOAD_OR_SKIP(uint32_t)
            value = ipv4_object((uint32_t)weir_be(p, 4));
            break;
        }
        case QUICK_IPV6:
        case QUICK_U128:
        case QUICK_NONE:
        default:
            if (pattern && !f->shared && memcmp(p, pattern->octets + f->at, f->length) == 0) {
                f->misses = 0;
                continue;
            }
            if (f->quick == QUICK_IPV6)
                value = wide_object(texts6, ipv6_object, p);
            else if (f->quick == QUICK_U128)
                value = wide_object(ints16, int16_object, p);
            else
                value = value_object((enum how)f->how, p, f->length);
            break;
        }
        int failed = !value || PyDict_SetItem(dict, f->key, value) < 0;
        if (!failed && pattern && ++f->misses == PATIENCE) {
            f->misses = 0;
            memcpy(pattern->octets + f->at, p, f->length);
            failed = PyDict_SetItem(pattern->values, f->key, value) < 0;
        }
        Py_XDECREF(value);
        if (failed)
            return -1;
    }
    return 0;
}

/* Scopes and values of an options record of NetFlow v9. */
static int fill_apart(py_plan *p, py_record *r, const uint8_t *data)
{
    r->scopes = PyDict_New();
    r->data = PyDict_New();
    if (!r->scopes || !r->data)
        return -1;
    if (fill(r->scopes, p->fields, p->fields + p->n_scope, data, NULL) < 0)
        return -1;
    return fill(r->data, p->fields + p->n_scope, p->fields + p->n, data, NULL);
}

static void pattern_drop(struct pattern *pattern)
{
    Py_XDECREF(pattern->values);
    PyMem_Free(pattern->octets);
}

/* The pattern is taken from the plan while it is used: what the interpreter runs in between may
 * come here too. Without one the first record becomes it. 0, or -1 with an exception. */
static int pattern_take(py_plan *p, struct pattern *pattern, const uint8_t *first)
{
    *pattern = p->pattern;
    p->pattern = (struct pattern){NULL, NULL};
    if (pattern->values)
        return 0;
    pattern->octets = PyMem_Malloc(p->len ? p->len : 1);
    pattern->values = PyDict_New();
    if (!pattern->octets)
        PyErr_NoMemory();
    if (!pattern->octets || !pattern->values ||
        fill(pattern->values, p->fields, p->fields + p->n, first, NULL) < 0) {
        pattern_drop(pattern);
        return -1;
    }
    memcpy(pattern->octets, first, p->len);
    return 0;
}

/* failed: it may be half changed. */
static void pattern_give(py_plan *p, struct pattern *pattern, bool failed)
{
    if (failed || p->pattern.values)
        pattern_drop(pattern);
    else
        p->pattern = *pattern;
}

static py_record *record_alloc(PyObject *plan, allocfunc alloc, uint32_t len)
{
    const py_plan *p = (const py_plan *)plan;
    py_record *r;
    if (p->plain && n_spare) {
        r = spare[--n_spare]; /* its references are gone */
        PyObject_Init((PyObject *)r, (PyTypeObject *)p->cls);
        PyObject_GC_Track((PyObject *)r);
    } else {
        r = (py_record *)alloc((PyTypeObject *)p->cls, 0);
        if (!r)
            return NULL;
    }
    r->made_as = (PyTypeObject *)p->cls;
    r->plain = p->plain;
    r->len = len;
    if (p->cls == classes[PY_CLASS_IPFIX_RECORD]) {
        r->plan = plan;
        Py_INCREF(plan);
    }
    return r;
}

/* The values of a record as a copy of the pattern with what differs; NULL with an exception.
 *
 * While a dict is not known to the garbage collector, each value that goes into it is asked whether
 * that has to change (up to Python 3.13): `announce` has it known meanwhile, for values which never
 * ask for it. */
static PyObject *pattern_record(const py_plan *p, struct pattern *pattern, const uint8_t *data,
                                bool announce)
{
    PyObject *dict = PyDict_Copy(pattern->values);
    if (!dict)
        return NULL;
    if (announce)
        PyObject_GC_Track(dict);
    int failed = fill(dict, p->fields, p->fields + p->n, data, pattern);
    if (announce)
        PyObject_GC_UnTrack(dict);
    if (failed)
        Py_CLEAR(dict);
    return dict;
}

int py_plan_records(PyObject *plan, PyObject *list, Py_ssize_t at, const uint8_t *data,
                    size_t stride, Py_ssize_t n)
{
    py_plan *p = (py_plan *)plan;
    allocfunc alloc = (allocfunc)PyType_GetSlot((PyTypeObject *)p->cls, Py_tp_alloc);
    struct pattern pattern = {NULL, NULL};
    if (n == 0 || (!p->apart && pattern_take(p, &pattern, data) < 0))
        return n == 0 ? 0 : -1;
    /* A copy is known to the collector when the pattern is. */
    bool announce =
        p->atomic && !p->apart && dicts_unknown && !PyObject_GC_IsTracked(pattern.values);
    int failed = 0;
    for (Py_ssize_t i = 0; !failed && i < n; i++, data += stride) {
        py_record *r = record_alloc(plan, alloc, (uint32_t)stride);
        if (!r)
            failed = -1;
        else if (p->apart)
            failed = fill_apart(p, r, data);
        else if (!(r->data = pattern_record(p, &pattern, data, announce)))
            failed = -1;
        if (!failed)
            failed =
                PyList_SetItem(list, at + i, (PyObject *)r); /* takes it, whatever comes of it */
        else
            Py_XDECREF((PyObject *)r);
    }
    if (!p->apart)
        pattern_give(p, &pattern, failed != 0);
    return failed;
}

int py_plan_record(PyObject *plan, PyObject *list, const weir_record *record)
{
    py_plan *p = (py_plan *)plan;
    allocfunc alloc = (allocfunc)PyType_GetSlot((PyTypeObject *)p->cls, Py_tp_alloc);
    py_record *r = record_alloc(plan, alloc, record->len);
    if (!r)
        return -1;
    r->data = PyDict_New();
    r->scopes = p->apart ? PyDict_New() : NULL;
    bool ok = r->data && (!p->apart || r->scopes);
    for (uint32_t i = 0; ok && i < p->n && i < record->n_fields; i++) {
        const weir_field *f = &record->fields[i];
        PyObject *value =
            value_object((enum how)p->fields[i].how, record->data + f->offset, f->length);
        ok = value &&
             PyDict_SetItem(i < p->n_scope ? r->scopes : r->data, p->fields[i].key, value) == 0;
        Py_XDECREF(value);
    }
    ok = ok && PyList_Append(list, (PyObject *)r) == 0;
    Py_DECREF((PyObject *)r);
    return ok ? 0 : -1;
}

/* ---- what the registry knows ---- */

/* elements(space) -> [(enterprise number, id, name, v9 name or None, type, semantics, units)] */
static PyObject *py_elements(PyObject *module, PyObject *args)
{
    (void)module;
    const char *space_name;
    if (!PyArg_ParseTuple(args, "s:elements", &space_name))
        return NULL;
    weir_space space;
    if (strcmp(space_name, "ipfix") == 0) {
        space = WEIR_SPACE_IPFIX;
    } else if (strcmp(space_name, "v9") == 0) {
        space = WEIR_SPACE_V9;
    } else if (strcmp(space_name, "v9-scope") == 0) {
        space = WEIR_SPACE_V9_SCOPE;
    } else {
        PyErr_Format(PyExc_ValueError, "elements: '%s' is not ipfix, v9 or v9-scope", space_name);
        return NULL;
    }
    PyObject *all = PyList_New(0);
    size_t cursor = 0;
    const weir_element *e;
    while (all && (e = weir_element_next(NULL, space, &cursor))) {
        PyObject *row = Py_BuildValue("(IHszsss)", (unsigned)e->pen, e->id, e->name, e->v9_name,
                                      weir_type_text((weir_type)e->type),
                                      weir_semantics_text((weir_semantics)e->semantics), e->units);
        if (!row || PyList_Append(all, row) < 0)
            Py_CLEAR(all);
        Py_XDECREF(row);
    }
    return all;
}

/* ---- types ---- */

static PyMemberDef record_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(py_record, weakrefs), READONLY, NULL},
    {"data", T_OBJECT, offsetof(py_record, data), 0, "Values by name."},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *record_get_scopes(PyObject *self, void *closure)
{
    (void)closure;
    py_record *r = (py_record *)self;
    if (!r->scopes && !(r->scopes = PyDict_New()))
        return NULL;
    Py_INCREF(r->scopes);
    return r->scopes;
}

static int record_set_scopes(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    py_record *r = (py_record *)self;
    PyObject *old = r->scopes;
    Py_XINCREF(value);
    r->scopes = value;
    Py_XDECREF(old);
    return 0;
}

static PyGetSetDef record_getset[] = {
    {"__dict__", record_get_dict, NULL, "All attributes, values included: a copy.", NULL},
    {"_fields", record_get_fields, NULL, "Pairs (element number, value).", NULL},
    {"_scopes", record_get_scopes, record_set_scopes, "Values of scope fields by name.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef record_methods[] = {
    {"_get_length", record_get_length, METH_NOARGS, "Octets of the record."},
    {"__reduce__", record_reduce, METH_NOARGS, "For copy and pickle."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot record_slots[] = {
    {Py_tp_doc,
     (void *)"A flow or options record: `data` has its values, which are attributes too."},
    {Py_tp_new, (void *)record_new},
    {Py_tp_dealloc, (void *)record_dealloc},
    {Py_tp_traverse, (void *)record_traverse},
    {Py_tp_clear, (void *)record_clear},
    {Py_tp_getattro, (void *)record_getattro},
    {Py_tp_setattro, (void *)record_setattro},
    {Py_tp_members, record_members},
    {Py_tp_getset, record_getset},
    {Py_tp_methods, record_methods},
    {0, NULL},
};
static PyType_Spec record_spec = {"netflow._weir.Record", sizeof(py_record), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                                  record_slots};

/* record_type(cls): the class as a type of the extension, whose objects are made and given up in
 * half the time. */
static PyObject *py_record_type(PyObject *module, PyObject *cls)
{
    (void)module;
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)record_dealloc},
        {Py_tp_traverse, (void *)record_traverse},
        {Py_tp_clear, (void *)record_clear},
        {0, NULL},
    };
    PyObject *home = PyObject_GetAttrString(cls, "__module__"),
             *name = PyObject_GetAttrString(cls, "__qualname__");
    PyObject *full = home && name ? PyUnicode_FromFormat("%U.%U", home, name) : NULL;
    PyObject *octets = full ? PyUnicode_AsUTF8String(full) : NULL;
    /* Up to Python 3.10 the type keeps this; there are six of them. */
    char *kept = octets ? PyMem_Malloc((size_t)PyBytes_Size(octets) + 1) : NULL;
    PyObject *bases = kept ? PyTuple_Pack(1, (PyObject *)record_type) : NULL, *type = NULL;
    if (bases) {
        memcpy(kept, PyBytes_AsString(octets), (size_t)PyBytes_Size(octets) + 1);
        PyType_Spec spec = {kept, sizeof(py_record), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
        type = PyType_FromSpecWithBases(&spec, bases);
    } else if (octets && !kept) {
        PyErr_NoMemory();
    }
    PyObject *parts = type ? PyObject_GetAttrString(cls, "__dict__") : NULL,
             *items = parts ? PyMapping_Items(parts) : NULL;
    for (Py_ssize_t i = 0; items && i < PyList_Size(items); i++) {
        PyObject *key = PyTuple_GetItem(PyList_GetItem(items, i), 0),
                 *value = PyTuple_GetItem(PyList_GetItem(items, i), 1);
        bool of_class = PyUnicode_CompareWithASCIIString(key, "__slots__") == 0;
        if (!of_class && PyObject_SetAttr(type, key, value) < 0)
            Py_CLEAR(items);
    }
    if (!items)
        Py_CLEAR(type);
    Py_XDECREF(items);
    Py_XDECREF(parts);
    Py_XDECREF(bases);
    Py_XDECREF(octets);
    Py_XDECREF(full);
    Py_XDECREF(name);
    Py_XDECREF(home);
    return type;
}

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, (void *)"How the records of one template become objects."},
    {Py_tp_dealloc, (void *)plan_dealloc},
    {0, NULL},
};
static PyType_Spec plan_spec = {"netflow._weir.Plan", sizeof(py_plan), 0, Py_TPFLAGS_DEFAULT,
                                plan_slots};

static PyMethodDef functions[] = {
    {"register", py_register, METH_VARARGS,
     "register(classes, v9 names, IPFIX names, scope names): what objects are made of; called by "
     "the package."},
    {"record_type", py_record_type, METH_O,
     "record_type(cls): a subclass of Record with empty __slots__ as a type of the extension: a "
     "class decorator."},
    {"_restore_record", restore_record, METH_VARARGS, "A record from its parts."},
    {"elements", py_elements, METH_VARARGS,
     "elements(space) -> list of (enterprise number, id, name, v9 name or None, type, semantics, "
     "units).\n\n"
     "What the registry knows of a numbering: 'ipfix', 'v9' or 'v9-scope'."},
    {NULL, NULL, 0, NULL},
};

int weir_py_add_record(PyObject *module)
{
    plan_type = (PyTypeObject *)PyType_FromSpec(&plan_spec);
    record_type = (PyTypeObject *)PyType_FromSpec(&record_spec);
    data_name = PyUnicode_InternFromString("data");
    PyObject *dict = PyDict_New();
    dicts_unknown = dict && !PyObject_GC_IsTracked(dict);
    Py_XDECREF(dict);
    if (!plan_type || !record_type || !data_name || !dict || values_init() < 0 ||
        PyModule_AddFunctions(module, functions) < 0)
        return -1;
    Py_INCREF((PyObject *)record_type);
    if (PyModule_AddObject(module, "Record", (PyObject *)record_type) < 0) {
        Py_DECREF((PyObject *)record_type);
        return -1;
    }
    return 0;
}
