/* One NetFlow v1, v5 or v7 packet: the first octet chooses the version, the rest stands behind it in the header. */
#include "decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t versions[] = {1, 5, 7, 5};
    weir_endpoint from = {.family = 6, .port = 2055, .addr = {0x20, 0x01, 0x0d, 0xb8}};
    fuzz_seen seen = {0};
    if (len == 0 || len > 65535)
        return 0;
    weir_decoder *d = weir_decoder_new(&fuzz_small, NULL);
    uint8_t *packet = malloc(len + 1);
    if (!packet)
        abort();
    packet[0] = 0;
    packet[1] = versions[*data % 4];
    memcpy(packet + 2, data + 1, len - 1);
    for (int i = 0; i < 3; i++) /* the same again: duplicates and a reset */
        fuzz_feed(d, &from, FUZZ_TIME_NS + i * INT64_C(1000000000), packet, len + 1, &seen);
    fuzz_round_trip(d, &fuzz_small);
    free(packet);
    weir_decoder_free(d);
    return 0;
}
