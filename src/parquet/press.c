#define ZSTD_STATIC_LINKING_ONLY /* for the literals' mode, which older versions refuse by name */
#include "parquet/press.h"

#include "parquet/parquet.h"

#include <endian.h>
#include <lz4.h>
#include <stdlib.h>
#include <zstd.h>

/* zstd looks at every n-th octet for repetitions: at none, that is. */
#define ENTROPY_LEVEL (-(1 << 17))
#define ENTROPY_HASH_LOG 6
#define NEAR_HASH_LOG 11
#define FAST_LEVEL 2      /* up to here speed is what counts */
#define SAMPLE (16 << 10) /* octets in which repetitions are looked for, at a fast level */
#define LEAST_MATCH 3
#define MAX_STRING 4096    /* a longer one, and repetitions are looked for everywhere */
#define LEAST_STRINGS 1024 /* octets */
#define FRAME_HEAD 13
#define BLOCK_HEAD 3
#define BLOCK (128 << 10) /* octets of a block of a frame, at most */

void press_done(struct press *p)
{
    (void)ZSTD_freeCCtx(p->matches);
    (void)ZSTD_freeCCtx(p->entropy);
    (void)ZSTD_freeCCtx(p->strings);
    free(p->sequences);
    *p = (struct press){0};
}

static ZSTD_CCtx *matches(struct press *p, enum press_way way, int level)
{
    if (!p->matches && !(p->matches = ZSTD_createCCtx()))
        return NULL;
    bool small = way != PRESS_MATCHES && level <= FAST_LEVEL;
    size_t bad = ZSTD_CCtx_setParameter(p->matches, ZSTD_c_compressionLevel, level);
    size_t bad_hash = ZSTD_CCtx_setParameter(p->matches, ZSTD_c_hashLog, small ? NEAR_HASH_LOG : 0);
    return ZSTD_isError(bad) || ZSTD_isError(bad_hash) ? NULL : p->matches;
}

