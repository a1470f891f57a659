/* Record batches, streams of them, captures and archives: the types behind netflow.Batch, netflow.open_capture and
 * netflow.open_archive. */
#include "batch.h"
#include "ext.h"
#include "job.h"
#include "rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The only state of this file: its types, made once. */
static PyTypeObject *batch_type, *stream_type;

/* ---- shared helpers ---- */

PyObject *py_raise(weir_status status, const weir_err *err)
{
    const char *msg = err->msg[0] != '\0' ? err->msg : weir_status_text(status);
    PyObject *class = status == WEIR_ENOMEM      ? PyExc_MemoryError
                      : status == WEIR_EIO       ? PyExc_OSError
                      : status == WEIR_ENOTFOUND ? PyExc_FileNotFoundError
                                                 : PyExc_ValueError;
    PyObject *text = PyUnicode_DecodeUTF8(msg, (Py_ssize_t)strlen(msg), "replace");
    PyObject *made = text != NULL ? PyObject_CallFunctionObjArgs(class, text, NULL) : NULL;
    PyObject *at = made != NULL ? PyLong_FromUnsignedLongLong(err->at) : NULL;
    if (at != NULL && PyObject_SetAttrString(made, "at", at) == 0)
        PyErr_SetObject(class, made);
    Py_XDECREF(at);
    Py_XDECREF(made);
    Py_XDECREF(text);
    return NULL;
}

/* The same for the errno of a stream. */
static PyObject *raise_errno(int code, const char *msg)
{
    weir_err err = {.code = WEIR_OK};
    weir_status status = code == ENOMEM   ? WEIR_ENOMEM
                         : code == EIO    ? WEIR_EIO
                         : code == ENOENT ? WEIR_ENOTFOUND
                                          : WEIR_EINVAL;
    memcpy(err.msg, msg, strnlen(msg, sizeof err.msg - 1));
    return py_raise(status, &err);
}

bool py_texts_init(py_texts *t, PyObject *sequence, const char *what)
{
    *t = (py_texts){.n = 0};
    if (sequence == Py_None)
        return true;
    if (PyUnicode_Check(sequence) || PyBytes_Check(sequence)) {
        PyErr_Format(PyExc_TypeError, "%s is a sequence of str, not one", what);
        return false;
    }
    t->kept = PySequence_List(sequence);
    if (t->kept == NULL)
        return false;
    t->n = (size_t)PyList_Size(t->kept);
    t->text = calloc(t->n + 1, sizeof *t->text);
    if (t->text == NULL) {
        PyErr_NoMemory();
        return false;
    }
    for (size_t i = 0; i < t->n; i++) {
        PyObject *octets = PyUnicode_AsEncodedString(PyList_GetItem(t->kept, (Py_ssize_t)i),
                                                     "utf-8", "surrogateescape");
        char *text;
        if (octets == NULL)
            return false;
        if (PyBytes_AsStringAndSize(octets, &text, NULL) != 0) {
            Py_DECREF(octets);
            return false;
        }
        t->text[i] = text;
        PyList_SetItem(t->kept, (Py_ssize_t)i, octets);
    }
    return true;
}

void py_texts_done(py_texts *t)
{
    free(t->text);
    Py_XDECREF(t->kept);
}

bool py_decoder_options(PyObject *tuple, weir_decoder_options *out)
{
    Py_ssize_t scope, sizes[8];
    unsigned int seconds[3], depth, items;
    if (!PyArg_ParseTuple(tuple, "nnnnnnnnnIIIII", &scope, &sizes[0], &sizes[1], &sizes[2],
                          &sizes[3], &sizes[4], &sizes[5], &sizes[6], &sizes[7], &seconds[0],
                          &seconds[1], &seconds[2], &depth, &items))
        return false;
    *out = (weir_decoder_options){.scope = scope != 0 ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS,
                                  .max_exporters = (size_t)sizes[0],
                                  .max_streams = (size_t)sizes[1],
                                  .max_exporter_streams = (size_t)sizes[2],
                                  .max_templates = (size_t)sizes[3],
                                  .max_fields = (size_t)sizes[4],
                                  .max_state_octets = (size_t)sizes[5],
                                  .max_waiting_octets = (size_t)sizes[6],
                                  .max_waiting_total = (size_t)sizes[7],
                                  .waiting_s = seconds[0],
                                  .template_life_s = seconds[1],
                                  .idle_s = seconds[2],
                                  .max_depth = depth,
                                  .max_list_items = items};
    return true;
}

