/* The filter language: every primitive of nfdump's, what goes beyond them, and what is refused, with its place. */
#include "unit.h"

#include "base/buf.h"
#include "query/filter.h"

#include <string.h>

static weir_status resolve(void *user, const char *name, struct query_prefix **out, size_t *n,
                           weir_err *err)
{
    static const struct query_prefix found[] = {
        {.addr = {192, 0, 2, 1}, .family = 4, .bits = 32},
        {.addr = {0x20, 1, 0x0d, 0xb8, [15] = 1}, .family = 6, .bits = 128}};
    (void)user;
    if (strcmp(name, "www.example.org") != 0)
        return weir_err_set(err, WEIR_ENOTFOUND, 0, "no such host");
    struct query_prefix *more = realloc(*out, (*n + 2) * sizeof *more);
    assert_non_null(more);
    memcpy(more + *n, found, sizeof found);
    *out = more;
    *n += 2;
    return WEIR_OK;
}

static weir_status read_file(void *user, const char *path, char **text, size_t *len, weir_err *err)
{
    static const struct {
        const char *path, *text;
    } files[] = {{"ports", "port 80 # web\nor port 443"},
                 {"with blank", "proto tcp"},
                 {"list", "10.0.0.0/8\n192.0.2.1"},
                 {"wrong", "proto tcp\nand prt 5"},
                 {"self", "@include self"},
                 {"open", "( port 80"}};
    (void)user;
    for (size_t i = 0; i < UNIT_N(files); i++)
        if (strcmp(path, files[i].path) == 0) {
            *text = strdup(files[i].text);
            *len = strlen(files[i].text);
            return WEIR_OK;
        }
    return weir_err_set(err, WEIR_EIO, 0, "cannot open %s: No such file or directory", path);
}

static const struct query_filter_options options = {.resolve = resolve, .read = read_file};

/* ---- what is taken ---- */

