#include "rows.h"

#include <stdlib.h>
#include <string.h>

/* Times repeat: the two of a flow are often the same, and exporters round them. */
enum { TIME_CACHE = 256 };

/* Rows are made in blocks, column by column: what a column needs is then at hand, and so are the rows. */
enum { BLOCK = 256 };

/* Lists in lists: what is deeper is no table of flows. */
enum { MAX_DEPTH = 16 };

#define US_MIN (-62135596800000000) /* 0001-01-01T00:00:00Z */
#define US_END 253402300800000000   /* 10000-01-01T00:00:00Z */

struct known_time {
    PyObject *object; /* NULL: free */
    int64_t us;
    bool utc;
};

struct maker {
    py_rows_options o;
    PyObject *datetime, *utc;
    struct known_time known[TIME_CACHE];
};

/* One array of a known type. */
struct column {
    /* Value i, which is not null and counts from the start of the buffers. */
    PyObject *(*get)(struct maker *m, struct column *c, int64_t i);
    const uint8_t *valid; /* bitmap, NULL: no nulls */
    const void *data;     /* buffer 1 */
    const char *octets;   /* buffer 2, of texts */
    int64_t offset, length;
    int64_t width;      /* octets of a fixed-size binary */
    int64_t per_second; /* of a timestamp */
    bool utc;           /* timestamp with a time zone */
    char index;         /* format of the indices into the dictionary children[0], 0: none */
    size_t n_children;
    struct column *children;
    PyObject **names;  /* of the children of a struct */
    PyObject **values; /* of a dictionary, each made when it is first met */
};

static PyObject *none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

static PyObject *value(struct maker *m, struct column *c, int64_t i)
{
    i += c->offset;
    if (c->valid != NULL && !(c->valid[i >> 3] >> (i & 7) & 1))
        return none();
    return c->get(m, c, i);
}

static PyObject *get_null(struct maker *m, struct column *c, int64_t i)
{
    (void)m, (void)c, (void)i;
    return none();
}

static PyObject *get_bool(struct maker *m, struct column *c, int64_t i)
{
    (void)m;
    return PyBool_FromLong(((const uint8_t *)c->data)[i >> 3] >> (i & 7) & 1);
}

#define GET(name, type, make)                                                                      \
    static PyObject *get_##name(struct maker *m, struct column *c, int64_t i)                      \
    {                                                                                              \
        (void)m;                                                                                   \
        return make(((const type *)c->data)[i]);                                                   \
    }
GET(s8, int8_t, PyLong_FromLong)
GET(u8, uint8_t, PyLong_FromLong)
GET(s16, int16_t, PyLong_FromLong)
GET(u16, uint16_t, PyLong_FromLong)
GET(s32, int32_t, PyLong_FromLong)
GET(u32, uint32_t, PyLong_FromUnsignedLong)
GET(s64, int64_t, PyLong_FromLongLong)
GET(u64, uint64_t, PyLong_FromUnsignedLongLong)
GET(f64, double, PyFloat_FromDouble)
#undef GET

static PyObject *get_f32(struct maker *m, struct column *c, int64_t i)
{
    (void)m;
    return PyFloat_FromDouble((double)((const float *)c->data)[i]);
}

/* A text that is not UTF-8 comes from elsewhere: nothing of it is lost, as with file names. */
static PyObject *text(const char *p, int64_t from, int64_t to)
{
    return PyUnicode_DecodeUTF8(p + from, (Py_ssize_t)(to - from), "surrogateescape");
}

static PyObject *octets(const char *p, int64_t from, int64_t to)
{
    return PyBytes_FromStringAndSize(p + from, (Py_ssize_t)(to - from));
}

#define GET(name, type, make)                                                                      \
    static PyObject *get_##name(struct maker *m, struct column *c, int64_t i)                      \
    {                                                                                              \
        (void)m;                                                                                   \
        const type *at = (const type *)c->data + i;                                                \
        return make(c->octets, at[0], at[1]);                                                      \
    }
GET(text, int32_t, text)
GET(large_text, int64_t, text)
GET(octets, int32_t, octets)
GET(large_octets, int64_t, octets)
#undef GET

static PyObject *get_fixed(struct maker *m, struct column *c, int64_t i)
{
    (void)m;
    return octets(c->data, i * c->width, (i + 1) * c->width);
}

