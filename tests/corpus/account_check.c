/* account_check -- captures through decoder and account: the sums of the ledger's rows are what the decoder counted, and obey
 * the conservation law, for each capture as it is, with a restart at every seventh packet, and damaged at random; and when
 * packets are taken out of a capture whose sequence numbers are in order, the rows say exactly what is missing.
 *
 *     account_check FILE...        exit status 1: something does not add up */
#include "collect/capture.h"
#include "ledger/account.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_SAID = 20, N_COUNTERS = sizeof(weir_counters) / sizeof(uint64_t), N_DAMAGED = 4 };

/* A datagram as it came, and what the plain pass made of it. */
struct datagram {
    weir_endpoint from;
    int64_t received_ns;
    size_t len;
    uint8_t *data;
    uint32_t messages, domain;
    uint16_t version;
    uint64_t records, templates;
    bool standard; /* its sequence numbers count what its protocol says */
    bool drop;
};

static struct {
    const char *file, *way;
    struct datagram *at;
    size_t n, cap;
    uint64_t bad, lost_files, lost_units;
    struct datagram *now; /* being decoded in the plain pass */
    uint64_t sums[FLOW_N_LEDGER_COLUMNS], want[N_COUNTERS];
    uint64_t rng;
    int columns[N_COUNTERS]; /* -1: none */
} t;

static void complain(const char *what, uint64_t got, uint64_t want)
{
    if (++t.bad <= MAX_SAID)
        printf("%s: %s: %s: %" PRId64 ", not %" PRId64 "\n", t.file, t.way, what, (int64_t)got,
               (int64_t)want);
}

static void *must(void *p)
{
    if (!p) {
        printf("out of memory\n");
        exit(1);
    }
    return p;
}

static uint32_t below(uint32_t n)
{
    t.rng ^= t.rng >> 12;
    t.rng ^= t.rng << 25;
    t.rng ^= t.rng >> 27;
    return (uint32_t)((t.rng * 0x2545f4914f6cdd1dULL) >> 33) % n;
}

/* ---- columns ---- */

static void find_columns(void)
{
    size_t at = 0;
    char name[80];
#define FIND(fmt, text)                                                                            \
    do {                                                                                           \
        (void)snprintf(name, sizeof name, fmt, text);                                              \
        for (char *c = name; *c; c++)                                                              \
            *c = *c == '-' ? '_' : *c;                                                             \
        t.columns[at++] = flow_table_find(FLOW_TABLE_LEDGER, name, strlen(name));                  \
    } while (0)
#define X(counter) FIND("%s", #counter);
    WEIR_COUNTERS_MAP(X)
#undef X
#define X(reject, text) FIND("rejected_%s", text);
    WEIR_REJECT_MAP(X)
#undef X
#define X(fault, text) FIND("fault_%s", text);
    WEIR_FAULT_MAP(X)
#undef X
#undef FIND
    t.columns[offsetof(weir_counters, templates) / sizeof(uint64_t)] = -1; /* a gauge */
}

static uint64_t number(const flow_batch *b, int column, uint32_t row)
{
    struct flow_vec v;
    flow_batch_vec(b, (uint32_t)column, &v);
    return row < v.n ? ((const uint64_t *)v.values)[row] : 0; /* null rows are 0 */
}

/* Rows that are ready, into the sums; each of them obeys the law. */
static void take_rows(ledger_account *a)
{
    flow_batch *b = must(flow_batch_new(FLOW_TABLE_LEDGER));
    weir_err err;
    if (ledger_account_rows(a, b, &err) != WEIR_OK)
        must(NULL);
    for (uint32_t row = 0; row < flow_batch_rows(b); row++) {
        uint64_t rejected = 0;
        for (int c = FLOW_LEDGER_rejected_unknown_version; c <= FLOW_LEDGER_rejected_out_of_memory;
             c++)
            rejected += number(b, c, row);
        uint64_t outcomes = number(b, FLOW_LEDGER_decoded, row) +
                            number(b, FLOW_LEDGER_waiting, row) +
                            number(b, FLOW_LEDGER_expired, row) + rejected;
        if (number(b, FLOW_LEDGER_packets, row) != outcomes)
            complain("packets of a row", number(b, FLOW_LEDGER_packets, row), outcomes);
        uint64_t kinds = number(b, FLOW_LEDGER_flows, row) + number(b, FLOW_LEDGER_options, row) +
                         number(b, FLOW_LEDGER_records_rejected, row);
        if (number(b, FLOW_LEDGER_records, row) != kinds)
            complain("records of a row", number(b, FLOW_LEDGER_records, row), kinds);
        for (size_t i = 0; i < N_COUNTERS; i++)
            if (t.columns[i] >= 0)
                t.sums[t.columns[i]] += number(b, t.columns[i], row);
    }
    flow_batch_free(b);
}

