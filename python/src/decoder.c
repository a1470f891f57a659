/* netflow.Decoder: a decoder and the rows that it has made, used by any number of threads. A mutex guards both; it is
 * only waited for without the GIL, and nothing of Python is called while it is held. */
#include "batch.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    PyObject ob_base; /* what PyObject_HEAD is */
    pthread_mutex_t lock;
    bool has_lock;
    /* ---- under lock ---- */
    weir_decoder *decoder;
    weir_batch *flows, *options; /* options NULL: not wanted */
    weir_handlers flow_handlers, option_handlers, on;
    bool bad;     /* strict: something of the packet is wrong, and err says what */
    weir_err err; /* the first of them */
    /* ---- never changed ---- */
    weir_elements *elements;
    PyObject *malformed; /* exception class, NULL: not strict */
    uint8_t transport;
} decoder;

/* ---- handlers ---- */

static void on_record(void *user, const weir_record *r)
{
    decoder *d = user;
    d->flow_handlers.record(d->flows, r);
}

static void on_records(void *user, const weir_record *first, size_t n)
{
    decoder *d = user;
    d->flow_handlers.records(d->flows, first, n);
}

static void on_options(void *user, const weir_record *r)
{
    decoder *d = user;
    d->option_handlers.options(d->options, r);
}

static void on_sampling(void *user, const weir_packet *p, uint64_t selector, const weir_sampling *s)
{
    decoder *d = user;
    d->flow_handlers.sampling(d->flows, p, selector, s);
}

static void on_fault(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    (void)p, (void)fault;
    decoder *d = user;
    if (!d->bad)
        d->err = *err;
    d->bad = true;
}

/* ---- life ---- */

static void lock(decoder *d)
{
    if (pthread_mutex_trylock(&d->lock) == 0)
        return;
    PyThreadState *gil = PyEval_SaveThread();
    pthread_mutex_lock(&d->lock);
    PyEval_RestoreThread(gil);
}

static void unlock(decoder *d)
{
    pthread_mutex_unlock(&d->lock);
}

static bool start(decoder *d, PyObject *limits, PyObject *columns, PyObject *elements,
                  bool with_options)
{
    weir_decoder_options o;
    weir_err err = {.code = WEIR_OK};
    if (pthread_mutex_init(&d->lock, NULL) != 0) {
        PyErr_NoMemory();
        return false;
    }
    d->has_lock = true;
    if (!py_decoder_options(limits, &o) || !py_elements(elements, &d->elements))
        return false;
    py_texts names;
    bool ok = py_texts_init(&names, columns, "columns");
    if (ok) {
        const weir_batch_options rows = {
            .columns = names.text, .n_columns = names.n, .elements = d->elements};
        const weir_batch_options option_rows = {.options = true};
        o.elements = d->elements;
        d->decoder = weir_decoder_new(&o, &err);
        if (d->decoder != NULL)
            d->flows = weir_batch_new(&rows, &err);
        if (d->flows != NULL && with_options)
            d->options = weir_batch_new(&option_rows, &err);
        ok = d->flows != NULL && (d->options != NULL || !with_options);
        if (!ok)
            py_raise(err.code, &err);
    }
    py_texts_done(&names);
    if (!ok)
        return false;
    d->flow_handlers = weir_batch_handlers(d->flows);
    d->on = (weir_handlers){
        .record = on_record,
        .records = d->flow_handlers.records != NULL ? on_records : NULL,
        .sampling = d->flow_handlers.sampling != NULL ? on_sampling : NULL,
        .fault = d->malformed != NULL ? on_fault : NULL,
    };
    if (d->options != NULL) {
        d->option_handlers = weir_batch_handlers(d->options);
        d->on.options = on_options;
    }
    return true;
}

