#include "query/words.h"

#include <string.h>
#include <strings.h>

/* clang-format off */
#define C(column) {false, 0, FLOW_##column}
#define D(id) {true, 0, QUERY_D_##id}
#define DN(id, n) {true, n, QUERY_D_##id}
#define BOTH(column) 2, {C(src_##column), C(dst_##column)}
#define NAT(column) 2, {C(nat_src_##column), C(nat_dst_##column)}
#define ONE(column) 1, {C(column)}
#define DERIVED(id) 1, {D(id)}

/* "host" and "net" stand for "ip" and "xlate" for "nat": see canonical(). */
static const struct query_phrase phrases[] = {
    {"any", QUERY_A_ANY, 0},
    {"ipv4", QUERY_A_FAMILY, 1, {{false, 4, 0}}}, {"inet", QUERY_A_FAMILY, 1, {{false, 4, 0}}},
    {"ipv6", QUERY_A_FAMILY, 1, {{false, 6, 0}}}, {"inet6", QUERY_A_FAMILY, 1, {{false, 6, 0}}},
    {"proto", QUERY_A_FIELDS, ONE(proto)}, {"tun proto", QUERY_A_FIELDS, ONE(tunnel)},

    {"ip", QUERY_A_FIELDS, BOTH(addr)},
    {"src ip", QUERY_A_FIELDS, ONE(src_addr)}, {"dst ip", QUERY_A_FIELDS, ONE(dst_addr)},
    {"nat ip", QUERY_A_FIELDS, NAT(addr)},
    {"src nat ip", QUERY_A_FIELDS, ONE(nat_src_addr)}, {"dst nat ip", QUERY_A_FIELDS, ONE(nat_dst_addr)},
    {"xip", QUERY_A_FIELDS, NAT(addr)},
    {"src xip", QUERY_A_FIELDS, ONE(nat_src_addr)}, {"dst xip", QUERY_A_FIELDS, ONE(nat_dst_addr)},
    {"nip", QUERY_A_FIELDS, NAT(addr)},
    {"src nip", QUERY_A_FIELDS, ONE(nat_src_addr)}, {"dst nip", QUERY_A_FIELDS, ONE(nat_dst_addr)},
    {"xnet", QUERY_A_NET, NAT(addr)},
    {"src xnet", QUERY_A_NET, ONE(nat_src_addr)}, {"dst xnet", QUERY_A_NET, ONE(nat_dst_addr)},
    {"tun ip", QUERY_A_FIELDS, 2, {C(tunnel_src_addr), C(tunnel_dst_addr)}},
    {"src tun ip", QUERY_A_FIELDS, ONE(tunnel_src_addr)}, {"dst tun ip", QUERY_A_FIELDS, ONE(tunnel_dst_addr)},
    {"tunip", QUERY_A_FIELDS, 2, {C(tunnel_src_addr), C(tunnel_dst_addr)}},
    {"src tunip", QUERY_A_FIELDS, ONE(tunnel_src_addr)}, {"dst tunip", QUERY_A_FIELDS, ONE(tunnel_dst_addr)},
    {"next ip", QUERY_A_FIELDS, ONE(next_hop)},
    {"bgp next ip", QUERY_A_FIELDS, ONE(bgp_next_hop)}, {"bgpnext ip", QUERY_A_FIELDS, ONE(bgp_next_hop)},
    {"router ip", QUERY_A_FIELDS, ONE(exporter)}, {"exporter ip", QUERY_A_FIELDS, ONE(exporter)},

    {"port", QUERY_A_PORT, BOTH(port)},
    {"src port", QUERY_A_PORT, ONE(src_port)}, {"dst port", QUERY_A_PORT, ONE(dst_port)},
    {"nat port", QUERY_A_PORT, NAT(port)},
    {"src nat port", QUERY_A_PORT, ONE(nat_src_port)}, {"dst nat port", QUERY_A_PORT, ONE(nat_dst_port)},
    {"xport", QUERY_A_PORT, NAT(port)},
    {"src xport", QUERY_A_PORT, ONE(nat_src_port)}, {"dst xport", QUERY_A_PORT, ONE(nat_dst_port)},
    {"nport", QUERY_A_PORT, NAT(port)},
    {"src nport", QUERY_A_PORT, ONE(nat_src_port)}, {"dst nport", QUERY_A_PORT, ONE(nat_dst_port)},

    {"icmp type", QUERY_A_ICMP, ONE(icmp_type)}, {"icmp-type", QUERY_A_ICMP, ONE(icmp_type)},
    {"icmp code", QUERY_A_ICMP, ONE(icmp_code)}, {"icmp-code", QUERY_A_ICMP, ONE(icmp_code)},
    {"flags", QUERY_A_FLAGS, ONE(tcp_flags)},
    {"tos", QUERY_A_FIELDS, ONE(tos)}, {"src tos", QUERY_A_FIELDS, ONE(tos)}, {"dst tos", QUERY_A_FIELDS, ONE(tos_out)},
    {"min ttl", QUERY_A_FIELDS, ONE(ttl_min)}, {"max ttl", QUERY_A_FIELDS, ONE(ttl_max)},
    {"ttl", QUERY_A_FIELDS, 3, {C(ttl), C(ttl_min), C(ttl_max)}},
    {"ttl equal", QUERY_A_TTLEQUAL, 2, {C(ttl_min), C(ttl_max)}},

    {"bytes", QUERY_A_FIELDS, ONE(bytes)}, {"in bytes", QUERY_A_FIELDS, ONE(bytes)},
    {"out bytes", QUERY_A_FIELDS, DERIVED(OUT_BYTES)},
    {"packets", QUERY_A_FIELDS, ONE(packets)}, {"in packets", QUERY_A_FIELDS, ONE(packets)},
    {"out packets", QUERY_A_FIELDS, DERIVED(OUT_PACKETS)},
    {"flows", QUERY_A_FIELDS, DERIVED(N_FLOWS)}, {"duration", QUERY_A_FIELDS, DERIVED(DURATION)},
    {"pps", QUERY_A_FIELDS, DERIVED(PPS)}, {"bps", QUERY_A_FIELDS, DERIVED(BPS)}, {"bpp", QUERY_A_FIELDS, DERIVED(BPP)},
    {"first seen", QUERY_A_FIELDS, ONE(first)}, {"last seen", QUERY_A_FIELDS, ONE(last)},

    {"if", QUERY_A_FIELDS, 2, {C(in_if), C(out_if)}},
    {"in if", QUERY_A_FIELDS, ONE(in_if)}, {"out if", QUERY_A_FIELDS, ONE(out_if)},
    {"as", QUERY_A_FIELDS, BOTH(as)}, {"src as", QUERY_A_FIELDS, ONE(src_as)}, {"dst as", QUERY_A_FIELDS, ONE(dst_as)},
    {"prev as", QUERY_A_FIELDS, ONE(peer_src_as)}, {"next as", QUERY_A_FIELDS, ONE(peer_dst_as)},
    {"mask", QUERY_A_FIELDS, BOTH(mask)},
    {"src mask", QUERY_A_FIELDS, ONE(src_mask)}, {"dst mask", QUERY_A_FIELDS, ONE(dst_mask)},
    {"vlan", QUERY_A_FIELDS, 2, {C(vlan), C(vlan_out)}},
    {"src vlan", QUERY_A_FIELDS, ONE(vlan)}, {"dst vlan", QUERY_A_FIELDS, ONE(vlan_out)},
    {"mac", QUERY_A_FIELDS, 4, {C(src_mac), C(dst_mac), C(out_src_mac), C(out_dst_mac)}},
    {"in mac", QUERY_A_FIELDS, 2, {C(src_mac), C(dst_mac)}}, {"out mac", QUERY_A_FIELDS, 2, {C(out_src_mac), C(out_dst_mac)}},
    {"src mac", QUERY_A_FIELDS, 2, {C(src_mac), C(out_src_mac)}}, {"dst mac", QUERY_A_FIELDS, 2, {C(dst_mac), C(out_dst_mac)}},
    {"in src mac", QUERY_A_FIELDS, ONE(src_mac)}, {"in dst mac", QUERY_A_FIELDS, ONE(dst_mac)},
    {"out src mac", QUERY_A_FIELDS, ONE(out_src_mac)}, {"out dst mac", QUERY_A_FIELDS, ONE(out_dst_mac)},
    {"ethertype", QUERY_A_FIELDS, ONE(ethertype)},
    {"mpls", QUERY_A_LABEL, ONE(mpls_labels)},
    {"flowdir", QUERY_A_FIELDS, ONE(direction)}, {"fwdstat", QUERY_A_FIELDS, ONE(forwarding_status)},
    {"geo", QUERY_A_FIELDS, 2, {D(SRC_COUNTRY), D(DST_COUNTRY)}},
    {"src geo", QUERY_A_FIELDS, DERIVED(SRC_COUNTRY)}, {"dst geo", QUERY_A_FIELDS, DERIVED(DST_COUNTRY)},
    {"count", QUERY_A_FIELDS, DERIVED(COUNT)}, {"cnt", QUERY_A_FIELDS, DERIVED(COUNT)},
    {"engine type", QUERY_A_ENGINE, 1, {{false, 1, FLOW_domain}}}, {"engine-type", QUERY_A_ENGINE, 1, {{false, 1, FLOW_domain}}},
    {"engine id", QUERY_A_ENGINE, 1, {{false, 0, FLOW_domain}}}, {"engine-id", QUERY_A_ENGINE, 1, {{false, 0, FLOW_domain}}},
    {"observation domain id", QUERY_A_FIELDS, ONE(domain)},
    {"observation point id", QUERY_A_FIELDS, ONE(observation_point)},
    {"client latency", QUERY_A_MS, ONE(client_latency_us)}, {"server latency", QUERY_A_MS, ONE(server_latency_us)},
    {"ingress vrf", QUERY_A_FIELDS, ONE(vrf_in)}, {"egress vrf", QUERY_A_FIELDS, ONE(vrf_out)},

    {"asa event", QUERY_A_FWEVENT, ONE(fw_event)}, {"asa xevent", QUERY_A_FIELDS, ONE(fw_ext_event)},
    {"asa denied", QUERY_A_DENIED, ONE(fw_ext_event)}, {"nat event", QUERY_A_FIELDS, ONE(nat_event)},
    {"nat pblock start", QUERY_A_FIELDS, ONE(port_block_start)}, {"nat pblock end", QUERY_A_FIELDS, ONE(port_block_end)},
    {"nat pblock step", QUERY_A_FIELDS, ONE(port_block_step)}, {"nat pblock size", QUERY_A_FIELDS, ONE(port_block_size)},
    {"pblock start", QUERY_A_FIELDS, ONE(port_block_start)}, {"pblock end", QUERY_A_FIELDS, ONE(port_block_end)},
    {"pblock step", QUERY_A_FIELDS, ONE(port_block_step)}, {"pblock size", QUERY_A_FIELDS, ONE(port_block_size)},
    {"ingress acl", QUERY_A_FIELDS, 1, {DN(ACL_IN_ID, 1)}}, {"egress acl", QUERY_A_FIELDS, 1, {DN(ACL_OUT_ID, 1)}},
    {"ingress ace", QUERY_A_FIELDS, 1, {DN(ACL_IN_ID, 2)}}, {"egress ace", QUERY_A_FIELDS, 1, {DN(ACL_OUT_ID, 2)}},
    {"ingress xace", QUERY_A_FIELDS, 1, {DN(ACL_IN_ID, 3)}}, {"egress xace", QUERY_A_FIELDS, 1, {DN(ACL_OUT_ID, 3)}},

    {"payload", QUERY_A_MISSING, 0, .why = "flows are kept without their payload (tls_sni and http_host have what exporters tell of it)"},
    {"in payload", QUERY_A_MISSING, 0, .why = "flows are kept without their payload"},
    {"out payload", QUERY_A_MISSING, 0, .why = "flows are kept without their payload"},
    {"ja3", QUERY_A_MISSING, 0, .why = "fingerprints need the payload, which is not kept"},
    {"ja4", QUERY_A_MISSING, 0, .why = "fingerprints need the payload, which is not kept"},
    {"ja4s", QUERY_A_MISSING, 0, .why = "fingerprints need the payload, which is not kept"},
    {"pf", QUERY_A_MISSING, 0, .why = "OpenBSD's pflog is no input of this program"},
    {"ident", QUERY_A_MISSING, 0, .why = "archives have no ident: tell exporters apart with \"exporter ip A\""},
    {"exporter id", QUERY_A_MISSING, 0, .why = "exporters are not numbered: use \"exporter ip A\""},
    {"exporter sysid", QUERY_A_MISSING, 0, .why = "exporters are not numbered: use \"exporter ip A\""},
    {"sysid", QUERY_A_MISSING, 0, .why = "exporters are not numbered: use \"exporter ip A\""},
    {"ip tor", QUERY_A_MISSING, 0, .why = "there is no database of tor exits"},
    {"src ip tor", QUERY_A_MISSING, 0, .why = "there is no database of tor exits"},
    {"dst ip tor", QUERY_A_MISSING, 0, .why = "there is no database of tor exits"},
};

