#include "gen/file.h"

#include "base/text.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PIECE = 1 << 20, FRAME_HEAD = 14 + 20 + 8, SNAP = 65535, LINK_ETHERNET = 1 };

uint32_t gen_exporter_address(uint32_t i)
{
    return 0x7f000101 + (i / 250 << 8) + i % 250;
}

uint16_t gen_exporter_port(uint32_t i)
{
    return (uint16_t)(40000 + i % 20000);
}

/* --- octets ------------------------------------------------------------------------------------- */

static weir_status write_out(struct gen_file *f, weir_err *err)
{
    size_t done = 0;
    if (f->buf.failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "%s: out of memory", f->name);
    while (done < f->buf.len) {
        ssize_t n = write(f->fd, f->buf.data + done, f->buf.len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno != EINTR)
            return weir_err_set(err, WEIR_EIO, 0, "%s: cannot write: %s", f->name, strerror(errno));
    }
    base_buf_reset(&f->buf);
    return WEIR_OK;
}

/* To be called when something was appended. */
static weir_status appended(struct gen_file *f, weir_err *err)
{
    return f->buf.failed || f->buf.len >= PIECE ? write_out(f, err) : WEIR_OK;
}

static weir_status open_file(struct gen_file *f, const char *path, weir_err *err)
{
    bool standard = strcmp(path, "-") == 0;
    *f = (struct gen_file){.name = standard ? "standard output" : path};
    f->fd =
        standard ? dup(STDOUT_FILENO) : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    f->open = f->fd >= 0;
    if (!f->open)
        return weir_err_set(err, WEIR_EIO, 0, "%s: cannot be created: %s", f->name,
                            strerror(errno));
    return WEIR_OK;
}

weir_status gen_file_close(struct gen_file *f, weir_err *err)
{
    if (!f->open)
        return WEIR_OK;
    weir_status status = write_out(f, err);
    f->open = false;
    if (close(f->fd) != 0 && status == WEIR_OK)
        status = weir_err_set(err, WEIR_EIO, 0, "%s: cannot write: %s", f->name, strerror(errno));
    base_buf_done(&f->buf);
    return status;
}

void gen_file_done(struct gen_file *f)
{
    if (f->open)
        (void)close(f->fd);
    f->open = false;
    base_buf_done(&f->buf);
}

static void le32(base_buf *b, uint32_t v)
{
    v = htole32(v);
    base_buf_add(b, &v, sizeof v);
}

/* --- captures ----------------------------------------------------------------------------------- */

weir_status gen_file_open_pcap(struct gen_file *f, const char *path, weir_err *err)
{
    WEIR_TRY(open_file(f, path, err));
    static const uint32_t head[] = {0xa1b2c3d4, 4 << 16 | 2, 0, 0, SNAP, LINK_ETHERNET};
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        le32(&f->buf, head[i]);
    return appended(f, err);
}

static uint16_t ip_checksum(const uint8_t head[20])
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < 20; i += 2)
        sum += (uint32_t)head[i] << 8 | head[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

weir_status gen_file_pcap(struct gen_file *f, const struct gen_out *o, uint16_t port, weir_err *err)
{
    uint32_t len = (uint32_t)o->len + FRAME_HEAD;
    le32(&f->buf, (uint32_t)(o->now_ms / 1000));
    le32(&f->buf, (uint32_t)(o->now_ms % 1000) * 1000);
    le32(&f->buf, len);
    le32(&f->buf, len);
    static const uint8_t ethernet[14] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};
    base_buf_add(&f->buf, ethernet, sizeof ethernet);
    size_t ip = f->buf.len;
    base_buf_u16(&f->buf, 0x4500);
    base_buf_u16(&f->buf, (uint16_t)(20 + 8 + o->len));
    base_buf_u16(&f->buf, f->ident++);
    base_buf_u16(&f->buf, 0);
    base_buf_u16(&f->buf, 64 << 8 | 17); /* TTL, UDP */
    base_buf_u16(&f->buf, 0);
    base_buf_u32(&f->buf, gen_exporter_address(o->exporter));
    base_buf_u32(&f->buf, 0x7f000001);
    if (!f->buf.failed) {
        uint16_t sum = htobe16(ip_checksum((const uint8_t *)f->buf.data + ip));
        memcpy(f->buf.data + ip + 10, &sum, sizeof sum);
    }
    base_buf_u16(&f->buf, gen_exporter_port(o->exporter));
    base_buf_u16(&f->buf, port);
    base_buf_u16(&f->buf, (uint16_t)(8 + o->len));
    base_buf_u16(&f->buf, 0); /* no checksum, as RFC 768 allows */
    base_buf_add(&f->buf, o->data, o->len);
    return appended(f, err);
}

