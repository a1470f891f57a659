#include "collect/tally.h"

#include <string.h>

_Static_assert((int)FLOW_received == (int)FLOW_OPTION_received &&
                   (int)FLOW_exporter == (int)FLOW_OPTION_exporter &&
                   (int)FLOW_exporter_port == (int)FLOW_OPTION_exporter_port &&
                   (int)FLOW_domain == (int)FLOW_OPTION_domain &&
                   (int)FLOW_protocol_version == (int)FLOW_OPTION_protocol_version,
               "what a row came from stands in the same columns of both tables");

/* The columns that say where a row came from. */
struct origin {
    struct flow_vec received, exporter, port, domain, version;
};

static struct origin origin_of(const flow_batch *b)
{
    struct origin o;
    flow_batch_vec(b, FLOW_received, &o.received);
    flow_batch_vec(b, FLOW_exporter, &o.exporter);
    flow_batch_vec(b, FLOW_exporter_port, &o.port);
    flow_batch_vec(b, FLOW_domain, &o.domain);
    flow_batch_vec(b, FLOW_protocol_version, &o.version);
    return o;
}

static bool there(const struct flow_vec *v, uint32_t row)
{
    return row < v->n && (!v->valid || (v->valid[row / 64] >> row % 64 & 1));
}

static struct ledger_stream stream_of(const struct origin *o, uint32_t row)
{
    struct ledger_stream s = {0};
    if (there(&o->exporter, row)) {
        uint32_t code = o->exporter.codes[row], from = o->exporter.dict.starts[code];
        uint32_t len = o->exporter.dict.starts[code + 1] - from;
        s.exporter.family = len == 4 ? 4 : 6;
        memcpy(s.exporter.addr, o->exporter.dict.keys + from, len < 16 ? len : 16);
    }
    if (there(&o->port, row))
        s.exporter.port = ((const uint16_t *)o->port.values)[row];
    if (there(&o->domain, row))
        s.domain = ((const uint32_t *)o->domain.values)[row];
    if (there(&o->version, row))
        s.version = ((const uint8_t *)o->version.values)[row];
    return s;
}

static bool same(const struct ledger_stream *a, const struct ledger_stream *b)
{
    return a->domain == b->domain && a->version == b->version &&
           a->exporter.port == b->exporter.port && a->exporter.family == b->exporter.family &&
           memcmp(a->exporter.addr, b->exporter.addr, sizeof a->exporter.addr) == 0;
}

void tally_lost(const flow_batch *b, ledger_account *a)
{
    bool flows = flow_batch_table(b) == FLOW_TABLE_FLOWS;
    struct origin o = origin_of(b);
    struct ledger_stream run = {0};
    int64_t received_us = 0;
    uint64_t n = 0;
    uint32_t rows = flow_batch_rows(b);
    for (uint32_t i = 0; i <= rows; i++) {
        struct ledger_stream s = {0};
        int64_t us = 0;
        if (i < rows) {
            s = stream_of(&o, i);
            us = there(&o.received, i) ? ((const int64_t *)o.received.values)[i] : 0;
        }
        if (n && (i == rows || us / 60000000 != received_us / 60000000 || !same(&s, &run))) {
            ledger_account_lost(a, &run, received_us * 1000, flows ? n : 0, flows ? 0 : n);
            n = 0;
        }
        if (!n) {
            run = s;
            received_us = us;
        }
        n++;
    }
}

void tally_reversed(const flow_batch *b, ledger_account *a)
{
    struct flow_vec first, last;
    flow_batch_vec(b, FLOW_first, &first);
    flow_batch_vec(b, FLOW_last, &last);
    const int64_t *from = first.values, *to = last.values;
    uint32_t n = first.n < last.n ? first.n : last.n, reversed = 0;
    if (!from || !to)
        return;
    for (uint32_t i = 0; i < n; i++) /* what is null is 0 in both */
        reversed += to[i] < from[i];
    if (!reversed)
        return;
    struct origin o = origin_of(b);
    for (uint32_t i = 0; i < n; i++) {
        if (to[i] >= from[i] || !there(&first, i) || !there(&last, i))
            continue;
        struct ledger_stream s = stream_of(&o, i);
        ledger_account_reversed(a, &s, 1);
    }
}