bool py_elements(PyObject *paths, weir_elements **out)
{
    py_texts t;
    weir_err err = {.code = WEIR_OK};
    *out = NULL;
    bool ok = py_texts_init(&t, paths, "elements");
    if (ok && t.n != 0) {
        *out = weir_elements_new();
        ok = *out != NULL;
        if (!ok)
            PyErr_NoMemory();
    }
    for (size_t i = 0; ok && i < t.n; i++) {
        weir_status status = weir_elements_load(*out, t.text[i], &err);
        ok = status == WEIR_OK;
        if (!ok)
            py_raise(status, &err);
    }
    if (!ok) {
        weir_elements_free(*out);
        *out = NULL;
    }
    py_texts_done(&t);
    return ok;
}

void py_counters_json(FILE *f, const weir_counters *c)
{
    fputc('{', f);
#define X(name) fprintf(f, "\"%s\":%llu,", #name, (unsigned long long)c->name);
    WEIR_COUNTERS_MAP(X)
#undef X
    fputs("\"rejected\":{", f);
    for (int i = 0; i < WEIR_N_REJECT; i++)
        fprintf(f, "%s\"%s\":%llu", i != 0 ? "," : "", weir_reject_text((weir_reject)i),
                (unsigned long long)c->rejected[i]);
    fputs("},\"faults\":{", f);
    for (int i = 0; i < WEIR_N_FAULT; i++)
        fprintf(f, "%s\"%s\":%llu", i != 0 ? "," : "", weir_fault_text((weir_fault)i),
                (unsigned long long)c->faults[i]);
    fputs("}}", f);
}

/* tp_free of a type made from a spec; the instance holds its type. */
static void free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* object's own would make one without anything in it. */
static PyObject *no_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)type, (void)args, (void)kwargs;
    PyErr_SetString(PyExc_TypeError,
                    "objects of this type come from decoders, captures and archives");
    return NULL;
}

static PyObject *new_object(PyTypeObject *type)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return alloc(type, 0);
}

/* ---- capsules ---- */

/* The names are the interface's: https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html */
#define CAPSULE(kind, type, text)                                                                  \
    static void drop_##kind(PyObject *capsule)                                                     \
    {                                                                                              \
        struct type *s = PyCapsule_GetPointer(capsule, text);                                      \
        if (s == NULL)                                                                             \
            PyErr_WriteUnraisable(capsule);                                                        \
        else if (s->release != NULL) {                                                             \
            PyThreadState *gil = PyEval_SaveThread();                                              \
            s->release(s);                                                                         \
            PyEval_RestoreThread(gil);                                                             \
        }                                                                                          \
        free(s);                                                                                   \
    }                                                                                              \
    /* Takes s, also on failure. */                                                                \
    static PyObject *capsule_##kind(struct type *s)                                                \
    {                                                                                              \
        PyObject *capsule = PyCapsule_New(s, text, drop_##kind);                                   \
        if (capsule == NULL) {                                                                     \
            s->release(s);                                                                         \
            free(s);                                                                               \
        }                                                                                          \
        return capsule;                                                                            \
    }
CAPSULE(schema, ArrowSchema, "arrow_schema")
CAPSULE(array, ArrowArray, "arrow_array")
CAPSULE(stream, ArrowArrayStream, "arrow_array_stream")
#undef CAPSULE

static PyObject *export_schema(py_shared_schema *of)
{
    struct ArrowSchema *s = malloc(sizeof *s);
    if (s == NULL || !py_schema_export(of, s)) {
        free(s);
        return PyErr_NoMemory();
    }
    return capsule_schema(s);
}

/* ---- types in words ---- */

/* As pyarrow names them. */
static bool type_text(FILE *f, const struct ArrowSchema *s)
{
    static const struct {
        const char *format, *text;
    } names[] = {
        {"n", "null"},
        {"b", "bool"},
        {"c", "int8"},
        {"C", "uint8"},
        {"s", "int16"},
        {"S", "uint16"},
        {"i", "int32"},
        {"I", "uint32"},
        {"l", "int64"},
        {"L", "uint64"},
        {"f", "float"},
        {"g", "double"},
        {"u", "string"},
        {"U", "large_string"},
        {"z", "binary"},
        {"Z", "large_binary"},
        {"tsu:UTC", "timestamp[us, tz=UTC]"},
        {"tsn:UTC", "timestamp[ns, tz=UTC]"},
        {"+s", "struct"},
    };
    if (s->dictionary != NULL)
        return type_text(f, s->dictionary);
    if ((strcmp(s->format, "+l") == 0 || strcmp(s->format, "+L") == 0) && s->n_children == 1) {
        fputs("list<", f);
        type_text(f, s->children[0]);
        return fputc('>', f) != EOF;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].format, s->format) == 0)
            return fputs(names[i].text, f) != EOF;
    return fputs(s->format, f) != EOF;
}

