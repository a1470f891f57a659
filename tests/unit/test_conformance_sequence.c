/* Sequence numbers and loss: section G of tests/conformance.tsv. */
#include "conformance.h"

/* A template and one or three records; each message says where its numbers begin. */
#define T "S0002{ 0100 0001  0001 0004 }"
#define ONE "S0100{ 00000001 }"
#define THREE "S0100{ 00000001 00000002 00000003 }"
#define NONE                                                                                       \
    "sequence_lost=0 sequence_duplicated=0 sequence_out_of_order=0 sequence_resets=0 "             \
    "sequence_unsure=0"
/* One whole v5 record. */
#define FLOW "B00*48"

/* clang-format off */
static const struct row rows[] = {
    {"G01", "data records count", "I seq=0{" T THREE "} I seq=3{" ONE "} I seq=4{" ONE ONE "} I seq=6{}", NULL, NONE " records=6"},
    {"G01", "options data too", "I seq=0{S0003{0101 0002 0001 0095 0004 0029 0004} S0101{00000001 00000002 00000001 00000003}} I seq=2{}", NULL, NONE " options=2"},
    {"G01", "modulo 2^32", "I seq=4294967294{" T THREE "} I seq=1{" ONE "}", NULL, NONE},
    {"G01", "each domain by itself", "I dom=1 seq=0{" T ONE "} I dom=2 seq=500{" T ONE "} I dom=1 seq=1{" ONE "} I dom=2 seq=501{" ONE "}", NULL, NONE},
    {"G01", "the first number is only where counting begins", "I seq=123456789{" T ONE "} I seq=123456790{" ONE "}", NULL, NONE},
    {"G02", "templates and options templates do not", "I seq=7{" T "} I seq=7{S0003{0101 0001 0001 0095 0004}} I seq=7{" ONE "} I seq=8{}", NULL, NONE},
    {"G03", "one UDP source port is one stream of messages", "port=1 I seq=0{" T ONE "} port=2 I seq=900{" ONE "} port=1 I seq=1{" ONE "} port=2 I seq=901{" ONE "}", NULL, NONE},
    {"G03", "so is one connection", "tcp port=1 I seq=0{" T ONE "} port=2 I seq=900{" T ONE "} port=1 I seq=1{" ONE "} port=2 I seq=901{" ONE "}", NULL, NONE},
    {"G04", "a gap of n is n lost", "I seq=0{" T ONE "} I seq=11{" ONE "} I seq=12{" ONE "} I seq=18{" ONE "}", NULL, "sequence_lost=15 sequence_resets=0"},
    {"G05", "two messages swapped: nothing is lost, one out of order", "I seq=0{" T ONE "} I seq=4{" ONE "} I seq=1{" THREE "} I seq=5{" ONE "}", NULL,
     "sequence_lost=0 sequence_out_of_order=1 sequence_duplicated=0"},
    {"G05", "late out of the middle of a gap", "I seq=0{" T ONE "} I seq=10{" ONE "} I seq=4{" THREE "} I seq=11{" ONE "}", NULL, "sequence_lost=6 sequence_out_of_order=1"},
    {"G05", "late in two parts", "I seq=0{" T ONE "} I seq=10{" ONE "} I seq=4{" THREE "} I seq=7{" THREE "} I seq=11{" ONE "}", NULL, "sequence_lost=3 sequence_out_of_order=2 sequence_duplicated=0"},
    {"G06", "a message sent twice", "I seq=0{" T ONE "} I seq=1{" ONE "} I seq=1{" ONE "} I seq=2{" ONE "}", NULL, "sequence_duplicated=1 sequence_lost=0"},
    {"G06", "once late and once more", "I seq=0{" T ONE "} I seq=2{" ONE "} I seq=1{" ONE "} I seq=1{" ONE "}", NULL, "sequence_duplicated=1 sequence_out_of_order=1 sequence_lost=0"},
    {"G07", "a forged jump, then the true numbers", "I seq=0{" T ONE "} I seq=0x70000000{" ONE "} I seq=1{" ONE "} I seq=5{" ONE "}", NULL, "sequence_resets=0 sequence_lost=3"},
    {"G07", "a jump that goes on over half the circle takes back no more duplicates than it was counted for", "I seq=0{" T ONE "} I seq=0x80000000{" ONE "} I seq=0x80000001{" ONE "} I seq=0x80000002{" ONE "}", NULL,
     "sequence_resets=1 sequence_lost=0 sequence_duplicated=0"},
    {"G07", "exactly half the circle away, and nothing in it", "I seq=0{" T ONE "} I seq=0x80000001{} I seq=1{" ONE "} I seq=2{}", NULL, "sequence_out_of_order=0 sequence_lost=0 sequence_resets=0"},
    {"G07", "a jump that goes on is a restart", "I seq=0{" T ONE "} I seq=0x70000000{" ONE "} I seq=0x70000001{" ONE "} I seq=0x70000002{" ONE "}", NULL, "sequence_resets=1 sequence_lost=0"},
    {"G08", "a gap behind data that could not be counted", "I seq=0{" T ONE "} I seq=1{S0101{00000001}} I seq=4{" ONE "} I seq=7{" ONE "}", NULL, "sequence_unsure=1 sequence_lost=2"},
    {"G08", "data whose template came later in the message was counted", "I seq=0{" ONE T "} I seq=4{" ONE "}", NULL, "sequence_unsure=0 sequence_lost=3"},
    {"G08", "a jump to data that could not be counted", "I seq=0{" T ONE "} I seq=8000{S0101{00000001 00000002}} I seq=8002{" ONE "} I seq=8004{" ONE "}", NULL, "sequence_lost=8000 sequence_unsure=1"},
    {"G08", "a jump behind data that could not be counted", "I seq=0{" T ONE "} I seq=1{S0101{00000001}} I seq=8000{" ONE "} I seq=8001{" ONE "} I seq=8004{" ONE "}", NULL, "sequence_lost=2 sequence_unsure=1"},
    {"G09", "the wrap is no loss", "I seq=4294967295{" T ONE "} I seq=0{" ONE "} I seq=1{" ONE "}", NULL, NONE},
    {"G09", "a wrap with a gap", "I seq=4294967295{" T ONE "} I seq=2{" ONE "}", NULL, "sequence_lost=2 sequence_resets=0"},
    {"G09", "a restart of an IPFIX exporter", "I seq=5000000{" T ONE "} I seq=0{" T ONE "} I seq=1{" ONE "} I seq=2{" ONE "} I seq=3{" ONE "}", NULL, "sequence_resets=1 sequence_lost=0 sequence_duplicated=0"},
    {"G09", "a restart of a v9 exporter, told by its uptime", "N seq=5000 up=900000 time=1700000000{} N seq=0 up=1000 time=1700000060{} N seq=1 up=2000 time=1700000061{}", NULL,
     "restarts=1 sequence_resets=1 sequence_lost=0 sequence_duplicated=0"},
    {"G09", "a gap from before a restart stays lost", "I seq=0{" T ONE "} I seq=11{" ONE "} I seq=0x70000000{" ONE "} I seq=0x70000001{" ONE "} I seq=5{" ONE "}", NULL,
     "sequence_lost=10 sequence_resets=1 sequence_out_of_order=0"},
    {"G10", "a jump of 100000 packets is no loss", "N seq=0{} N seq=100000{} N seq=100001{}", NULL, "sequence_lost=0 sequence_resets=1"},
    {"G10", "v9 counts packets, whatever is in them", "N seq=5 count=4{S0000{0100 0001 0001 0004} S0100{00000001 00000002 00000003}} N seq=6{} N seq=9{}", NULL, "sequence_lost=2"},
    {"G11", "v5 counts flows", "F5 seq=100 count=2{" FLOW FLOW "} F5 seq=102 count=1{" FLOW "} F5 seq=110 count=1{" FLOW "}", NULL, "sequence_lost=7"},
    {"G11", "v7 too", "F7 seq=100 count=2{B00*104} F7 seq=102 count=1{B00*52} F7 seq=104 count=1{B00*52}", NULL, "sequence_lost=1"},
    {"G11", "engines of v5 count by themselves", "F5 dom=0 seq=100{" FLOW "} F5 dom=1 seq=900{" FLOW "} F5 dom=0 seq=101{" FLOW "} F5 dom=1 seq=901{" FLOW "}", NULL, NONE},
    {"G12", "IPFIX that counts its own flows too", "I seq=1{" T ONE "} I seq=4{" THREE "} I seq=5{" ONE "} I seq=8{" THREE "} I seq=9{" ONE "} I seq=12{" THREE "} I seq=14{" ONE "}", NULL, "sequence_lost=1 sequence_duplicated=0 sequence_unsure=0 sequence_resets=0"},
    {"G12", "IPFIX that counts messages", "I seq=1{" T THREE "} I seq=2{" THREE "} I seq=3{" THREE "} I seq=4{" THREE "} I seq=6{" THREE "} I seq=7{" THREE "}", NULL, "sequence_lost=1 sequence_duplicated=0 sequence_unsure=0 sequence_resets=0"},
    {"G12", "v5 that counts packets", "F5 seq=1 count=2{" FLOW FLOW "} F5 seq=2 count=2{" FLOW FLOW "} F5 seq=3 count=2{" FLOW FLOW "} F5 seq=4 count=2{" FLOW FLOW "} F5 seq=7 count=1{" FLOW "}", NULL, "sequence_lost=2 sequence_duplicated=0 sequence_resets=0"},
    {"G12", "every second packet of v9, with two flows each, is loss", "N seq=1 count=2{S0000{0100 0001 0001 0004} S0100{00000001 00000002}} N seq=3 count=2{S0100{00000001 00000002}} N seq=5 count=2{S0100{00000001 00000002}} N seq=7 count=2{S0100{00000001 00000002}} N seq=8 count=2{} finish", NULL, "sequence_lost=3 sequence_unsure=0"},
    {"G11", "v1 has no numbers", "F1{" FLOW "} F1{" FLOW "}", NULL, NONE " flows=2"},
};
/* clang-format on */

static void G11_the_unit_is_labelled(void **state)
{
    (void)state;
    assert_string_equal(weir_sequence_unit(1), "");
    assert_string_equal(weir_sequence_unit(5), "flows");
    assert_string_equal(weir_sequence_unit(7), "flows");
    assert_string_equal(weir_sequence_unit(9), "packets");
    assert_string_equal(weir_sequence_unit(10), "records");
}

int main(void)
{
    static const struct CMUnitTest functions[] = {cmocka_unit_test(G11_the_unit_is_labelled)};
    return conformance_main("conformance_sequence", conformance_row, rows, UNIT_N(rows), functions,
                            UNIT_N(functions));
}
