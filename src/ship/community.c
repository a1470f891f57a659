/* Community id: the same text for a flow and its reverse, in every tool that has it (Corelight's specification, version 1). */
#include "ship/encode_in.h"

#include <endian.h>

/* SHA-1 (RFC 3174) of at most 55 octets, which is one block: a name, no protection. */
static void sha1_short(const uint8_t *data, size_t len, uint8_t out[20])
{
    uint8_t block[64] = {0};
    memcpy(block, data, len);
    block[len] = 0x80;
    block[62] = (uint8_t)(len * 8 >> 8);
    block[63] = (uint8_t)(len * 8);
    uint32_t w[80];
    for (size_t t = 0; t < 16; t++) {
        memcpy(&w[t], block + 4 * t, 4);
        w[t] = be32toh(w[t]);
    }
#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
    for (size_t t = 16; t < 80; t++) {
        uint32_t x = w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16];
        w[t] = ROTATE(x, 1);
    }
    const uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
#define STEP(f, k)                                                                                 \
    do {                                                                                           \
        uint32_t next = ROTATE(a, 5) + (f) + e + (k) + w[t];                                       \
        e = d;                                                                                     \
        d = c;                                                                                     \
        c = ROTATE(b, 30);                                                                         \
        b = a;                                                                                     \
        a = next;                                                                                  \
    } while (0)
    size_t t = 0;
    for (; t < 20; t++)
        STEP((b & c) | (~b & d), 0x5a827999U);
    for (; t < 40; t++)
        STEP(b ^ c ^ d, 0x6ed9eba1U);
    for (; t < 60; t++)
        STEP((b & c) | (b & d) | (c & d), 0x8f1bbcdcU);
    for (; t < 80; t++)
        STEP(b ^ c ^ d, 0xca62c1d6U);
#undef STEP
#undef ROTATE
    const uint32_t sums[5] = {h[0] + a, h[1] + b, h[2] + c, h[3] + d, h[4] + e};
    for (size_t i = 0; i < 5; i++) {
        uint32_t v = htobe32(sums[i]);
        memcpy(out + 4 * i, &v, 4);
    }
}

/* The type that answers an ICMP type, -1: nothing does, and the flow has one direction only. */
static int icmp_answer(uint8_t proto, unsigned type)
{
    /* clang-format off */
    static const uint8_t pairs4[][2] = {{8, 0}, {13, 14}, {15, 16}, {17, 18}, {10, 9}};
    static const uint8_t pairs6[][2] = {{128, 129}, {130, 131}, {133, 134}, {135, 136}, {139, 140}, {144, 145}};
    /* clang-format on */
    const uint8_t(*pairs)[2] = proto == 1 ? pairs4 : pairs6;
    size_t n = proto == 1 ? ARRAY_LEN(pairs4) : ARRAY_LEN(pairs6);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 2; k++)
            if (pairs[i][k] == type)
                return pairs[i][1 - k];
    return -1;
}

void ship_community_id(const uint8_t *src, const uint8_t *dst, unsigned n, uint8_t proto,
                       uint16_t src_port, uint16_t dst_port, char *out)
{
    bool icmp = proto == 1 || proto == 58,
         ports = icmp || proto == 6 || proto == 17 || proto == 132;
    bool one_way = false;
    if (icmp) {
        int answer = icmp_answer(proto, src_port);
        one_way = answer < 0;
        if (!one_way)
            dst_port = (uint16_t)answer;
    }
    int order = memcmp(src, dst, n);
    if (!one_way && (order > 0 || (order == 0 && ports && src_port > dst_port))) {
        const uint8_t *addr = src;
        uint16_t port = src_port;
        src = dst;
        dst = addr;
        src_port = dst_port;
        dst_port = port;
    }
    uint8_t data[2 + 16 + 16 + 2 + 4] = {0}; /* seed 0 first */
    size_t len = 2;
    memcpy(data + len, src, n);
    len += n;
    memcpy(data + len, dst, n);
    len += n;
    data[len] = proto;
    len += 2;
    if (ports) {
        const uint8_t octets[4] = {(uint8_t)(src_port >> 8), (uint8_t)src_port,
                                   (uint8_t)(dst_port >> 8), (uint8_t)dst_port};
        memcpy(data + len, octets, 4);
        len += 4;
    }
    uint8_t sum[21];
    sha1_short(data, len, sum);
    sum[20] = 0;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < 7; i++) {
        uint32_t v = (uint32_t)sum[3 * i] << 16 | (uint32_t)sum[3 * i + 1] << 8 | sum[3 * i + 2];
        for (size_t k = 0; k < 4; k++)
            out[4 * i + k] = digits[v >> (18 - 6 * k) & 63];
    }
    out[27] = '=';
}