static PyObject *list_of(struct maker *m, struct column *items, int64_t from, int64_t to)
{
    PyObject *list = PyList_New((Py_ssize_t)(to - from));
    for (int64_t i = from; list != NULL && i < to; i++) {
        PyObject *v = value(m, items, i);
        if (v == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SetItem(list, (Py_ssize_t)(i - from), v);
    }
    return list;
}

#define GET(name, type)                                                                            \
    static PyObject *get_##name(struct maker *m, struct column *c, int64_t i)                      \
    {                                                                                              \
        const type *at = (const type *)c->data + i;                                                \
        return list_of(m, c->children, at[0], at[1]);                                              \
    }
GET(list, int32_t)
GET(large_list, int64_t)
#undef GET

static PyObject *get_struct(struct maker *m, struct column *c, int64_t i)
{
    PyObject *dict = PyDict_New();
    for (size_t k = 0; dict != NULL && k < c->n_children; k++) {
        PyObject *v = value(m, &c->children[k], i);
        if (v == NULL || PyDict_SetItem(dict, c->names[k], v) != 0)
            Py_CLEAR(dict);
        Py_XDECREF(v);
    }
    return dict;
}

static PyObject *get_dictionary(struct maker *m, struct column *c, int64_t i)
{
    int64_t at = -1;
    switch (c->index) {
    case 'c':
        at = ((const int8_t *)c->data)[i];
        break;
    case 'C':
        at = ((const uint8_t *)c->data)[i];
        break;
    case 's':
        at = ((const int16_t *)c->data)[i];
        break;
    case 'S':
        at = ((const uint16_t *)c->data)[i];
        break;
    case 'i':
        at = ((const int32_t *)c->data)[i];
        break;
    case 'I':
        at = ((const uint32_t *)c->data)[i];
        break;
    default:
        at = ((const int64_t *)c->data)[i];
        break;
    }
    struct column *d = c->children;
    if (at < 0 || at >= d->length)
        return PyErr_Format(PyExc_ValueError, "index %lld is beyond a dictionary of %lld values",
                            (long long)at, (long long)d->length);
    if (c->values[at] == NULL && (c->values[at] = value(m, d, at)) == NULL)
        return NULL;
    Py_INCREF(c->values[at]);
    return c->values[at];
}

/* ---- times ---- */

/* us since 1970 as datetime(year, month, day, hour, minute, second, us, zone). The Gregorian calendar counted from the
 * first of March of the year 0, so that leap days are the last of their years. */
static PyObject *make_time(struct maker *m, int64_t us, bool utc)
{
    int64_t days = us / 86400000000 - (us % 86400000000 < 0);
    int64_t rest = us - days * 86400000000;
    int64_t day = days + 719468;
    int64_t era = day / 146097; /* of 400 years; day is never negative from the year 1 on */
    int64_t of_era = day - era * 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * of_year + 2) / 153; /* 0: March */
    int64_t of_month = of_year - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2);
    const int64_t parts[] = {year,
                             month,
                             of_month,
                             rest / 3600000000,
                             rest / 60000000 % 60,
                             rest / 1000000 % 60,
                             rest % 1000000};
    PyObject *args = PyTuple_New(8), *made = NULL;
    bool ok = args != NULL;
    for (int i = 0; ok && i < 7; i++) {
        PyObject *part = PyLong_FromLong((long)parts[i]);
        ok = part != NULL && PyTuple_SetItem(args, i, part) == 0;
    }
    if (ok) {
        PyObject *zone = utc ? m->utc : Py_None;
        Py_INCREF(zone);
        PyTuple_SetItem(args, 7, zone);
        made = PyObject_Call(m->datetime, args, NULL);
    }
    Py_XDECREF(args);
    return made;
}

static PyObject *get_time(struct maker *m, struct column *c, int64_t i)
{
    int64_t v = ((const int64_t *)c->data)[i], us;
    if (m->o.raw_times)
        return PyLong_FromLongLong(v);
    if (c->per_second > 1000000) {
        int64_t per_us = c->per_second / 1000000;
        us = v / per_us - (v % per_us < 0);
    } else if (__builtin_mul_overflow(v, 1000000 / c->per_second, &us)) {
        return PyLong_FromLongLong(v);
    }
    if (us < US_MIN || us >= US_END) /* a datetime cannot say it */
        return PyLong_FromLongLong(v);
    struct known_time *k = &m->known[((uint64_t)us * 0x9e3779b97f4a7c15u >> 32) % TIME_CACHE];
    if (k->object == NULL || k->us != us || k->utc != c->utc) {
        PyObject *made = make_time(m, us, c->utc);
        if (made == NULL)
            return NULL;
        PyObject *before = k->object;
        *k = (struct known_time){.object = made, .us = us, .utc = c->utc};
        Py_XDECREF(before);
    }
    Py_INCREF(k->object);
    return k->object;
}