static PyObject *decoder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)kwargs;
    PyObject *limits, *columns, *elements, *malformed;
    int options, transport;
    if (!PyArg_ParseTuple(args, "OOOpOi:Decoder", &limits, &columns, &elements, &options,
                          &malformed, &transport))
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self == NULL)
        return NULL;
    decoder *d = (decoder *)self;
    d->transport = (uint8_t)transport;
    if (malformed != Py_None) {
        Py_INCREF(malformed);
        d->malformed = malformed;
    }
    if (!start(d, limits, columns, elements, options != 0)) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

static void decoder_dealloc(PyObject *self)
{
    decoder *d = (decoder *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyThreadState *gil = PyEval_SaveThread();
    weir_decoder_free(d->decoder);
    weir_batch_free(d->flows);
    weir_batch_free(d->options);
    weir_elements_free(d->elements);
    PyEval_RestoreThread(gil);
    if (d->has_lock)
        pthread_mutex_destroy(&d->lock);
    Py_XDECREF(d->malformed);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* ---- what Python says of a packet ---- */

struct packet {
    PyObject *kept; /* bytes */
    const uint8_t *data;
    size_t len;
    int64_t received_ns;
    weir_endpoint from;
};

/* bytes as they are; of anything else with a buffer a copy, since it may change while the GIL is not held. */
static bool packet_data(struct packet *p, PyObject *data)
{
    if (PyBytes_Check(data)) {
        Py_INCREF(data);
        p->kept = data;
    } else {
        PyObject *view = PyMemoryView_FromObject(data);
        if (view == NULL)
            return false;
        p->kept = PyBytes_FromObject(view);
        Py_DECREF(view);
        if (p->kept == NULL)
            return false;
    }
    char *octets;
    Py_ssize_t len;
    if (PyBytes_AsStringAndSize(p->kept, &octets, &len) != 0)
        return false;
    p->data = (const uint8_t *)octets;
    p->len = (size_t)len;
    return true;
}

static bool address(PyObject *host, weir_endpoint *out)
{
    PyObject *ascii = PyUnicode_Check(host) ? PyUnicode_AsUTF8String(host) : NULL;
    if (ascii == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "the address of an exporter is a str");
        return false;
    }
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN];
    char *full;
    if (PyBytes_AsStringAndSize(ascii, &full, NULL) != 0) {
        Py_DECREF(ascii);
        return false;
    }
    size_t len = strcspn(full, "%"); /* fe80::1%eth0 */
    uint8_t a[16];
    bool ok = len < sizeof text;
    if (ok) {
        memcpy(text, full, len);
        text[len] = '\0';
        if (inet_pton(AF_INET, text, out->addr) == 1) {
            out->family = 4;
        } else if (inet_pton(AF_INET6, text, a) == 1) {
            /* A socket of both families shows 192.0.2.1 as ::ffff:192.0.2.1: it is the same exporter. */
            out->family = memcmp(a, mapped, sizeof mapped) == 0 ? 4 : 6;
            memcpy(out->addr, out->family == 4 ? a + 12 : a, out->family == 4 ? 4 : 16);
        } else {
            ok = false;
        }
    }
    if (!ok)
        PyErr_Format(PyExc_ValueError, "%R is no IPv4 or IPv6 address", host);
    Py_DECREF(ascii);
    return ok;
}

/* None, "192.0.2.1", or a tuple ("192.0.2.1", 2055, ...) as sockets give it. */
static bool endpoint(PyObject *client, weir_endpoint *out)
{
    *out = (weir_endpoint){.family = 0};
    if (client == Py_None)
        return true;
    if (!PyTuple_Check(client))
        return address(client, out);
    if (PyTuple_Size(client) < 2) {
        PyErr_SetString(PyExc_ValueError, "client is a tuple of address and port");
        return false;
    }
    long port = PyLong_AsLong(PyTuple_GetItem(client, 1));
    if (port == -1 && PyErr_Occurred())
        return false;
    if (port < 0 || port > 65535) {
        PyErr_Format(PyExc_ValueError, "port %ld is not one of 0 to 65535", port);
        return false;
    }
    out->port = (uint16_t)port;
    return address(PyTuple_GetItem(client, 0), out);
}

