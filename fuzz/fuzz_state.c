/* Saved state with a right checksum and any content: refused, or loaded into a decoder that works and saves it again. */
#include "decode.h"

#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t probe[] = {
        0, 10, 0, 40, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 0, 0, 0, 0, 1, /* IPFIX */
        0, 2,  0, 12, 1,    0,    0,    1, 0, 8, 0, 4,             /* template 256 */
        1, 0,  0, 12, 1,    2,    3,    4, 5, 6, 7, 8,             /* data */
    };
    uint8_t *octets = malloc(len + 16);
    if (!octets)
        abort();
    memcpy(octets, "WEIRSTA1", 8);
    memcpy(octets + 8, data, len);
    uint64_t h = base_hash(octets, len + 8, 0);
    for (size_t i = 0; i < 8; i++)
        octets[len + 8 + i] = (uint8_t)(h >> (56 - 8 * i));
    weir_decoder *d = weir_decoder_new(&fuzz_small, NULL);
    weir_endpoint from = {.family = 4, .port = 1000, .addr = {192, 0, 2, 1}};
    fuzz_seen seen = {0};
    weir_err err;
    weir_status status = weir_decoder_load(d, octets, len + 16, &err);
    FUZZ_CHECK(status == WEIR_OK || status == WEIR_EFORMAT);
    fuzz_law(d, &seen);
    fuzz_round_trip(d, &fuzz_small);
    fuzz_feed(d, &from, FUZZ_TIME_NS, probe, sizeof probe, &seen);
    weir_decoder_tick(d, FUZZ_TIME_NS + INT64_C(5000000000000), &fuzz_handlers, &seen);
    fuzz_law(d, &seen);
    weir_decoder_free(d);
    free(octets);
    return 0;
}
