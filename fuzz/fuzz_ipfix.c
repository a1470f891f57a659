/* One or more IPFIX messages of one exporter: the input is a row of 2-octet lengths, each before that many octets behind
 * the version and the length of the message. */
#include "decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    weir_decoder *d = weir_decoder_new(&fuzz_small, NULL);
    weir_endpoint from = {.family = 4, .port = 2055, .addr = {192, 0, 2, 1}};
    fuzz_seen seen = {0};
    uint8_t packet[65535] = {0, 10};
    for (int64_t now_ns = FUZZ_TIME_NS; len >= 2; now_ns += 1000000000) {
        size_t n = (size_t)weir_be(data, 2);
        data += 2;
        len -= 2;
        n = n < len ? n : len;
        n = n < sizeof packet - 4 ? n : sizeof packet - 4;
        packet[2] = (uint8_t)((n + 4) >> 8);
        packet[3] = (uint8_t)(n + 4);
        memcpy(packet + 4, data, n);
        fuzz_feed(d, &from, now_ns, packet, n + 4, &seen);
        data += n;
        len -= n;
    }
    fuzz_round_trip(d, &fuzz_small);
    weir_decoder_finish(d, &fuzz_handlers, &seen);
    fuzz_law(d, &seen);
    weir_decoder_free(d);
    return 0;
}
