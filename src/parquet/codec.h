/* codec -- decompression of one page. The size of what comes out is known beforehand, and nothing else is accepted. */
#ifndef PARQUET_CODEC_H
#define PARQUET_CODEC_H

#include "parquet/parquet.h"

/* What a codec needs between pages; zero-initialise to start. */
struct codec_state {
    void *zstd, *zlib;
};
void codec_done(struct codec_state *s);

/* NULL: the codec is known. Else what it is, for a message. */
const char *codec_unsupported(uint8_t codec);

/* Whether in_len octets may become out_len at all: each codec has a most that it can say in one octet. Checked before
 * memory is taken for the output. */
bool codec_plausible(uint8_t codec, size_t in_len, size_t out_len);

/* WEIR_OK: out[out_len] is filled exactly. WEIR_EFORMAT: anything else came out. WEIR_ENOMEM. The caller makes the message. */
weir_status codec_unpress(struct codec_state *s, uint8_t codec, const uint8_t *in, size_t in_len,
                          uint8_t *out, size_t out_len);

#endif
