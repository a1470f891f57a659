#include "collect/allow.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

bool allow_address(const char *text, weir_endpoint *e)
{
    *e = (weir_endpoint){0};
    if (inet_pton(AF_INET, text, e->addr) == 1)
        e->family = 4;
    else if (inet_pton(AF_INET6, text, e->addr) == 1)
        e->family = 6;
    return e->family != 0;
}

/* Clear what stands behind the prefix; true: something stood there. */
static bool mask(uint8_t *addr, size_t len, unsigned bits)
{
    bool any = false;
    for (size_t i = 0; i < len; i++) {
        unsigned keep = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * (unsigned)i : 0;
        uint8_t m = (uint8_t)(0xff00U >> keep);
        any |= (addr[i] & (uint8_t)~m) != 0;
        addr[i] &= m;
    }
    return any;
}

weir_status allow_add(struct allow *a, const char *cidr, weir_err *err)
{
    char text[64];
    const char *slash = strchr(cidr, '/');
    size_t len = slash ? (size_t)(slash - cidr) : strlen(cidr);
    weir_endpoint e;
    if (len >= sizeof text)
        return weir_err_set(err, WEIR_EINVAL, 0, "%.60s... is no network", cidr);
    memcpy(text, cidr, len);
    text[len] = 0;
    if (!allow_address(text, &e))
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "%s is no network: write 192.0.2.0/24 or 2001:db8::/32", cidr);
    size_t octets = e.family == 4 ? 4 : 16;
    unsigned bits = (unsigned)octets * 8;
    if (slash) {
        unsigned v = 0;
        const char *p = slash + 1;
        for (; *p >= '0' && *p <= '9' && p < slash + 4; p++)
            v = v * 10 + (unsigned)(*p - '0');
        if (*p || p == slash + 1 || v > bits)
            return weir_err_set(err, WEIR_EINVAL, 0, "%s: the prefix length must be 0 to %u", cidr,
                                bits);
        bits = v;
    }
    if (mask(e.addr, octets, bits)) {
        char meant[INET6_ADDRSTRLEN];
        (void)inet_ntop(e.family == 4 ? AF_INET : AF_INET6, e.addr, meant, sizeof meant);
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "%s has bits behind its prefix: the network is %s/%u", cidr, meant,
                            bits);
    }
    struct allow_net *nets = reallocarray(a->nets, a->n + 1, sizeof *nets);
    if (!nets)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    a->nets = nets;
    struct allow_net *net = &nets[a->n++];
    *net = (struct allow_net){.family = e.family, .bits = (uint8_t)bits};
    memcpy(net->addr, e.addr, sizeof net->addr);
    return WEIR_OK;
}

bool allow_match(const struct allow *a, const weir_endpoint *from)
{
    if (!a->n)
        return true;
    for (size_t i = 0; i < a->n; i++) {
        const struct allow_net *net = &a->nets[i];
        size_t whole = net->bits / 8;
        if (net->family != from->family || memcmp(net->addr, from->addr, whole) != 0)
            continue;
        unsigned rest = net->bits % 8;
        if (!rest || ((net->addr[whole] ^ from->addr[whole]) & (0xff00U >> rest) & 0xff) == 0)
            return true;
    }
    return false;
}

void allow_done(struct allow *a)
{
    free(a->nets);
    *a = (struct allow){0};
}