static const struct {
    const char *text, *printed;
} good[] = {
    /* words, blanks, comments */
    {"", "any"},
    {" \t\n", "any"},
    {"# only a comment", "any"},
    {"any", "any"},
    {"not any", "not any"},
    {"PROTO Tcp AND Dst Port 443", "proto = 6 and dst_port = 443"},
    {"proto tcp # the rest\nand bytes > 1k", "proto = 6 and bytes > 1000"},
    {"proto tcp#x", "proto = 6"},
    {"@include ports", "src_port = 80 or dst_port = 80 or src_port = 443 or dst_port = 443"},
    {"proto tcp and (@include ports )",
     "proto = 6 and (src_port = 80 or dst_port = 80 or src_port = 443 or dst_port = 443)"},
    {"@include \"with blank\" and bytes 1", "proto = 6 and bytes = 1"},
    {"src ip in [@include list ]", "src_addr in [10.0.0.0/8, 192.0.2.1]"},
    /* and, or, not */
    {"proto tcp or proto udp and bytes 1", "proto = 6 or proto = 17 and bytes = 1"},
    {"(proto tcp or proto udp) and bytes 1", "(proto = 6 or proto = 17) and bytes = 1"},
    {"not proto tcp and bytes 1", "not proto = 6 and bytes = 1"},
    {"not (proto tcp and bytes 1)", "not (proto = 6 and bytes = 1)"},
    {"!proto tcp", "not proto = 6"},
    {"not not proto tcp", "proto = 6"},
    {"not (not (proto tcp and bytes 1)) and packets 2", "proto = 6 and bytes = 1 and packets = 2"},
    {"((proto tcp))", "proto = 6"},
    {"proto tcp && bytes 1 || packets 2", "proto = 6 and bytes = 1 or packets = 2"},
    {"(proto tcp and bytes 1) and (packets 2 and bytes 3)",
     "proto = 6 and bytes = 1 and packets = 2 and bytes = 3"},
    {"any and proto tcp", "proto = 6"},
    {"any or proto tcp", "any"},
    {"not any and proto tcp", "not any"},
    /* comparators and numbers */
    {"bytes 1", "bytes = 1"},
    {"bytes = 1", "bytes = 1"},
    {"bytes == 1", "bytes = 1"},
    {"bytes eq 1", "bytes = 1"},
    {"bytes > 1", "bytes > 1"},
    {"bytes gt 1", "bytes > 1"},
    {"bytes < 1", "bytes < 1"},
    {"bytes lt 1", "bytes < 1"},
    {"bytes >= 1", "bytes >= 1"},
    {"bytes GE 1", "bytes >= 1"},
    {"bytes <= 1", "bytes <= 1"},
    {"bytes le 1", "bytes <= 1"},
    {"bytes != 1", "bytes != 1"},
    {"bytes ne 1", "bytes != 1"},
    {"bytes>1", "bytes > 1"},
    {"bytes > 0x1F", "bytes > 31"},
    {"bytes > 2k", "bytes > 2000"},
    {"bytes > 2M", "bytes > 2000000"},
    {"bytes > 2g", "bytes > 2000000000"},
    {"bytes > 2T", "bytes > 2000000000000"},
    {"bytes 18446744073709551615", "bytes = 18446744073709551615"},
    /* families and protocols */
    {"ipv4", "src_addr = 0.0.0.0/0 and dst_addr = 0.0.0.0/0"},
    {"ipv6", "src_addr = ::/0 and dst_addr = ::/0"},
    {"inet", "src_addr = 0.0.0.0/0 and dst_addr = 0.0.0.0/0"},
    {"inet6", "src_addr = ::/0 and dst_addr = ::/0"},
    {"proto 17", "proto = 17"},
    {"proto icmp6", "proto = 58"},
    {"proto ipv6-icmp", "proto = 58"},
    {"proto \"gre\"", "proto = 47"},
    {"proto in [tcp, udp 132]", "proto in [6, 17, 132]"},
    {"proto != tcp", "proto != 6"},
    {"tun proto gre", "tunnel = 47"},
    /* addresses */
    {"ip 192.0.2.1", "src_addr = 192.0.2.1 or dst_addr = 192.0.2.1"},
    {"host 192.0.2.1", "src_addr = 192.0.2.1 or dst_addr = 192.0.2.1"},
    {"src ip 192.0.2.1", "src_addr = 192.0.2.1"},
    {"dst host 2001:DB8::1", "dst_addr = 2001:db8::1"},
    {"src and dst ip 192.0.2.1", "src_addr = 192.0.2.1 and dst_addr = 192.0.2.1"},
    {"dst or src ip 192.0.2.1", "dst_addr = 192.0.2.1 or src_addr = 192.0.2.1"},
    {"ip ::ffff:192.0.2.1", "src_addr = 192.0.2.1 or dst_addr = 192.0.2.1"},
    {"src ip ::ffff:192.0.2.0/120", "src_addr = 192.0.2.0/24"},
    {"src ip in [192.0.2.1 10.0.0.0/8, 2001:db8::/32]",
     "src_addr in [192.0.2.1, 10.0.0.0/8, 2001:db8::/32]"},
    {"ip 10.1.2.3/8", "src_addr = 10.0.0.0/8 or dst_addr = 10.0.0.0/8"},
    {"src ip != 10.0.0.0/8", "src_addr present and not src_addr = 10.0.0.0/8"},
    {"src ip not in [10.0.0.0/8]", "src_addr present and not src_addr = 10.0.0.0/8"},
    {"net 10.0.0.0/8", "src_addr = 10.0.0.0/8 or dst_addr = 10.0.0.0/8"},
    {"src net 10.1.0.0 255.255.0.0", "src_addr = 10.1.0.0/16"},
    {"dst net 0.0.0.0 0.0.0.0", "dst_addr = 0.0.0.0/0"},
    {"dst net 2001:db8::/32", "dst_addr = 2001:db8::/32"},
    {"src or dst net 10.0.0.0/8", "src_addr = 10.0.0.0/8 or dst_addr = 10.0.0.0/8"},
    {"src net in [10.0.0.0/8 192.0.2.0/24]", "src_addr in [10.0.0.0/8, 192.0.2.0/24]"},
    {"src host www.example.org", "src_addr in [192.0.2.1, 2001:db8::1]"},
    {"src host in [\"www.example.org\" 10.0.0.1]",
     "src_addr in [192.0.2.1, 2001:db8::1, 10.0.0.1]"},
    {"next ip 192.0.2.1", "next_hop = 192.0.2.1"},
    {"bgp next ip 192.0.2.1", "bgp_next_hop = 192.0.2.1"},
    {"bgpnext ip 192.0.2.1", "bgp_next_hop = 192.0.2.1"},
    {"router ip 192.0.2.1", "exporter = 192.0.2.1"},
    {"exporter ip 192.0.2.1", "exporter = 192.0.2.1"},
    {"exporter 192.0.2.1", "exporter = 192.0.2.1"},
    {"nat ip 192.0.2.1", "nat_src_addr = 192.0.2.1 or nat_dst_addr = 192.0.2.1"},
    {"src nat ip 192.0.2.1", "nat_src_addr = 192.0.2.1"},
    {"dst xlate ip 192.0.2.1", "nat_dst_addr = 192.0.2.1"},
    {"src xip 192.0.2.1", "nat_src_addr = 192.0.2.1"},
    {"dst nip 192.0.2.1", "nat_dst_addr = 192.0.2.1"},
    {"src nat net 10.0.0.0/8", "nat_src_addr = 10.0.0.0/8"},
    {"xnet 10.0.0.0/8", "nat_src_addr = 10.0.0.0/8 or nat_dst_addr = 10.0.0.0/8"},
    {"tun ip 192.0.2.1", "tunnel_src_addr = 192.0.2.1 or tunnel_dst_addr = 192.0.2.1"},
    {"src tun ip 192.0.2.1", "tunnel_src_addr = 192.0.2.1"},
    {"dst tun net 10.0.0.0/8", "tunnel_dst_addr = 10.0.0.0/8"},
    {"src tunip 192.0.2.1", "tunnel_src_addr = 192.0.2.1"},
    /* ports, ICMP, flags */
    {"port 80", "src_port = 80 or dst_port = 80"},
    {"port > 1023", "src_port > 1023 or dst_port > 1023"},
    {"port != 80", "src_port != 80 and dst_port != 80"},
    {"src and dst port < 1024", "src_port < 1024 and dst_port < 1024"},
    {"src or dst port != 80", "src_port != 80 or dst_port != 80"},
    {"dst port in [443 80, 81 8000-8100]", "dst_port in [80-81, 443, 8000-8100]"},
    {"dst port in [80]", "dst_port = 80"},
    {"dst port in [1..1023]", "dst_port in [1-1023]"},
    {"dst port in [5-9 1-6 10]", "dst_port in [1-10]"},
    {"dst port in [0-65535]", "dst_port in [0-65535]"},
    {"port not in [80 443]", "src_port present and not src_port in [80, 443] and "
                             "dst_port present and not dst_port in [80, 443]"},
    {"src nat port 80", "nat_src_port = 80"},
    {"nat port > 80", "nat_src_port > 80 or nat_dst_port > 80"},
    {"dst xport 80", "nat_dst_port = 80"},
    {"src nport 80", "nat_src_port = 80"},
    {"src port in nat pblock",
     "src_port >= field port_block_start and src_port <= field port_block_end"},
    {"port in pblock", "src_port >= field port_block_start and src_port <= field port_block_end or "
                       "dst_port >= field port_block_start and dst_port <= field port_block_end"},
    {"icmp type 8", "proto in [1, 58] and icmp_type = 8"},
    {"icmp-type 8", "proto in [1, 58] and icmp_type = 8"},
    {"icmp code > 3", "proto in [1, 58] and icmp_code > 3"},
    {"icmp-code 3", "proto in [1, 58] and icmp_code = 3"},
    {"flags S", "proto = 6 and tcp_flags has S"},
    {"flags sa", "proto = 6 and tcp_flags has AS"},
    {"flags X", "proto = 6 and tcp_flags has UAPRSF"},
    {"flags CE", "proto = 6 and tcp_flags has CE"},
    {"flags 2", "proto = 6 and tcp_flags = 2"},
    {"flags > 0x10", "proto = 6 and tcp_flags > 16"},
    /* as nfdump has it: none of them, not "not all" */
    {"flags S and not flags AR", "proto = 6 and tcp_flags has S and "
                                 "not (proto = 6 and (tcp_flags has R or tcp_flags has A))"},
    {"not (bytes 1 or not flags SA)", "not (bytes = 1 or not (proto = 6 and tcp_flags has AS))"},
    {"not tcp_flags has SA", "not tcp_flags has AS"},
    {"tcp_flags has 0x100", "tcp_flags has 256"},
    /* the IP header */
    {"tos 8", "tos = 8"},
    {"src tos > 8", "tos > 8"},
    {"dst tos 0xff", "tos_out = 255"},
    {"min ttl 3", "ttl_min = 3"},
    {"max ttl > 3", "ttl_max > 3"},
    {"ttl 64", "\"ttl\" = 64 or ttl_min = 64 or ttl_max = 64"},
    {"ttl equal", "ttl_min = field ttl_max"},
    {"ip version 6", "ip_version = 6"},
    /* counters and what is made of them */
    {"packets > 1", "packets > 1"},
    {"in packets > 1", "packets > 1"},
    {"out packets > 1", "out_packets > 1"},
    {"in bytes > 1", "bytes > 1"},
    {"out bytes > 1", "out_bytes > 1"},
    {"bytes rev > 1", "bytes_rev > 1"},
    {"flows > 1", "n_flows > 1"},
    {"\"flows\" > 1", "\"flows\" > 1"},
    {"duration > 1k", "duration > 1000"},
    {"pps > 1m", "pps > 1000000"},
    {"bps > 1m", "bps > 1000000"},
    {"bpp > 1400", "bpp > 1400"},
    /* times: TZ is UTC here */
    {"first seen 2026", "first in [2026-01-01T00:00:00.000000Z..2026-12-31T23:59:59.999999Z]"},
    {"first seen > 2026-11", "first > 2026-11-01T00:00:00.000000Z"},
    {"last seen < 2026-11-22", "last < 2026-11-22T00:00:00.000000Z"},
    {"last seen >= 2026/11/22.21", "last >= 2026-11-22T21:00:00.000000Z"},
    {"first seen >= 2026-11-22T21:05", "first >= 2026-11-22T21:05:00.000000Z"},
    {"first seen <= 2026-11-22T21:05:06", "first <= 2026-11-22T21:05:06.000000Z"},
    {"first seen 2026-11-22T21:05:06.123",
     "first in [2026-11-22T21:05:06.123000Z..2026-11-22T21:05:06.123999Z]"},
    {"first = 2026-11-22T21:05:06.123456", "first = 2026-11-22T21:05:06.123456Z"},
    {"first > 2026-11-22T21:05:06+01:00", "first > 2026-11-22T20:05:06.000000Z"},
    {"first in [2026-11-22..2026-11-23]",
     "first in [2026-11-22T00:00:00.000000Z..2026-11-23T23:59:59.999999Z]"},
    {"received > 2026-11-22T21:05:06Z", "received > 2026-11-22T21:05:06.000000Z"},
    /* routing */
    {"if 1", "in_if = 1 or out_if = 1"},
    {"in if 1", "in_if = 1"},
    {"out if in [1 2 5]", "out_if in [1-2, 5]"},
    {"in and out if 5", "in_if = 5 and out_if = 5"},
    {"in if name \"eth0\"", "in_if_name = \"eth0\""},
    {"as 64512", "src_as = 64512 or dst_as = 64512"},
    {"src as > 64511", "src_as > 64511"},
    {"dst as in [64512 64513]", "dst_as in [64512-64513]"},
    {"prev as 64512", "peer_src_as = 64512"},
    {"next as in [64512]", "peer_dst_as = 64512"},
    {"mask 24", "src_mask = 24 or dst_mask = 24"},
    {"src mask 24", "src_mask = 24"},
    {"dst mask 24", "dst_mask = 24"},
    {"vlan 5", "\"vlan\" = 5 or vlan_out = 5"},
    {"src vlan 5", "\"vlan\" = 5"},
    {"dst vlan 5", "vlan_out = 5"},
    {"mac 00:00:5E:00:53:01",
     "src_mac = \"00:00:5e:00:53:01\" or dst_mac = \"00:00:5e:00:53:01\" or "
     "out_src_mac = \"00:00:5e:00:53:01\" or out_dst_mac = \"00:00:5e:00:53:01\""},
    {"in mac 0:0:5e:0:53:1", "src_mac = \"00:00:5e:00:53:01\" or dst_mac = \"00:00:5e:00:53:01\""},
    {"out mac 0:0:5e:0:53:1",
     "out_src_mac = \"00:00:5e:00:53:01\" or out_dst_mac = \"00:00:5e:00:53:01\""},
    {"in src mac 00-00-5e-00-53-01", "src_mac = \"00:00:5e:00:53:01\""},
    {"in dst mac 0:0:5e:0:53:1", "dst_mac = \"00:00:5e:00:53:01\""},
    {"out src mac 0:0:5e:0:53:1", "out_src_mac = \"00:00:5e:00:53:01\""},
    {"out dst mac 0:0:5e:0:53:1", "out_dst_mac = \"00:00:5e:00:53:01\""},
    {"etherType 0x800", "ethertype = 2048"},
    {"mpls label3 500", "mpls label3 = 500"},
    {"mpls label10 > 500", "mpls label10 > 500"},
    {"mpls exp2 7", "mpls exp2 = 7"},
    {"mpls eos 2", "mpls_eos = 2"},
    {"mpls any 500", "mpls_labels = 500"},
    {"mpls any in [500-600]", "mpls_labels in [500-600]"},
    {"flowdir ingress", "direction = 0"},
    {"flowdir 1", "direction = 1"},
    {"fwdstat Forw", "forwarding_status = 64"},
    {"fwdstat DbadTTL", "forwarding_status = 137"},
    {"fwdstat tforus", "forwarding_status = 195"},
    {"fwdstat >= 128", "forwarding_status >= 128"},
    {"geo CH", "src_country = \"CH\" or dst_country = \"CH\""},
    {"src geo ch", "src_country = \"CH\""},
    {"src and dst geo US", "src_country = \"US\" and dst_country = \"US\""},
    {"dst geo in [CH DE]", "dst_country in [\"CH\", \"DE\"]"},
    {"count > 5", "count > 5"},
    {"cnt 5", "count = 5"},
    {"engine type 1", "domain in [256-511]"},
    {"engine-type > 254", "domain in [65280-65535]"},
    {"engine id >= 0", "domain in [0-65535]"},
    {"engine-id < 0", "not any"},
    {"observation domain id 5", "domain = 5"},
    {"observation point id > 5", "observation_point > 5"},
    {"client latency 5", "client_latency_us in [5000-5999]"},
    {"client latency > 5", "client_latency_us > 5999"},
    {"server latency < 5", "server_latency_us < 5000"},
    {"server latency <= 5", "server_latency_us <= 5999"},
    {"server latency != 5", "server_latency_us present and not server_latency_us in [5000-5999]"},
    {"ingress vrf 5", "vrf_in = 5"},
    {"egress vrf > 5", "vrf_out > 5"},
    /* firewalls and NAT */
    {"asa event create", "fw_event = 1"},
    {"asa event delete", "fw_event = 2"},
    {"asa event term", "fw_event = 2"},
    {"asa event ignore", "fw_event = 0"},
    {"asa event denied", "fw_event = 3"},
    {"asa event deny", "fw_event = 3"},
    {"asa event denied nosyn", "fw_event = 3 and fw_ext_event = 1004"},
    {"asa event > 1", "fw_event > 1"},
    {"asa xevent 1001", "fw_ext_event = 1001"},
    {"asa denied ingress", "fw_event = 3 and fw_ext_event = 1001"},
    {"asa denied egress or bytes 1", "fw_event = 3 and fw_ext_event = 1002 or bytes = 1"},
    {"asa denied interface", "fw_event = 3 and fw_ext_event = 1003"},
    {"nat event add", "nat_event = 1"},
    {"nat event delete", "nat_event = 2"},
    {"nat event > 3", "nat_event > 3"},
    {"nat pblock start 1024", "port_block_start = 1024"},
    {"nat pblock end > 1024", "port_block_end > 1024"},
    {"nat pblock step 1", "port_block_step = 1"},
    {"pblock size 64", "port_block_size = 64"},
    {"ingress acl 0x10", "ingress acl = 16"},
    {"ingress ACE > 1", "ingress ace > 1"},
    {"egress xace 1", "egress xace = 1"},
    /* columns by name */
    {"dst_port = 80", "dst_port = 80"},
    {"DST_PORT 80", "dst_port = 80"},
    {"dstport = 80", "dst_port = 80"},
    {"\"vlan\" = 5", "\"vlan\" = 5"},
    {"app_name = ssh", "app_name = \"ssh\""},
    {"app_name in [ssh, \"a b\"]", "app_name in [\"ssh\", \"a b\"]"},
    {"app_name != 'say \"hi\"'", "app_name present and not app_name = 'say \"hi\"'"},
    {"tls_sni contains \"example\"", "tls_sni contains \"example\""},
    {"tls sni contains example nocase", "tls_sni contains \"example\" nocase"},
    {"http_host ~ \"^www\\.\"", "http_host ~ \"^www\\.\""},
    {"http_host !~ \"^www\" nocase", "http_host present and not http_host ~ \"^www\" nocase"},
    {"http_host ~ '^([0-9]{1,3}[.]){3}[0-9]+([.]x+y+z+w+[]+]+)*$'",
     "http_host ~ \"^([0-9]{1,3}[.]){3}[0-9]+([.]x+y+z+w+[]+]+)*$\""},
    {"http_host present", "http_host present"},
    {"user present", "user_name present"},
    {"not user present", "not user_name present"},
    {"app_id = 0x0d000001", "app_id = 0x0d000001"},
    {"nbar id 13..1", "app_id = 0x0d000001"},
    {"src_country = de", "src_country = \"DE\""},
    {"sampling_rate >= 1.5", "sampling_rate >= 1.5"},
    {"sampling_rate in [100 0.5..2]",
     "sampling_rate = 100.0 or sampling_rate >= 0.5 and sampling_rate <= 2.0"},
    {"end_reason = idle", "end_reason = 1"},
    {"src_addr ~ \"^10\"", "src_addr ~ \"^10\""},
    {"src_port = field dst_port", "src_port = field dst_port"},
    {"ip_family = 6", "ip_family = 6"},
    /* columns that nobody knows */
    {"httpRequestHost = \"example.org\"", "httpRequestHost = \"example.org\""},
    {"e35632_205 > 5k", "e35632_205 > 5000"},
    {"foo = -5", "foo = -5"},
    {"foo in [1 -2 3-5]", "foo in [-2, 1, 3-5]"},
    {"foo > 1.5", "foo > 1.5"},
    {"foo != bar", "foo present and not foo = \"bar\""},
    {"foo not in [1-3]", "foo present and not foo in [1-3]"},
    {"foo = bar", "foo = \"bar\""},
    {"foo = \"5\"", "foo = \"5\""},
    {"foo in [a 5]", "foo in [\"a\", \"5\"]"},
    {"foo in [10.0.0.0/8 192.0.2.1]", "foo in [10.0.0.0/8, 192.0.2.1]"},
    {"foo >= 2026-11-22T10:00Z", "foo >= 2026-11-22T10:00:00.000000Z"},
    {"\"odd name\" present", "\"odd name\" present"},
    {"\"port\" = 5", "\"port\" = 5"},
    {"foo = field bar", "foo = field \"bar\""},
};

