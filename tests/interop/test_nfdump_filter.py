#!/usr/bin/env python3
"""Filters that nfdump takes are taken by weir query -Z too, and what nfdump refuses as nonsense is refused.

Debian's nfdump 1.7 is asked as well when it is installed; without it only our half of the lists is tested. Host names
are left out: both programs would ask the resolver of the machine.
"""
import os
import shutil
import subprocess
import sys
import unittest

WEIR = os.environ.get("WEIR", "weir")
NFDUMP = shutil.which("nfdump")

# Taken by nfdump 1.7.1 and later, and by us.
BOTH = """
any
not any
any and any
ipv4
ipv6
ipv4 and not ipv6
proto tcp
PROTO TCP
proto 6
proto icmp6
proto gre
proto sctp
tun proto 6
tun proto tcp
ip 192.0.2.1
host 192.0.2.1
ip 2001:db8::1
ip ::
src ip 192.0.2.1
dst host 192.0.2.1
src and dst ip 192.0.2.1
src or dst ip 192.0.2.1
dst and src ip 192.0.2.1
ip in [192.0.2.1]
ip in [192.0.2.1 10.0.0.0/8]
src ip in [192.0.2.1 10.0.0.0/8 2001:db8::/32]
src or dst ip in [192.0.2.1]
dst ip in [ 172.16.14.16/29 ]
next ip 192.0.2.1
next ip in [192.0.2.1]
router ip 192.0.2.1
net 10.0.0.0/8
net 10.0.0.1/8
net 10.0.0.0 255.0.0.0
src net 10.0.0.0/8
src or dst net 10.0.0.0/8
net fe80::/64
port 80
port = 80
port == 80
port eq 80
port EQ 80
port > 80
port gt 80
port < 80
port lt 80
port >= 80
port ge 80
port <= 80
port le 80
port 0x50
port 1k
port in [80 443]
port in [80, 443]
port in [80,443]
port in [80 , 443]
src port in [80]
src port > 80
src and dst port > 5
src or dst port in [1 2]
icmp-type 8
icmp-code 3
flags S
flags SA
flags X
flags AFRSPUX
flags = 2
flags > 2
flags 0x12
flags S and not flags AFRPU
tos 8
tos 0xff
tos > 8
src tos 8
dst tos 8
packets 1
packets = 0x1F
packets > 1k
in packets > 1
out packets > 1
bytes > 1m
bytes > 1g
bytes > 1t
in bytes > 1
out bytes > 1
flows > 5
duration > 100
pps > 1
bps > 1k
bpp > 1
if 1
in if 1
out if 1
as 1
as > 1
as in [1 2]
src as in [1 2]
src as > 5
src and dst as 5
prev as 1
next as 1
mask 24
src mask 24
src or dst mask 24
vlan 5
src vlan 5
src or dst vlan 5
mac 00:00:5e:00:53:01
mac 0:1:2:3:4:5
in mac 00:00:5e:00:53:01
out mac 00:00:5e:00:53:01
in src mac 00:00:5e:00:53:01
in dst mac 00:00:5e:00:53:01
out src mac 00:00:5e:00:53:01
out dst mac 00:00:5e:00:53:01
mpls label1 3
mpls label2 > 3
mpls label10 3
mpls exp1 3
mpls eos 1
mpls any 3
flowdir ingress
flowdir egress
flowdir 1
fwdstat Forw
fwdstat forw
fwdstat Ukwn
fwdstat DbadTTL
fwdstat 64
geo CH
src geo CH
dst geo ch
src and dst geo US
count > 5
engine-type 1
engine-id 1
engine-id > 1
observation domain id 1
observation point id 1
client latency 1
client latency > 1
server latency > 1
ingress vrf 1
egress vrf 1
asa event create
asa event delete
asa event ignore
asa event 1
asa event > 1
asa event denied nosyn
asa xevent > 1
nat event add
nat event delete
nat event > 1
ingress acl 1
not proto tcp
! proto tcp
!proto tcp
not not proto tcp
not(proto tcp)
(proto tcp)
((proto tcp))
proto tcp or proto udp and port 53
(src port = 80) and not (dst port = 80)
proto tcp # comment
proto tcp#comment
proto tcp && port 80
proto tcp || port 80
"""

# Only of some versions of nfdump; we take all of them.
SOME = """
inet
inet6
xip 192.0.2.1
src xip 192.0.2.1
src xnet 10.0.0.0/8
src xport > 80
nip 192.0.2.1
src nport 80
bgpnext ip 192.0.2.1
bgp next ip 192.0.2.1
src tunip 192.0.2.1
src tun ip 192.0.2.1
tun ip 192.0.2.1
exporter ip 192.0.2.1
src nat ip 192.0.2.1
nat ip 192.0.2.1
dst xlate ip 192.0.2.1
src nat port 80
port in pblock
port in nat pblock
pblock start > 5
nat pblock size 64
icmp type 8
icmp code > 3
min ttl 3
max ttl > 3
ttl 64
ttl equal
first seen 2026
first seen > 2026-11-22T10:11
last seen < 2026-11-22
prev as in [1 2]
etherType 0x800
cnt 5
engine type 1
engine id 1
asa event denied
asa denied ingress
asa event term
asa event deny
nat event create
egress acl 5
ingress ace 5
flags CE
if = 5
ip in [192.0.2.1, 10.0.0.0/8]
"""

# Refused by nfdump 1.7.1 and later, and by us.
NEITHER = """
()
(proto tcp
proto tcp)
and proto 6
proto 6 and
or
not
proto
proto foo
proto 300
proto -1
prto tcp
tcp
1
proto tcp port 80
src port 80 dst port 90
src bytes > 1
port http
port 70000
port 0x1ffff
port -5
port in []
port in 80
port in [80,]
port in [,80]
port in [80;443]
port src 80
bytes > 1.5k
duration 5s
ip 10.1
net 10/8
net 10.0.0.0
net 10.0.0.0/33
ip in []
mac 001122334455
mpls label11 3
mpls exp3 9
tos 300
as 4294967296
fwdstat nothing
geo USA
nat event foo
include file
in or out label 5
"""


def lines(text):
    return [line for line in text.split("\n") if line]


def status(argv, text):
    return subprocess.run(argv + ["-Z", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=30, check=False)


class Filters(unittest.TestCase):
    def ours(self, text, expected):
        done = status([WEIR, "query"], text)
        with self.subTest(filter=text):
            self.assertEqual(done.returncode, expected, done.stderr.decode())
            if expected:
                self.assertIn("^", done.stderr.decode())
                self.assertEqual(done.stdout, b"")

    def theirs(self, text, expected):
        done = status([NFDUMP], text)
        with self.subTest(filter=text, program="nfdump"):
            self.assertEqual(done.returncode, expected, done.stdout + done.stderr)

    def test_taken(self):
        for text in lines(BOTH) + lines(SOME):
            self.ours(text, 0)

    def test_refused(self):
        for text in lines(NEITHER):
            self.ours(text, 254)

    @unittest.skipUnless(NFDUMP, "nfdump is not installed: its half of the comparison is left out")
    def test_nfdump(self):
        for text in lines(BOTH):
            self.theirs(text, 0)
        for text in lines(NEITHER):
            self.theirs(text, 254)


if __name__ == "__main__":
    sys.exit(unittest.main())
