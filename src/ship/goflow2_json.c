/* goflow2_json -- the message of flowmessage.c as goflow2 writes it in JSON: the same names in the same order. Fields that
 * nobody knows are left out; those that are known and 0 are there. */
#include "ship/encode_in.h"

#define O(op) SHIP_TREE_##op
#define F(column) FLOW_##column + 1

/* clang-format off */
static const struct ship_tree_row rows[] = {
    {"type", O(VERSION), 0, NULL, {F(protocol_version)}},
    {"time_received_ns", O(TIME_NS), 0, NULL, {F(received)}},
    {"sequence_num", O(NUMBER), 0, NULL, {F(sequence)}},
    {"sampling_rate", O(RATE), 0, NULL, {F(sampling_rate)}},
    {"sampler_address", O(ADDR), 0, NULL, {F(exporter)}},
    {"time_flow_start_ns", O(TIME_NS), 0, NULL, {F(first), F(received)}},
    {"time_flow_end_ns", O(TIME_NS), 0, NULL, {F(last), F(received)}},
    {"bytes", O(NUMBER), 0, NULL, {F(bytes), F(bytes_out)}},
    {"packets", O(NUMBER), 0, NULL, {F(packets), F(packets_out)}},
    {"src_addr", O(ADDR), 0, NULL, {F(src_addr)}},
    {"dst_addr", O(ADDR), 0, NULL, {F(dst_addr)}},
    {"etype", O(ETYPE), 0, NULL, {F(ethertype), F(src_addr), F(dst_addr), F(ip_version)}},
    {"proto", O(PROTO), 0, NULL, {F(proto)}},
    {"src_port", O(NUMBER), 0, NULL, {F(src_port)}},
    {"dst_port", O(NUMBER), 0, NULL, {F(dst_port)}},
    {"in_if", O(NUMBER), 0, NULL, {F(in_if)}},
    {"out_if", O(NUMBER), 0, NULL, {F(out_if)}},
    {"src_mac", O(MAC), 0, NULL, {F(src_mac), F(out_src_mac)}},
    {"dst_mac", O(MAC), 0, NULL, {F(dst_mac), F(out_dst_mac)}},
    {"src_vlan", O(NUMBER), 0, NULL, {F(vlan)}},
    {"dst_vlan", O(NUMBER), 0, NULL, {F(vlan_out)}},
    {"vlan_id", O(NUMBER), 0, NULL, {F(vlan)}},
    {"ip_tos", O(NUMBER), 0, NULL, {F(tos)}},
    {"forwarding_status", O(NUMBER), 0, NULL, {F(forwarding_status)}},
    {"ip_ttl", O(NUMBER), 0, NULL, {F(ttl), F(ttl_min)}},
    {"ip_flags", O(SHIFTED), 5, NULL, {F(fragment_flags)}},
    {"tcp_flags", O(NUMBER), 0, NULL, {F(tcp_flags)}},
    {"icmp_type", O(NUMBER), 0, NULL, {F(icmp_type)}},
    {"icmp_code", O(NUMBER), 0, NULL, {F(icmp_code)}},
    {"ipv6_flow_label", O(NUMBER), 0, NULL, {F(flow_label)}},
    {"fragment_id", O(NUMBER), 0, NULL, {F(fragment_id)}},
    {"fragment_offset", O(NUMBER), 0, NULL, {F(fragment_offset)}},
    {"src_as", O(NUMBER), 0, NULL, {F(src_as)}},
    {"dst_as", O(NUMBER), 0, NULL, {F(dst_as)}},
    {"next_hop", O(ADDR), 0, NULL, {F(next_hop)}},
    {"next_hop_as", O(NUMBER), 0, NULL, {F(peer_dst_as)}},
    {"src_net", O(NET), 0, NULL, {F(src_addr), F(src_mask)}},
    {"dst_net", O(NET), 0, NULL, {F(dst_addr), F(dst_mask)}},
    {"bgp_next_hop", O(ADDR), 0, NULL, {F(bgp_next_hop)}},
    {"as_path", O(AS_PATH), 0, NULL, {F(dst_as_path)}},
    {"mpls_label", O(ANY), 0, NULL, {F(mpls_labels)}},
    {"mpls_ip", O(ADDR_LIST), 0, NULL, {F(mpls_top_addr)}},
    {"observation_domain_id", O(NUMBER), 0, NULL, {F(domain)}},
    {"observation_point_id", O(NUMBER), 0, NULL, {F(observation_point)}},
    {"ingress_vrf_id", O(NUMBER), 0, NULL, {F(vrf_in)}},
    {"egress_vrf_id", O(NUMBER), 0, NULL, {F(vrf_out)}},
    {"bi_flow_direction", O(NUMBER), 0, NULL, {F(biflow_direction)}},
    {"flow_direction", O(NUMBER), 0, NULL, {F(direction)}},
};
/* clang-format on */

static weir_status open(ship_encoder *e, const struct ship_encoder_options *o, weir_err *err)
{
    (void)o;
    WEIR_TRY(ship_tree_new(e, false, err));
    return ship_tree_add(e, rows, ARRAY_LEN(rows), err);
}

const struct ship_encoder_kind *ship_goflow2_kind(void)
{
    static const struct ship_encoder_kind kind = {open, ship_tree_rows, ship_tree_free};
    return &kind;
}