/* ---- types ---- */

static const struct {
    const char *format;
    PyObject *(*get)(struct maker *m, struct column *c, int64_t i);
    int64_t n_buffers;
} types[] = {
    {"n", get_null, 0},         {"b", get_bool, 2},       {"c", get_s8, 2},
    {"C", get_u8, 2},           {"s", get_s16, 2},        {"S", get_u16, 2},
    {"i", get_s32, 2},          {"I", get_u32, 2},        {"l", get_s64, 2},
    {"L", get_u64, 2},          {"f", get_f32, 2},        {"g", get_f64, 2},
    {"u", get_text, 3},         {"U", get_large_text, 3}, {"z", get_octets, 3},
    {"Z", get_large_octets, 3}, {"+l", get_list, 2},      {"+L", get_large_list, 2},
    {"+s", get_struct, 1},
};

static void column_done(struct column *c)
{
    if (c->values != NULL)
        for (int64_t i = 0; i < c->children[0].length; i++)
            Py_XDECREF(c->values[i]);
    if (c->names != NULL)
        for (size_t i = 0; i < c->n_children; i++)
            Py_XDECREF(c->names[i]);
    for (size_t i = 0; i < c->n_children; i++)
        column_done(&c->children[i]);
    free(c->values);
    free(c->names);
    free(c->children);
}

static PyObject *name_of(const struct ArrowSchema *s)
{
    const char *name = s->name != NULL ? s->name : "";
    PyObject *made = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "surrogateescape");
    if (made != NULL)
        PyUnicode_InternInPlace(&made);
    return made;
}

static bool column_init(struct column *c, const struct ArrowSchema *s, const struct ArrowArray *a,
                        int depth);

static bool add_children(struct column *c, size_t n, struct ArrowSchema *const *schemas,
                         struct ArrowArray *const *arrays, int depth)
{
    c->children = calloc(n != 0 ? n : 1, sizeof *c->children);
    if (c->children == NULL) {
        PyErr_NoMemory();
        return false;
    }
    for (; c->n_children < n; c->n_children++)
        if (!column_init(&c->children[c->n_children], schemas[c->n_children], arrays[c->n_children],
                         depth + 1)) {
            c->n_children++; /* what there is of it is freed with the others */
            return false;
        }
    return true;
}

static bool find_get(struct column *c, const char *format, int64_t *n_buffers)
{
    *n_buffers = 2;
    if (format[0] == 't' && format[1] == 's' && format[2] != '\0' && format[3] == ':') {
        static const struct {
            char unit;
            int32_t per_second;
        } units[] = {{'s', 1}, {'m', 1000}, {'u', 1000000}, {'n', 1000000000}};
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (units[i].unit == format[2])
                c->per_second = units[i].per_second;
        c->utc = format[4] != '\0';
        c->get = get_time;
        return c->per_second != 0;
    }
    if (format[0] == 'w' && format[1] == ':') {
        c->width = strtoll(format + 2, NULL, 10);
        c->get = get_fixed;
        return c->width >= 0;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].format, format) == 0) {
            c->get = types[i].get;
            *n_buffers = types[i].n_buffers;
            return true;
        }
    return false;
}