static const struct query_key keys[] = {
    {"proto", ONE(proto)}, {"srcip", ONE(src_addr)}, {"dstip", ONE(dst_addr)}, {"ip", BOTH(addr)},
    {"srcnet", DERIVED(SRC_NET)}, {"dstnet", DERIVED(DST_NET)},
    {"srcgeo", DERIVED(SRC_COUNTRY)}, {"dstgeo", DERIVED(DST_COUNTRY)}, {"geo", 2, {D(SRC_COUNTRY), D(DST_COUNTRY)}},
    {"nhip", ONE(next_hop)}, {"next", ONE(next_hop)}, {"nhbip", ONE(bgp_next_hop)}, {"bgpnext", ONE(bgp_next_hop)},
    {"router", ONE(exporter)}, {"exp", ONE(exporter)},
    {"srcport", ONE(src_port)}, {"dstport", ONE(dst_port)}, {"port", BOTH(port)},
    {"flags", ONE(tcp_flags)}, {"tos", ONE(tos)}, {"srctos", ONE(tos)}, {"dsttos", ONE(tos_out)}, {"dir", ONE(direction)},
    {"srcas", ONE(src_as)}, {"dstas", ONE(dst_as)}, {"as", BOTH(as)},
    {"srcasn", DERIVED(SRC_AS_ORG)}, {"dstasn", DERIVED(DST_AS_ORG)}, {"asn", 2, {D(SRC_AS_ORG), D(DST_AS_ORG)}},
    {"prevas", ONE(peer_src_as)}, {"nextas", ONE(peer_dst_as)},
    {"inif", ONE(in_if)}, {"outif", ONE(out_if)}, {"if", 2, {C(in_if), C(out_if)}},
    {"inam", ONE(in_if_name)}, {"onam", ONE(out_if_name)},
    {"srcmask", ONE(src_mask)}, {"dstmask", ONE(dst_mask)}, {"mask", BOTH(mask)},
    {"tunproto", ONE(tunnel)},
    {"srcvlan", ONE(vlan)}, {"dstvlan", ONE(vlan_out)}, {"vlan", 2, {C(vlan), C(vlan_out)}},
    {"insrcmac", ONE(src_mac)}, {"outdstmac", ONE(out_dst_mac)}, {"indstmac", ONE(dst_mac)}, {"outsrcmac", ONE(out_src_mac)},
    {"srcmac", 2, {C(src_mac), C(out_src_mac)}}, {"dstmac", 2, {C(dst_mac), C(out_dst_mac)}},
    {"inmac", 2, {C(src_mac), C(dst_mac)}}, {"outmac", 2, {C(out_src_mac), C(out_dst_mac)}},
    {"mac", 4, {C(src_mac), C(dst_mac), C(out_src_mac), C(out_dst_mac)}},
    {"ethertype", ONE(ethertype)},
    {"mpls1", 1, {DN(MPLS_LABEL, 1)}}, {"mpls2", 1, {DN(MPLS_LABEL, 2)}}, {"mpls3", 1, {DN(MPLS_LABEL, 3)}},
    {"mpls4", 1, {DN(MPLS_LABEL, 4)}}, {"mpls5", 1, {DN(MPLS_LABEL, 5)}}, {"mpls6", 1, {DN(MPLS_LABEL, 6)}},
    {"mpls7", 1, {DN(MPLS_LABEL, 7)}}, {"mpls8", 1, {DN(MPLS_LABEL, 8)}}, {"mpls9", 1, {DN(MPLS_LABEL, 9)}},
    {"mpls10", 1, {DN(MPLS_LABEL, 10)}},
    {"minttl", ONE(ttl_min)}, {"maxttl", ONE(ttl_max)},
    {"cl", ONE(client_latency_us)}, {"sl", ONE(server_latency_us)}, {"al", ONE(app_latency_us)},
    {"nbar", ONE(app_id)}, {"odid", ONE(domain)}, {"opid", ONE(observation_point)},
    {"event", ONE(fw_event)}, {"xevent", ONE(fw_ext_event)}, {"nat", ONE(nat_event)}, {"nevent", ONE(nat_event)},
    {"natsrcip", ONE(nat_src_addr)}, {"natdstip", ONE(nat_dst_addr)}, {"natip", NAT(addr)},
    {"natsrcport", ONE(nat_src_port)}, {"natdstport", ONE(nat_dst_port)}, {"natport", NAT(port)},
    {"xsrcip", ONE(nat_src_addr)}, {"xdstip", ONE(nat_dst_addr)}, {"xsrcport", ONE(nat_src_port)}, {"xdstport", ONE(nat_dst_port)},
    {"nsrcip", ONE(nat_src_addr)}, {"ndstip", ONE(nat_dst_addr)}, {"nsrcport", ONE(nat_src_port)}, {"ndstport", ONE(nat_dst_port)},
    {"iacl", 1, {DN(ACL_IN_ID, 1)}}, {"iace", 1, {DN(ACL_IN_ID, 2)}}, {"ixace", 1, {DN(ACL_IN_ID, 3)}},
    {"eacl", 1, {DN(ACL_OUT_ID, 1)}}, {"eace", 1, {DN(ACL_OUT_ID, 2)}}, {"exace", 1, {DN(ACL_OUT_ID, 3)}},
    {"vrf", ONE(vrf_in)}, {"ivrf", ONE(vrf_in)}, {"evrf", ONE(vrf_out)},
    {"ivrfnam", ONE(vrf_in_name)}, {"evrfnam", ONE(vrf_out_name)},
    {"ja3", 0, .why = "fingerprints need the payload, which is not kept"},
    {"ja4", 0, .why = "fingerprints need the payload, which is not kept"},
    {"ja4s", 0, .why = "fingerprints need the payload, which is not kept"},
    {"sysid", 0, .why = "exporters are not numbered: use router"},
};