static ZSTD_CCtx *entropy(struct press *p)
{
    if (p->entropy || !(p->entropy = ZSTD_createCCtx()))
        return p->entropy;
    static const struct {
        ZSTD_cParameter name;
        int value;
    } settings[] = {{ZSTD_c_compressionLevel, ENTROPY_LEVEL},
                    {ZSTD_c_hashLog, ENTROPY_HASH_LOG},
                    {ZSTD_c_literalCompressionMode, ZSTD_ps_enable}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        (void)ZSTD_CCtx_setParameter(p->entropy, settings[i].name, settings[i].value);
    return p->entropy;
}

static ZSTD_CCtx *strings(struct press *p)
{
    if (p->strings || !(p->strings = ZSTD_createCCtx()))
        return p->strings;
    static const struct {
        ZSTD_cParameter name;
        int value;
    } settings[] = {{ZSTD_c_compressionLevel, 1},
                    {ZSTD_c_minMatch, LEAST_MATCH},
                    {ZSTD_c_blockDelimiters, ZSTD_sf_explicitBlockDelimiters}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        (void)ZSTD_CCtx_setParameter(p->strings, settings[i].name, settings[i].value);
    return p->strings;
}

static void put_le(char *to, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (char)(uint8_t)(v >> 8 * i);
}

/* A frame of blocks that are stored. RFC 8878, sections 3.1.1.1 (head: magic, single segment, size in 8 octets) and
 * 3.1.1.2 (blocks). */
static void store(const char *in, size_t len, base_buf *out)
{
    char *at = base_buf_room(out, FRAME_HEAD + (len / BLOCK + 1) * BLOCK_HEAD + len);
    if (!at)
        return;
    put_le(at, UINT64_C(0xe0fd2fb528), 5);
    put_le(at + 5, len, 8);
    out->len += FRAME_HEAD;
    at += FRAME_HEAD;
    size_t from = 0;
    do {
        size_t n = len - from < BLOCK ? len - from : BLOCK;
        put_le(at, (uint64_t)n << 3 | (from + n == len), BLOCK_HEAD);
        memcpy(at + BLOCK_HEAD, in + from, n);
        at += BLOCK_HEAD + n;
        out->len += BLOCK_HEAD + n;
        from += n;
    } while (from < len);
}

static uint32_t load32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

/* How many octets from a on are as those from b on. */
static size_t equal(const char *a, const char *b, size_t most)
{
    size_t n = 0;
    for (; n + 8 <= most; n += 8) {
        uint64_t x, y;
        memcpy(&x, a + n, sizeof x);
        memcpy(&y, b + n, sizeof y);
        x = le64toh(x) ^ le64toh(y);
        if (x)
            return n + (size_t)__builtin_ctzll(x) / 8;
    }
    while (n < most && a[n] == b[n])
        n++;
    return n;
}

/* What each string repeats of the one before it, its length included. A string's length has another first octet where
 * lengths differ; the other three are the same then. Returns the number of sequences; 0: these are not such strings. */
static size_t find_prefixes(ZSTD_Sequence *to, const char *in, size_t len)
{
    size_t n = 0, literals = 0, block = 0, before = 0;
    for (size_t at = 0; at < len;) {
        if (len - at < 4)
            return 0;
        size_t octets = (size_t)load32(in + at) + 4;
        if (octets > MAX_STRING || octets > len - at)
            return 0;
        if (at + octets - block > BLOCK) {
            to[n++] = (ZSTD_Sequence){.litLength = (unsigned)literals};
            literals = 0;
            block = at;
        }
        size_t from = before != octets, end = octets < before ? octets : before;
        size_t match = end > from ? equal(in + at + from, in + at + from - before, end - from) : 0;
        if (match >= LEAST_MATCH) {
            to[n++] = (ZSTD_Sequence){.offset = (unsigned)before,
                                      .litLength = (unsigned)(literals + from),
                                      .matchLength = (unsigned)match};
            literals = octets - from - match;
        } else {
            literals += octets;
        }
        before = octets;
        at += octets;
    }
    to[n++] = (ZSTD_Sequence){.litLength = (unsigned)literals};
    return n;
}

/* False: not done, another way will. */
static bool press_strings(struct press *p, const char *in, size_t len, base_buf *out)
{
    /* A sequence a string, which takes 4 octets at least, and one a block. */
    size_t most = len / 4 + len / (BLOCK - MAX_STRING) + 2;
    if (len < LEAST_STRINGS)
        return false;
    if (most > p->cap_sequences) {
        free(p->sequences);
        p->cap_sequences = 0;
        p->sequences =
            most <= SIZE_MAX / sizeof(ZSTD_Sequence) ? malloc(most * sizeof(ZSTD_Sequence)) : NULL;
        if (!p->sequences)
            return false;
        p->cap_sequences = most;
    }
    ZSTD_CCtx *z = strings(p);
    size_t n = z ? find_prefixes(p->sequences, in, len) : 0, room = ZSTD_compressBound(len);
    char *at = n ? base_buf_room(out, room) : NULL;
    size_t got = at ? ZSTD_compressSequences(z, at, room, p->sequences, n, in, len) : 0;
    if (!got || ZSTD_isError(got))
        return false;
    out->len = got;
    return true;
}

void press_octets(struct press *p, uint8_t codec, enum press_way way, int level, const char *in,
                  size_t len, base_buf *out)
{
    size_t n = 0;
    base_buf_reset(out);
    if (codec == PARQUET_ZSTD && way == PRESS_STORED && len) {
        store(in, len, out);
        return;
    }
    if (codec == PARQUET_ZSTD && way == PRESS_STRINGS && level <= FAST_LEVEL &&
        press_strings(p, in, len, out))
        return;
    if (codec == PARQUET_ZSTD) {
        size_t room = ZSTD_compressBound(len);
        ZSTD_CCtx *z = way == PRESS_ENTROPY ? entropy(p) : matches(p, way, level);
        char *at = z ? base_buf_room(out, room) : NULL;
        n = at ? ZSTD_compress2(z, at, room, in, len) : 0;
        if (ZSTD_isError(n))
            n = 0;
    } else if (codec == PARQUET_LZ4_RAW && len <= LZ4_MAX_INPUT_SIZE) {
        int room = LZ4_compressBound((int)len);
        char *at = base_buf_room(out, (size_t)room);
        int got = at ? LZ4_compress_default(in, at, (int)len, room) : 0;
        n = got > 0 ? (size_t)got : 0;
    }
    out->len = n;
    if (!n)
        out->failed = true;
}

double press_estimate(struct press *p, uint8_t codec, int level, const char *in, size_t len,
                      base_buf *scratch, enum press_way *way)
{
    double all = (double)len;
    *way = PRESS_MATCHES;
    if (codec != PARQUET_ZSTD) {
        press_octets(p, codec, PRESS_MATCHES, level, in, len, scratch);
        return scratch->failed ? all : (double)scratch->len;
    }
    bool fast = level <= FAST_LEVEL;
    if (fast && len > 2 * SAMPLE) { /* the middle */
        in += (len - SAMPLE) / 2;
        len = SAMPLE;
    }
    if (!len)
        return 0;
    press_octets(p, codec, PRESS_ENTROPY, level, in, len, scratch);
    double entropy = scratch->failed ? 1 : (double)scratch->len / (double)len;
    press_octets(p, codec, PRESS_MATCHES, level, in, len, scratch);
    double matches = scratch->failed ? 1 : (double)scratch->len / (double)len;
    /* A way that takes more time has to save something. */
    if (matches < entropy * (fast ? 0.97 : 0.997))
        return all * matches;
    *way = entropy < (fast ? 0.985 : 0.998) ? PRESS_ENTROPY : PRESS_STORED;
    return all * (*way == PRESS_ENTROPY ? entropy : 1);
}
