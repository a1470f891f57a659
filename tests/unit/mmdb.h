/* mmdb -- small MaxMind-format databases for tests: prefixes with data behind them, in any record size, sound or not.
 * MaxMind DB File Format Specification 2.0. */
#ifndef TESTS_MMDB_H
#define TESTS_MMDB_H

#include "base/buf.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { MMDB_MAX_NODES = 4096, MMDB_EMPTY = -1, MMDB_DATA = 1 << 20 };

/* Zero-initialise, mmdb_begin; then data and prefixes; then mmdb_file. */
struct mmdb {
    int32_t nodes[MMDB_MAX_NODES][2]; /* a node, MMDB_EMPTY, or MMDB_DATA + offset of the data */
    int32_t n_nodes;
    base_buf data;
    int ip_version;
};

static inline void mmdb_begin(struct mmdb *m, int ip_version)
{
    base_buf_reset(&m->data);
    m->nodes[0][0] = m->nodes[0][1] = MMDB_EMPTY;
    m->n_nodes = 1;
    m->ip_version = ip_version;
}

/* ---- data, in order; types by number ---- */

static inline void mmdb_control(base_buf *b, unsigned type, unsigned size)
{
    unsigned small = size < 29 ? size : size < 285 ? 29 : size < 65821 ? 30 : 31;
    base_buf_u8(b, (uint8_t)((type > 7 ? 0 : type << 5) | small));
    if (type > 7)
        base_buf_u8(b, (uint8_t)(type - 7));
    if (small == 29)
        base_buf_u8(b, (uint8_t)(size - 29));
    else if (small == 30)
        base_buf_u16(b, (uint16_t)(size - 285));
    else if (small == 31) {
        base_buf_u8(b, (uint8_t)((size - 65821) >> 16));
        base_buf_u16(b, (uint16_t)(size - 65821));
    }
}

static inline void mmdb_map(base_buf *b, unsigned pairs)
{
    mmdb_control(b, 7, pairs);
}

static inline void mmdb_array(base_buf *b, unsigned n)
{
    mmdb_control(b, 11, n);
}

static inline void mmdb_text(base_buf *b, const char *text)
{
    mmdb_control(b, 2, (unsigned)strlen(text));
    base_buf_str(b, text);
}

static inline void mmdb_pair(base_buf *b, const char *key, const char *text)
{
    mmdb_text(b, key);
    mmdb_text(b, text);
}

static inline void mmdb_u16(base_buf *b, uint16_t v)
{
    mmdb_control(b, 5, 2);
    base_buf_u16(b, v);
}

static inline void mmdb_u32(base_buf *b, uint32_t v)
{
    mmdb_control(b, 6, 4);
    base_buf_u32(b, v);
}

static inline void mmdb_pointer(base_buf *b, uint32_t to)
{
    if (to < 2048) {
        base_buf_u8(b, (uint8_t)(1 << 5 | to >> 8));
        base_buf_u8(b, (uint8_t)to);
    } else {
        base_buf_u8(b, 1 << 5 | 3 << 3);
        base_buf_u32(b, to);
    }
}

/* ---- prefixes ---- */

/* text: "192.0.2.0", bits of its own family; at: offset of its data. In a tree of IPv6, IPv4 stands in ::/96. */
static inline bool mmdb_prefix(struct mmdb *m, const char *text, unsigned bits, uint32_t at)
{
    uint8_t addr[16] = {0};
    bool four = !strchr(text, ':');
    if (inet_pton(four ? AF_INET : AF_INET6, text, four && m->ip_version == 6 ? addr + 12 : addr) !=
        1)
        return false;
    if (four && m->ip_version == 6)
        bits += 96;
    int32_t node = 0;
    for (unsigned i = 0; i < bits; i++) {
        int32_t *to = &m->nodes[node][addr[i / 8] >> (7 - i % 8) & 1];
        if (i + 1 == bits) {
            *to = MMDB_DATA + (int32_t)at;
        } else if (*to < 0) {
            if (m->n_nodes == MMDB_MAX_NODES)
                return false;
            m->nodes[m->n_nodes][0] = m->nodes[m->n_nodes][1] = MMDB_EMPTY;
            *to = m->n_nodes++;
        } else if (*to >= MMDB_DATA) {
            return false;
        }
        node = *to;
    }
    return true;
}

/* ---- the file ---- */

static inline void mmdb_tree(const struct mmdb *m, unsigned record_bits, base_buf *out)
{
    for (int32_t i = 0; i < m->n_nodes; i++) {
        uint32_t v[2];
        for (int side = 0; side < 2; side++) {
            int32_t to = m->nodes[i][side];
            v[side] = to < 0            ? (uint32_t)m->n_nodes
                      : to >= MMDB_DATA ? (uint32_t)(to - MMDB_DATA + m->n_nodes + 16)
                                        : (uint32_t)to;
        }
        if (record_bits == 32) {
            base_buf_u32(out, v[0]);
            base_buf_u32(out, v[1]);
            continue;
        }
        base_buf_u8(out, (uint8_t)(v[0] >> 16));
        base_buf_u16(out, (uint16_t)v[0]);
        if (record_bits == 28) /* the high four bits of both */
            base_buf_u8(out, (uint8_t)((v[0] >> 24 & 15) << 4 | (v[1] >> 24 & 15)));
        base_buf_u8(out, (uint8_t)(v[1] >> 16));
        base_buf_u16(out, (uint16_t)v[1]);
    }
    base_buf_add(out, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

static inline void mmdb_marker(base_buf *out)
{
    base_buf_add(out, "\xab\xcd\xefMaxMind.com", 14);
}

static inline void mmdb_metadata(const struct mmdb *m, const char *type, unsigned record_bits,
                                 uint32_t n_nodes, base_buf *out)
{
    mmdb_marker(out);
    mmdb_map(out, 9);
    mmdb_text(out, "binary_format_major_version");
    mmdb_u16(out, 2);
    mmdb_text(out, "binary_format_minor_version");
    mmdb_u16(out, 0);
    mmdb_text(out, "build_epoch");
    mmdb_control(out, 9, 8);
    base_buf_u64(out, 1700000000);
    mmdb_pair(out, "database_type", type);
    mmdb_text(out, "description");
    mmdb_map(out, 1);
    mmdb_pair(out, "en", "documentation prefixes");
    mmdb_text(out, "ip_version");
    mmdb_u16(out, (uint16_t)m->ip_version);
    mmdb_text(out, "languages");
    mmdb_array(out, 1);
    mmdb_text(out, "en");
    mmdb_text(out, "node_count");
    mmdb_u32(out, n_nodes);
    mmdb_text(out, "record_size");
    mmdb_u16(out, (uint16_t)record_bits);
}

static inline void mmdb_file(const struct mmdb *m, const char *type, unsigned record_bits,
                             base_buf *out)
{
    mmdb_tree(m, record_bits, out);
    base_buf_add(out, m->data.data, m->data.len);
    mmdb_metadata(m, type, record_bits, (uint32_t)m->n_nodes, out);
}

#endif