/* IANA's protocol numbers; the first name of a number is the one that is shown. */
static const struct query_name protocols[] = {
    {"hopopt", 0}, {"icmp", 1}, {"igmp", 2}, {"ggp", 3}, {"ipip", 4}, {"ipencap", 4}, {"st", 5}, {"tcp", 6}, {"cbt", 7},
    {"egp", 8}, {"igp", 9}, {"bbn-rcc-mon", 10}, {"nvp-ii", 11}, {"pup", 12}, {"argus", 13}, {"emcon", 14}, {"xnet", 15},
    {"chaos", 16}, {"udp", 17}, {"mux", 18}, {"dcn-meas", 19}, {"hmp", 20}, {"prm", 21}, {"xns-idp", 22}, {"trunk-1", 23},
    {"trunk-2", 24}, {"leaf-1", 25}, {"leaf-2", 26}, {"rdp", 27}, {"irtp", 28}, {"iso-tp4", 29}, {"netblt", 30},
    {"mfe-nsp", 31}, {"merit-inp", 32}, {"dccp", 33}, {"3pc", 34}, {"idpr", 35}, {"xtp", 36}, {"ddp", 37},
    {"idpr-cmtp", 38}, {"tp++", 39}, {"il", 40}, {"ipv6", 41}, {"sdrp", 42}, {"ipv6-route", 43}, {"ipv6-frag", 44},
    {"idrp", 45}, {"rsvp", 46}, {"gre", 47}, {"dsr", 48}, {"bna", 49}, {"esp", 50}, {"ah", 51}, {"i-nlsp", 52},
    {"swipe", 53}, {"narp", 54}, {"mobile", 55}, {"tlsp", 56}, {"skip", 57}, {"icmp6", 58}, {"icmpv6", 58},
    {"ipv6-icmp", 58}, {"ipv6-nonxt", 59}, {"ipv6-opts", 60}, {"cftp", 62}, {"sat-expak", 64}, {"kryptolan", 65},
    {"rvd", 66}, {"ippc", 67}, {"sat-mon", 69}, {"visa", 70}, {"ipcv", 71}, {"cpnx", 72}, {"cphb", 73}, {"wsn", 74},
    {"pvp", 75}, {"br-sat-mon", 76}, {"sun-nd", 77}, {"wb-mon", 78}, {"wb-expak", 79}, {"iso-ip", 80}, {"vmtp", 81},
    {"secure-vmtp", 82}, {"vines", 83}, {"iptm", 84}, {"ttp", 84}, {"nsfnet-igp", 85}, {"dgp", 86}, {"tcf", 87},
    {"eigrp", 88}, {"ospf", 89}, {"ospfigp", 89}, {"sprite-rpc", 90}, {"larp", 91}, {"mtp", 92}, {"ax.25", 93},
    {"ipip94", 94}, {"micp", 95}, {"scc-sp", 96}, {"etherip", 97}, {"encap", 98}, {"gmtp", 100}, {"ifmp", 101},
    {"pnni", 102}, {"pim", 103}, {"aris", 104}, {"scps", 105}, {"qnx", 106}, {"a/n", 107}, {"ipcomp", 108}, {"snp", 109},
    {"compaq-peer", 110}, {"ipx-in-ip", 111}, {"vrrp", 112}, {"pgm", 113}, {"l2tp", 115}, {"ddx", 116}, {"iatp", 117},
    {"stp", 118}, {"srp", 119}, {"uti", 120}, {"smp", 121}, {"sm", 122}, {"ptp", 123}, {"isis", 124}, {"fire", 125},
    {"crtp", 126}, {"crudp", 127}, {"sscopmce", 128}, {"iplt", 129}, {"sps", 130}, {"pipe", 131}, {"sctp", 132},
    {"fc", 133}, {"rsvp-e2e-ignore", 134}, {"mobility", 135}, {"udplite", 136}, {"mpls-in-ip", 137}, {"manet", 138},
    {"hip", 139}, {"shim6", 140}, {"wesp", 141}, {"rohc", 142}, {"ethernet", 143}, {"aggfrag", 144}, {"nsh", 145},
};

