#include "collect/filer.h"

#include <stdlib.h>

struct filer {
    writer *out;
    ledger_account *account;
    bool (*submit)(void *user);
    void *user;
    flow_normaliser *normaliser;
    int64_t slot;                /* of the open chunk's packets; INT64_MIN: none yet */
    unsigned depth;              /* begun packets that have not ended */
    unsigned long records, lost; /* of the packet being decoded */
};

/* There was no memory for rows of a packet that has been counted. */
static void lost_later(void *user, const weir_packet *p, uint32_t n)
{
    filer *f = user;
    struct ledger_stream s = {.exporter = p->from, .domain = p->domain, .version = p->version};
    writer_unmake(f->out, n);
    ledger_account_lost(f->account, &s, p->received_ns, n, 0);
}

filer *filer_new(writer *w, ledger_account *a, bool (*submit)(void *user), void *user)
{
    filer *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->out = w;
    f->account = a;
    f->submit = submit;
    f->user = user;
    f->slot = INT64_MIN;
    f->normaliser = flow_normaliser_new();
    if (f->normaliser) {
        flow_normaliser_on_lost(f->normaliser, lost_later, f);
        return f;
    }
    free(f);
    return NULL;
}

void filer_free(filer *f)
{
    if (f)
        flow_normaliser_free(f->normaliser);
    free(f);
}

const struct flow_counters *filer_counters(const filer *f)
{
    return flow_normaliser_counters(f->normaliser);
}

uint64_t filer_noted(const filer *f)
{
    return flow_noted(f->normaliser);
}

void filer_flush(filer *f)
{
    flow_batch *b = filer_noted(f) ? writer_batch(f->out, FLOW_TABLE_FLOWS) : NULL;
    if (b)
        (void)flow_flush(f->normaliser, b); /* lost_later hears of what is lost */
}

static void begin(void *user, const weir_packet *p)
{
    filer *f = user;
    (void)p;
    if (f->depth++)
        return; /* a packet whose waiting data are given up meanwhile: it brings no record */
    f->records = f->lost = 0;
}

/* A file holds the packets of its slot. Late data go with those that are arriving, and so do packets of a capture that are
 * out of order by less than a slot. When the queue is full the chunk stays open: its rows are then filed a little late. */
void filer_time(filer *f, int64_t received_ns)
{
    int64_t slot = writer_slot(f->out, received_ns);
    if (slot == f->slot)
        return;
    if (slot < f->slot && writer_slot(f->out, f->slot - 1) == slot)
        return;
    if (f->submit(f->user))
        f->slot = slot;
}

static void add(filer *f, weir_status s, size_t n)
{
    if (s == WEIR_OK)
        f->records += n;
    else
        f->lost += n;
}

static void record(void *user, const weir_record *r)
{
    filer *f = user;
    flow_batch *b = writer_batch(f->out, FLOW_TABLE_FLOWS);
    add(f, b ? flow_note_record(f->normaliser, b, r) : WEIR_ENOMEM, 1);
}

static void records(void *user, const weir_record *first, size_t n)
{
    filer *f = user;
    flow_batch *b = writer_batch(f->out, FLOW_TABLE_FLOWS);
    add(f, b ? flow_note_records(f->normaliser, b, first, n) : WEIR_ENOMEM, n);
}

static void options(void *user, const weir_record *r)
{
    filer *f = user;
    flow_batch *b = writer_batch(f->out, FLOW_TABLE_OPTIONS);
    add(f, b ? flow_add_options(f->normaliser, b, r) : WEIR_ENOMEM, 1);
}

static void sampling(void *user, const weir_packet *p, uint64_t selector, const weir_sampling *s)
{
    filer *f = user;
    writer_sampling(f->out, &p->from, p->domain, selector, s);
}

static void end(void *user, const weir_packet *p, weir_outcome outcome, const weir_err *err)
{
    filer *f = user;
    (void)outcome;
    (void)err;
    if (!f->depth || --f->depth)
        return; /* a rejected packet, which did not begin; or one within another */
    if (!f->records && !f->lost)
        return;
    writer_packet(f->out, p->late ? 0 : p->received_ns, f->records, f->lost);
    if (f->lost) {
        struct ledger_stream s = {.exporter = p->from, .domain = p->domain, .version = p->version};
        ledger_account_lost(f->account, &s, p->received_ns, f->lost, 0);
    }
}

const weir_handlers filer_handlers = {
    .begin = begin,
    .record = record,
    .records = records,
    .options = options,
    .sampling = sampling,
    .end = end,
};
