/* receive -- netflow._weir.Receiver: the datagrams of a socket as Python objects, in batches. */
#include "ext.h"
#include "inbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>

/* A wait is cut into pieces, between which signals are looked at. */
enum { PIECE_MS = 200, N_CLIENTS = 64, MAX_PACKETS = 65536 };

/* Tuples of senders made before: most packets come from few. */
struct client {
    union inbox_addr from;
    PyObject *tuple;
};

typedef struct receiver {
    PyObject ob_base;
    inbox *inbox;
    double last; /* time given to the packet before */
    struct client clients[N_CLIENTS];
} receiver;

/* ---- packets as tuples ---- */

static PyObject *make_client(const union inbox_addr *from)
{
    char text[INET6_ADDRSTRLEN];
    if (from->any.sa_family == AF_INET) {
        if (!inet_ntop(AF_INET, &from->in.sin_addr, text, sizeof text))
            return PyErr_SetFromErrno(PyExc_OSError);
        return Py_BuildValue("(si)", text, (int)ntohs(from->in.sin_port));
    }
    if (from->any.sa_family != AF_INET6)
        return Py_BuildValue("(si)", "", 0);
    if (!inet_ntop(AF_INET6, &from->in6.sin6_addr, text, sizeof text))
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("(siII)", text, (int)ntohs(from->in6.sin6_port),
                         (unsigned)ntohl(from->in6.sin6_flowinfo),
                         (unsigned)from->in6.sin6_scope_id);
}

static size_t slot_of(const union inbox_addr *from)
{
    const uint8_t *octet = (const uint8_t *)from;
    uint32_t h = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < sizeof *from; i++)
        h = (h ^ octet[i]) * 16777619U;
    return (h ^ h >> 16) % N_CLIENTS;
}

/* A new reference. */
static PyObject *client_of(receiver *self, const union inbox_addr *from)
{
    struct client *c = &self->clients[slot_of(from)];
    if (c->tuple && memcmp(&c->from, from, sizeof *from) == 0) {
        Py_INCREF(c->tuple);
        return c->tuple;
    }
    PyObject *made = make_client(from), *old = c->tuple;
    if (!made)
        return NULL;
    Py_INCREF(made);
    c->from = *from;
    c->tuple = made;
    Py_XDECREF(old);
    return made;
}

/* Two packets never have one time, so that it can be a key: the next number that a double can hold. A clock that was
 * set back is followed. */
static double time_of(receiver *self, int64_t ns)
{
    double t = (double)ns / 1e9;
    if (t <= self->last && self->last - t < 1e-3)
        t = nextafter(self->last, HUGE_VAL);
    self->last = t;
    return t;
}

/* The oldest packet, which must be there, as (time, client, octets). It leaves the inbox before anything is made that
 * could run other Python code, which might receive too. */
static PyObject *take(receiver *self, const struct inbox_packet *p)
{
    union inbox_addr from = p->from;
    PyObject *data = PyBytes_FromStringAndSize((const char *)p->data, (Py_ssize_t)p->len);
    if (!data)
        return NULL;
    double t = time_of(self, p->ns);
    inbox_pop(self->inbox);
    PyObject *client = client_of(self, &from);
    PyObject *packet = client ? Py_BuildValue("(dNN)", t, client, data) : NULL;
    if (!client)
        Py_DECREF(data);
    return packet;
}

static PyObject *take_all(receiver *self, Py_ssize_t most)
{
    const struct inbox_packet *p;
    PyObject *list = PyList_New(0);
    for (Py_ssize_t n = 0; list && n < most && (p = inbox_first(self->inbox)); n++) {
        PyObject *packet = take(self, p);
        if (!packet || PyList_Append(list, packet) != 0)
            Py_CLEAR(list);
        Py_XDECREF(packet);
    }
    return list;
}

/* ---- methods ---- */

/* True: there is a packet, or it was woken, or has ended, or the time is over. False: an exception. */
static bool wait_for_news(receiver *self, int timeout_ms)
{
    int why = 0;
    while (timeout_ms != 0 && !inbox_first(self->inbox) && !inbox_ended(self->inbox, &why)) {
        int piece = timeout_ms > 0 && timeout_ms < PIECE_MS ? timeout_ms : PIECE_MS;
        bool woken;
        Py_BEGIN_ALLOW_THREADS woken = inbox_wait(self->inbox, piece);
        Py_END_ALLOW_THREADS if (PyErr_CheckSignals() != 0) return false;
        if (woken)
            break;
        timeout_ms -= timeout_ms > 0 ? piece : 0;
    }
    return true;
}

PyDoc_STRVAR(receive_doc,
             "receive($self, /, max_packets=256, timeout_ms=-1)\n--\n\n"
             "The oldest packets as a list of (time, client, octets), at most max_packets.\n\n"
             "time is the kernel's time of arrival in seconds since 1970, different for every "
             "packet; client is what\n"
             "socket.recvfrom gives. Waits for the first packet without the GIL, at most "
             "timeout_ms milliseconds\n"
             "(-1: no limit, 0: not at all). The list is empty when the time is over, after "
             "wake(), and at the end.\n"
             "Raises OSError when receiving failed.");

static PyObject *receiver_receive(PyObject *self_, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"max_packets", "timeout_ms", NULL};
    receiver *self = (receiver *)self_;
    Py_ssize_t most = 256;
    int timeout_ms = -1, why = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|ni:receive", names, &most, &timeout_ms))
        return NULL;
    if (most < 1 || most > MAX_PACKETS)
        return PyErr_Format(PyExc_ValueError, "max_packets is %zd, must be from 1 to %d", most,
                            MAX_PACKETS);
    if (!wait_for_news(self, timeout_ms < 0 ? -1 : timeout_ms))
        return NULL;
    if (inbox_ended(self->inbox, &why) && why) {
        errno = why;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return take_all(self, most);
}