/* Seconds since 1970, None: now, or what has timestamp(). A float has no more than microseconds at this distance. */
static bool moment(PyObject *when, int64_t *ns)
{
    const int64_t end = (int64_t)1 << 62;
    if (when == Py_None) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        *ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
        return true;
    }
    if (PyLong_Check(when)) {
        long long s = PyLong_AsLongLong(when);
        if (s == -1 && PyErr_Occurred())
            return false;
        if (s >= 0 && s <= end / 1000000000) {
            *ns = (int64_t)s * 1000000000;
            return true;
        }
    } else {
        PyObject *stamp = when;
        if (PyFloat_Check(when))
            Py_INCREF(stamp);
        else
            stamp = PyObject_CallMethod(when, "timestamp", NULL);
        double s = stamp != NULL ? PyFloat_AsDouble(stamp) : -1;
        Py_XDECREF(stamp);
        if (PyErr_Occurred()) {
            if (PyErr_ExceptionMatches(PyExc_AttributeError) ||
                PyErr_ExceptionMatches(PyExc_TypeError))
                PyErr_SetString(PyExc_TypeError,
                                "a moment is a datetime, seconds since 1970, or None");
            return false;
        }
        if (s >= 0 && s < 4.6e9) {
            int64_t whole = (int64_t)s;
            *ns = whole * 1000000000 + (int64_t)((s - (double)whole) * 1e6 + 0.5) * 1000;
            return true;
        }
    }
    PyErr_SetString(PyExc_ValueError, "a moment is between 1970 and 2115");
    return false;
}

static bool packet_init(struct packet *p, const decoder *d, PyObject *data, PyObject *client,
                        PyObject *received)
{
    *p = (struct packet){.kept = NULL};
    if (!endpoint(client, &p->from) || !moment(received, &p->received_ns))
        return false;
    p->from.transport = d->transport;
    return packet_data(p, data);
}

/* ---- feeding ---- */

/* Under lock, without the GIL. false: strict, and something is wrong with it; err says what. */
static weir_status decode(decoder *d, const struct packet *p, weir_err *err)
{
    d->bad = false;
    weir_status status =
        weir_decode(d->decoder, &p->from, p->received_ns, p->data, p->len, &d->on, d, err);
    if (status == WEIR_OK && d->bad) {
        *err = d->err;
        status = WEIR_EFORMAT;
    }
    return status;
}

/* What a failure means to the caller: true: nothing. */
static bool accepted(const decoder *d, weir_status status, const weir_err *err)
{
    if (status == WEIR_OK)
        return true;
    if (status == WEIR_ENOMEM) {
        py_raise(status, err);
        return false;
    }
    if (d->malformed == NULL)
        return true; /* counted */
    const char *msg = err->msg[0] != '\0' ? err->msg : weir_status_text(status);
    PyObject *text = PyUnicode_DecodeUTF8(msg, (Py_ssize_t)strlen(msg), "replace");
    if (text != NULL)
        PyErr_SetObject(d->malformed, text);
    Py_XDECREF(text);
    return false;
}

static PyObject *default_client(void)
{
    return Py_BuildValue("(si)", "192.0.2.1", 2055);
}

static PyObject *decoder_feed(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"data", "client", "received", NULL};
    decoder *d = (decoder *)self;
    PyObject *data, *client = NULL, *received = Py_None, *made = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:feed", words, &data, &client, &received))
        return NULL;
    if (client == NULL)
        client = made = default_client();
    struct packet p = {.kept = NULL};
    weir_err err = {.code = WEIR_OK};
    weir_status status = WEIR_OK;
    bool ok = client != NULL && packet_init(&p, d, data, client, received);
    if (ok) {
        PyThreadState *gil = PyEval_SaveThread();
        pthread_mutex_lock(&d->lock);
        status = decode(d, &p, &err);
        pthread_mutex_unlock(&d->lock);
        PyEval_RestoreThread(gil);
        ok = accepted(d, status, &err);
    }
    Py_XDECREF(p.kept);
    Py_XDECREF(made);
    if (!ok)
        return NULL;
    Py_INCREF(Py_None);
    return Py_None;
}