/* false with an exception; column_done in either case. */
static bool column_init(struct column *c, const struct ArrowSchema *s, const struct ArrowArray *a,
                        int depth)
{
    int64_t n_buffers;
    const char *name = s->name != NULL ? s->name : "";
    if (depth > MAX_DEPTH || !find_get(c, s->format, &n_buffers)) {
        PyErr_Format(PyExc_TypeError,
                     "column %s has the Arrow type \"%s\", which has no Python form", name,
                     s->format);
        return false;
    }
    if (a->n_buffers < n_buffers || a->n_children != s->n_children ||
        (a->dictionary == NULL) != (s->dictionary == NULL)) {
        PyErr_Format(PyExc_ValueError, "column %s: the array is not one of its schema", name);
        return false;
    }
    c->offset = a->offset;
    c->length = a->length;
    c->valid = n_buffers > 0 && a->null_count != 0 ? a->buffers[0] : NULL;
    c->data = n_buffers > 1 ? a->buffers[1] : NULL;
    c->octets = n_buffers > 2 ? a->buffers[2] : NULL;
    if (n_buffers == 0)
        return true;
    if (s->dictionary != NULL) {
        c->index = s->format[0];
        if (strchr("cCsSiIlL", c->index) == NULL || s->format[1] != '\0') {
            PyErr_Format(PyExc_ValueError, "column %s: a dictionary's indices are of type \"%s\"",
                         name, s->format);
            return false;
        }
        c->get = get_dictionary;
        if (!add_children(c, 1, (struct ArrowSchema *const *)&s->dictionary,
                          (struct ArrowArray *const *)&a->dictionary, depth))
            return false;
        int64_t n = a->dictionary->length;
        c->values = calloc(n > 0 ? (size_t)n : 1, sizeof(PyObject *));
        if (c->values == NULL)
            PyErr_NoMemory();
        return c->values != NULL;
    }
    if (c->get == get_list || c->get == get_large_list || c->get == get_struct) {
        if (c->get != get_struct && s->n_children != 1) {
            PyErr_Format(PyExc_ValueError, "column %s: a list of %lld kinds of items", name,
                         (long long)s->n_children);
            return false;
        }
        if (!add_children(c, (size_t)s->n_children, s->children, a->children, depth))
            return false;
    }
    if (c->get == get_struct) {
        c->names = calloc(c->n_children != 0 ? c->n_children : 1, sizeof(PyObject *));
        if (c->names == NULL) {
            PyErr_NoMemory();
            return false;
        }
        for (size_t i = 0; i < c->n_children; i++)
            if ((c->names[i] = name_of(s->children[i])) == NULL)
                return false;
    }
    return true;
}

/* ---- tables ---- */

/* The columns that were asked for, in that order. */
struct table {
    struct maker maker;
    size_t n;
    struct column *columns;
    PyObject **names;
    int64_t offset, length;
};

static void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        column_done(&t->columns[i]);
        Py_XDECREF(t->names[i]);
    }
    free(t->columns);
    free(t->names);
    for (size_t i = 0; i < TIME_CACHE; i++)
        Py_XDECREF(t->maker.known[i].object);
    Py_XDECREF(t->maker.datetime);
    Py_XDECREF(t->maker.utc);
}

static bool known_times(struct maker *m)
{
    PyObject *module = PyImport_ImportModule("datetime");
    if (module == NULL)
        return false;
    PyObject *zone = PyObject_GetAttrString(module, "timezone");
    m->datetime = PyObject_GetAttrString(module, "datetime");
    if (zone != NULL)
        m->utc = PyObject_GetAttrString(zone, "utc");
    Py_XDECREF(zone);
    Py_DECREF(module);
    return m->datetime != NULL && m->utc != NULL;
}

/* The place of a column, -1 with KeyError. */
static int64_t find_name(const struct ArrowSchema *schema, PyObject *name)
{
    PyObject *utf8 = PyUnicode_AsEncodedString(name, "utf-8", "surrogateescape");
    char *want;
    if (utf8 == NULL || PyBytes_AsStringAndSize(utf8, &want, NULL) != 0) {
        Py_XDECREF(utf8);
        return -1;
    }
    int64_t found = -1;
    for (int64_t i = 0; found < 0 && i < schema->n_children; i++) {
        const char *have = schema->children[i]->name;
        if (have != NULL && strcmp(have, want) == 0)
            found = i;
    }
    Py_DECREF(utf8);
    if (found < 0)
        PyErr_SetObject(PyExc_KeyError, name);
    return found;
}

static bool add_column(struct table *t, const struct ArrowSchema *schema,
                       const struct ArrowArray *array, int64_t at)
{
    struct column *c = &t->columns[t->n];
    t->names[t->n++] = name_of(schema->children[at]);
    return t->names[t->n - 1] != NULL &&
           column_init(c, schema->children[at], array->children[at], 0);
}

/* false with an exception; table_done in either case. */
static bool table_init(struct table *t, const struct ArrowSchema *schema,
                       const struct ArrowArray *array, PyObject *columns, py_rows_options o)
{
    *t = (struct table){.maker.o = o, .offset = array->offset, .length = array->length};
    if (strcmp(schema->format, "+s") != 0 || array->n_children != schema->n_children) {
        PyErr_SetString(PyExc_ValueError,
                        "an array of rows is a struct array with a child for each column");
        return false;
    }
    PyObject *wanted = NULL;
    Py_ssize_t n = (Py_ssize_t)schema->n_children;
    if (columns != NULL) {
        if (PyUnicode_Check(columns)) {
            PyErr_SetString(PyExc_TypeError, "columns is a sequence of names, not one str");
            return false;
        }
        wanted = PySequence_List(columns);
        if (wanted == NULL)
            return false;
        n = PyList_Size(wanted);
    }
    t->columns = calloc(n != 0 ? (size_t)n : 1, sizeof *t->columns);
    t->names = calloc(n != 0 ? (size_t)n : 1, sizeof *t->names);
    bool ok = t->columns != NULL && t->names != NULL;
    if (!ok)
        PyErr_NoMemory();
    ok = ok && (o.raw_times || known_times(&t->maker));
    for (Py_ssize_t i = 0; ok && i < n; i++) {
        int64_t at = i;
        if (wanted != NULL)
            at = find_name(schema, PyList_GetItem(wanted, i));
        ok = at >= 0 && add_column(t, schema, array, at);
    }
    Py_XDECREF(wanted);
    return ok;
}