PyDoc_STRVAR(wake_doc, "wake($self, /)\n--\n\n"
                       "Let a receive() that waits, or the next one that would, return.");

static PyObject *receiver_wake(PyObject *self, PyObject *none)
{
    (void)none;
    inbox_wake(((receiver *)self)->inbox);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(finish_doc,
             "finish($self, /)\n--\n\n"
             "Take no packet that arrives from now on; receive() still gives what has arrived.");

static PyObject *receiver_finish(PyObject *self, PyObject *none)
{
    (void)none;
    inbox_finish(((receiver *)self)->inbox);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc,
             "stop($self, /)\n--\n\n"
             "Read nothing more from the socket; receive() still gives what is in memory.");

static PyObject *receiver_stop(PyObject *self, PyObject *none)
{
    (void)none;
    inbox_stop(((receiver *)self)->inbox);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Stop, and let the socket go; receive() still gives what is in memory.");

static PyObject *receiver_close(PyObject *self, PyObject *none)
{
    (void)none;
    Py_BEGIN_ALLOW_THREADS inbox_close(((receiver *)self)->inbox);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *get_ended(PyObject *self, void *none)
{
    int why;
    (void)none;
    return PyBool_FromLong(inbox_ended(((receiver *)self)->inbox, &why));
}

enum count { PACKETS, OCTETS, WAITING, DROPPED };

static PyObject *get_count(PyObject *self, void *which)
{
    struct inbox_counts c;
    inbox_count(((receiver *)self)->inbox, &c);
    const uint64_t counts[] = {c.packets, c.octets, c.waiting, c.dropped};
    return PyLong_FromUnsignedLongLong(counts[*(const enum count *)which]);
}

/* ---- the type ---- */

static PyObject *receiver_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "limit", "buffer", NULL};
    PyObject *file;
    Py_ssize_t limit = 64 << 20, buffer = 16 << 20;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|nn:Receiver", names, &file, &limit, &buffer))
        return NULL;
    if (limit < 1 || buffer < 1) {
        PyErr_SetString(PyExc_ValueError, "limit and buffer must be at least 1 octet");
        return NULL;
    }
    int fd = PyObject_AsFileDescriptor(file);
    if (fd < 0)
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    receiver *self = (receiver *)alloc(type, 0); /* zeroed */
    if (!self)
        return NULL;
    self->inbox = inbox_new(fd, (size_t)limit, (size_t)buffer);
    if (!self->inbox) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void receiver_dealloc(PyObject *self_)
{
    receiver *self = (receiver *)self_;
    PyTypeObject *type = Py_TYPE(self_);
    Py_BEGIN_ALLOW_THREADS inbox_free(self->inbox);
    Py_END_ALLOW_THREADS for (size_t i = 0; i < N_CLIENTS; i++) Py_XDECREF(self->clients[i].tuple);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self_);
    Py_DECREF(type);
}

PyDoc_STRVAR(
    receiver_doc,
    "Receiver(fd, limit=67108864, buffer=16777216)\n--\n\n"
    "Receives the datagrams of a bound UDP socket in a native thread, from now until it is "
    "freed.\n\n"
    "fd is a number or has fileno(), and may be closed afterwards. The thread needs no GIL, so "
    "nothing is\n"
    "lost while Python is busy: packets wait in up to about limit octets of memory, beyond that in "
    "the\n"
    "kernel's buffer, for which buffer octets are asked, beyond that the kernel drops and counts.");

static PyMethodDef receiver_methods[] = {
    {"receive", (PyCFunction)(void (*)(void))receiver_receive, METH_VARARGS | METH_KEYWORDS,
     receive_doc},
    {"wake", receiver_wake, METH_NOARGS, wake_doc},
    {"finish", receiver_finish, METH_NOARGS, finish_doc},
    {"stop", receiver_stop, METH_NOARGS, stop_doc},
    {"close", receiver_close, METH_NOARGS, close_doc},
    {0},
};

static const enum count which[] = {PACKETS, OCTETS, WAITING, DROPPED};

static PyGetSetDef receiver_attributes[] = {
    {"packets", get_count, NULL, "Packets received so far.", (void *)(uintptr_t)&which[PACKETS]},
    {"octets", get_count, NULL, "Octets of those.", (void *)(uintptr_t)&which[OCTETS]},
    {"waiting", get_count, NULL, "Packets in memory that receive() has not given yet.",
     (void *)(uintptr_t)&which[WAITING]},
    {"dropped", get_count, NULL, "Packets that the kernel had no room for.",
     (void *)(uintptr_t)&which[DROPPED]},
    {"ended", get_ended, NULL, "True when no packet will come any more.", NULL},
    {0},
};

static PyType_Slot receiver_slots[] = {
    {Py_tp_new, (void *)receiver_new},
    {Py_tp_dealloc, (void *)receiver_dealloc},
    {Py_tp_methods, receiver_methods},
    {Py_tp_getset, receiver_attributes},
    {Py_tp_doc, (void *)(uintptr_t)receiver_doc},
    {0, NULL},
};

static PyType_Spec receiver_spec = {
    .name = "netflow._weir.Receiver",
    .basicsize = sizeof(receiver),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = receiver_slots,
};

int weir_py_add_receive(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&receiver_spec);
    if (!type)
        return -1;
    int failed = PyModule_AddObject(module, "Receiver", type);
    if (failed)
        Py_DECREF(type);
    return failed;
}