/* Packets that are decoded in one go: enough that giving the GIL away and taking it back costs nothing beside it. */
enum { CHUNK = 512 };

/* An item of feed_many: the data, or a tuple of (data, client[, received]). */
static bool item_init(struct packet *p, const decoder *d, PyObject *item, PyObject *client,
                      PyObject *received)
{
    if (!PyTuple_Check(item))
        return packet_init(p, d, item, client, received);
    Py_ssize_t n = PyTuple_Size(item);
    if (n < 2 || n > 3) {
        PyErr_SetString(PyExc_ValueError,
                        "an item is the data, (data, client) or (data, client, received)");
        return false;
    }
    return packet_init(p, d, PyTuple_GetItem(item, 0), PyTuple_GetItem(item, 1),
                       n == 3 ? PyTuple_GetItem(item, 2) : received);
}

/* Decode n packets and let them go. How many were decoded: fewer than n with an exception. */
static size_t feed_chunk(decoder *d, struct packet *chunk, size_t n)
{
    weir_err err = {.code = WEIR_OK};
    weir_status status = WEIR_OK;
    size_t done = 0;
    bool stop = false;
    PyThreadState *gil = PyEval_SaveThread();
    pthread_mutex_lock(&d->lock);
    while (done < n && !stop) {
        status = decode(d, &chunk[done++], &err);
        stop = status == WEIR_ENOMEM || (status != WEIR_OK && d->malformed != NULL);
    }
    pthread_mutex_unlock(&d->lock);
    PyEval_RestoreThread(gil);
    for (size_t i = 0; i < n; i++)
        Py_CLEAR(chunk[i].kept);
    if (stop)
        (void)accepted(d, status, &err);
    return done;
}

static PyObject *decoder_feed_many(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"packets", "client", "received", NULL};
    decoder *d = (decoder *)self;
    PyObject *packets, *client = NULL, *received = Py_None, *made = NULL, *fed = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:feed_many", words, &packets, &client,
                                     &received))
        return NULL;
    if (client == NULL)
        client = made = default_client();
    PyObject *items = client != NULL ? PyObject_GetIter(packets) : NULL;
    struct packet *chunk = items != NULL ? calloc(CHUNK, sizeof *chunk) : NULL;
    if (items != NULL && chunk == NULL)
        PyErr_NoMemory();
    unsigned long long total = 0;
    bool more = chunk != NULL;
    while (more) {
        size_t n = 0;
        while (more && n < CHUNK) {
            PyObject *item = PyIter_Next(items);
            more = item != NULL && item_init(&chunk[n], d, item, client, received);
            n += more;
            Py_XDECREF(item);
        }
        /* What came before an error is fed; then the error goes on. */
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        total += feed_chunk(d, chunk, n);
        if (n < CHUNK)
            Py_CLEAR(chunk[n].kept);
        if (PyErr_Occurred()) {
            more = false;
            Py_XDECREF(type);
            Py_XDECREF(value);
            Py_XDECREF(trace);
        } else {
            PyErr_Restore(type, value, trace);
            more = more && PyErr_CheckSignals() == 0;
        }
    }
    if (chunk != NULL && !PyErr_Occurred())
        fed = PyLong_FromUnsignedLongLong(total);
    free(chunk);
    Py_XDECREF(items);
    Py_XDECREF(made);
    return fed;
}

/* ---- rows ---- */

static PyObject *take(decoder *d, weir_batch *rows)
{
    py_shared_schema *schema = py_schema_new();
    py_shared_array *array = py_array_new();
    PyObject *made = NULL;
    weir_err err = {.code = WEIR_OK};
    weir_status status;
    if (schema == NULL || array == NULL) {
        PyErr_NoMemory();
    } else {
        PyThreadState *gil = PyEval_SaveThread();
        pthread_mutex_lock(&d->lock);
        status = weir_batch_take(rows, &schema->schema, &array->array, &err);
        pthread_mutex_unlock(&d->lock);
        PyEval_RestoreThread(gil);
        if (status != WEIR_OK) {
            py_raise(status, &err);
        } else {
            made = py_batch_new(schema, array);
            array = NULL;
        }
    }
    py_schema_drop(schema);
    py_array_drop(array);
    return made;
}