static char *parsed(const char *text, query_arena *a, struct query_expr **e, weir_err *err,
                    struct query_error *where)
{
    base_buf b = {0};
    /* Without a NUL, so that a look behind the end is seen. */
    size_t len = strlen(text);
    char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    weir_status status = query_filter_parse(a, exact, len, &options, e, where, err);
    free(exact);
    if (status != WEIR_OK)
        return NULL;
    query_expr_print(*e, &b);
    base_buf_char(&b, '\0');
    assert_false(b.failed);
    return b.data;
}

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(good); i++) {
        query_arena *a = query_arena_new();
        struct query_expr *e, *again;
        struct query_error where;
        weir_err err = {.code = WEIR_OK};
        char *text = parsed(good[i].text, a, &e, &err, &where);
        UNIT_CHECK(text != NULL, "%s: %s", good[i].text, err.msg);
        UNIT_CHECK(strcmp(text, good[i].printed) == 0, "%s:\n  got      %s\n  expected %s",
                   good[i].text, text, good[i].printed);
        char *second = parsed(text, a, &again, &err, &where);
        UNIT_CHECK(second != NULL, "%s, printed %s: %s", good[i].text, text, err.msg);
        UNIT_CHECK(query_expr_same(e, again), "%s: another tree after printing: %s", text, second);
        free(text);
        free(second);
        query_arena_free(a);
    }
}