/* Element 89 (RFC 7270): the class in the top two bits, the reason below. */
static const struct query_name forwarding[] = {
    {"ukwn", 0}, {"forw", 64}, {"frag", 65}, {"drop", 128}, {"dacld", 129}, {"daclp", 130}, {"noroute", 131},
    {"dadj", 132}, {"dfrag", 133}, {"dbadh", 134}, {"dbadtlen", 135}, {"dbadhlen", 136}, {"dbadttl", 137},
    {"dpolicy", 138}, {"dwred", 139}, {"drpf", 140}, {"dforus", 141}, {"dbadof", 142}, {"dhw", 143}, {"term", 192},
    {"tadj", 193}, {"tincadj", 194}, {"tforus", 195},
};
static const struct query_name directions[] = {{"ingress", 0}, {"egress", 1}};
static const struct query_name fw_events[] = {
    {"ignore", 0}, {"create", 1}, {"delete", 2}, {"term", 2}, {"denied", 3}, {"deny", 3}, {"alert", 4}, {"update", 5}};
static const struct query_name nat_events[] = {{"add", 1}, {"create", 1}, {"delete", 2}};
/* Cisco ASA's 33002 */
static const struct query_name fw_ext_events[] = {
    {"ingress", 1001}, {"egress", 1002}, {"interface", 1003}, {"nosyn", 1004}};
