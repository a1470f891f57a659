"""What stands in export packets, as far as test_differential.py needs to know to tell why two readers differ.

A reading of its own, from RFC 3954 and RFC 7011: it shares nothing with the package that is tested.
"""
import struct

from netflow.ipfix import IPFIXFieldTypes
from netflow.v9 import V9_FIELD_TYPES

# What netflow 0.12.2 has names for.
OLD_V9_HIGHEST, OLD_IPFIX_HIGHEST = 104, 491
OLD_V9_ABOVE = {148, 152, 176, 177, 178, 179, 225, 226, 227, 228, 231, 232, 233, 281, 282, 323, 346, 33000, 33001, 33002,
                40000, 56701, 56702}
OLD_V9_MISSING = {43, 51, 65, 66, 67, 68, 69, 87, 97, 101}
OLD_IPFIX_MISSING = {*range(65, 70), *range(105, 128)}
V9_ADDRESSES = {8: 4, 12: 4, 15: 4, 18: 4, 27: 16, 28: 16, 62: 16, 63: 16}
OCTETS = {"octetArray", "string", "macAddress", "ipv4Address", "ipv6Address", "dateTimeMicroseconds",
          "dateTimeNanoseconds"}
VARIABLE = 65535


def old_knows_v9(number):
    return number in OLD_V9_ABOVE or (number <= OLD_V9_HIGHEST and number not in OLD_V9_MISSING)


def old_knows_ipfix(number):
    return number <= OLD_IPFIX_HIGHEST and number not in OLD_IPFIX_MISSING


class Template:
    """fields: (number, octets, enterprise number or None), scopes first."""

    def __init__(self, fields, n_scope, options):
        self.fields, self.n_scope, self.options = fields, n_scope, options

    def __eq__(self, other):
        return vars(self) == vars(other)

    @property
    def variable(self):
        return any(f[1] == VARIABLE for f in self.fields)

    @property
    def octets(self):
        return sum(f[1] for f in self.fields)