/* ((name, type), ...) */
static PyObject *fields(py_shared_schema *of)
{
    const struct ArrowSchema *s = &of->schema;
    PyObject *names = py_rows_names(s), *made = NULL;
    if (names != NULL)
        made = PyTuple_New((Py_ssize_t)s->n_children);
    for (Py_ssize_t i = 0; made != NULL && i < (Py_ssize_t)s->n_children; i++) {
        char *text = NULL;
        size_t len = 0;
        FILE *f = open_memstream(&text, &len);
        bool ok = f != NULL && type_text(f, s->children[i]);
        if (f != NULL)
            ok = fclose(f) == 0 && ok;
        PyObject *pair =
            ok ? Py_BuildValue("(Os)", PyTuple_GetItem(names, i), text) : PyErr_NoMemory();
        free(text);
        if (pair == NULL)
            Py_CLEAR(made);
        else
            PyTuple_SetItem(made, i, pair);
    }
    Py_XDECREF(names);
    return made;
}

/* ---- Batch ---- */

typedef struct {
    PyObject ob_base; /* what PyObject_HEAD is */
    py_shared_schema *schema;
    py_shared_array *array;
} batch;

PyObject *py_batch_new(py_shared_schema *schema, py_shared_array *array)
{
    PyObject *self = new_object(batch_type);
    if (self == NULL) {
        py_array_drop(array);
        return NULL;
    }
    ((batch *)self)->schema = py_schema_hold(schema);
    ((batch *)self)->array = array;
    return self;
}

static void batch_dealloc(PyObject *self)
{
    py_array_drop(((batch *)self)->array);
    py_schema_drop(((batch *)self)->schema);
    free_object(self);
}

static Py_ssize_t batch_len(PyObject *self)
{
    return (Py_ssize_t)((batch *)self)->array->array.length;
}

static PyObject *batch_repr(PyObject *self)
{
    const batch *b = (const batch *)self;
    return PyUnicode_FromFormat("<netflow.Batch: %zd rows, %zd columns>", batch_len(self),
                                (Py_ssize_t)b->schema->schema.n_children);
}

static PyObject *batch_columns(PyObject *self, void *closure)
{
    (void)closure;
    return py_rows_names(&((batch *)self)->schema->schema);
}

static PyObject *batch_fields(PyObject *self, void *closure)
{
    (void)closure;
    return fields(((batch *)self)->schema);
}

/* times="datetime" or "int". */
static bool times_option(const char *times, py_rows_options *o)
{
    o->raw_times = strcmp(times, "int") == 0;
    if (o->raw_times || strcmp(times, "datetime") == 0)
        return true;
    PyErr_Format(PyExc_ValueError, "times is \"datetime\" or \"int\", not \"%.40s\"", times);
    return false;
}

static PyObject *batch_dicts(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"columns", "times", "nulls", NULL};
    const batch *b = (const batch *)self;
    PyObject *columns = Py_None;
    const char *times = "datetime";
    int nulls = 1;
    py_rows_options o = {.raw_times = false};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$sp:dicts", words, &columns, &times,
                                     &nulls) ||
        !times_option(times, &o))
        return NULL;
    o.no_nulls = !nulls;
    return py_rows_dicts(&b->schema->schema, &b->array->array, columns == Py_None ? NULL : columns,
                         o);
}

static PyObject *batch_tuples(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"columns", "times", NULL};
    const batch *b = (const batch *)self;
    PyObject *columns = Py_None;
    const char *times = "datetime";
    py_rows_options o = {.raw_times = false};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$s:tuples", words, &columns, &times) ||
        !times_option(times, &o))
        return NULL;
    return py_rows_tuples(&b->schema->schema, &b->array->array, columns == Py_None ? NULL : columns,
                          o);
}

static PyObject *batch_column(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"name", "times", NULL};
    const batch *b = (const batch *)self;
    PyObject *name;
    const char *times = "datetime";
    py_rows_options o = {.raw_times = false};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$s:column", words, &name, &times) ||
        !times_option(times, &o))
        return NULL;
    return py_rows_column(&b->schema->schema, &b->array->array, name, o);
}

/* Casts that a consumer asks for are its own to do: the interface leaves that to the producer. */
static bool requested(PyObject *args, PyObject *kwargs, const char *format)
{
    static char *words[] = {"requested_schema", NULL};
    PyObject *ignored = Py_None;
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, words, &ignored) != 0;
}