static const struct query_name end_reasons[] = {
    {"idle", 1}, {"active", 2}, {"end", 3}, {"forced", 4}, {"resources", 5}};

#define NAMES(what, table) {what, table, ARRAY_LEN(table)}
static const struct query_names
    proto_names = NAMES("protocol", protocols), forwarding_names = NAMES("forwarding state", forwarding),
    direction_names = NAMES("direction", directions), fw_event_names = NAMES("firewall event", fw_events),
    fw_ext_event_names = NAMES("reason", fw_ext_events), nat_event_names = NAMES("NAT event", nat_events),
    end_reason_names = NAMES("end reason", end_reasons);
/* clang-format on */

/* The words that are neither fields nor phrases. */
static const char *const others[] = {"and", "or", "not", "in", "contains", "present", "has",
                                     "eq",  "gt", "lt",  "ge", "le",       "net",     "host"};

static const char flag_letters[] = "FSRPAUEC"; /* bit 0 first */

struct query_field query_ref_field(struct query_ref r)
{
    if (!r.derived)
        return query_field_column((enum flow_column_id)r.id);
    struct query_field f = query_field_derived((enum query_derived)r.id);
    f.n = r.n;
    return f;
}

bool query_word_is(struct query_word w, const char *text)
{
    return strlen(text) == w.len && strncasecmp(w.at, text, w.len) == 0;
}