static PyObject *decoder_batch(PyObject *self, PyObject *unused)
{
    (void)unused;
    return take((decoder *)self, ((decoder *)self)->flows);
}

static PyObject *decoder_options_batch(PyObject *self, PyObject *unused)
{
    (void)unused;
    decoder *d = (decoder *)self;
    if (d->options == NULL) {
        PyErr_SetString(PyExc_ValueError,
                        "options records are not kept: make the Decoder with options=True");
        return NULL;
    }
    return take(d, d->options);
}

static PyObject *decoder_rows(PyObject *self, void *closure)
{
    (void)closure;
    decoder *d = (decoder *)self;
    lock(d);
    size_t n = weir_batch_rows(d->flows);
    unlock(d);
    return PyLong_FromSize_t(n);
}

static PyObject *decoder_options_rows(PyObject *self, void *closure)
{
    (void)closure;
    decoder *d = (decoder *)self;
    lock(d);
    size_t n = d->options != NULL ? weir_batch_rows(d->options) : 0;
    unlock(d);
    return PyLong_FromSize_t(n);
}

static PyObject *decoder_lost(PyObject *self, void *closure)
{
    (void)closure;
    decoder *d = (decoder *)self;
    lock(d);
    uint64_t n = weir_batch_lost(d->flows);
    if (d->options != NULL)
        n += weir_batch_lost(d->options);
    unlock(d);
    return PyLong_FromUnsignedLongLong(n);
}

/* ---- time ---- */

static PyObject *decoder_tick(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"now", NULL};
    decoder *d = (decoder *)self;
    PyObject *now = Py_None;
    int64_t ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:tick", words, &now) || !moment(now, &ns))
        return NULL;
    PyThreadState *gil = PyEval_SaveThread();
    pthread_mutex_lock(&d->lock);
    weir_decoder_tick(d->decoder, ns, &d->on, d);
    pthread_mutex_unlock(&d->lock);
    PyEval_RestoreThread(gil);
    Py_INCREF(Py_None);
    return Py_None;
}

static PyObject *decoder_finish(PyObject *self, PyObject *unused)
{
    (void)unused;
    decoder *d = (decoder *)self;
    PyThreadState *gil = PyEval_SaveThread();
    pthread_mutex_lock(&d->lock);
    weir_decoder_finish(d->decoder, &d->on, d);
    pthread_mutex_unlock(&d->lock);
    PyEval_RestoreThread(gil);
    Py_INCREF(Py_None);
    return Py_None;
}

/* ---- settings ---- */

static PyObject *set(decoder *d, PyObject *host, int what, double rate, unsigned value)
{
    weir_endpoint from = {.family = 0};
    if (!address(host, &from))
        return NULL;
    weir_status status;
    lock(d);
    if (what == 's')
        status = weir_decoder_set_sampling(d->decoder, &from, rate);
    else if (what == 'q')
        status = weir_decoder_set_quirks(d->decoder, &from, value);
    else
        status = weir_decoder_set_scope(d->decoder, &from,
                                        value != 0 ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS);
    unlock(d);
    if (status != WEIR_OK) {
        weir_err err = {.code = status};
        if (status == WEIR_ELIMIT)
            snprintf(err.msg, sizeof err.msg,
                     "no room for another exporter: max_exporters or max_state_octets is reached");
        return py_raise(status, &err);
    }
    Py_INCREF(Py_None);
    return Py_None;
}

