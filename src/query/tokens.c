#include "query/tokens.h"

#include <stdio.h>

#define C(op) QUERY_CELL_##op
#define F(column) FLOW_##column + 1
#define D(id) QUERY_TOKEN_DERIVED + QUERY_D_##id

/* How a cell stands in its column: right or left, an address as wide as -6 makes it. */
enum { R = 0, L = QUERY_TOKEN_LEFT, A = QUERY_TOKEN_ADDR };

/* clang-format off */
/* token, header of its table column, CSV header, help; in a table and in CSV, width, alignment, argument, fields,
 * what a missing value is written as, why there is no such data */
static const struct query_token tokens[] = {
    {"ts", "Date first seen        ", "firstSeen", "first packet, local time",
     C(TIME), C(TIME), 23, R, 0, {F(first)}},
    {"tfs", "Date first seen        ", "firstSeen", "first packet, local time",
     C(TIME), C(TIME), 23, R, 0, {F(first)}},
    {"tsr", "Date first seen (raw)    ", "firstSeen", "first packet, seconds since 1970",
     C(TIME_RAW), C(TIME_RAW), 0, R, 0, {F(first)}},
    {"tsg", "Date first seen (GMT)  ", "firstSeen", "first packet, UTC",
     C(TIME_GMT), C(TIME_GMT), 23, R, 0, {F(first)}},
    {"te", "Date last seen         ", "lastSeen", "last packet, local time",
     C(TIME), C(TIME), 23, R, 0, {F(last)}},
    {"ter", "Date last seen (raw)     ", "lastSeen", "last packet, seconds since 1970",
     C(TIME_RAW), C(TIME_RAW), 0, R, 0, {F(last)}},
    {"teg", "Date last seen (GMT)   ", "lastSeen", "last packet, UTC",
     C(TIME_GMT), C(TIME_GMT), 23, R, 0, {F(last)}},
    {"tr", "Date flow received     ", "received", "arrival, local time",
     C(TIME), C(TIME), 23, R, 0, {F(received)}},
    {"trr", "Date flow received (raw)  ", "received", "arrival, seconds since 1970",
     C(TIME_RAW), C(TIME_RAW), 0, R, 0, {F(received)}},
    {"trg", "Date flow received(GMT)", "received", "arrival, UTC",
     C(TIME_GMT), C(TIME_GMT), 23, R, 0, {F(received)}},
    {"td", "    Duration    ", "duration", "duration, hh:mm:ss.mmm; seconds in CSV",
     C(DURATION), C(SECONDS), 16, R, 0, {F(first), F(last)}},
    {"tds", "    Duration    ", "duration", "duration in seconds",
     C(SECONDS), C(SECONDS), 16, R, 0, {F(first), F(last)}},
    {"time", "Time                   ", "time", "time of the interval (--every)",
     C(TIME), C(TIME), 23, R, 0, {D(TIME_BUCKET)}},
    {"cnt", "Count", "count", "number of the record as it was read",
     C(NUMBER), C(NUMBER), 5, R, 0, {D(COUNT)}},
    {"idt", "Ident   ", "Ident", "ident of the file: none here",
     C(TEXT_ONLY), C(TEXT_ONLY), 8, L, 0, {0}, "none"},
    {"nfv", "Ver", "version", "export protocol",
     C(VERSION), C(NUMBER), 3, L, 0, {F(protocol_version), F(fw_event), F(nat_event)}},
    {"exp", "Exp ID", "exporterID", "nfdump's number of the exporter: 0 here, see %ra",
     C(TEXT_ONLY), C(TEXT_ONLY), 6, R, 0, {0}, "0"},
    {"eng", " engine", "engine", "engine type and id (v5), or the two low octets of the domain",
     C(ENGINE), C(ENGINE), 7, R, 0, {F(domain)}},
    {"lbl", "           label", "label", "label: none here",
     C(TEXT_ONLY), C(TEXT_ONLY), 16, R, 0, {0}, "<none>"},
    {"sa", "     Src IP Addr", "srcAddr", "source address",
     C(ADDR), C(ADDR), 16, A, 0, {F(src_addr)}, "0.0.0.0"},
    {"da", "     Dst IP Addr", "dstAddr", "destination address",
     C(ADDR), C(ADDR), 16, A, 0, {F(dst_addr)}, "0.0.0.0"},
    {"nh", "     Next-hop IP", "nextIP", "next hop",
     C(ADDR), C(ADDR), 16, A, 0, {F(next_hop)}, "0.0.0.0"},
    {"nhb", " BGP next-hop IP", "bgpNextIP", "BGP next hop",
     C(ADDR), C(ADDR), 16, A, 0, {F(bgp_next_hop)}, "0.0.0.0"},
    {"ra", "       Router IP", "routerIP", "exporter",
     C(ADDR), C(ADDR), 16, A, 0, {F(exporter)}, "0.0.0.0"},
    {"nsa", "   X-late Src IP", "srcXIP", "translated source address",
     C(ADDR), C(ADDR), 16, A, 0, {F(nat_src_addr)}, "0.0.0.0"},
    {"xsa", "   X-late Src IP", "srcXIP", "translated source address",
     C(ADDR), C(ADDR), 16, A, 0, {F(nat_src_addr)}, "0.0.0.0"},
    {"nda", "   X-late Dst IP", "dstXIP", "translated destination address",
     C(ADDR), C(ADDR), 16, A, 0, {F(nat_dst_addr)}, "0.0.0.0"},
    {"xda", "   X-late Dst IP", "dstXIP", "translated destination address",
     C(ADDR), C(ADDR), 16, A, 0, {F(nat_dst_addr)}, "0.0.0.0"},
    {"sap", "     Src IP Addr:Port ", NULL, "source address and port",
     C(ADDR_PORT), C(ADDR_PORT), 22, A, 0, {F(src_addr), F(src_port)}},
    {"dap", "     Dst IP Addr:Port ", NULL, "destination address and port, or ICMP type.code",
     C(ADDR_PORT), C(ADDR_PORT), 22, A, 0, {F(dst_addr), F(dst_port), F(proto), F(icmp_type), F(icmp_code)}},
    {"nsap", "   X-Src IP Addr:Port ", NULL, "translated source address and port",
     C(ADDR_PORT), C(ADDR_PORT), 22, A, 0, {F(nat_src_addr), F(nat_src_port)}},
    {"xsap", "   X-Src IP Addr:Port ", NULL, "translated source address and port",
     C(ADDR_PORT), C(ADDR_PORT), 22, A, 0, {F(nat_src_addr), F(nat_src_port)}},
    {"ndap", "   X-Dst IP Addr:Port ", NULL, "translated destination address and port",
     C(ADDR_PORT), C(ADDR_PORT), 22, A, 0, {F(nat_dst_addr), F(nat_dst_port)}},
    {"xdap", "   X-Dst IP Addr:Port ", NULL, "translated destination address and port",
     C(ADDR_PORT), C(ADDR_PORT), 22, A, 0, {F(nat_dst_addr), F(nat_dst_port)}},
    {"gsa", "     Src IP Addr(..)", NULL, "source address and country",
     C(ADDR_GEO), C(ADDR_GEO), 20, A, 0, {F(src_addr), D(SRC_COUNTRY)}},
    {"gda", "     Dst IP Addr(..)", NULL, "destination address and country",
     C(ADDR_GEO), C(ADDR_GEO), 20, A, 0, {F(dst_addr), D(DST_COUNTRY)}},
    {"gsap", "     Src IP Addr(..):Port ", NULL, "source address, country and port",
     C(ADDR_PORT), C(ADDR_PORT), 26, A, 1, {F(src_addr), F(src_port), 0, 0, 0, D(SRC_COUNTRY)}},
    {"gdap", "     Dst IP Addr(..):Port ", NULL, "destination address, country and port",
     C(ADDR_PORT), C(ADDR_PORT), 26, A, 1, {F(dst_addr), F(dst_port), F(proto), F(icmp_type), F(icmp_code), D(DST_COUNTRY)}},
    {"sn", "        Src Network", "srcNet", "source network, by the mask of its route",
     C(NET), C(NET), 19, A, 0, {F(src_addr), F(src_mask)}},
    {"dn", "        Dst Network", "dstNet", "destination network, by the mask of its route",
     C(NET), C(NET), 19, A, 0, {F(dst_addr), F(dst_mask)}},
    {"sp", "Src Pt", "srcPort", "source port",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(src_port)}},
    {"dp", "Dst Pt", "dstPort", "destination port, or ICMP type.code",
     C(PORT), C(NUMBER), 6, R, 0, {F(dst_port), F(proto), F(icmp_type), F(icmp_code)}},
    {"it", "ICMP-T", "icmpTYpe", "ICMP type",
     C(ICMP_TYPE), C(ICMP_TYPE), 6, R, 0, {F(icmp_type), F(icmp_code), F(dst_port), 0, F(proto)}},
    {"ic", "ICMP-C", "icmpCode", "ICMP code",
     C(ICMP_CODE), C(ICMP_CODE), 6, R, 0, {F(icmp_type), F(icmp_code), F(dst_port), 0, F(proto)}},
    {"pkt", " Packets", "packets", "packets",
     C(SCALED), C(NUMBER), 8, R, 0, {F(packets)}},
    {"ipkt", "  In Pkt", "inPackets", "packets",
     C(SCALED), C(NUMBER), 8, R, 0, {F(packets)}},
    {"opkt", " Out Pkt", "outPackets", "packets of the other direction",
     C(SCALED), C(NUMBER), 8, R, 0, {D(OUT_PACKETS)}},
    {"byt", "   Bytes", "bytes", "octets",
     C(SCALED), C(NUMBER), 8, R, 0, {F(bytes)}},
    {"ibyt", " In Byte", "inBytes", "octets",
     C(SCALED), C(NUMBER), 8, R, 0, {F(bytes)}},
    {"obyt", "Out Byte", "outBytes", "octets of the other direction",
     C(SCALED), C(NUMBER), 8, R, 0, {D(OUT_BYTES)}},
    {"bps", "     bps", "bps", "bits per second",
     C(SCALED), C(NUMBER), 8, R, 0, {D(BPS)}},
    {"pps", "     pps", "pps", "packets per second",
     C(SCALED), C(NUMBER), 8, R, 0, {D(PPS)}},
    {"fl", "Flows", "flows", "flows of the record",
     C(NUMBER), C(NUMBER), 5, R, 0, {D(N_FLOWS)}},
    {"bpp", "   Bpp", "bpp", "octets per packet",
     C(NUMBER), C(NUMBER), 6, R, 0, {D(BPP)}},
    {"pr", "Proto", "proto", "protocol; its number in CSV",
     C(PROTO), C(NUMBER), 5, L, 0, {F(proto)}},
    {"flg", "   Flags", "flags", "TCP flags",
     C(FLAGS), C(FLAGS), 8, R, 0, {F(tcp_flags)}},
    {"tos", "Tos", "tos", "type of service",
     C(NUMBER), C(NUMBER), 3, R, 0, {F(tos)}},
    {"stos", "STos", "srcTos", "type of service",
     C(NUMBER), C(NUMBER), 4, R, 0, {F(tos)}},
    {"dtos", "DTos", "dstTos", "type of service on the way out",
     C(NUMBER), C(NUMBER), 4, R, 0, {F(tos_out)}},
    {"minttl", "MinTTL", "minTTL", "smallest TTL",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(ttl_min)}},
    {"maxttl", "MaxTTL", "maxTTL", "largest TTL",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(ttl_max)}},
    {"ttl", "TTL", "ttl", "TTL",
     C(NUMBER), C(NUMBER), 3, R, 0, {F(ttl)}},
    {"frag", "Frag", "Frag", "fragment flags",
     C(NUMBER), C(NUMBER), 4, R, 0, {F(fragment_flags)}},
    {"fwd", "Fwd", "fwdStatus", "forwarding status",
     C(NUMBER), C(NUMBER), 3, R, 0, {F(forwarding_status)}},
    {"eth", "EtherType", "etherType", "Ethernet type",
     C(HEX), C(HEX), 9, R, 4, {F(ethertype)}},
    {"sas", "Src AS", "srcAS", "source AS",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(src_as)}},
    {"das", "Dst AS", "dstAS", "destination AS",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(dst_as)}},
    {"nas", "Next AS", "nextAS", "next AS",
     C(NUMBER), C(NUMBER), 7, R, 0, {F(peer_dst_as)}},
    {"pas", "Prev AS", "prevAS", "previous AS",
     C(NUMBER), C(NUMBER), 7, R, 0, {F(peer_src_as)}},
    {"smk", "SMask", "srcMask", "mask of the source",
     C(NUMBER), C(NUMBER), 5, R, 0, {F(src_mask)}},
    {"dmk", "DMask", "dstMask", "mask of the destination",
     C(NUMBER), C(NUMBER), 5, R, 0, {F(dst_mask)}},
    {"in", " Input", "input", "interface in",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(in_if)}},
    {"out", "Output", "output", "interface out",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(out_if)}},
    {"inam", "Input interface name ", "inIfName", "name of the interface in",
     C(TEXT), C(ANY_CSV), 21, L, 0, {F(in_if_name)}},
    {"onam", "Output interface name", "outIfName", "name of the interface out",
     C(TEXT), C(ANY_CSV), 21, L, 0, {F(out_if_name)}},
    {"dir", "Dir", "direction", "I ingress, E egress; the number in CSV",
     C(DIRECTION), C(NUMBER), 3, R, 0, {F(direction)}},
    {"bfd", "Bfd", "biDirection", "direction of a biflow",
     C(NUMBER), C(NUMBER), 3, R, 0, {F(biflow_direction)}},
    {"end", "End", "endReason", "why the flow ended",
     C(NUMBER), C(NUMBER), 3, R, 0, {F(end_reason)}},
    {"flid", "         Flow ID", "flowID", "flow id",
     C(NUMBER), C(NUMBER), 16, R, 0, {F(flow_id)}},
    {"svln", "SVlan", "srcVlan", "VLAN in",
     C(NUMBER), C(NUMBER), 5, R, 0, {F(vlan)}},
    {"dvln", "DVlan", "dstVlan", "VLAN out",
     C(NUMBER), C(NUMBER), 5, R, 0, {F(vlan_out)}},
    {"ismc", "  In src MAC Addr", "inSrcMac", "source MAC, as it came in",
     C(MAC), C(MAC), 17, R, 0, {F(src_mac)}, "00:00:00:00:00:00"},
    {"odmc", " Out dst MAC Addr", "outDstMac", "destination MAC on the way out",
     C(MAC), C(MAC), 17, R, 0, {F(out_dst_mac)}, "00:00:00:00:00:00"},
    {"idmc", "  In dst MAC Addr", "inDstMac", "destination MAC, as it came in",
     C(MAC), C(MAC), 17, R, 0, {F(dst_mac)}, "00:00:00:00:00:00"},
    {"osmc", " Out src MAC Addr", "outSrcMac", "source MAC on the way out",
     C(MAC), C(MAC), 17, R, 0, {F(out_src_mac)}, "00:00:00:00:00:00"},
    {"mpls1", " MPLS lbl 1 ", "mplsLabel1", "MPLS label 1: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 1, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls2", " MPLS lbl 2 ", "mplsLabel2", "MPLS label 2: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 2, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls3", " MPLS lbl 3 ", "mplsLabel3", "MPLS label 3: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 3, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls4", " MPLS lbl 4 ", "mplsLabel4", "MPLS label 4: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 4, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls5", " MPLS lbl 5 ", "mplsLabel5", "MPLS label 5: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 5, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls6", " MPLS lbl 6 ", "mplsLabel6", "MPLS label 6: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 6, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls7", " MPLS lbl 7 ", "mplsLabel7", "MPLS label 7: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 7, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls8", " MPLS lbl 8 ", "mplsLabel8", "MPLS label 8: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 8, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls9", " MPLS lbl 9 ", "mplsLabel9", "MPLS label 9: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 9, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls10", " MPLS lbl 10", "mplsLabel10", "MPLS label 10: label-class-bottom",
     C(MPLS), C(MPLS), 12, R, 10, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"mpls", "                                                         MPLS labels 1-10                                                         ", "mplsLabel1-10", "MPLS labels 1 to 10",
     C(MPLS_ALL), C(MPLS_ALL), 130, R, 0, {F(mpls_labels), F(mpls_exp), F(mpls_eos)}},
    {"sc", "SC", "srcGeo", "country of the source (--geo)",
     C(TEXT), C(ANY_CSV), 2, R, 0, {D(SRC_COUNTRY)}, ".."},
    {"dc", "DC", "dstGeo", "country of the destination (--geo)",
     C(TEXT), C(ANY_CSV), 2, R, 0, {D(DST_COUNTRY)}, ".."},
    {"sloc", "Src IP location info", "srcLocation", "city of the source (--geo)",
     C(TEXT), C(ANY_CSV), 20, L, 0, {D(SRC_CITY)}},
    {"dloc", "Dst IP location info", "dstLocation", "city of the destination (--geo)",
     C(TEXT), C(ANY_CSV), 20, L, 0, {D(DST_CITY)}},
    {"sasn", "Src AS organisation ", "srcOrg", "organisation of the source's AS (--geo)",
     C(TEXT), C(ANY_CSV), 20, L, 0, {D(SRC_AS_ORG)}},
    {"dasn", "Dst AS organisation ", "dstOrg", "organisation of the destination's AS (--geo)",
     C(TEXT), C(ANY_CSV), 20, L, 0, {D(DST_AS_ORG)}},
    {"odid", "obsDomainID", "obsDomainID", "observation domain or source id",
     C(HEX), C(NUMBER), 11, R, 9, {F(domain)}},
    {"opid", "  obsPointID", "obsPointID", "observation point",
     C(HEX), C(NUMBER), 12, R, 10, {F(observation_point)}},
    {"ivrf", "  I-VRF-ID", "ingressVrfID", "VRF in",
     C(NUMBER), C(NUMBER), 10, R, 0, {F(vrf_in)}},
    {"vrf", "  I-VRF-ID", "ingressVrfID", "VRF in",
     C(NUMBER), C(NUMBER), 10, R, 0, {F(vrf_in)}},
    {"evrf", "  E-VRF-ID", "egressVrfID", "VRF out",
     C(NUMBER), C(NUMBER), 10, R, 0, {F(vrf_out)}},
    {"ivrfnam", "  I-VRF-Name", "ingressVrfName", "name of the VRF in",
     C(TEXT), C(ANY_CSV), 12, L, 0, {F(vrf_in_name)}},
    {"evrfnam", "  E-VRF-Name", "egressVrfName", "name of the VRF out",
     C(TEXT), C(ANY_CSV), 12, L, 0, {F(vrf_out_name)}},
    {"nbid", "nbar ID", "nbarID", "application id: engine..selector",
     C(APP_ID), C(APP_ID), 7, L, 0, {F(app_id)}},
    {"nbnam", "nbar name", "nbarName", "application",
     C(TEXT), C(ANY_CSV), 9, L, 0, {F(app_name)}, "<no info>"},
    {"sni", "sni name", "sniName", "TLS server name",
     C(TEXT), C(ANY_CSV), 8, L, 0, {F(tls_sni)}},
    {"cl", "C Latency", "clientLatency", "latency in ms",
     C(MILLIS), C(MILLIS), 9, R, 0, {F(client_latency_us)}},
    {"sl", "S latency", "serverLatency", "latency in ms",
     C(MILLIS), C(MILLIS), 9, R, 0, {F(server_latency_us)}},
    {"al", "A latency", "appLatency", "latency in ms",
     C(MILLIS), C(MILLIS), 9, R, 0, {F(app_latency_us)}},
    {"nfc", "   Conn-ID", "connectionID", "connection id",
     C(NUMBER), C(NUMBER), 10, R, 0, {F(connection_id)}},
    {"evt", " Event", "event", "firewall or NAT event",
     C(EVENT), C(EVENT), 7, R, 0, {F(fw_event), F(nat_event)}},
    {"nevt", " Event", "event", "firewall or NAT event",
     C(EVENT), C(EVENT), 7, R, 0, {F(fw_event), F(nat_event)}},
    {"xevt", " XEvent", "xEvent", "extended firewall event",
     C(XEVENT), C(XEVENT), 7, R, 0, {F(fw_ext_event)}},
    {"tevt", "Event time             ", "eventTime", "time of the event",
     C(TIME), C(TIME), 23, R, 0, {F(event_time)}},
    {"msec", "   Event Time", "eventTime", "time of the event, milliseconds since 1970",
     C(TIME_MS), C(TIME_MS), 13, R, 0, {F(event_time)}},
    {"nsp", "XsPort", "srcXPort", "translated source port",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(nat_src_port)}},
    {"xsp", "XsPort", "srcXPort", "translated source port",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(nat_src_port)}},
    {"ndp", "XdPort", "dstXPort", "translated destination port",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(nat_dst_port)}},
    {"xdp", "XdPort", "dstXPort", "translated destination port",
     C(NUMBER), C(NUMBER), 6, R, 0, {F(nat_dst_port)}},
    {"iacl", "Ingress ACL                     ", "ingressACL", "ids of the ACL in",
     C(ACL), C(ACL), 32, L, ' ', {F(acl_in)}},
    {"eacl", "Egress ACL                      ", "egressACL", "ids of the ACL out",
     C(ACL), C(ACL), 32, L, ' ', {F(acl_out)}},
    {"uname", "UserName", "nselUser", "user",
     C(TEXT), C(ANY_CSV), 8, L, 0, {F(user_name)}, "<empty>"},
    {"pbstart", "Pb-Start", "pbStart", "port block: start",
     C(NUMBER), C(NUMBER), 7, R, 0, {F(port_block_start)}},
    {"pbend", "Pb-End", "pbEnd", "port block: end",
     C(NUMBER), C(NUMBER), 7, R, 0, {F(port_block_end)}},
    {"pbstep", "Pb-Step", "pbStep", "port block: step",
     C(NUMBER), C(NUMBER), 7, R, 0, {F(port_block_step)}},
    {"pbsize", "Pb-Size", "pbSize", "port block: size",
     C(NUMBER), C(NUMBER), 7, R, 0, {F(port_block_size)}},
    {"isid", "InSrvID", "inSrvID", "service in",
     C(NUMBER), C(NUMBER), 7, R, 0, {F(service_in)}},
    {"osid", "OutSrvID", "outSrvID", "service out",
     C(NUMBER), C(NUMBER), 8, R, 0, {F(service_out)}},
    {"nats", "NAT subscriber      ", "natString", "subscriber string",
     C(TEXT), C(ANY_CSV), 20, L, 0, {F(nat_subscriber)}},
    {"stor", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "tor exit lists are not read"},
    {"dtor", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "tor exit lists are not read"},
    {"ja3", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "payload is not kept"},
    {"ja3s", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "payload is not kept"},
    {"ja4", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "payload is not kept"},
    {"ja4s", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "payload is not kept"},
    {"tls", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "payload is not kept"},
    {"ipl", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "payload is not kept"},
    {"opl", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "payload is not kept"},
    {"pfifn", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "pflog records are not read"},
    {"pfact", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "pflog records are not read"},
    {"pfrea", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "pflog records are not read"},
    {"pfdir", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "pflog records are not read"},
    {"pfrule", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "pflog records are not read"},
    {"gra", "", NULL, "",
     C(TEXT_ONLY), C(TEXT_ONLY), 0, R, 0, {0}, NULL, "the router has no country"},
    {0},
};