/* ---- what is refused ---- */

static const struct {
    const char *text;
    weir_status status;
    unsigned line, column, len;
    const char *message, *expected; /* parts of them */
} bad[] = {
    {"prto tcp", WEIR_EFORMAT, 1, 0, 4, "unknown word \"prto\", did you mean proto?",
     "a condition"},
    {"proto tcp and prot udp", WEIR_EFORMAT, 1, 14, 4, "did you mean proto?", "a condition"},
    {"src prt 80", WEIR_EFORMAT, 1, 4, 3, "unknown word \"prt\", did you mean port?",
     "ip, nat, xip"},
    {"src = 5", WEIR_EFORMAT, 1, 4, 1, "unexpected \"=\"", "ip, nat"},
    {"proto tcp adn bytes 1", WEIR_EFORMAT, 1, 10, 3, "did you mean and?", "and, or, the end"},
    {"(proto tcp bytes 1)", WEIR_EFORMAT, 1, 11, 5, "unexpected \"bytes\"", "and, or, )"},
    {"proto tcp\n  and port x", WEIR_EFORMAT, 2, 11, 1, "not a number: \"x\"", "a number"},
    {"frobnicate", WEIR_EFORMAT, 1, 0, 10, "unknown word \"frobnicate\"", "a condition"},
    {"frobnicate x", WEIR_EFORMAT, 1, 0, 10, "unknown word \"frobnicate\"", "a condition"},
    {"\"frob nicate\" x", WEIR_EFORMAT, 1, 14, 1, "no operator behind the column frob nicate", "="},
    {"()", WEIR_EFORMAT, 1, 1, 1, "unexpected \")\"", "a condition"},
    {"(proto tcp", WEIR_EFORMAT, 1, 0, 1, "never closed", "a closing )"},
    {"proto tcp)", WEIR_EFORMAT, 1, 9, 1, "unexpected \")\"", "the end of the filter"},
    {"proto tcp and", WEIR_EFORMAT, 1, 13, 1, "ends too early", "a condition"},
    {"or proto tcp", WEIR_EFORMAT, 1, 0, 2, "unexpected \"or\"", "a condition"},
    {"not", WEIR_EFORMAT, 1, 3, 1, "ends too early", "a condition"},
    {"proto", WEIR_EFORMAT, 1, 5, 1, "ends too early", "a name or a number"},
    {"proto tpc", WEIR_EFORMAT, 1, 6, 3, "unknown protocol: \"tpc\"", "a name or a number"},
    {"proto 300", WEIR_EFORMAT, 1, 6, 3, "\"300\" is above 255, the most that proto can be", ""},
    {"port 70000", WEIR_EFORMAT, 1, 5, 5, "above 65535", ""},
    {"port 66k", WEIR_EFORMAT, 1, 5, 3, "above 65535", ""},
    {"port -5", WEIR_EFORMAT, 1, 5, 2, "not a number", ""},
    {"port 80-90", WEIR_EFORMAT, 1, 5, 5, "not a number", "in [ ]"},
    {"port in 80", WEIR_EFORMAT, 1, 8, 2, "unexpected \"80\"", "[ and a list"},
    {"port in []", WEIR_EFORMAT, 1, 9, 1, "unexpected \"]\"", "numbers or ranges"},
    {"port in [80,,90]", WEIR_EFORMAT, 1, 12, 1, "unexpected \",\"", ""},
    {"port in [80,]", WEIR_EFORMAT, 1, 12, 1, "unexpected \"]\"", ""},
    {"port in [80", WEIR_EFORMAT, 1, 11, 1, "ends too early", ""},
    {"port in [90-80]", WEIR_EFORMAT, 1, 9, 5, "ends before it begins", ""},
    {"bytes > 1.5k", WEIR_EFORMAT, 1, 8, 4, "not a number: \"1.5k\"", ""},
    {"bytes > 18446744073709551616", WEIR_EFORMAT, 1, 8, 20, "above 18446744073709551615", ""},
    {"bytes > 20000000000000000k", WEIR_EFORMAT, 1, 8, 18, "above 18446744073709551615", ""},
    {"bytes > 0x", WEIR_EFORMAT, 1, 8, 2, "not a number", ""},
    {"bytes ~ \"x\"", WEIR_EFORMAT, 1, 6, 1, "bytes does not take this operator", "=, !="},
    {"ip 10.1.2", WEIR_EFORMAT, 1, 3, 6, "four numbers of 0 to 255: \"10.1.2\"", "address"},
    {"ip 10.1.2.256", WEIR_EFORMAT, 1, 3, 10, "four numbers", ""},
    {"ip 1::2::3", WEIR_EFORMAT, 1, 3, 7, "not an IPv6 address", ""},
    {"ip 10.0.0.0/33", WEIR_EFORMAT, 1, 3, 11, "at most 32", ""},
    {"ip 2001:db8::/129", WEIR_EFORMAT, 1, 3, 14, "0 to 128", ""},
    {"net 10/8", WEIR_EFORMAT, 1, 4, 4, "four numbers", ""},
    {"net 10.0.0.0", WEIR_EFORMAT, 1, 12, 1, "the network has no length", "a mask"},
    {"net 10.0.0.0 255.0.255.0", WEIR_EFORMAT, 1, 13, 11, "the network has no length", "a mask"},
    {"net www.example.org", WEIR_EFORMAT, 1, 4, 15, "not a prefix", ""},
    {"ip nowhere.example", WEIR_EFORMAT, 1, 3, 15, "host \"nowhere.example\": no such host", ""},
    {"src_mac 00:11", WEIR_EFORMAT, 1, 8, 5, "not a MAC address", "00:00:5e"},
    {"src mac > 5", WEIR_EFORMAT, 1, 8, 1, "does not take this operator", ""},
    {"flags QQ", WEIR_EFORMAT, 1, 6, 2, "not a number", "letters of"},
    {"geo USA", WEIR_EFORMAT, 1, 4, 3, "not a country's code", "two letters"},
    {"fwdstat nothing", WEIR_EFORMAT, 1, 8, 7, "unknown forwarding state", ""},
    {"asa denied foo", WEIR_EFORMAT, 1, 11, 3, "unexpected \"foo\"", "ingress, egress"},
    {"mpls label11 3", WEIR_EFORMAT, 1, 5, 7, "unexpected \"label11\"", "label1 to label10"},
    {"mpls exp1 9", WEIR_EFORMAT, 1, 10, 1, "above 7", ""},
    {"engine type 256", WEIR_EFORMAT, 1, 12, 3, "above 255, the most that the engine type", ""},
    {"observation domain 5", WEIR_EFORMAT, 1, 19, 1, "\"5\"", "id"},
    {"src and dst bytes 5", WEIR_EFORMAT, 1, 12, 5, "\"bytes\"", "ip, nat"},
    {"first seen 26", WEIR_EFORMAT, 1, 11, 2, "a time begins with its year, 4 digits", "2026"},
    {"first seen 2026-13", WEIR_EFORMAT, 1, 11, 7, "month", ""},
    {"first seen 2026-02-29", WEIR_EFORMAT, 1, 11, 10, "no such day", ""},
    {"first seen 2026-02-28T25", WEIR_EFORMAT, 1, 11, 13, "hour", ""},
    {"first seen 2026-02-28Tnoon", WEIR_EFORMAT, 1, 11, 15, "not a time", ""},
    {"time > 2026", WEIR_EFORMAT, 1, 0, 4, "only for grouping", "first seen"},
    {"app_id = xyz", WEIR_EFORMAT, 1, 9, 3, "not octets", "0x0d"},
    {"http_host ~ \"((\"", WEIR_EFORMAT, 1, 13, 2, "", "regular expression"},
    {"http_host ~ \"(a)\\1\"", WEIR_EFORMAT, 1, 13, 5, "back-reference", ""},
    {"http_host ~ \"(a{900}){900}\"", WEIR_EFORMAT, 1, 13, 13, "repeats too much", ""},
    {"http_host ~ 'a++++++++++++++++++++'", WEIR_EFORMAT, 1, 13, 21, "repeats too much", ""},
    {"http_host ~ '((((a{20}){20}){20}){20})'", WEIR_EFORMAT, 1, 13, 25, "repeats too much", ""},
    {"http_host contains", WEIR_EFORMAT, 1, 18, 1, "ends too early", "a text"},
    {"user and proto tcp", WEIR_EFORMAT, 1, 5, 3, "unexpected \"and\"", "a text"},
    {"src_port = field src_addr", WEIR_EFORMAT, 1, 17, 8, "cannot be compared", ""},
    {"src_port > field dst_port", WEIR_EFORMAT, 1, 11, 14, "not compared this way", "<="},
    {"foo > bar", WEIR_EFORMAT, 1, 6, 3, "unexpected \"bar\"", "a number"},
    {"user \"open", WEIR_EFORMAT, 1, 5, 1, "has no end", "a closing \""},
    {"proto tcp & udp", WEIR_EFORMAT, 1, 10, 1, "a single &", "&&"},
    {"proto \x01tcp", WEIR_EFORMAT, 1, 6, 1, "control character", ""},
    {"@include", WEIR_EFORMAT, 1, 0, 8, "without a file", "a file"},
    {"proto tcp and @include missing", WEIR_EIO, 1, 23, 7, "cannot open missing", ""},
    {"@include wrong", WEIR_EFORMAT, 2, 4, 3, "in wrong, line 2: unknown word \"prt\"", ""},
    {"@include self", WEIR_EFORMAT, 1, 0, 13, "include each other", ""},
    {"@include open", WEIR_EFORMAT, 1, 0, 1, "in open, line 1: the parenthesis", ""},
    /* what there is no data for */
    {"payload content \"abc\"", WEIR_ENOTFOUND, 1, 0, 7, "not available: flows are kept without",
     ""},
    {"in payload regex 'a' i", WEIR_ENOTFOUND, 1, 0, 10, "not available", ""},
    {"bytes 1 and payload tls sni \"x\"", WEIR_ENOTFOUND, 1, 12, 7, "not available", ""},
    {"payload dns name foo", WEIR_ENOTFOUND, 1, 0, 7, "not available", ""},
    {"payload ja3 defined", WEIR_ENOTFOUND, 1, 0, 7, "not available", ""},
    {"ja4 \"x\"", WEIR_ENOTFOUND, 1, 0, 3, "not available: fingerprints", ""},
    {"pf action pass", WEIR_ENOTFOUND, 1, 0, 2, "not available: OpenBSD", ""},
    {"ip tor", WEIR_ENOTFOUND, 1, 0, 6, "not available: there is no database", ""},
    {"src ip tor", WEIR_ENOTFOUND, 1, 0, 10, "not available", ""},
    {"ident foo", WEIR_ENOTFOUND, 1, 0, 5, "not available: archives have no ident", ""},
    {"exporter id 5", WEIR_ENOTFOUND, 1, 0, 11, "not available: exporters are not numbered", ""},
    {"exporter sysid > 5", WEIR_ENOTFOUND, 1, 0, 14, "not available", ""},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_N(bad); i++) {
        query_arena *a = query_arena_new();
        struct query_expr *e;
        struct query_error where;
        weir_err err = {.code = WEIR_OK};
        char *text = parsed(bad[i].text, a, &e, &err, &where);
        UNIT_CHECK(text == NULL, "%s: taken as %s", bad[i].text, text);
        UNIT_CHECK(err.code == bad[i].status, "%s: status %d, %s", bad[i].text, err.code, err.msg);
        UNIT_CHECK(strstr(err.msg, bad[i].message) != NULL, "%s:\n  got      %s\n  expected %s",
                   bad[i].text, err.msg, bad[i].message);
        UNIT_CHECK(strstr(where.expected, bad[i].expected) != NULL, "%s: expects\n  %s\n  not %s",
                   bad[i].text, where.expected, bad[i].expected);
        UNIT_CHECK(where.line == bad[i].line && where.column == bad[i].column &&
                       where.len == bad[i].len,
                   "%s: at %u:%u, %u octets; expected %u:%u, %u", bad[i].text, where.line,
                   where.column, where.len, bad[i].line, bad[i].column, bad[i].len);
        query_arena_free(a);
    }
}