static PyObject *batch_arrow_schema(PyObject *self, PyObject *unused)
{
    (void)unused;
    return export_schema(((batch *)self)->schema);
}

static PyObject *batch_arrow_array(PyObject *self, PyObject *args, PyObject *kwargs)
{
    batch *b = (batch *)self;
    if (!requested(args, kwargs, "|O:__arrow_c_array__"))
        return NULL;
    struct ArrowArray *a = malloc(sizeof *a);
    if (a == NULL || !py_array_export(b->array, a)) {
        free(a);
        return PyErr_NoMemory();
    }
    PyObject *array = capsule_array(a), *schema = NULL, *pair = NULL;
    if (array != NULL)
        schema = export_schema(b->schema);
    if (schema != NULL)
        pair = PyTuple_New(2);
    if (pair == NULL) {
        Py_XDECREF(array);
        Py_XDECREF(schema);
        return NULL;
    }
    PyTuple_SetItem(pair, 0, schema);
    PyTuple_SetItem(pair, 1, array);
    return pair;
}

static PyObject *batch_arrow(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *module = PyImport_ImportModule("pyarrow");
    if (module == NULL)
        return NULL;
    PyObject *made = PyObject_CallMethod(module, "record_batch", "O", self);
    Py_DECREF(module);
    return made;
}

/* Move what a capsule holds out of it. */
static PyObject *batch_from_arrow(PyObject *class, PyObject *object)
{
    (void)class;
    PyObject *pair = PyObject_CallMethod(object, "__arrow_c_array__", NULL), *made = NULL;
    py_shared_schema *schema = NULL;
    py_shared_array *array = NULL;
    if (pair == NULL)
        return NULL;
    if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "__arrow_c_array__ gave no pair of capsules");
        goto done;
    }
    struct ArrowSchema *s = PyCapsule_GetPointer(PyTuple_GetItem(pair, 0), "arrow_schema");
    if (s == NULL)
        goto done;
    struct ArrowArray *a = PyCapsule_GetPointer(PyTuple_GetItem(pair, 1), "arrow_array");
    if (a == NULL)
        goto done;
    if (s->release == NULL || a->release == NULL || strcmp(s->format, "+s") != 0 ||
        s->n_children != a->n_children) {
        PyErr_SetString(PyExc_ValueError, "a batch is made of a record batch or a struct array");
        goto done;
    }
    schema = py_schema_new();
    array = py_array_new();
    if (schema == NULL || array == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    schema->schema = *s;
    s->release = NULL;
    array->array = *a;
    a->release = NULL;
    made = py_batch_new(schema, array);
    array = NULL;
done:
    py_schema_drop(schema);
    py_array_drop(array);
    Py_DECREF(pair);
    return made;
}

#define KEYWORDS(fn) ((PyCFunction)(void (*)(void))(fn))

