/* A conversation: packets of any version from several exporters, ports, domains and transports, time that goes on or
 * back, ticks, restarts with saved state, all of it noted by an account: the sums of its rows are what was counted. The first
 * three octets choose limits; then come pieces with a head:
 *   octet 0   what: 0..5 a packet, 6 tick, 7 restart (save, load into a new decoder)      (low 3 bits)
 *             exporter (2 bits), port (1 bit), transport (2 bits)
 *   octet 1   time: 0..127 that many seconds on, 128..254 doubling, 255 back to the start
 *   octets 2,3 length of the packet; packets 0..3 get their version and length set right */
#include "decode.h"

#include "ledger/account.h"

/* Counts that both have: of all rows, of all decoders. */
struct sums {
    uint64_t packets, octets, decoded, waiting, expired, flows, options, learnt, lost;
};

static void of_decoder(struct sums *s, const weir_decoder *d, bool last)
{
    const weir_counters *c = weir_decoder_counters(d);
    s->packets += c->packets;
    s->octets += c->octets;
    s->decoded += c->decoded;
    s->waiting += last ? c->waiting : 0;
    s->expired += c->expired + (last ? 0 : c->waiting);
    s->flows += c->flows;
    s->options += c->options;
    s->learnt += c->templates_learnt;
    s->lost += c->sequence_lost - c->sequence_recovered;
}

static uint64_t sum(const flow_batch *b, uint32_t column)
{
    struct flow_vec v;
    uint64_t all = 0;
    flow_batch_vec(b, column, &v);
    for (uint32_t i = 0; i < v.n; i++)
        all += ((const uint64_t *)v.values)[i]; /* null rows are 0 */
    return all;
}

static void of_rows(struct sums *s, ledger_account *a)
{
    flow_batch *b = flow_batch_new(FLOW_TABLE_LEDGER);
    ledger_account_cut(a);
    FUZZ_CHECK(b && ledger_account_rows(a, b, NULL) == WEIR_OK);
    s->packets += sum(b, FLOW_LEDGER_packets);
    s->octets += sum(b, FLOW_LEDGER_octets);
    s->decoded += sum(b, FLOW_LEDGER_decoded);
    s->waiting += sum(b, FLOW_LEDGER_waiting);
    s->expired += sum(b, FLOW_LEDGER_expired);
    s->flows += sum(b, FLOW_LEDGER_flows);
    s->options += sum(b, FLOW_LEDGER_options);
    s->learnt += sum(b, FLOW_LEDGER_templates_learnt);
    s->lost += sum(b, FLOW_LEDGER_sequence_lost);
    flow_batch_free(b);
}