static const struct {
    const char *name, *tokens;
} formats[] = {
    {"line", "%ts %td %pr %sap -> %dap %pkt %byt %fl"},
    {"gline", "%ts %td %pr %gsap -> %gdap %pkt %byt %fl"},
    {"long", "%ts %td %pr %sap -> %dap %flg %tos %pkt %byt %fl"},
    {"glong", "%ts %td %pr %gsap -> %gdap %flg %tos %pkt %byt %fl"},
    {"extended", "%ts %td %pr %sap -> %dap %flg %tos %pkt %byt %pps %bps %bpp %fl"},
    {"biline", "%ts %td %pr %sap <-> %dap %opkt %ipkt %obyt %ibyt %fl"},
    {"bilong", "%ts %td %pr %sap <-> %dap %flg %tos %opkt %ipkt %obyt %ibyt %fl"},
    {"nsel", "%tevt %evt %xevt %pr %sap -> %dap %xsap -> %xdap %ibyt %obyt"},
    {"nat", "%tevt %nevt %pr %sap -> %dap %nsap -> %ndap"},
    {"nel", "%tevt %nevt %pr %sap -> %dap %nsap -> %ndap"}, /* its name before nfdump 1.7.2 */
};
/* clang-format on */

const struct query_token *query_tokens(void)
{
    return tokens;
}