/* What this decoder counted must be in the rows. When its life is over, nothing waits any more. */
static void owe(const weir_decoder *d, bool over)
{
    const weir_counters *c = weir_decoder_counters(d);
    uint64_t v[N_COUNTERS];
    memcpy(v, c, sizeof v);
    v[offsetof(weir_counters, sequence_lost) / sizeof *v] -= c->sequence_recovered;
    if (over) {
        v[offsetof(weir_counters, expired) / sizeof *v] += c->waiting;
        v[offsetof(weir_counters, waiting) / sizeof *v] = 0;
    }
    for (size_t i = 0; i < N_COUNTERS; i++)
        t.want[i] += v[i];
}

static void check_sums(void)
{
    for (size_t i = 0; i < N_COUNTERS; i++)
        if (t.columns[i] >= 0 && t.sums[t.columns[i]] != t.want[i])
            complain(flow_ledger_columns()[t.columns[i]].name, t.sums[t.columns[i]], t.want[i]);
}

/* ---- the passes ---- */

struct life {
    weir_decoder *d;
    ledger_account *a;
};

static struct life begin(void)
{
    struct life l = {.d = must(weir_decoder_new(NULL, NULL))};
    l.a = must(ledger_account_new(l.d, 0));
    return l;
}

static void end(struct life *l)
{
    ledger_account_free(l->a);
    weir_decoder_free(l->d);
}

static void restart(struct life *l)
{
    base_buf account = {0};
    uint8_t *state = NULL;
    size_t len = 0;
    weir_err err;
    if (ledger_account_save(l->a, &account) != WEIR_OK ||
        weir_decoder_save(l->d, &state, &len, &err) != WEIR_OK)
        must(NULL);
    owe(l->d, true);
    end(l);
    *l = begin();
    if (weir_decoder_load(l->d, state, len, &err) != WEIR_OK ||
        ledger_account_load(l->a, (const uint8_t *)account.data, account.len, &err) != WEIR_OK)
        complain(err.msg, 0, 0);
    free(state);
    base_buf_done(&account);
}

static void on_end(void *user, const weir_packet *p, weir_outcome outcome, const weir_err *err)
{
    (void)user;
    (void)outcome;
    (void)err;
    if (!t.now || p->late)
        return;
    t.now->messages++;
    t.now->version = p->version;
    t.now->domain = p->domain;
}

/* Which datagrams are of streams whose numbers can be reckoned with. */
static void note_numbering(const weir_decoder *d)
{
    weir_exporter_info e;
    weir_stream_info s;
    for (size_t at = 0; weir_exporter_next(d, &at, &e) == WEIR_OK;)
        for (size_t inner = 0; weir_stream_next(d, e.handle, &inner, &s) == WEIR_OK;)
            for (size_t i = 0; i < t.n; i++)
                if (t.at[i].version == s.version && t.at[i].domain == s.domain &&
                    memcmp(t.at[i].from.addr, e.address.addr, sizeof e.address.addr) == 0)
                    t.at[i].standard =
                        s.version != 1 && strcmp(s.sequence_numbering, "standard") == 0;
}

enum way { PLAIN, RESTARTED, DAMAGED, THINNED };

/* Everything of t.at once. */
static void pass(enum way way)
{
    static const weir_handlers on = {.end = on_end};
    memset(t.sums, 0, sizeof t.sums);
    memset(t.want, 0, sizeof t.want);
    struct life l = begin();
    for (size_t i = 0; i < t.n; i++) {
        struct datagram *g = &t.at[i];
        if (way == THINNED && g->drop)
            continue;
        size_t len = g->len;
        uint8_t *exact =
            must(malloc(len + 1)); /* so that a sanitizer sees what is read behind it */
        memcpy(exact, g->data, len);
        if (way == DAMAGED && len && below(3) == 0) {
            for (uint32_t n = 1 + below(8); n > 0; n--)
                exact[below((uint32_t)len)] ^= (uint8_t)(1U << below(8));
            if (below(4) == 0)
                len = below((uint32_t)len);
        }
        const weir_counters *c = weir_decoder_counters(l.d);
        uint64_t records = c->records;
        uint64_t templates = c->templates_learnt + c->templates_changed + c->templates_refreshed;
        t.now = way == PLAIN ? g : NULL;
        (void)ledger_account_time(l.a, g->received_ns);
        (void)weir_decode(l.d, &g->from, g->received_ns, exact, len, &on, NULL, NULL);
        if (way == PLAIN) {
            g->records = c->records - records;
            g->templates =
                c->templates_learnt + c->templates_changed + c->templates_refreshed - templates;
        }
        free(exact);
        if (i % 5 == 0)
            ledger_account_sample(l.a);
        if (i % 11 == 0)
            take_rows(l.a);
        if (way == RESTARTED && i % 7 == 6)
            restart(&l);
    }
    t.now = NULL;
    weir_decoder_finish(l.d, NULL, NULL);
    ledger_account_cut(l.a);
    take_rows(l.a);
    owe(l.d, false);
    if (way == PLAIN)
        note_numbering(l.d);
    if (t.sums[FLOW_LEDGER_waiting])
        complain("waiting at the end", t.sums[FLOW_LEDGER_waiting], 0);
    check_sums();
    end(&l);
}

