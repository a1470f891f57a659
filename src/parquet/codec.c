#include "parquet/codec.h"

#include <lz4.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

void codec_done(struct codec_state *s)
{
    (void)ZSTD_freeDCtx(s->zstd);
    if (s->zlib) {
        (void)inflateEnd(s->zlib);
        free(s->zlib);
    }
    *s = (struct codec_state){0};
}

const char *codec_unsupported(uint8_t codec)
{
    switch (codec) {
    case PARQUET_NONE:
    case PARQUET_SNAPPY:
    case PARQUET_GZIP:
    case PARQUET_ZSTD:
    case PARQUET_LZ4_RAW:
        return NULL;
    case 3:
        return "LZO";
    case 4:
        return "Brotli";
    case 5:
        return "the old LZ4 framing";
    default:
        return "an unknown codec";
    }
}

bool codec_plausible(uint8_t codec, size_t in_len, size_t out_len)
{
    /* Octets that one octet can stand for at most, rounded up, besides some that short inputs need. zstd: a block of
     * 128 KiB in 4 octets; gzip: 258 octets in 2 bits; LZ4: 255 in 1; snappy: 64 in 3. */
    size_t most = 1;
    if (codec == PARQUET_ZSTD)
        most = 32768;
    else if (codec == PARQUET_GZIP)
        most = 1032;
    else if (codec == PARQUET_LZ4_RAW)
        most = 255;
    else if (codec == PARQUET_SNAPPY)
        most = 22;
    else
        return in_len == out_len;
    return in_len > out_len / most || out_len - in_len * most <= 64;
}

static weir_status gunzip(struct codec_state *s, const uint8_t *in, size_t in_len, uint8_t *out,
                          size_t out_len)
{
    z_stream *z = s->zlib;
    if (!z) {
        s->zlib = z = calloc(1, sizeof *z);
        if (!z)
            return WEIR_ENOMEM;
        if (inflateInit2(z, 15 + 32) != Z_OK) { /* gzip or zlib, as the data say */
            free(z);
            s->zlib = NULL;
            return WEIR_ENOMEM;
        }
    } else if (inflateReset(z) != Z_OK) {
        return WEIR_EFORMAT;
    }
    if (in_len > UINT32_MAX || out_len > UINT32_MAX)
        return WEIR_EFORMAT;
    z->next_in = (z_const Bytef *)(uintptr_t)in;
    z->avail_in = (uInt)in_len;
    z->next_out = out;
    z->avail_out = (uInt)out_len;
    for (;;) {
        int status = inflate(z, Z_FINISH);
        if (status == Z_MEM_ERROR)
            return WEIR_ENOMEM;
        if (status != Z_STREAM_END)
            return WEIR_EFORMAT;
        if (!z->avail_in)
            return z->avail_out ? WEIR_EFORMAT : WEIR_OK;
        if (inflateReset(z) != Z_OK) /* one more member */
            return WEIR_EFORMAT;
    }
}

weir_status codec_unpress(struct codec_state *s, uint8_t codec, const uint8_t *in, size_t in_len,
                          uint8_t *out, size_t out_len)
{
    size_t n = 0;
    switch (codec) {
    case PARQUET_SNAPPY:
        if (snappy_uncompressed_length((const char *)in, in_len, &n) != SNAPPY_OK || n != out_len)
            return WEIR_EFORMAT;
        return snappy_uncompress((const char *)in, in_len, (char *)out, &n) == SNAPPY_OK
                   ? WEIR_OK
                   : WEIR_EFORMAT;
    case PARQUET_GZIP:
        return gunzip(s, in, in_len, out, out_len);
    case PARQUET_ZSTD:
        if (!s->zstd && !(s->zstd = ZSTD_createDCtx()))
            return WEIR_ENOMEM;
        n = ZSTD_decompressDCtx(s->zstd, out, out_len, in, in_len);
        return n == out_len ? WEIR_OK : WEIR_EFORMAT; /* an error is a number near SIZE_MAX */
    case PARQUET_LZ4_RAW:
        if (in_len > LZ4_MAX_INPUT_SIZE || out_len > LZ4_MAX_INPUT_SIZE)
            return WEIR_EFORMAT;
        return LZ4_decompress_safe((const char *)in, (char *)out, (int)in_len, (int)out_len) ==
                       (int)out_len
                   ? WEIR_OK
                   : WEIR_EFORMAT;
    default:
        return WEIR_EFORMAT;
    }
}