const struct query_token *query_token_find(const char *name, size_t len)
{
    for (const struct query_token *t = tokens; t->name; t++)
        if (strlen(t->name) == len && memcmp(t->name, name, len) == 0)
            return t;
    return NULL;
}

struct query_field query_token_field(const struct query_token *t, size_t k)
{
    struct query_field f =
        t->f[k] >= QUERY_TOKEN_DERIVED
            ? query_field_derived((enum query_derived)(t->f[k] - QUERY_TOKEN_DERIVED))
            : query_field_column((enum flow_column_id)(t->f[k] - 1));
    return f;
}

const struct query_token *query_token_of_field(const struct query_field *f)
{
    for (const struct query_token *t = tokens; t->name; t++) {
        struct query_field of;
        if (t->unavailable || !t->f[0] || t->op == QUERY_CELL_ADDR_PORT ||
            t->op == QUERY_CELL_ADDR_GEO || t->op == QUERY_CELL_NET)
            continue;
        if (t->op == QUERY_CELL_MPLS && f->what == QUERY_F_DERIVED && f->id == QUERY_D_MPLS_LABEL &&
            f->n == t->arg)
            return NULL; /* the label alone is a number */
        of = query_token_field(t, 0);
        if (of.what == f->what && of.id == f->id && f->what != QUERY_F_EXTRA)
            return t;
    }
    return NULL;
}

