/* press -- octets made smaller by zstd or LZ4, in the way that suits them. */
#ifndef PARQUET_PRESS_H
#define PARQUET_PRESS_H

#include "base/buf.h"

/* How zstd goes about it; the other codecs have one way. Any of them gives a frame that every reader of zstd takes. */
enum press_way {
    PRESS_MATCHES, /* looks for repetitions, as the level says */
    PRESS_NEAR,    /* the same, for octets whose repetitions lie near, as those of sorted numbers: a
                      small table, in the first level of the cache */
    PRESS_STRINGS, /* strings as PLAIN has them, each beginning as the one before it, as in a sorted dictionary: only
                      that is looked for */
    PRESS_ENTROPY, /* no repetitions: an octet takes as many bits as its frequency asks for. Three times as fast, and of
                      packed bits often smaller */
    PRESS_STORED   /* not at all: the octets in a frame */
};

/* Its contexts, made when they are needed. All zeroes to begin with. */
struct press {
    void *matches, *entropy, *strings; /* ZSTD_CCtx */
    void *sequences;                   /* ZSTD_Sequence */
    size_t cap_sequences;
};

void press_done(struct press *p);

/* in[len] with a codec (ZSTD or LZ4_RAW) instead of what is in out. level: of zstd. out->failed: no memory, or more than
 * the codec takes. */
void press_octets(struct press *p, uint8_t codec, enum press_way way, int level, const char *in,
                  size_t len, base_buf *out);

/* How many octets in[len] would come to in the way that suits it best, *way, judged by a part of it at a fast level.
 * scratch: room for trials. */
double press_estimate(struct press *p, uint8_t codec, int level, const char *in, size_t len,
                      base_buf *scratch, enum press_way *way);

#endif
