/* Saved state with a right checksum and any content: refused, with the decoder as it was, or loaded into a decoder that works
 * and saves it again. One or two states, the second behind the length (2 octets) of the first.
 *   octet 0   bit 0: of the first version; bit 1: there are two; bit 2: of some exporters alone; bit 3: of the second version */
#include "decode.h"

#include "base/hash.h"

static bool odd(void *user, const weir_endpoint *exporter)
{
    (void)user;
    return exporter->addr[3] & 1;
}

/* One state into d. */
static void load(weir_decoder *d, const uint8_t *data, size_t len, unsigned how)
{
    uint8_t *octets = malloc(len + 16), *before = NULL, *after = NULL;
    size_t n_before = 0, n_after = 0;
    if (!octets)
        abort();
    memcpy(octets, how & 1 ? "WEIRSTA1" : how & 8 ? "WEIRSTA2" : "WEIRSTA3", 8);
    if (len)
        memcpy(octets + 8, data, len);
    uint64_t h = base_hash(octets, len + 8, 0);
    for (size_t i = 0; i < 8; i++)
        octets[len + 8 + i] = (uint8_t)(h >> (56 - 8 * i));
    weir_err err;
    FUZZ_CHECK(weir_decoder_save(d, &before, &n_before, &err) == WEIR_OK);
    weir_status status =
        weir_decoder_load_some(d, octets, len + 16, how & 4 ? odd : NULL, NULL, &err);
    FUZZ_CHECK(status == WEIR_OK || status == WEIR_EFORMAT);
    if (status != WEIR_OK) {
        FUZZ_CHECK(weir_decoder_save(d, &after, &n_after, &err) == WEIR_OK);
        FUZZ_CHECK(n_before == n_after && memcmp(before, after, n_after) == 0);
    }
    fuzz_seen seen = {0};
    fuzz_law(d, &seen);
    fuzz_round_trip(d, &fuzz_small);
    free(before);
    free(after);
    free(octets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t probe[] = {
        0, 10, 0, 40, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 0, 0, 0, 0, 1, /* IPFIX */
        0, 2,  0, 12, 1,    0,    0,    1, 0, 8, 0, 4,             /* template 256 */
        1, 0,  0, 12, 1,    2,    3,    4, 5, 6, 7, 8,             /* data */
    };
    if (len < 3)
        return 0;
    unsigned how = data[0];
    size_t n = (size_t)weir_be(data + 1, 2);
    data += 3;
    len -= 3;
    n = how & 2 && n < len ? n : len;
    weir_decoder *d = weir_decoder_new(&fuzz_small, NULL);
    weir_endpoint from = {.family = 4, .port = 1000, .addr = {192, 0, 2, 1}};
    load(d, data, n, how);
    if (how & 2)
        load(d, data + n, len - n, how);
    fuzz_seen seen = {0};
    fuzz_feed(d, &from, FUZZ_TIME_NS, probe, sizeof probe, &seen);
    weir_decoder_tick(d, FUZZ_TIME_NS + INT64_C(5000000000000), &fuzz_handlers, &seen);
    fuzz_law(d, &seen);
    weir_decoder_free(d);
    return 0;
}