const char *query_format_tokens(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (strlen(formats[i].name) == len && memcmp(formats[i].name, name, len) == 0)
            return formats[i].tokens;
    return NULL;
}

void query_format_names(base_buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        base_buf_str(out, i ? ", " : "");
        base_buf_str(out, formats[i].name);
    }
}

/* --- cells ---------------------------------------------------------------------------------------- */

/* Of a group by a prefix of the address f (srcip4/24) the address is that prefix. NULL: f is no address of that kind. */
static const struct query_field *prefix_of(const struct query_token_use *use,
                                           const struct query_field *f)
{
    if (f->what != QUERY_F_COLUMN || (f->id != FLOW_src_addr && f->id != FLOW_dst_addr))
        return NULL;
    int net = f->id == FLOW_src_addr ? QUERY_D_SRC_NET : QUERY_D_DST_NET;
    const struct query_field *found = NULL;
    for (size_t i = 0; i < use->n_keys; i++) {
        const struct query_field *k = &use->keys[i];
        if (k->what == QUERY_F_COLUMN && k->id == f->id)
            return NULL; /* the whole address is a key as well */
        if (k->what == QUERY_F_DERIVED && k->id == net)
            found = k;
    }
    return found;
}

int query_token_index(const struct query_token_use *use, struct query_program *p,
                      const struct query_field *f)
{
    /* The keys of groups have arguments (a span, a prefix length) that a name alone does not tell. */
    for (size_t i = 0; i < use->n_keys; i++) {
        const struct query_field *k = &use->keys[i];
        if (f->what == QUERY_F_DERIVED && k->what == f->what && k->id == f->id && k->n == f->n)
            return query_program_field(p, k);
    }
    return use->has && !use->has(use->user, f) ? -1 : query_program_field(p, f);
}