static bool fill_dicts(struct table *t, PyObject *list)
{
    PyObject *row[BLOCK];
    for (int64_t from = 0; from < t->length; from += BLOCK) {
        int64_t n = t->length - from < BLOCK ? t->length - from : BLOCK;
        for (int64_t i = 0; i < n; i++) {
            row[i] = PyDict_New();
            if (row[i] == NULL || PyList_SetItem(list, (Py_ssize_t)(from + i), row[i]) != 0)
                return false;
        }
        for (size_t k = 0; k < t->n; k++) {
            struct column *c = &t->columns[k];
            for (int64_t i = 0; i < n; i++) {
                PyObject *v = value(&t->maker, c, t->offset + from + i);
                if (v == NULL)
                    return false;
                int bad = 0;
                if (v != Py_None || !t->maker.o.no_nulls)
                    bad = PyDict_SetItem(row[i], t->names[k], v);
                Py_DECREF(v);
                if (bad != 0)
                    return false;
            }
        }
    }
    return true;
}

static bool fill_tuples(struct table *t, PyObject *list)
{
    PyObject *row[BLOCK];
    for (int64_t from = 0; from < t->length; from += BLOCK) {
        int64_t n = t->length - from < BLOCK ? t->length - from : BLOCK;
        for (int64_t i = 0; i < n; i++) {
            row[i] = PyTuple_New((Py_ssize_t)t->n);
            if (row[i] == NULL || PyList_SetItem(list, (Py_ssize_t)(from + i), row[i]) != 0)
                return false;
        }
        for (size_t k = 0; k < t->n; k++) {
            struct column *c = &t->columns[k];
            for (int64_t i = 0; i < n; i++) {
                PyObject *v = value(&t->maker, c, t->offset + from + i);
                if (v == NULL || PyTuple_SetItem(row[i], (Py_ssize_t)k, v) != 0)
                    return false;
            }
        }
    }
    return true;
}

static PyObject *rows(const struct ArrowSchema *schema, const struct ArrowArray *array,
                      PyObject *columns, py_rows_options o,
                      bool (*fill)(struct table *t, PyObject *list))
{
    struct table t;
    PyObject *list = NULL;
    if (table_init(&t, schema, array, columns, o)) {
        list = PyList_New((Py_ssize_t)t.length);
        if (list != NULL && !fill(&t, list))
            Py_CLEAR(list);
    }
    table_done(&t);
    return list;
}

PyObject *py_rows_dicts(const struct ArrowSchema *schema, const struct ArrowArray *array,
                        PyObject *columns, py_rows_options o)
{
    return rows(schema, array, columns, o, fill_dicts);
}

PyObject *py_rows_tuples(const struct ArrowSchema *schema, const struct ArrowArray *array,
                         PyObject *columns, py_rows_options o)
{
    return rows(schema, array, columns, o, fill_tuples);
}

PyObject *py_rows_column(const struct ArrowSchema *schema, const struct ArrowArray *array,
                         PyObject *name, py_rows_options o)
{
    struct table t;
    PyObject *list = NULL, *one = PyTuple_New(1);
    if (one == NULL)
        return NULL;
    Py_INCREF(name);
    PyTuple_SetItem(one, 0, name);
    if (table_init(&t, schema, array, one, o))
        list = list_of(&t.maker, &t.columns[0], t.offset, t.offset + t.length);
    table_done(&t);
    Py_DECREF(one);
    return list;
}

PyObject *py_rows_names(const struct ArrowSchema *schema)
{
    PyObject *names = PyTuple_New((Py_ssize_t)schema->n_children);
    for (int64_t i = 0; names != NULL && i < schema->n_children; i++) {
        PyObject *name = name_of(schema->children[i]);
        if (name == NULL)
            Py_CLEAR(names);
        else
            PyTuple_SetItem(names, (Py_ssize_t)i, name);
    }
    return names;
}