static void test_message(void **state)
{
    static const struct {
        const char *text, *printed;
    } cases[] = {
        {"prto tcp", "filter: unknown word \"prto\", did you mean proto?\n"
                     "  prto tcp\n"
                     "  ^~~~\n"
                     "  expected a condition: ip, port, proto, bytes, the name of a column, ...\n"},
        {"proto tcp\nand\t\xc3\xa4h", "filter: unknown word \"\xc3\xa4h\" (line 2)\n"
                                      "  and \xc3\xa4h\n"
                                      "      ^~\n"
                                      "  expected a condition: ip, port, proto, bytes, the name of "
                                      "a column, ...\n"},
        {"proto tcp and", "filter: the filter ends too early\n"
                          "  proto tcp and\n"
                          "               ^\n"
                          "  expected a condition: ip, port, proto, bytes, the name of a column, "
                          "...\n"},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_N(cases); i++) {
        query_arena *a = query_arena_new();
        struct query_expr *e;
        struct query_error where;
        weir_err err = {.code = WEIR_OK};
        base_buf b = {0};
        assert_int_equal(
            query_filter_parse(a, cases[i].text, strlen(cases[i].text), NULL, &e, &where, &err),
            WEIR_EFORMAT);
        query_error_print(&where, &err, "filter", &b);
        base_buf_char(&b, '\0');
        assert_string_equal(b.data, cases[i].printed);
        base_buf_done(&b);
        query_arena_free(a);
    }
}