static ledger_account *account_of(const weir_decoder *d)
{
    ledger_account *a = ledger_account_new(d, 0);
    FUZZ_CHECK(a);
    return a;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 3)
        return 0;
    const weir_decoder_options options = {
        .scope = data[0] & 1 ? WEIR_SCOPE_PORT : WEIR_SCOPE_ADDRESS,
        .max_exporters = data[0] & 2 ? 2 : 8,
        .max_streams = data[0] & 4 ? 3 : 64,
        .max_exporter_streams = data[0] & 8 ? 2 : 0,
        .max_templates = data[0] & 16 ? 3 : 0,
        .max_fields = data[0] & 32 ? 5 : 0,
        .max_state_octets = data[0] & 64 ? 4000 : 0,
        .max_waiting_octets = data[1] & 1 ? 600 : 0,
        .max_waiting_total = data[1] & 2 ? 700 : 0,
        .waiting_s = data[1] & 4 ? 10 : 0,
        .template_life_s = data[1] & 8 ? 20 : 0,
        .idle_s = data[1] & 16 ? 5 : 0,
        .max_depth = data[1] & 32 ? 1 : 0,
        .max_list_items = 300,
    };
    const unsigned quirks = data[2] & 7;
    data += 3;
    len -= 3;
    weir_decoder *d = weir_decoder_new(&options, NULL);
    ledger_account *a = account_of(d);
    struct sums counted = {0}, noted = {0};
    fuzz_seen seen = {0};
    int64_t now_ns = FUZZ_TIME_NS;
    const weir_endpoint odd = {.family = 4, .addr = {192, 0, 2, 3}};
    (void)weir_decoder_set_quirks(d, &odd, quirks);
    while (len >= 4) {
        static const uint8_t versions[] = {9, 10, 10, 5};
        unsigned what = data[0] & 7, step = data[1];
        bool look = data[0] & 0x40;
        weir_endpoint from = {.family = 4,
                              .transport = (uint8_t)((data[0] >> 6) % 3),
                              .port = (uint16_t)(1000 + (data[0] >> 5 & 1)),
                              .addr = {192, 0, 2, (uint8_t)(1 + (data[0] >> 3 & 3))}};
        size_t n = (size_t)weir_be(data + 2, 2);
        data += 4;
        len -= 4;
        int64_t on = step < 128 ? step * INT64_C(1000000000) : INT64_C(1) << (step - 128) / 2 % 63;
        if (step == 255)
            now_ns = FUZZ_TIME_NS;
        else if (__builtin_add_overflow(now_ns, on, &now_ns))
            now_ns = INT64_MAX;
        (void)ledger_account_time(a, now_ns);
        if (look)
            ledger_account_sample(a);
        if (what == 6) {
            weir_decoder_tick(d, now_ns, &fuzz_handlers, &seen);
            fuzz_law(d, &seen);
            continue;
        }
        if (what == 7) {
            uint8_t *saved = NULL, *positions = NULL;
            size_t n_saved = 0, n_positions = 0;
            base_buf account = {0};
            weir_decoder *next = weir_decoder_new(&options, NULL);
            FUZZ_CHECK(weir_decoder_save(d, &saved, &n_saved, NULL) == WEIR_OK);
            FUZZ_CHECK(weir_decoder_save_positions(d, &positions, &n_positions, NULL) == WEIR_OK);
            FUZZ_CHECK(weir_decoder_load(next, saved, n_saved, NULL) == WEIR_OK);
            FUZZ_CHECK(weir_decoder_load(next, positions, n_positions, NULL) == WEIR_OK);
            FUZZ_CHECK(ledger_account_save(a, &account) == WEIR_OK);
            of_decoder(&counted, d, false);
            ledger_account_free(a);
            weir_decoder_finish(d, &fuzz_handlers, &seen);
            fuzz_law(d, &seen);
            weir_decoder_free(d);
            free(saved);
            free(positions);
            d = next;
            of_decoder(&noted, d, true); /* what loading itself counted is no row's */
            a = account_of(d);
            FUZZ_CHECK(ledger_account_load(a, (const uint8_t *)account.data, account.len, NULL) ==
                       WEIR_OK);
            base_buf_done(&account);
            memset(&seen, 0, sizeof seen);
            continue;
        }
        n = n < len ? n : len;
        uint8_t *packet = malloc(n + 1);
        if (!packet)
            abort();
        memcpy(packet, data, n);
        if (what < 4 && n >= 4) {
            packet[0] = 0;
            packet[1] = versions[what];
            if (packet[1] == 10) {
                packet[2] = (uint8_t)(n >> 8);
                packet[3] = (uint8_t)n;
            }
        }
        fuzz_feed(d, &from, now_ns, packet, n, &seen);
        free(packet);
        data += n;
        len -= n;
    }
    fuzz_round_trip(d, &options);
    weir_decoder_finish(d, &fuzz_handlers, &seen);
    fuzz_law(d, &seen);
    FUZZ_CHECK(weir_decoder_counters(d)->waiting == 0);
    of_decoder(&counted, d, true);
    of_rows(&noted, a);
    FUZZ_CHECK(memcmp(&counted, &noted, sizeof counted) == 0);
    ledger_account_free(a);
    weir_decoder_free(d);
    return 0;
}