static PyObject *decoder_set_sampling(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"exporter", "rate", NULL};
    PyObject *host;
    double rate;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Od:set_sampling", words, &host, &rate))
        return NULL;
    if (!(rate >= 0 && rate < 1e18)) {
        PyErr_SetString(PyExc_ValueError,
                        "a sampling rate is a number of packets, 0: no longer set");
        return NULL;
    }
    return set((decoder *)self, host, 's', rate, 0);
}

static PyObject *decoder_set_scope(PyObject *self, PyObject *args)
{
    PyObject *host;
    int port;
    if (!PyArg_ParseTuple(args, "Op:_set_scope", &host, &port))
        return NULL;
    return set((decoder *)self, host, 'p', 0, (unsigned)port);
}

static PyObject *decoder_set_quirks(PyObject *self, PyObject *args)
{
    PyObject *host;
    unsigned bits;
    if (!PyArg_ParseTuple(args, "OI:_set_quirks", &host, &bits))
        return NULL;
    return set((decoder *)self, host, 'q', 0, bits);
}

/* ---- state ---- */

static PyObject *decoder_save(PyObject *self, PyObject *unused)
{
    (void)unused;
    decoder *d = (decoder *)self;
    uint8_t *octets = NULL;
    size_t len = 0;
    weir_err err = {.code = WEIR_OK};
    weir_status status;
    PyThreadState *gil = PyEval_SaveThread();
    pthread_mutex_lock(&d->lock);
    status = weir_decoder_save(d->decoder, &octets, &len, &err);
    pthread_mutex_unlock(&d->lock);
    PyEval_RestoreThread(gil);
    if (status != WEIR_OK)
        return py_raise(status, &err);
    PyObject *made = PyBytes_FromStringAndSize((const char *)octets, (Py_ssize_t)len);
    free(octets);
    return made;
}

static PyObject *decoder_load(PyObject *self, PyObject *data)
{
    decoder *d = (decoder *)self;
    struct packet p = {.kept = NULL};
    weir_err err = {.code = WEIR_OK};
    weir_status status;
    if (!packet_data(&p, data)) {
        Py_XDECREF(p.kept);
        return NULL;
    }
    PyThreadState *gil = PyEval_SaveThread();
    pthread_mutex_lock(&d->lock);
    status = weir_decoder_load(d->decoder, p.data, p.len, &err);
    pthread_mutex_unlock(&d->lock);
    PyEval_RestoreThread(gil);
    Py_DECREF(p.kept);
    if (status != WEIR_OK)
        return py_raise(status, &err);
    Py_INCREF(Py_None);
    return Py_None;
}

static void json_text(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < 0x20)
            fprintf(f, "\\u%04x", (unsigned char)*s);
        else if (*s == '"' || *s == '\\')
            fprintf(f, "\\%c", *s);
        else
            fputc(*s, f);
    }
    fputc('"', f);
}

static void json_template(FILE *f, const weir_template *t)
{
    fprintf(f,
            "{\"id\":%u,\"options\":%s,\"variable\":%s,\"n_scope\":%u,\"learnt_ns\":%lld,"
            "\"seen_ns\":%lld,\"port\":%u,\"fields\":[",
            t->id, t->options ? "true" : "false", t->variable ? "true" : "false", t->n_scope,
            (long long)t->learnt_ns, (long long)t->seen_ns, t->port);
    for (unsigned i = 0; i < t->n_fields; i++) {
        const weir_element *e = t->fields[i].element;
        fprintf(f, "%s[", i != 0 ? "," : "");
        json_text(f, e->name);
        fprintf(f, ",%lu,%u,\"%s\",%u]", (unsigned long)e->pen, e->id,
                weir_type_text((weir_type)e->type), t->fields[i].length);
    }
    fputs("]}", f);
}