/* A long line is shown around the place only. */
static void test_long_line(void **state)
{
    (void)state;
    query_arena *a = query_arena_new();
    base_buf text = {0}, shown = {0};
    struct query_expr *e;
    struct query_error where;
    weir_err err = {.code = WEIR_OK};
    for (int i = 0; i < 1000; i++)
        base_buf_str(&text, "proto tcp and ");
    base_buf_str(&text, "prto udp");
    for (int i = 0; i < 1000; i++)
        base_buf_str(&text, " and proto tcp");
    assert_int_equal(query_filter_parse(a, text.data, text.len, NULL, &e, &where, &err),
                     WEIR_EFORMAT);
    assert_int_equal(where.column, 14000);
    query_error_print(&where, &err, "filter", &shown);
    base_buf_char(&shown, '\0');
    assert_true(shown.len < 500);
    char *line = strchr(shown.data, '\n') + 1, *caret = strchr(line, '\n') + 1;
    size_t at = strcspn(caret, "^");
    assert_memory_equal(line + at, "prto", 4);
    base_buf_done(&text);
    base_buf_done(&shown);
    query_arena_free(a);
}

/* ---- limits ---- */

static weir_status repeated(const char *before, const char *middle, const char *behind, size_t n,
                            weir_err *err, struct query_error *where)
{
    query_arena *a = query_arena_new();
    base_buf text = {0}, printed = {0};
    struct query_expr *e, *again;
    for (size_t i = 0; i < n; i++)
        base_buf_str(&text, before);
    base_buf_str(&text, middle);
    for (size_t i = 0; i < n; i++)
        base_buf_str(&text, behind);
    weir_status status = query_filter_parse(a, text.data, text.len, NULL, &e, where, err);
    if (status == WEIR_OK) {
        query_expr_print(e, &printed);
        assert_int_equal(query_filter_parse(a, printed.data, printed.len, NULL, &again, where, err),
                         WEIR_OK);
        assert_true(query_expr_same(e, again));
    }
    base_buf_done(&text);
    base_buf_done(&printed);
    query_arena_free(a);
    return status;
}

