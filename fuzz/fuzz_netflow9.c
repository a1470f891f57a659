/* One or more NetFlow v9 packets of one exporter, behind the version. */
#include "decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    return fuzz_packets(data, len, (const uint8_t[]){0, 9}, 2, false);
}