static void json_stream(FILE *f, const weir_stream_info *s, bool templates)
{
    fprintf(f,
            "{\"version\":%u,\"domain\":%lu,\"port\":%u,\"first_ns\":%lld,\"last_ns\":%lld,"
            "\"clock_skew_ns\":%lld,\"uptime_ms\":%lu,\"sampling_rate\":%.17g,"
            "\"sampling_algorithm\":%u,\"sampling_origin\":\"%s\",\"sequence_unit\":\"%s\","
            "\"sequence_numbering\":\"%s\",\"counters\":",
            s->version, (unsigned long)s->domain, s->port, (long long)s->first_ns,
            (long long)s->last_ns, (long long)s->clock_skew_ns, (unsigned long)s->uptime_ms,
            s->sampling.rate, s->sampling.algorithm,
            weir_origin_text((weir_origin)s->sampling.origin), s->sequence_unit,
            s->sequence_numbering);
    py_counters_json(f, s->counters);
#define SAYS(name) fprintf(f, ",\"" #name "\":%lld", (long long)s->name);
    SAYS(exported_messages)
    SAYS(exported_flows)
    SAYS(exported_octets)
    SAYS(ignored_packets)
    SAYS(ignored_octets)
    SAYS(not_sent_flows)
    SAYS(not_sent_packets)
    SAYS(not_sent_octets)
#undef SAYS
    fputs(",\"templates\":[", f);
    size_t cursor = 0;
    const char *between = "";
    for (const weir_template *t; templates && (t = weir_template_next(s->handle, &cursor)) != NULL;
         between = ",") {
        fputs(between, f);
        json_template(f, t);
    }
    fputs("]}", f);
}

static void json_exporters(FILE *f, const weir_decoder *d, bool templates)
{
    weir_exporter_info e;
    weir_stream_info s;
    size_t cursor = 0, inner;
    const char *between = "", *between_streams;
    fputc('[', f);
    for (; weir_exporter_next(d, &cursor, &e) == WEIR_OK; between = ",") {
        char text[WEIR_ENDPOINT_TEXT];
        size_t len = weir_endpoint_addr_text(&e.address, text);
        fprintf(f,
                "%s{\"address\":\"%.*s\",\"per_port\":%s,\"quirks\":%u,\"first_ns\":%lld,"
                "\"last_ns\":%lld,\"counters\":",
                between, (int)len, text, e.scope == WEIR_SCOPE_PORT ? "true" : "false", e.quirks,
                (long long)e.first_ns, (long long)e.last_ns);
        py_counters_json(f, e.counters);
        fputs(",\"streams\":[", f);
        inner = 0;
        for (between_streams = ""; weir_stream_next(d, e.handle, &inner, &s) == WEIR_OK;
             between_streams = ",") {
            fputs(between_streams, f);
            json_stream(f, &s, templates);
        }
        fputs("]}", f);
    }
    fputc(']', f);
}

/* What the lock guards as JSON text: made without the GIL, and read again by Python without the lock. */
static PyObject *state_json(decoder *d, bool exporters, bool templates)
{
    char *text = NULL;
    size_t len = 0;
    bool ok;
    PyThreadState *gil = PyEval_SaveThread();
    FILE *f = open_memstream(&text, &len);
    ok = f != NULL;
    if (ok) {
        pthread_mutex_lock(&d->lock);
        if (exporters)
            json_exporters(f, d->decoder, templates);
        else
            py_counters_json(f, weir_decoder_counters(d->decoder));
        pthread_mutex_unlock(&d->lock);
        ok = fclose(f) == 0;
    }
    PyEval_RestoreThread(gil);
    PyObject *made =
        ok ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)len, "surrogateescape") : PyErr_NoMemory();
    free(text);
    return made;
}

static PyObject *decoder_exporters_json(PyObject *self, PyObject *args)
{
    int templates;
    if (!PyArg_ParseTuple(args, "p:_exporters_json", &templates))
        return NULL;
    return state_json((decoder *)self, true, templates != 0);
}

static PyObject *decoder_counters_json(PyObject *self, PyObject *unused)
{
    (void)unused;
    return state_json((decoder *)self, false, false);
}

/* ---- the type ---- */

#define KEYWORDS(fn) ((PyCFunction)(void (*)(void))(fn))