static void test_depth(void **state)
{
    weir_err err = {.code = WEIR_OK};
    struct query_error where;
    (void)state;
    assert_int_equal(repeated("(", "proto tcp", ")", 1000, &err, &where), WEIR_OK);
    assert_int_equal(repeated("(bytes 1 or (bytes 2 and ", "proto tcp", "))", 500, &err, &where),
                     WEIR_OK);
    assert_int_equal(repeated("not (bytes 1 and ", "proto tcp", ")", 1000, &err, &where), WEIR_OK);
    /* Each pair of "not" goes away; once only, or this takes for ever. */
    assert_int_equal(repeated("not (not (bytes 1 and ", "proto tcp", "))", 500, &err, &where),
                     WEIR_OK);
    assert_int_equal(repeated("not ", "proto tcp", "", 100000, &err, &where), WEIR_OK);
    assert_int_equal(repeated("(", "proto tcp", ")", 100000, &err, &where), WEIR_ELIMIT);
    assert_non_null(strstr(err.msg, "1024 parentheses"));
    assert_int_equal(where.column, 1024);
    assert_int_equal(repeated("(", "", "", 500, &err, &where), WEIR_EFORMAT);
}

static void test_size(void **state)
{
    weir_err err = {.code = WEIR_OK};
    struct query_error where;
    (void)state;
    assert_int_equal(repeated("bytes 1 or ", "bytes 2", "", 90000, &err, &where), WEIR_OK);
    assert_int_equal(repeated("bytes 1 or ", "bytes 2", "", 110000, &err, &where), WEIR_ELIMIT);
    assert_non_null(strstr(err.msg, "100000 conditions"));
    assert_int_equal(repeated("engine-id 5 or ", "bytes 2", "", 1000, &err, &where), WEIR_ELIMIT);
    assert_int_equal(repeated("# comment\n", "bytes 2", "", 500000, &err, &where), WEIR_ELIMIT);
    assert_non_null(strstr(err.msg, "at most 4194304"));
}