/* Words that stand for others. */
static struct query_word canonical(struct query_word w)
{
    static const char *const aliases[][2] = {{"host", "ip"}, {"net", "ip"}, {"xlate", "nat"}};
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (query_word_is(w, aliases[i][0]))
            return (struct query_word){aliases[i][1], strlen(aliases[i][1])};
    return w;
}

static bool same_word(struct query_word phrase, struct query_word w)
{
    return phrase.len == w.len && strncasecmp(phrase.at, w.at, w.len) == 0;
}

/* The next word of a phrase's text, up to end; len 0: no more. */
static struct query_word next_word(const char **at, const char *end)
{
    struct query_word w = {*at, 0};
    while (*at < end && **at != ' ')
        (*at)++;
    w.len = (size_t)(*at - w.at);
    if (*at < end)
        (*at)++;
    return w;
}

/* How many of the phrase's first words stand at w[n], canonical ones; *whole: all of them. */
static size_t match(const char *phrase, const char *end, const struct query_word *w, size_t n,
                    bool *whole)
{
    size_t i = 0;
    *whole = false;
    while (phrase < end) {
        struct query_word p = next_word(&phrase, end);
        if (i == n || !same_word(p, w[i]))
            return i;
        i++;
    }
    *whole = true;
    return i;
}