static struct query_cell token_cell(const struct query_token_use *use, const struct query_token *t,
                                    const struct query_field *key, struct query_program *p,
                                    bool csv)
{
    struct query_cell c = {.op = csv ? t->csv_op : t->op, .arg = t->arg, .missing = t->missing};
    for (size_t k = 0; k < QUERY_CELL_FIELDS; k++) {
        c.v[k] = -1;
        if (t->f[k]) {
            struct query_field f = k == 0 && key ? *key : query_token_field(t, k);
            bool net = t->op == QUERY_CELL_NET;
            bool address = net || t->op == QUERY_CELL_ADDR || t->op == QUERY_CELL_ADDR_PORT ||
                           t->op == QUERY_CELL_ADDR_GEO;
            const struct query_field *prefix = k == 0 && address ? prefix_of(use, &f) : NULL;
            if (prefix) {
                f = *prefix;
                if (csv || net)
                    c.op = csv ? QUERY_CELL_ANY_CSV : QUERY_CELL_TEXT;
                else
                    c.arg |= QUERY_CELL_CUT;
            }
            c.v[k] = (int16_t)query_token_index(use, p, &f);
        }
    }
    if (!csv) {
        c.width = t->width;
        c.left = (t->align & L) != 0;
        if ((t->align & A) && use->full_ipv6)
            c.width = (uint8_t)(c.width + QUERY_IPV6_MORE);
    } else if (t->csv_op == QUERY_CELL_TEXT_ONLY && !t->missing) {
        c.missing = "";
    }
    return c;
}