static void test_long_list(void **state)
{
    (void)state;
    query_arena *a = query_arena_new();
    base_buf text = {0};
    struct query_expr *e;
    struct query_error where;
    weir_err err = {.code = WEIR_OK};
    base_buf_str(&text, "src ip in [");
    for (unsigned i = 0; i < 100000; i++)
        base_buf_printf(&text, "10.%u.%u.%u\n", i >> 16, i >> 8 & 255, i & 255);
    base_buf_str(&text, "] and dst port in [");
    for (unsigned i = 0; i < 65536; i += 2)
        base_buf_printf(&text, "%u ", i);
    base_buf_str(&text, "]");
    assert_int_equal(query_filter_parse(a, text.data, text.len, NULL, &e, &where, &err), WEIR_OK);
    assert_int_equal(e->n_items, 2);
    assert_int_equal(e->items[0]->n_prefixes, 100000);
    assert_int_equal(e->items[1]->n_numbers, 32768);
    base_buf_done(&text);
    query_arena_free(a);
}

/* ---- the tree ---- */

static void test_tree(void **state)
{
    (void)state;
    query_arena *a = query_arena_new();
    struct query_expr *e;
    struct query_error where;
    weir_err err = {.code = WEIR_OK};
    const char *text = "proto tcp and http_host ~ 'a+'";
    assert_int_equal(query_filter_parse(a, text, strlen(text), NULL, &e, &where, &err), WEIR_OK);
    assert_int_equal(e->op, QUERY_OP_AND);
    assert_int_equal(e->items[0]->from, 0);
    assert_int_equal(e->items[0]->to, 9);
    assert_int_equal(e->items[1]->from, 14);
    assert_int_equal(e->items[0]->field.id, FLOW_proto);
    assert_int_equal(e->items[0]->field.kind, QUERY_U64);
    assert_int_equal(e->items[1]->op, QUERY_OP_REGEX);
    assert_non_null(e->items[1]->regex);
    text = "foo = -5 and bar > 1.5 and when < 2026-11-22T00:00Z and name = x and what present";
    static const uint8_t kinds[] = {QUERY_S64, QUERY_F64, QUERY_TIME, QUERY_TEXT, QUERY_UNKNOWN};
    assert_int_equal(query_filter_parse(a, text, strlen(text), NULL, &e, &where, &err), WEIR_OK);
    assert_int_equal(e->n_items, UNIT_N(kinds));
    for (size_t i = 0; i < UNIT_N(kinds); i++) {
        assert_int_equal(e->items[i]->field.what, QUERY_F_EXTRA);
        assert_int_equal(e->items[i]->field.kind, kinds[i]);
    }
    assert_int_equal((int64_t)e->items[0]->number, -5);
    assert_true(e->items[1]->real == 1.5);
    assert_int_equal(e->items[2]->number, 1795305600000000);
    query_arena_free(a);
}

/* Without callbacks names and files are refused. */
static void test_no_callbacks(void **state)
{
    static const char *const texts[] = {"host www.example.org", "@include ports"};
    (void)state;
    for (size_t i = 0; i < UNIT_N(texts); i++) {
        query_arena *a = query_arena_new();
        struct query_expr *e;
        struct query_error where;
        weir_err err = {.code = WEIR_OK};
        assert_int_equal(query_filter_parse(a, texts[i], strlen(texts[i]), NULL, &e, &where, &err),
                         WEIR_EFORMAT);
        query_arena_free(a);
    }
}

/* Every cut of a filter is taken or refused, never more; the same with each octet changed. */
static void test_cuts(void **state)
{
    static const char text[] =
        "not (src and dst port in [80, 443 1-9] or src net 10.0.0.0 255.0.0.0) and "
        "http_host ~ \"a{1,3}\" nocase and first seen >= 2026-11-22T21:05:06.123Z or flags SA and "
        "mac 0:1:2:3:4:5 and foo in [-1 2.5] and asa event denied nosyn # end";
    (void)state;
    size_t n = strlen(text), taken = 0;
    for (size_t i = 0; i <= 2 * n; i++) {
        query_arena *a = query_arena_new();
        struct query_expr *e;
        struct query_error where;
        weir_err err = {.code = WEIR_OK};
        size_t len = i <= n ? i : n;
        char *copy = malloc(len ? len : 1);
        assert_non_null(copy);
        memcpy(copy, text, len);
        if (i > n)
            copy[i - n - 1] = '%';
        weir_status status = query_filter_parse(a, copy, len, &options, &e, &where, &err);
        if (status == WEIR_OK) {
            taken++;
        } else {
            assert_true(status == WEIR_EFORMAT);
            assert_true(where.column <= strlen(where.text));
        }
        free(copy);
        query_arena_free(a);
    }
    assert_true(taken > 5 && taken < n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_bad),
        cmocka_unit_test(test_message),   cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_depth),     cmocka_unit_test(test_size),
        cmocka_unit_test(test_long_list), cmocka_unit_test(test_tree),
        cmocka_unit_test(test_cuts),      cmocka_unit_test(test_no_callbacks),
    };
    setenv("TZ", "UTC", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