/* Phrases of the table, then those of the columns. */
typedef bool phrase_fn(void *user, const char *words, const char *end,
                       const struct query_phrase *phrase, int column);

static void each_phrase(phrase_fn *fn, void *user)
{
    for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
        if (!fn(user, phrases[i].words, phrases[i].words + strlen(phrases[i].words), &phrases[i],
                -1))
            return;
    for (int c = 0; c < (int)FLOW_N_COLUMNS; c++) {
        for (const char *at = flow_columns()[c].filter; *at;) {
            const char *end = at + strcspn(at, ",");
            if (!fn(user, at, end, NULL, c))
                return;
            at = *end ? end + 1 : end;
        }
    }
}

struct find {
    const struct query_word *w;
    size_t n, best, part;
    struct query_phrase *out;
};

static bool find_one(void *user, const char *words, const char *end,
                     const struct query_phrase *phrase, int column)
{
    struct find *f = user;
    bool whole;
    if (!f->n || (words[0] ^ f->w[0].at[0]) & ~0x20) /* most of them begin with another letter */
        return true;
    size_t n = match(words, end, f->w, f->n, &whole);
    if (n > f->part)
        f->part = n;
    if (!whole || n <= f->best)
        return true;
    f->best = n;
    if (phrase)
        *f->out = *phrase;
    else
        *f->out = (struct query_phrase){
            .act = QUERY_A_FIELDS, .n_refs = 1, .refs = {{false, 0, (uint16_t)column}}};
    return true;
}

bool query_phrase_find(const struct query_word *w, size_t n, struct query_phrase *out, size_t *used,
                       bool *net)
{
    struct query_word words[QUERY_MOST_WORDS];
    n = n < QUERY_MOST_WORDS ? n : QUERY_MOST_WORDS;
    for (size_t i = 0; i < n; i++)
        words[i] = canonical(w[i]);
    struct find f = {words, n, 0, 0, out};
    each_phrase(find_one, &f);
    *used = f.best ? f.best : f.part;
    *net = false;
    for (size_t i = 0; i < f.best; i++)
        *net = *net || query_word_is(w[i], "net");
    return f.best > 0;
}

struct next {
    const struct query_word *w;
    size_t used, cap, len;
    char *out;
};

static bool next_one(void *user, const char *words, const char *end,
                     const struct query_phrase *phrase, int column)
{
    struct next *x = user;
    bool whole;
    (void)column;
    if (phrase && phrase->act == QUERY_A_MISSING)
        return true;
    if (match(words, end, x->w, x->used, &whole) != x->used || whole)
        return true;
    for (size_t i = 0; i < x->used; i++)
        (void)next_word(&words, end);
    struct query_word p = next_word(&words, end);
    /* Once each: the words that are there already stand between ", ". */
    for (char *at = x->out; at < x->out + x->len;) {
        size_t n = strcspn(at, ",");
        if (n == p.len && strncmp(at, p.at, n) == 0)
            return true;
        at += n + 2;
    }
    if (x->len + p.len + 8 > x->cap) {
        if (x->len + 6 <= x->cap && (x->len < 3 || strcmp(x->out + x->len - 3, "...") != 0)) {
            memcpy(x->out + x->len, ", ...", 6);
            x->len += 5;
        }
        return false;
    }
    if (x->len) {
        memcpy(x->out + x->len, ", ", 2);
        x->len += 2;
    }
    memcpy(x->out + x->len, p.at, p.len);
    x->len += p.len;
    x->out[x->len] = '\0';
    return true;
}

void query_phrase_next(const struct query_word *w, size_t used, char *out, size_t cap)
{
    struct query_word words[QUERY_MOST_WORDS];
    used = used < QUERY_MOST_WORDS ? used : QUERY_MOST_WORDS;
    for (size_t i = 0; i < used; i++)
        words[i] = canonical(w[i]);
    struct next x = {words, used, cap, 0, out};
    out[0] = '\0';
    each_phrase(next_one, &x);
}

const struct query_key *query_key_find(struct query_word w)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (query_word_is(w, keys[i].name))
            return &keys[i];
    return NULL;
}

bool query_word_field(struct query_word w, struct query_field *out)
{
    for (int i = 0; i < (int)FLOW_N_COLUMNS; i++)
        if (query_word_is(w, flow_columns()[i].name)) {
            *out = query_field_column((enum flow_column_id)i);
            return true;
        }
    for (int i = 0; i < QUERY_N_DERIVED; i++)
        if (query_word_is(w, query_derived_rows()[i].name)) {
            *out = query_field_derived((enum query_derived)i);
            return true;
        }
    const struct query_key *k = query_key_find(w);
    if (!k || k->n_refs != 1)
        return false;
    *out = query_ref_field(k->refs[0]);
    return true;
}