static PyMethodDef batch_methods[] = {
    {"dicts", KEYWORDS(batch_dicts), METH_VARARGS | METH_KEYWORDS,
     "dicts($self, columns=None, *, times=\"datetime\", nulls=True)\n--\n\n"
     "The rows as a list of dicts, {column: value}.\n\n"
     "columns: names, all of them unless given. times: \"datetime\" in UTC, or \"int\", "
     "microseconds since 1970\n"
     "(nanoseconds where the column has them). nulls=False leaves columns out that a row has no "
     "value for; else\n"
     "they are None. A time that a datetime cannot say (beyond the year 9999) is an int in any "
     "case.\n"
     "KeyError: no such column."},
    {"tuples", KEYWORDS(batch_tuples), METH_VARARGS | METH_KEYWORDS,
     "tuples($self, columns=None, *, times=\"datetime\")\n--\n\n"
     "The rows as a list of tuples, values in the order of columns; the rest as dicts()."},
    {"column", KEYWORDS(batch_column), METH_VARARGS | METH_KEYWORDS,
     "column($self, name, *, times=\"datetime\")\n--\n\n"
     "The values of one column as a list, None where a row has none."},
    {"arrow", batch_arrow, METH_NOARGS,
     "arrow($self)\n--\n\n"
     "The same as pyarrow.RecordBatch, which shares its memory. ImportError without pyarrow (14 or "
     "later)."},
    {"from_arrow", batch_from_arrow, METH_O | METH_CLASS,
     "from_arrow($type, data, /)\n--\n\n"
     "A Batch of any record batch or struct array that has __arrow_c_array__; values are shared, "
     "not copied."},
    {"__arrow_c_schema__", batch_arrow_schema, METH_NOARGS,
     "__arrow_c_schema__($self)\n--\n\n"
     "The schema as a capsule of the Arrow PyCapsule interface."},
    {"__arrow_c_array__", KEYWORDS(batch_arrow_array), METH_VARARGS | METH_KEYWORDS,
     "__arrow_c_array__($self, requested_schema=None)\n--\n\n"
     "Schema and rows as capsules of the Arrow PyCapsule interface, without a copy. May be called "
     "again.\n"
     "requested_schema is not looked at: who wants other types casts."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef batch_getset[] = {
    {"columns", batch_columns, NULL, "Names of the columns, in order.", NULL},
    {"fields", batch_fields, NULL,
     "Name and Arrow type of each column: ((\"bytes\", \"uint64\"), ...).", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_doc, (void *)"Records as rows of an Arrow table. len() is the number of rows.\n\n"
                        "Values do not change any more: any number of threads may read one Batch."},
    {Py_tp_new, (void *)no_new},
    {Py_tp_dealloc, (void *)batch_dealloc},
    {Py_tp_repr, (void *)batch_repr},
    {Py_sq_length, (void *)batch_len},
    {Py_tp_methods, batch_methods},
    {Py_tp_getset, batch_getset},
    {0, NULL},
};

static PyType_Spec batch_spec = {
    .name = "netflow.Batch",
    .basicsize = sizeof(batch),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = batch_slots,
};

/* ---- Stream ---- */

typedef struct {
    PyObject ob_base;         /* what PyObject_HEAD is */
    py_source *source;        /* NULL: closed */
    py_shared_schema *schema; /* NULL: not asked for yet */
} stream;

/* The end of a source joins threads, which may take a moment. */
static void drop_source(py_source *s)
{
    PyThreadState *gil = PyEval_SaveThread();
    py_source_drop(s);
    PyEval_RestoreThread(gil);
}

static PyObject *stream_new(py_source *source)
{
    PyObject *self = new_object(stream_type);
    if (self == NULL)
        drop_source(source);
    else
        ((stream *)self)->source = source;
    return self;
}

static void stream_dealloc(PyObject *self)
{
    stream *s = (stream *)self;
    if (s->source != NULL)
        drop_source(s->source);
    py_schema_drop(s->schema);
    free_object(self);
}

/* The source, held once more: another thread may close the stream meanwhile. */
static py_source *open_source(stream *s)
{
    if (s->source == NULL) {
        PyErr_SetString(PyExc_ValueError, "the rows are closed");
        return NULL;
    }
    return py_source_hold(s->source);
}

/* The schema, held once more. */
static py_shared_schema *stream_schema(stream *s, py_source *source)
{
    if (s->schema != NULL)
        return py_schema_hold(s->schema);
    py_shared_schema *made = py_schema_new();
    if (made == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    char msg[256];
    int code;
    PyThreadState *gil = PyEval_SaveThread();
    code = py_source_schema(source, &made->schema, msg, sizeof msg);
    PyEval_RestoreThread(gil);
    if (code != 0) {
        py_schema_drop(made);
        raise_errno(code, msg);
        return NULL;
    }
    if (s->schema == NULL)
        s->schema = py_schema_hold(made);
    return made;
}

/* Taking a batch. */
typedef struct {
    py_job job;
    py_source *source;
    py_shared_array *array;
    int code;
    char msg[256];
} taking;

static void taking_run(py_job *job)
{
    taking *t = (taking *)job;
    t->code = py_source_next(t->source, &t->array->array, t->msg, sizeof t->msg);
}

static void taking_cancel(py_job *job)
{
    py_source_cancel(((taking *)job)->source);
}

static void taking_drop(py_job *job)
{
    taking *t = (taking *)job;
    py_array_drop(t->array);
    py_source_drop(t->source);
    free(t);
}

static taking *taking_new(py_source *source)
{
    taking *t = calloc(1, sizeof *t);
    if (t == NULL || (t->array = py_array_new()) == NULL) {
        free(t);
        PyErr_NoMemory();
        return NULL;
    }
    t->job = (py_job){.run = taking_run, .cancel = taking_cancel, .drop = taking_drop};
    t->source = py_source_hold(source);
    return t;
}

static PyObject *stream_next(PyObject *self)
{
    stream *s = (stream *)self;
    py_source *source = open_source(s);
    if (source == NULL)
        return NULL;
    PyObject *made = NULL;
    py_shared_schema *schema = NULL;
    taking *t = NULL;
    if (atomic_load(&source->lent))
        PyErr_SetString(PyExc_ValueError, "these rows are read through an Arrow stream already");
    else if ((schema = stream_schema(s, source)) != NULL)
        t = taking_new(source);
    if (t != NULL && !py_job_run(&t->job)) {
        /* Somebody else may still be reading for it: its rows are over. */
        if (s->source == source) {
            s->source = NULL;
            drop_source(source);
        }
    } else if (t != NULL) {
        if (t->code != 0) {
            raise_errno(t->code, t->msg);
        } else if (t->array->array.release != NULL) {
            made = py_batch_new(schema, t->array);
            t->array = NULL;
        }
        PyThreadState *gil = PyEval_SaveThread();
        taking_drop(&t->job);
        PyEval_RestoreThread(gil);
    }
    py_schema_drop(schema);
    drop_source(source);
    return made;
}

static PyObject *stream_arrow_stream(PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (!requested(args, kwargs, "|O:__arrow_c_stream__"))
        return NULL;
    py_source *source = open_source((stream *)self);
    if (source == NULL)
        return NULL;
    struct ArrowArrayStream *out = malloc(sizeof *out);
    bool busy = false;
    bool ok = out != NULL && py_source_export(source, out, &busy);
    drop_source(source);
    if (!ok) {
        free(out);
        if (!busy)
            return PyErr_NoMemory();
        PyErr_SetString(PyExc_ValueError, "these rows are read through an Arrow stream already");
        return NULL;
    }
    return capsule_stream(out);
}

static PyObject *stream_arrow_schema(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_source *source = open_source((stream *)self);
    if (source == NULL)
        return NULL;
    py_shared_schema *schema = stream_schema((stream *)self, source);
    PyObject *capsule = schema != NULL ? export_schema(schema) : NULL;
    py_schema_drop(schema);
    drop_source(source);
    return capsule;
}

static PyObject *stream_fields(PyObject *self, void *closure)
{
    (void)closure;
    py_source *source = open_source((stream *)self);
    if (source == NULL)
        return NULL;
    py_shared_schema *schema = stream_schema((stream *)self, source);
    PyObject *made = schema != NULL ? fields(schema) : NULL;
    py_schema_drop(schema);
    drop_source(source);
    return made;
}

static PyObject *stream_fresh(PyObject *self, void *closure)
{
    (void)closure;
    py_source *s = ((stream *)self)->source;
    return PyBool_FromLong(s != NULL && !atomic_load(&s->lent) && !atomic_load(&s->begun));
}

static PyObject *stream_summary(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_source *source = open_source((stream *)self);
    if (source == NULL)
        return NULL;
    weir_err err = {.code = WEIR_OK};
    weir_status status = WEIR_EINVAL;
    const char *json = NULL;
    char *copy = NULL;
    PyThreadState *gil = PyEval_SaveThread();
    pthread_mutex_lock(&source->lock);
    if (source->answer != NULL && atomic_load(&source->ended))
        status = weir_answer_summary(source->answer, &json, &err);
    if (status == WEIR_OK && (copy = strdup(json)) == NULL)
        status = WEIR_ENOMEM;
    pthread_mutex_unlock(&source->lock);
    PyEval_RestoreThread(gil);
    drop_source(source);
    if (status != WEIR_OK) {
        if (status == WEIR_EINVAL)
            snprintf(err.msg, sizeof err.msg, "the summary comes with the last row: read them all");
        return py_raise(status, &err);
    }
    PyObject *text = PyUnicode_DecodeUTF8(copy, (Py_ssize_t)strlen(copy), "surrogateescape");
    free(copy);
    return text;
}

static PyObject *stream_counts(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_source *source = open_source((stream *)self);
    if (source == NULL)
        return NULL;
    weir_capture_counts n;
    weir_status status;
    PyThreadState *gil = PyEval_SaveThread();
    pthread_mutex_lock(&source->lock);
    status = weir_capture_counted(&source->stream, &n);
    pthread_mutex_unlock(&source->lock);
    PyEval_RestoreThread(gil);
    drop_source(source);
    if (status != WEIR_OK) {
        PyErr_SetString(PyExc_ValueError, "these rows are not those of a capture");
        return NULL;
    }
    char *json = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&json, &len);
    if (f == NULL)
        return PyErr_NoMemory();
    fprintf(f, "{\"frames\":%llu,\"packets\":%llu,\"damaged\":%llu,\"lost\":%llu,\"decoder\":",
            (unsigned long long)n.frames, (unsigned long long)n.packets,
            (unsigned long long)n.damaged, (unsigned long long)n.lost);
    py_counters_json(f, &n.decoder);
    fputc('}', f);
    PyObject *text =
        fclose(f) == 0 ? PyUnicode_FromStringAndSize(json, (Py_ssize_t)len) : PyErr_NoMemory();
    free(json);
    return text;
}

static PyObject *stream_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    py_source *source = ((stream *)self)->source;
    ((stream *)self)->source = NULL;
    if (source != NULL)
        drop_source(source);
    Py_INCREF(Py_None);
    return Py_None;
}

static PyObject *stream_iter(PyObject *self)
{
    Py_INCREF(self);
    return self;
}

static PyMethodDef stream_methods[] = {
    {"summary", stream_summary, METH_NOARGS,
     "summary($self)\n--\n\nJSON of the summary of an answer that has been read to its end, else "
     "ValueError."},
    {"counts", stream_counts, METH_NOARGS,
     "counts($self)\n--\n\nJSON of what was read of a capture up to now."},
    {"close", stream_close, METH_NOARGS,
     "close($self)\n--\n\nEnd the reading. Arrow streams that were exported go on."},
    {"__arrow_c_schema__", stream_arrow_schema, METH_NOARGS,
     "__arrow_c_schema__($self)\n--\n\nThe schema as a capsule of the Arrow PyCapsule interface."},
    {"__arrow_c_stream__", KEYWORDS(stream_arrow_stream), METH_VARARGS | METH_KEYWORDS,
     "__arrow_c_stream__($self, requested_schema=None)\n--\n\n"
     "What has not been read yet as a capsule of the Arrow PyCapsule interface; one at a time."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef stream_getset[] = {
    {"fresh", stream_fresh, NULL, "Nothing has been read, and no Arrow stream is there that could.",
     NULL},
    {"fields", stream_fields, NULL, "Name and Arrow type of each column.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, (void *)"Batches, one after the other, read once."},
    {Py_tp_new, (void *)no_new},
    {Py_tp_dealloc, (void *)stream_dealloc},
    {Py_tp_iter, (void *)stream_iter},
    {Py_tp_iternext, (void *)stream_next},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_getset},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "netflow._weir.Stream",
    .basicsize = sizeof(stream),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = stream_slots,
};

/* ---- opening ---- */

/* Opening a capture or asking a question: all that this needs, as copies, since it may outlive the call. */
typedef struct {
    py_job job;
    py_source *source;
    const char **texts; /* n of them; those of a list first */
    size_t n;
    weir_decoder_options decoder;
    weir_capture_options capture; /* path: texts[n - 1] */
    weir_query query;
    weir_status status;
    weir_err err;
} opening;

static void opening_drop(py_job *job)
{
    opening *o = (opening *)job;
    for (size_t i = 0; i < o->n; i++)
        free((void *)o->texts[i]);
    free((void *)o->texts);
    py_source_drop(o->source);
    free(o);
}

/* With copies of the list and of n_more texts behind it, which may be NULL. */
static opening *opening_new(const py_texts *list, const char *const *more, size_t n_more)
{
    opening *o = calloc(1, sizeof *o);
    bool ok = o != NULL && (o->source = py_source_new()) != NULL &&
              (o->texts = calloc(list->n + n_more, sizeof *o->texts)) != NULL;
    for (size_t i = 0; ok && i < list->n + n_more; i++) {
        const char *text = i < list->n ? list->text[i] : more[i - list->n];
        o->texts[o->n++] = text != NULL ? strdup(text) : NULL;
        ok = text == NULL || o->texts[i] != NULL;
    }
    if (ok) {
        o->job.drop = opening_drop;
        return o;
    }
    if (o != NULL)
        opening_drop(&o->job);
    PyErr_NoMemory();
    return NULL;
}

static void capture_run(py_job *job)
{
    opening *o = (opening *)job;
    o->status = weir_arrow_capture(o->texts[o->n - 1], &o->capture, &o->source->stream, &o->err);
}

static void query_run(py_job *job)
{
    opening *o = (opening *)job;
    o->status = weir_query_start(&o->query, &o->source->stream, &o->source->answer, &o->err);
}

/* Does it: a stream, NULL with an exception. */
static PyObject *opening_run(opening *o)
{
    if (!py_job_run(&o->job))
        return NULL;
    PyObject *made = NULL;
    if (o->status != WEIR_OK) {
        py_raise(o->status, &o->err);
    } else {
        made = stream_new(o->source);
        o->source = NULL;
    }
    opening_drop(&o->job);
    return made;
}

static PyObject *open_capture(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *path = NULL, *columns, *limits, *elements;
    int options;
    unsigned int batch_rows;
    unsigned short port;
    if (!PyArg_ParseTuple(args, "O&OpIHOO:open_capture", PyUnicode_FSConverter, &path, &columns,
                          &options, &batch_rows, &port, &limits, &elements))
        return NULL;
    py_texts names;
    const char *file = PyBytes_AsString(path);
    opening *o = NULL;
    if (py_texts_init(&names, columns, "columns"))
        o = opening_new(&names, &file, 1);
    if (o != NULL && (!py_decoder_options(limits, &o->decoder) ||
                      !py_elements(elements, &o->source->elements))) {
        opening_drop(&o->job);
        o = NULL;
    }
    PyObject *made = NULL;
    if (o != NULL) {
        o->decoder.elements = o->source->elements;
        o->capture = (weir_capture_options){
            .decoder = &o->decoder,
            .rows = {.columns = names.n != 0 || columns != Py_None ? o->texts : NULL,
                     .n_columns = names.n,
                     .options = options != 0},
            .batch_rows = batch_rows,
            .port = port,
        };
        o->job.run = capture_run;
        made = opening_run(o);
    }
    py_texts_done(&names);
    Py_DECREF(path);
    return made;
}

static PyObject *open_query(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *paths;
    enum { FILTER, WINDOW, COLUMNS, BY, ORDER, N_TEXTS };
    const char *text[N_TEXTS];
    unsigned long long limit;
    int raw;
    unsigned int threads;
    Py_ssize_t memory;
    if (!PyArg_ParseTuple(args, "OzzzzzKpIn:open_query", &paths, &text[FILTER], &text[WINDOW],
                          &text[COLUMNS], &text[BY], &text[ORDER], &limit, &raw, &threads, &memory))
        return NULL;
    py_texts names;
    opening *o = NULL;
    if (py_texts_init(&names, paths, "paths"))
        o = opening_new(&names, text, N_TEXTS);
    PyObject *made = NULL;
    if (o != NULL) {
        const char **copy = o->texts + names.n;
        o->query = (weir_query){
            .paths = o->texts,
            .n_paths = names.n,
            .filter = copy[FILTER],
            .window = copy[WINDOW],
            .columns = copy[COLUMNS],
            .by = copy[BY],
            .order = copy[ORDER],
            .limit = limit,
            .raw = raw != 0,
            .threads = threads,
            .max_octets = (size_t)memory,
        };
        o->job.run = query_run;
        made = opening_run(o);
    }
    py_texts_done(&names);
    return made;
}

static PyObject *quirks(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyObject *made = PyDict_New();
    const char *names = weir_quirk_names();
    while (made != NULL && *names != '\0') {
        char name[64];
        size_t len = strcspn(names, ", ");
        snprintf(name, sizeof name, "%.*s", (int)len, names);
        PyObject *bit = PyLong_FromUnsignedLong(weir_quirk_by_name(name));
        if (bit == NULL || PyDict_SetItemString(made, name, bit) != 0)
            Py_CLEAR(made);
        Py_XDECREF(bit);
        names += len + strspn(names + len, ", ");
    }
    return made;
}

static PyMethodDef functions[] = {
    {"open_capture", open_capture, METH_VARARGS,
     "open_capture(path, columns, options, batch_rows, port, limits, elements, /)\n--\n\n"
     "A Stream over the records of a capture; see netflow.open_capture."},
    {"open_query", open_query, METH_VARARGS,
     "open_query(paths, filter, window, columns, by, order, limit, raw, threads, memory, /)\n--\n\n"
     "A Stream over the answer to a question; see netflow.Archive.query."},
    {"quirks", quirks, METH_NOARGS,
     "quirks()\n--\n\nThe quirks of exporters that are known, by name, and their bits."},
    {NULL, NULL, 0, NULL},
};

/* A type made of its spec, which only the library makes instances of. */
static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, const char *name)
{
    PyObject *type = PyType_FromSpec(spec);
    if (type == NULL)
        return NULL;
    Py_INCREF(type);
    if (PyModule_AddObject(module, name, type) != 0) {
        Py_DECREF(type);
        Py_DECREF(type);
        return NULL;
    }
    return (PyTypeObject *)type;
}

int weir_py_add_arrow(PyObject *module)
{
    batch_type = add_type(module, &batch_spec, "Batch");
    if (batch_type == NULL)
        return -1;
    stream_type = add_type(module, &stream_spec, "Stream");
    if (stream_type == NULL)
        return -1;
    if (py_decoder_add(module) != 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
