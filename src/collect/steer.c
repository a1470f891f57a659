#include "collect/steer.h"

#include "base/err.h"

#include <linux/filter.h>
#include <sys/socket.h>

/* Golden ratio: neighbouring addresses go to different workers. */
#define FACTOR UINT32_C(2654435761)
enum { SHIFT = 16, WORDS_V6 = 4, SOURCE_V4 = 12, SOURCE_V6 = 8 };

unsigned steer_of(const weir_endpoint *from, unsigned n)
{
    if (n < 2)
        return 0;
    uint32_t h = (uint32_t)weir_be(from->addr, 4);
    for (size_t i = 1; from->family == 6 && i < WORDS_V6; i++)
        h = (h * FACTOR) ^ (uint32_t)weir_be(from->addr + 4 * i, 4);
    return (h * FACTOR >> SHIFT) % n;
}

/* Classic BPF over the network header, which loads as host order. A: the word, then the hash; M[0]: the hash so far. */
bool steer_attach(int fd, unsigned family, unsigned n)
{
    struct sock_filter code[32];
    unsigned short len = 0;
#define OP(c, k) code[len++] = (struct sock_filter)BPF_STMT(c, (uint32_t)(k))
    uint32_t source = (uint32_t)SKF_NET_OFF + (family == 6 ? SOURCE_V6 : SOURCE_V4);
    OP(BPF_LD | BPF_W | BPF_ABS, source);
    for (uint32_t i = 1; family == 6 && i < WORDS_V6; i++) {
        OP(BPF_ALU | BPF_MUL | BPF_K, FACTOR);
        OP(BPF_ST, 0);
        OP(BPF_LD | BPF_W | BPF_ABS, source + 4 * i);
        OP(BPF_MISC | BPF_TAX, 0);
        OP(BPF_LD | BPF_MEM, 0);
        OP(BPF_ALU | BPF_XOR | BPF_X, 0);
    }
    OP(BPF_ALU | BPF_MUL | BPF_K, FACTOR);
    OP(BPF_ALU | BPF_RSH | BPF_K, SHIFT);
    OP(BPF_ALU | BPF_MOD | BPF_K, n);
    OP(BPF_RET | BPF_A, 0);
#undef OP
    struct sock_fprog program = {.len = len, .filter = code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == 0;
}