void query_token_table(const struct query_token_use *use, const struct query_token *t,
                       const struct query_field *key, struct query_program *p, base_buf *header)
{
    if ((t->align & A) && use->full_ipv6)
        for (int i = 0; i < QUERY_IPV6_MORE; i++)
            base_buf_char(header, ' ');
    base_buf_str(header, t->header);
    query_program_cell(p, use->arena, token_cell(use, t, key, p, false));
}

static struct query_cell field_cell(const struct query_token_use *use, const struct query_field *f,
                                    struct query_program *p, uint8_t op)
{
    return (struct query_cell){.op = op,
                               .v = {(int16_t)query_token_index(use, p, f), -1, -1, -1, -1, -1}};
}

void query_field_table(const struct query_token_use *use, const struct query_field *f,
                       struct query_program *p, base_buf *header)
{
    const char *name = f->name ? f->name : "";
    size_t len = strlen(name), width = len < 255 ? len : 255;
    bool text = f->kind == QUERY_TEXT || f->kind == QUERY_UNKNOWN;
    if (f->kind == QUERY_TIME && width < 27)
        width = 27;
    if (text && width < 16)
        width = 16;
    if (!text && width < 8)
        width = 8;
    struct query_cell c = field_cell(use, f, p, QUERY_CELL_ANY_TEXT);
    c.width = (uint8_t)width;
    c.left = text || f->kind == QUERY_TIME;
    c.missing = "";
    if (!c.left)
        for (size_t i = len; i < width; i++)
            base_buf_char(header, ' ');
    query_text_safe(header, name, len);
    if (c.left)
        for (size_t i = len; i < width; i++)
            base_buf_char(header, ' ');
    query_program_cell(p, use->arena, c);
}