static PyMethodDef methods[] = {
    {"feed", KEYWORDS(decoder_feed), METH_VARARGS | METH_KEYWORDS,
     "feed($self, data, client=(\"192.0.2.1\", 2055), received=None)\n--\n\n"
     "Decode one datagram; its flows join the rows of the next batch().\n\n"
     "data: bytes, or anything with a buffer. client: who sent it, (address, port) as a socket "
     "gives it, an address,\n"
     "or None when nobody knows; templates are kept for each exporter. received: when it came, "
     "seconds since 1970\n"
     "or a datetime, None: now.\n\n"
     "Records whose template is not known yet are kept; they come with the packet that brings it. "
     "A packet that makes\n"
     "no sense is counted (see counters), or with strict=True raises "
     "netflow.utils.MalformedPacket; what could be\n"
     "read of it has been then. ValueError: client or received cannot be meant. MemoryError."},
    {"feed_many", KEYWORDS(decoder_feed_many), METH_VARARGS | METH_KEYWORDS,
     "feed_many($self, packets, client=(\"192.0.2.1\", 2055), received=None)\n--\n\n"
     "Decode all packets of an iterable, faster than one by one, and return how many these "
     "were.\n\n"
     "An item is the data, (data, client) or (data, client, received). When the iterable raises, "
     "or an item is none,\n"
     "all packets before it have been decoded; with strict=True nothing behind a malformed packet "
     "has, though more of\n"
     "the iterable may have been taken."},
    {"batch", decoder_batch, METH_NOARGS,
     "batch($self)\n--\n\n"
     "The flows since the last call, as a Batch; the decoder goes on with an empty one.\n\n"
     "Without columns at the start it has those that some flow has a value for, in the order of "
     "`weir fields`."},
    {"options_batch", decoder_options_batch, METH_NOARGS,
     "options_batch($self)\n--\n\n"
     "The options records since the last call, as a Batch. ValueError unless made with "
     "options=True."},
    {"tick", KEYWORDS(decoder_tick), METH_VARARGS | METH_KEYWORDS,
     "tick($self, now=None)\n--\n\n"
     "Let time pass: data that waited too long for its template is given up, templates that were "
     "not repeated\n"
     "expire. Call it about once a second while packets come; now as received of feed."},
    {"finish", decoder_finish, METH_NOARGS,
     "finish($self)\n--\n\nNo more packets will come: what waits is given up and counted as "
     "expired."},
    {"set_sampling", KEYWORDS(decoder_set_sampling), METH_VARARGS | METH_KEYWORDS,
     "set_sampling($self, exporter, rate)\n--\n\n"
     "The sampling rate of an exporter, by its address, whatever it says itself; 0: no longer "
     "set."},
    {"save", decoder_save, METH_NOARGS,
     "save($self)\n--\n\n"
     "What should outlive a restart as bytes: templates, sampling rates, sequence numbers."},
    {"load", decoder_load, METH_O,
     "load($self, data, /)\n--\n\n"
     "Take back what save() gave, before the first packet. ValueError: damaged, or packets have "
     "been fed."},
    {"_set_scope", decoder_set_scope, METH_VARARGS, NULL},
    {"_set_quirks", decoder_set_quirks, METH_VARARGS, NULL},
    {"_exporters_json", decoder_exporters_json, METH_VARARGS, NULL},
    {"_counters_json", decoder_counters_json, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"rows", decoder_rows, NULL, "Flows that batch() would give now.", NULL},
    {"options_rows", decoder_options_rows, NULL,
     "Options records that options_batch() would give now.", NULL},
    {"lost", decoder_lost, NULL, "Records for whose row there was no memory.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)"The part of netflow.Decoder that is written in C."},
    {Py_tp_new, (void *)decoder_new},
    {Py_tp_dealloc, (void *)decoder_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "netflow._weir.Decoder",
    .basicsize = sizeof(decoder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

int py_decoder_add(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec);
    if (type == NULL)
        return -1;
    if (PyModule_AddObject(module, "Decoder", type) != 0) {
        Py_DECREF(type);
        return -1;
    }
    return 0;
}