static bool same_stream(const struct datagram *a, const struct datagram *b)
{
    return a->version == b->version && a->domain == b->domain &&
           memcmp(&a->from, &b->from, sizeof a->from) == 0;
}

/* Take out packets in whose place another one stands on both sides, and that bring no template. Returns their units. */
static uint64_t thin(void)
{
    uint64_t units = 0;
    for (size_t i = 0; i < t.n; i++) {
        struct datagram *g = &t.at[i];
        g->drop = false;
        if (g->messages != 1 || g->templates || !g->standard || below(4))
            continue;
        bool before = false, behind = false;
        for (size_t k = 0; k < i && !before; k++)
            before = same_stream(&t.at[k], g);
        for (size_t k = i + 1; k < t.n && !behind; k++)
            behind = same_stream(&t.at[k], g);
        g->drop = before && behind;
        if (g->drop)
            units += g->version == 9 ? 1 : g->records;
    }
    return units;
}

static void check_file(const char *path)
{
    weir_err err;
    capture *c;
    struct capture_packet p;
    struct capture_options options = {.from = {.family = 4, .port = 50000, .addr = {192, 0, 2, 1}}};
    t.file = path;
    t.way = "read";
    t.n = 0;
    weir_status status = capture_open(path, &options, &c, &err);
    if (status != WEIR_OK) {
        complain(err.msg, 0, 0);
        return;
    }
    while ((status = capture_next(c, &p, &err)) != WEIR_END) {
        if (status == WEIR_EIO || status == WEIR_ENOMEM)
            complain(err.msg, 0, 0);
        if (status != WEIR_OK)
            continue;
        if (t.n == t.cap) {
            t.cap = t.cap ? 2 * t.cap : 256;
            t.at = must(realloc(t.at, t.cap * sizeof *t.at));
        }
        struct datagram *g = &t.at[t.n++];
        *g = (struct datagram){.from = p.from, .received_ns = p.received_ns, .len = p.len};
        g->data = must(malloc(p.len + 1));
        memcpy(g->data, p.data, p.len);
    }
    capture_close(c);
    t.way = "as it is";
    pass(PLAIN);
    bool in_order = t.sums[FLOW_LEDGER_sequence_lost] + t.sums[FLOW_LEDGER_sequence_duplicated] +
                        t.sums[FLOW_LEDGER_sequence_out_of_order] +
                        t.sums[FLOW_LEDGER_sequence_resets] + t.sums[FLOW_LEDGER_sequence_unsure] +
                        t.sums[FLOW_LEDGER_sets_late] + t.sums[FLOW_LEDGER_sets_expired] +
                        t.sums[FLOW_LEDGER_records_rejected] + t.sums[FLOW_LEDGER_restarts] ==
                    0;
    uint64_t units = in_order ? thin() : 0;
    if (units) {
        t.way = "thinned";
        pass(THINNED);
        if (t.sums[FLOW_LEDGER_sequence_lost] != units)
            complain("lost", t.sums[FLOW_LEDGER_sequence_lost], units);
        if (t.sums[FLOW_LEDGER_sequence_resets])
            complain("resets", t.sums[FLOW_LEDGER_sequence_resets], 0);
        t.lost_files++;
        t.lost_units += units;
    }
    t.way = "restarted";
    pass(RESTARTED);
    t.way = "damaged";
    for (int i = 0; i < N_DAMAGED; i++)
        pass(DAMAGED);
    for (size_t i = 0; i < t.n; i++)
        free(t.at[i].data);
}

int main(int argc, char **argv)
{
    find_columns();
    t.rng = 1;
    for (int i = 1; i < argc; i++)
        check_file(argv[i]);
    free(t.at);
    printf("%d files, %" PRIu64 " of them with %" PRIu64 " units taken out, %" PRIu64 " errors\n",
           argc - 1, t.lost_files, t.lost_units, t.bad);
    return t.bad > 0;
}