/* --- format strings ------------------------------------------------------------------------------- */

enum { MAX_NESTING = 4 };

static size_t word_len(const char *s)
{
    size_t n = 0;
    while ((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z') ||
           (s[n] >= '0' && s[n] <= '9'))
        n++;
    return n;
}

static int shown(size_t len)
{
    return len < 40 ? (int)len : 40;
}

static weir_status unavailable(const struct query_token *t, weir_err *err)
{
    return weir_err_set(err, WEIR_EFORMAT, 0, "%%%s: not available: %s", t->name, t->unavailable);
}

static weir_status unknown_token(const char *s, size_t len, weir_err *err)
{
    return weir_err_set(
        err, WEIR_EFORMAT, 0,
        "unknown token '%%%.*s' (weir fields lists them; %%{NAME} shows any column)", shown(len),
        s);
}

static weir_status add_format(const struct query_token_use *use, const char *s, int depth,
                              struct query_program *p, base_buf *header, weir_err *err)
{
    if (depth > MAX_NESTING)
        return weir_err_set(err, WEIR_EFORMAT, 0, "formats within formats: more than %d deep",
                            MAX_NESTING);
    while (*s) {
        if (*s != '%') {
            query_program_lit(p, s, 1);
            if (((unsigned char)*s & 0xc0) != 0x80) /* a blank a character, not an octet */
                base_buf_char(header, ' ');
            s++;
            continue;
        }
        s++;
        if (*s == '{') {
            size_t len = strcspn(++s, "}");
            char *name = s[len] && len ? query_arena_text(use->arena, s, len) : NULL;
            if (!name)
                return weir_err_set(err, WEIR_EFORMAT, 0,
                                    "'%%{%.*s': needs a name and a closing brace", shown(len), s);
            struct query_field f = query_field_named(name);
            query_field_table(use, &f, p, header);
            s += len + 1;
            continue;
        }
        if (*s == '%') {
            query_program_lit(p, s++, 1);
            base_buf_char(header, ' ');
            continue;
        }
        size_t len = word_len(s);
        const struct query_token *t = query_token_find(s, len);
        const char *inner = t ? NULL : query_format_tokens(s, len);
        if (len == 1 && *s == 'n') {
            query_program_lit(p, "\n", 1);
        } else if (t && t->unavailable) {
            return unavailable(t, err);
        } else if (t) {
            query_token_table(use, t, NULL, p, header);
        } else if (inner) {
            WEIR_TRY(add_format(use, inner, depth + 1, p, header, err));
        } else {
            return unknown_token(s, len, err);
        }
        s += len;
    }
    return WEIR_OK;
}

static weir_status finished(const struct query_program *p, const base_buf *header, weir_err *err)
{
    return p->failed || (header && header->failed)
               ? weir_err_set(err, WEIR_ENOMEM, 0, "out of memory")
               : WEIR_OK;
}

weir_status query_tokens_text(const struct query_token_use *use, const char *format,
                              struct query_program *p, base_buf *header, weir_err *err)
{
    WEIR_TRY(add_format(use, format, 0, p, header, err));
    query_program_lit(p, "\n", 1);
    query_program_end(p, use->arena);
    return finished(p, header, err);
}

void query_program_end(struct query_program *p, query_arena *a)
{
    query_program_cell(
        p, a, (struct query_cell){.op = QUERY_CELL_TEXT_ONLY, .v = {-1, -1, -1, -1, -1, -1}});
}

/* --- columns -------------------------------------------------------------------------------------- */

void query_csv_name(base_buf *header, const char *name)
{
    bool quote = name[strcspn(name, ",\"\r\n")] != 0;
    if (quote)
        base_buf_char(header, '"');
    for (; *name; name++) {
        if (*name == '"')
            base_buf_char(header, '"');
        base_buf_char(header, *name);
    }
    if (quote)
        base_buf_char(header, '"');
}

void query_csv_column(const struct query_token_use *use, const struct query_token *t,
                      const struct query_field *f, struct query_program *p, base_buf *header)
{
    if (p->n || p->lit.len) {
        base_buf_char(header, ',');
        query_program_lit(p, ",", 1);
    }
    if (t) {
        query_csv_name(header, t->csv);
        query_program_cell(p, use->arena, token_cell(use, t, f, p, true));
    } else {
        query_csv_name(header, f->name);
        query_program_cell(p, use->arena, field_cell(use, f, p, QUERY_CELL_ANY_CSV));
    }
}

/* The next element of a list: blanks around it left out. False: no more. */
static bool next_name(const char **at, const char **name, size_t *len)
{
    const char *s = *at;
    if (!s)
        return false;
    size_t n = strcspn(s, ",");
    *at = s[n] ? s + n + 1 : NULL;
    while (n && *s == ' ') {
        s++;
        n--;
    }
    while (n && s[n - 1] == ' ')
        n--;
    *name = s;
    *len = n;
    return true;
}

weir_status query_column_next(const struct query_token_use *use, const char **at,
                              const struct query_token **t, struct query_field *f, weir_err *err)
{
    const char *name;
    size_t len;
    *t = NULL;
    if (!next_name(at, &name, &len))
        return WEIR_END;
    if (len == 0)
        return weir_err_set(err, WEIR_EFORMAT, 0, "an empty name in the list of columns");
    if (*name == '%') {
        *t = query_token_find(name + 1, len - 1);
        if (!*t)
            return unknown_token(name + 1, len - 1, err);
    } else {
        char *copy = query_arena_text(use->arena, name, len);
        if (!copy)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        *f = query_field_named(copy);
        if (f->what == QUERY_F_EXTRA)
            *t = query_token_find(name, len);
    }
    if (*t && (*t)->unavailable)
        return unavailable(*t, err);
    if (*t && !(*t)->csv)
        return weir_err_set(err, WEIR_EFORMAT, 0, "%%%s is for tables only: use its parts",
                            (*t)->name);
    return WEIR_OK;
}

weir_status query_tokens_csv(const struct query_token_use *use, const char *list,
                             struct query_program *p, base_buf *header, weir_err *err)
{
    const char *at = list;
    for (;;) {
        const struct query_token *t;
        struct query_field f;
        weir_status s = query_column_next(use, &at, &t, &f, err);
        if (s == WEIR_END)
            break;
        if (s != WEIR_OK)
            return s;
        query_csv_column(use, t, t ? NULL : &f, p, header);
    }
    query_program_lit(p, "\n", 1);
    query_program_end(p, use->arena);
    base_buf_char(header, '\n');
    return finished(p, header, err);
}
