/* Values of any element, type and length: the input is rows of element (enterprise bit in the top bit), length and
 * value, which become one IPFIX template and one record of it, and a v9 template and record. */
#include "decode.h"

enum { MOST_FIELDS = 64 };

static void put16(uint8_t *at, size_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t pens[][4] = {
        {0, 0, 0, 0}, {0, 0, 0x72, 0x79}, {0, 0, 0, 9}, {0, 0, 0x1a, 0xd7}};
    uint8_t specs[MOST_FIELDS * 8], v9_specs[MOST_FIELDS * 4], values[20000], message[32000];
    size_t n_specs = 0, n_values = 0, n = 0;
    while (len >= 4 && n < MOST_FIELDS) {
        size_t octets = (size_t)weir_be(data + 2, 2) % 300;
        bool variable = data[2] & 0x80;
        octets = octets < len - 4 ? octets : len - 4;
        memcpy(specs + n_specs, data, 2);
        memcpy(v9_specs + n * 4, data, 2);
        put16(specs + n_specs + 2, variable ? WEIR_VARLEN : octets);
        put16(v9_specs + n * 4 + 2, variable ? WEIR_VARLEN : octets);
        n_specs += 4;
        if (data[0] & 0x80) {
            memcpy(specs + n_specs, pens[data[3] & 3], 4);
            n_specs += 4;
        }
        if (variable) {
            values[n_values++] = 255;
            put16(values + n_values, octets);
            n_values += 2;
        }
        memcpy(values + n_values, data + 4, octets);
        n_values += octets;
        data += 4 + octets;
        len -= 4 + octets;
        n++;
    }
    for (int version = 9; version <= 10; version++) {
        weir_decoder *d = weir_decoder_new(&fuzz_small, NULL);
        weir_endpoint from = {.family = 4, .addr = {192, 0, 2, 1}};
        fuzz_seen seen = {0};
        size_t at = version == 9 ? 20 : 16, spec_octets = version == 9 ? n * 4 : n_specs;
        memset(message, 0, at);
        message[1] = (uint8_t)version;
        message[8] = 0x65; /* export time in this century, where v9 has it */
        message[4] = 0x65;
        put16(message + at, version == 9 ? 0 : 2);
        put16(message + at + 2, 8 + spec_octets);
        put16(message + at + 4, 256);
        put16(message + at + 6, n);
        memcpy(message + at + 8, version == 9 ? v9_specs : specs, spec_octets);
        at += 8 + spec_octets;
        put16(message + at, 256);
        put16(message + at + 2, 4 + n_values);
        memcpy(message + at + 4, values, n_values);
        at += 4 + n_values;
        if (version == 10)
            put16(message + 2, at);
        fuzz_feed(d, &from, FUZZ_TIME_NS, message, at, &seen);
        /* What was laid out as a record is found as one, unless it is no record at all. */
        FUZZ_CHECK(seen.records >= 1 || n_values == 0 || weir_decoder_counters(d)->templates == 0 ||
                   weir_decoder_counters(d)->records_rejected == 0);
        fuzz_round_trip(d, &fuzz_small);
        weir_decoder_free(d);
    }
    return 0;
}