class Stream:
    """The packets of one templates dict, one after another."""

    def __init__(self):
        self.tables = {}  # (version, domain): {number: Template}
        self.shared = set()  # (version, number) that two domains have defined differently
        self.records = []

    def look(self, data):
        """What is in a packet, as a set of words."""
        self.has, self.ids = set(), set()
        self.records = []  # of IPFIX: whether each record is one of options; None when that cannot be told
        if len(data) < 2:
            return {"cut"}
        version = data[0] << 8 | data[1]
        if version in (1, 5, 7):
            head = {1: 16, 5: 24, 7: 24}[version]
            size = 52 if version == 7 else 48
            if len(data) < head or len(data) < head + size * (data[2] << 8 | data[3]):
                self.has.add("cut")
            if version == 7:
                self.has.add("v7")
        elif version == 9:
            self._v9(data)
        elif version == 10:
            self._ipfix(data)
        else:
            self.has.add("unknown-version")
        return self.has

    def _learn(self, key, number, template):
        self.ids.add(number)
        for (version, domain), table in self.tables.items():
            if version == key[0] and domain != key[1] and number in table and table[number] != template:
                self.shared.add((version, number))
        table = self.tables.setdefault(key, {})
        if template is None:
            self.has.add("withdrawal")
            table.pop(number, None)
        else:
            table[number] = template

    def _sets(self, data, off):
        while off < len(data):
            if len(data) - off < 4:
                self.has.add("tail")
                return
            number, size = struct.unpack_from("!HH", data, off)
            if size < 4:
                self.has.add("short-set")
                return
            if size > len(data) - off:
                self.has.add("cut")
                return
            yield number, data[off + 4:off + size], off
            off += size

    def _specifiers(self, body, off, n, enterprise):
        out = []
        for _ in range(n):
            if len(body) - off < 4:
                self.has.add("bad-template")
                return None, off
            number, size = struct.unpack_from("!HH", body, off)
            off += 4
            pen = None
            if enterprise and number & 0x8000:
                if len(body) - off < 4:
                    self.has.add("bad-template")
                    return None, off
                number, pen = number & 0x7FFF, struct.unpack_from("!I", body, off)[0]
                off += 4
            out.append((number, size, pen))
        return out, off

    def _v9(self, data):
        if len(data) < 20:
            self.has.add("cut")
            return
        key = 9, struct.unpack_from("!I", data, 16)[0]
        before = dict(self.tables.get(key, {}))
        sets = list(self._sets(data, 20))
        for number, body, _ in sets:
            off = 0
            if number == 0:
                while len(body) - off >= 4:
                    ident, n = struct.unpack_from("!HH", body, off)
                    if ident == 0 and n == 0 and not any(body[off:]):
                        self.has.add("template-padding")
                        break
                    fields, off = self._specifiers(body, off + 4, n, False)
                    if fields is None:
                        break
                    if n == 0 or ident < 256 or not sum(f[1] for f in fields):
                        self.has.add("bad-template")
                    if any(not old_knows_v9(f[0]) for f in fields):
                        self.has.add("v9-unknown-field")
                    self._learn(key, ident, Template(fields, 0, False))
                if len(body) - off in (1, 2, 3):
                    self.has.add("template-padding")
            elif number == 1:
                many = 0
                while len(body) - off >= 6:
                    many += 1
                    if many > 1:
                        self.has.add("v9-option-padding")
                    ident, scopes, options = struct.unpack_from("!HHH", body, off)
                    if ident == 0 and not any(body[off:]):
                        self.has.add("template-padding")
                        break
                    if scopes % 4 or options % 4:
                        self.has.add("bad-template")
                    fields, off = self._specifiers(body, off + 6, scopes // 4 + options // 4, False)
                    if fields is None:
                        break
                    numbers = [f[0] for f in fields]
                    if len(set(numbers[:scopes // 4])) + len(set(numbers[scopes // 4:])) != len(numbers):
                        self.has.add("repeated")
                    self._learn(key, ident, Template(fields, scopes // 4, True))
                if 0 < len(body) - off < 6:
                    self.has.add("template-padding")
        for number, body, off in sets:
            if 1 < number < 256:
                self.has.add("reserved-set")
            elif number > 255:
                self.ids.add(number)
                self._v9_data(key, number, body, data, off)
                if number not in before:
                    self.has.add("late" if number in self.tables.get(key, {}) else "unknown-template")

    def _v9_data(self, key, number, body, data, off):
        template = self.tables.get(key, {}).get(number)
        if (9, number) in self.shared:
            self.has.add("shared-id")
        if template is None:
            return
        if template.options:
            self.has.add("options")
            if any(not old_knows_v9(f[0]) for f in template.fields[template.n_scope:]):
                self.has.add("v9-unknown-option")
            if any(f[1] == VARIABLE for f in template.fields):
                self.has.add("variable")
            if template.octets and (len(body) % template.octets or template.octets % 4):
                self.has.add("v9-option-padding")
            return
        if template.variable:
            self.has.add("variable")
            return
        for f in template.fields:
            if not old_knows_v9(f[0]):
                self.has.add("v9-unknown-field")
            if f[0] in V9_ADDRESSES and f[1] not in (4, 16):
                self.has.add("v9-odd-address")
            if f[1] > 255:
                self.has.add("huge-integer")
        size = template.octets
        if not size:
            self.has.add("empty-record")
            return
        length, at, old = 4 + len(body), 4, 0
        while at <= length - (4 - length % 4):
            old, at = old + 1, at + size
        if old != len(body) // size:
            self.has.add("v9-padding")

    def _ipfix(self, data):
        if len(data) < 16:
            self.has.add("cut")
            return
        length, domain = struct.unpack_from("!H", data, 2)[0], struct.unpack_from("!I", data, 12)[0]
        if length > len(data) or length < 16:
            self.has.add("cut")
        elif length < len(data):
            self.has.add("several-messages")
        key = 10, domain
        missing = set()
        for number, body, _ in self._sets(data[:length], 16):
            if number in (2, 3):
                off, head = 0, 4
                while len(body) - off >= 4 and any(body[off:]):
                    ident, n = struct.unpack_from("!HH", body, off)
                    scopes = 0
                    if n and number == 3:
                        if len(body) - off < 6:
                            break
                        scopes, head = struct.unpack_from("!H", body, off + 4)[0], 6
                        if not 0 < scopes <= n:
                            self.has.add("bad-template")
                    fields, off = self._specifiers(body, off + (head if n else 4), n, True)
                    if fields is None:
                        break
                    if n and (ident < 256 or not sum(f[1] for f in fields)):
                        self.has.add("bad-template")
                    if not n and ident == number:
                        for known in list(self.tables.get(key, {})):
                            self._learn(key, known, None)
                        self.has.add("withdrawal")
                        continue
                    self._learn(key, ident, Template(fields, scopes, number == 3) if n else None)
                if off < len(body):
                    self.has.add("template-padding")
            elif number < 256:
                self.has.add("reserved-set")
            else:
                self.ids.add(number)
                if number not in self.tables.get(key, {}):
                    missing.add(number)
                self._ipfix_data(key, number, body)
        if missing & set(self.tables.get(key, {})):
            self.has.add("late")

    def _ipfix_data(self, key, number, body):
        template = self.tables.get(key, {}).get(number)
        if (10, number) in self.shared:
            self.has.add("shared-id")
        if template is None:
            self.has.add("unknown-template")
            return
        if template.options:
            self.has.add("options")
        seen = set()
        for ident, size, pen in template.fields:
            if pen is not None:
                self.has.add("enterprise")
            if size == VARIABLE:
                self.has.add("variable")
            elif not old_knows_ipfix(ident):
                self.has.add("unknown-element")
            else:
                kind = IPFIXFieldTypes.by_id(ident)
                kind = kind.type if kind else ""
                if kind not in OCTETS and size not in (1, 2, 4, 8):
                    self.has.add("odd-length")
                if kind in OCTETS and size > 255:
                    self.has.add("huge-integer")
                if kind.startswith("dateTimeM") and size != 8 or kind.startswith("dateTimeN") and size != 8:
                    self.has.add("odd-length")
            if ident in seen:
                self.has.add("repeated")
            seen.add(ident)
        if template.variable:
            self.records = None
        elif template.octets:
            if self.records is not None:
                self.records += [template.options] * (len(body) // template.octets)
            rest = len(body) % template.octets
            if rest and any(body[len(body) - rest:]):
                self.has.add("padding-not-zero")


assert V9_FIELD_TYPES[OLD_V9_HIGHEST] and IPFIXFieldTypes.by_id(OLD_IPFIX_HIGHEST)