weir_status gen_file_open_payload(struct gen_file *f, const char *path, weir_err *err)
{
    return open_file(f, path, err);
}

weir_status gen_file_payload(struct gen_file *f, const struct gen_out *o, weir_err *err)
{
    le32(&f->buf, (uint32_t)o->len);
    le32(&f->buf, o->exporter);
    base_buf_add(&f->buf, o->data, o->len);
    return appended(f, err);
}

/* --- CSV ---------------------------------------------------------------------------------------- */

weir_status gen_file_open_csv(struct gen_file *f, const char *path, weir_err *err)
{
    WEIR_TRY(open_file(f, path, err));
    base_buf_str(&f->buf,
                 "exporter,start_ms,end_ms,src,dst,proto,sport,dport,packets,bytes,tcp_flags,tos,"
                 "in_if,out_if,src_as,dst_as,src_mask,dst_mask,next_hop,direction,nat_src,"
                 "nat_dst,nat_sport,nat_dport,app\n");
    return appended(f, err);
}

static char *csv_number(char *p, uint64_t v)
{
    *p++ = ',';
    return p + base_u64_text(p, v);
}

static char *csv_address(char *p, const uint8_t *a, bool ipv6)
{
    *p++ = ',';
    return p + (ipv6 ? base_ipv6_text(p, a) : base_ipv4_text(p, a));
}

/* What is behind the exporter; p has room for the longest. */
static char *csv_flow(char *p, const struct gen_flow *f, uint64_t shift_ms)
{
    bool ipv6 = f->kind == GEN_IPV6;
    p = csv_number(csv_number(p, f->first_ms + shift_ms), f->last_ms + shift_ms);
    p = csv_address(csv_address(p, f->src, ipv6), f->dst, ipv6);
    const uint64_t numbers[] = {f->proto,     f->src_port, f->dst_port, f->packets, f->octets,
                                f->tcp_flags, f->tos,      f->in_if,    f->out_if,  f->src_as,
                                f->dst_as,    f->src_mask, f->dst_mask};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        p = csv_number(p, numbers[i]);
    p = csv_number(csv_address(p, f->next_hop, ipv6), f->direction);
    if (f->kind == GEN_NAT) {
        p = csv_address(csv_address(p, f->nat_src, false), f->nat_dst, false);
        p = csv_number(csv_number(p, f->nat_src_port), f->nat_dst_port);
    } else {
        memset(p, ',', 4);
        p += 4;
    }
    *p++ = ',';
    const char *app = f->kind == GEN_APP ? gen_app_name(f->app) : "";
    size_t len = strlen(app);
    memcpy(p, app, len);
    p += len;
    *p++ = '\n';
    return p;
}

weir_status gen_file_csv(struct gen_file *f, const struct gen_packet *p, const char *address,
                         weir_err *err)
{
    enum { LINE = 600 };
    for (unsigned i = 0; i < p->n_records; i++) {
        base_buf_str(&f->buf, address);
        char *at = base_buf_room(&f->buf, LINE);
        if (!at)
            break;
        f->buf.len = (size_t)(csv_flow(at, &p->flows[i], (uint64_t)p->shift_ms) - f->buf.data);
    }
    return appended(f, err);
}
