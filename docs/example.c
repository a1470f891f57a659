/* example -- a whole program on libweir: who sent how much to whom.
 *
 *     cc example.c $(pkg-config --cflags --libs weir) -o example
 *     ./example template.bin data.bin        each file is one UDP payload, as a router sent it
 *
 * One decoder serves all exporters. Handlers are called while weir_decode runs; what they are given is borrowed, so a
 * handler copies what it wants to keep. */
#include <weir/decoder.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* NetFlow v5, v9 and IPFIX fields have the same element ids for what they share. */
enum {
    OCTETS = 1,
    PACKETS = 2,
    SOURCE_V4 = 8,
    DESTINATION_V4 = 12,
    SOURCE_V6 = 27,
    DESTINATION_V6 = 28
};

/* A field's address as text; "-" when the record has none. */
static const char *address(const weir_record *r, uint16_t v4, uint16_t v6, char *out)
{
    weir_endpoint e = {0};
    weir_value v;
    int i = weir_record_find(r, 0, v4);
    if (i < 0)
        i = weir_record_find(r, 0, v6);
    if (i >= 0 && weir_value_read(r, (uint32_t)i, &v) == WEIR_OK) {
        e.family = v.kind == WEIR_KIND_IPV4 ? 4 : 6;
        for (uint32_t k = 0; k < v.len && k < sizeof e.addr; k++)
            e.addr[k] = v.data[k];
    }
    weir_endpoint_addr_text(&e, out);
    return out;
}

static uint64_t number(const weir_record *r, uint16_t id)
{
    weir_value v;
    int i = weir_record_find(r, 0, id);
    if (i < 0 || weir_value_read(r, (uint32_t)i, &v) != WEIR_OK || v.kind != WEIR_KIND_U64)
        return 0;
    return v.u64;
}

static void flow(void *user, const weir_record *r)
{
    uint64_t *flows = user;
    char src[WEIR_ENDPOINT_TEXT], dst[WEIR_ENDPOINT_TEXT];
    int64_t first_ns, last_ns;
    weir_record_times(r, &first_ns, &last_ns);
    printf("%s -> %s: %" PRIu64 " octets in %" PRIu64 " packets, %.3f s\n",
           address(r, SOURCE_V4, SOURCE_V6, src), address(r, DESTINATION_V4, DESTINATION_V6, dst),
           number(r, OCTETS), number(r, PACKETS), (double)(last_ns - first_ns) / 1e9);
    ++*flows;
}

static void fault(void *user, const weir_packet *p, weir_fault fault, const weir_err *err)
{
    (void)user;
    fprintf(stderr, "packet %" PRIu64 ", octet %" PRIu64 ": %s: %s\n", p->id, err->at,
            weir_fault_text(fault), err->msg);
}

int main(int argc, char **argv)
{
    const weir_handlers on = {.record = flow, .fault = fault};
    const weir_endpoint from = {.family = 4, .port = 2055, .addr = {192, 0, 2, 1}};
    uint64_t flows = 0;
    int failed = 0;
    weir_err err;
    weir_decoder *decoder = weir_decoder_new(NULL, &err);
    if (!decoder) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        static uint8_t packet[65536];
        FILE *f = fopen(argv[i], "rb");
        size_t len = f ? fread(packet, 1, sizeof packet, f) : 0;
        if (!f) {
            perror(argv[i]);
            failed = 1;
            continue;
        }
        fclose(f);
        int64_t now_ns = (int64_t)time(NULL) * 1000000000;
        if (weir_decode(decoder, &from, now_ns, packet, len, &on, &flows, &err) != WEIR_OK) {
            fprintf(stderr, "%s: octet %" PRIu64 ": %s\n", argv[i], err.at, err.msg);
            failed = 1;
        }
    }
    const weir_counters *c = weir_decoder_counters(decoder);
    fprintf(stderr, "%" PRIu64 " flows; %" PRIu64 " packets still wait for their template\n", flows,
            c->waiting);
    weir_decoder_free(decoder);
    return failed;
}
