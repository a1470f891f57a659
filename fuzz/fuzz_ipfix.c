/* One or more IPFIX messages of one exporter, behind the version and a length that is right. */
#include "decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    return fuzz_packets(data, len, (const uint8_t[]){0, 10, 0, 0}, 4, true);
}