/* Letters to change, add, leave out or swap with their neighbour to make one word of the other; above `most`: most + 1. */
static size_t distance(struct query_word a, struct query_word b, size_t most)
{
    enum { CAP = 40 };
    size_t rows[3][CAP + 1];
    if (a.len > CAP || b.len > CAP || a.len > b.len + most || b.len > a.len + most)
        return most + 1;
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = j;
    size_t *before = rows[2], *last = rows[0], *now = rows[1];
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = (char)(a.at[i - 1] | 0x20), y = (char)(b.at[j - 1] | 0x20);
            size_t d = last[j - 1] + (x != y);
            d = last[j] + 1 < d ? last[j] + 1 : d;
            d = now[j - 1] + 1 < d ? now[j - 1] + 1 : d;
            if (i > 1 && j > 1 && x == (char)(b.at[j - 2] | 0x20) &&
                y == (char)(a.at[i - 2] | 0x20) && before[j - 2] + 1 < d)
                d = before[j - 2] + 1;
            now[j] = d;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.len];
}

struct near {
    struct query_word w;
    size_t best;
    struct query_word found;
};

static void nearer(struct near *x, struct query_word candidate)
{
    if (candidate.len < 2)
        return;
    size_t d = distance(x->w, candidate, x->best);
    if (d < x->best) {
        x->best = d;
        x->found = candidate;
    }
}

static bool near_phrase(void *user, const char *words, const char *end,
                        const struct query_phrase *phrase, int column)
{
    (void)phrase;
    (void)column;
    while (words < end)
        nearer(user, next_word(&words, end));
    return true;
}

size_t query_word_near(struct query_word w, bool fields, char *out, size_t cap)
{
    struct near x = {.w = w, .best = w.len <= 2 ? 1 : w.len <= 5 ? 2 : 3};
    if (!fields) {
        each_phrase(near_phrase, &x);
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
            nearer(&x, (struct query_word){others[i], strlen(others[i])});
    }
    for (int i = 0; i < (int)FLOW_N_COLUMNS; i++)
        nearer(&x, (struct query_word){flow_columns()[i].name, strlen(flow_columns()[i].name)});
    for (int i = 0; i < QUERY_N_DERIVED; i++) {
        const char *name = query_derived_rows()[i].name;
        nearer(&x, (struct query_word){name, strlen(name)});
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        nearer(&x, (struct query_word){keys[i].name, strlen(keys[i].name)});
    if (!x.found.len || x.found.len + 1 > cap)
        return 0;
    memcpy(out, x.found.at, x.found.len);
    out[x.found.len] = '\0';
    return x.found.len;
}

const struct query_names *query_field_names(const struct query_field *f)
{
    if (f->what != QUERY_F_COLUMN)
        return NULL;
    switch (f->id) {
    case FLOW_proto:
    case FLOW_tunnel:
        return &proto_names;
    case FLOW_forwarding_status:
        return &forwarding_names;
    case FLOW_direction:
        return &direction_names;
    case FLOW_fw_event:
        return &fw_event_names;
    case FLOW_fw_ext_event:
        return &fw_ext_event_names;
    case FLOW_nat_event:
        return &nat_event_names;
    case FLOW_end_reason:
        return &end_reason_names;
    default:
        return NULL;
    }
}

int query_name_number(const struct query_names *names, struct query_word w)
{
    for (size_t i = 0; i < names->n; i++)
        if (query_word_is(w, names->names[i].name))
            return names->names[i].number;
    return -1;
}

const char *query_proto_name(unsigned number)
{
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
        if (protocols[i].number == number)
            return protocols[i].name;
    return NULL;
}

int query_flags_number(struct query_word w)
{
    int bits = 0;
    for (size_t i = 0; i < w.len; i++) {
        char c = (char)(w.at[i] & ~0x20);
        const char *at = c ? strchr(flag_letters, c) : NULL;
        if (c == 'X')
            bits |= 0x3f;
        else if (at)
            bits |= 1 << (at - flag_letters);
        else
            return -1;
    }
    return w.len ? bits : -1;
}

void query_flags_text(unsigned number, char *out)
{
    for (int bit = 7; bit >= 0; bit--)
        if (number >> bit & 1)
            *out++ = flag_letters[bit];
    *out = '\0';
}
