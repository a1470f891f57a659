"""IPFIX (RFC 7011): messages, sets, templates and records; the Information Elements by number and by name."""

import functools
import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from . import _weir
from ._names import IPFIX_KNOWN
from ._packets import MalformedPacket, _restore


class FieldType(NamedTuple):
    """An Information Element: its number, name and abstract data type."""
    id: int
    name: str
    type: str


class DataType(NamedTuple):
    """An abstract data type and its format in the module struct, None without one."""
    type: str
    unpack_format: Optional[str]


class TemplateField(NamedTuple):
    """A field of a template: Information Element and length in octets (65535: variable)."""
    id: int
    length: int


class TemplateFieldEnterprise(NamedTuple):
    """The same of an enterprise."""
    id: int
    length: int
    enterprise_number: int


class IPFIXFieldTypes:
    """The Information Elements of IANA, from the registry."""

    #: (number, name, type), in the order of their numbers.
    iana_field_types: List[Tuple[int, str, str]] = [
        (number, IPFIX_KNOWN.get(number, name), kind) for pen, number, name, _, kind, *_ in _weir.elements("ipfix") if pen == 0]

    _by_id: Dict[int, FieldType] = {row[0]: FieldType(*row) for row in iana_field_types}
    _by_name: Dict[str, FieldType] = {row[1]: FieldType(*row) for row in iana_field_types}

    @classmethod
    def by_id(cls, id_: int) -> Optional[FieldType]:
        """The element with this number, or None."""
        return cls._by_id.get(id_)

    @classmethod
    def by_name(cls, key: str) -> Optional[FieldType]:
        """The element with this name, or None."""
        return cls._by_name.get(key)

    @classmethod
    def get_type_unpack(cls, key: Union[int, str]) -> "Optional[DataType]":
        """The data type of the element with this number or name, or None."""
        item = cls.by_id(key) if isinstance(key, int) else cls.by_name(key)
        return IPFIXDataTypes.by_name(item.type) if item else None


class IPFIXDataTypes:
    """Abstract data types (RFC 7011 section 6.1)."""

    #: (name, format in the module struct).
    iana_data_types: List[Tuple[str, Optional[str]]] = [
        ("octetArray", None), ("unsigned8", "B"), ("unsigned16", "H"), ("unsigned32", "I"), ("unsigned64", "Q"),
        ("signed8", "b"), ("signed16", "h"), ("signed32", "i"), ("signed64", "q"), ("float32", "f"), ("float64", "d"),
        ("boolean", "?"), ("macAddress", "6s"), ("string", None), ("dateTimeSeconds", "I"), ("dateTimeMilliseconds", "Q"),
        ("dateTimeMicroseconds", "8s"), ("dateTimeNanoseconds", "8s"), ("ipv4Address", "4s"), ("ipv6Address", "16s")]

    @classmethod
    def by_name(cls, key: str) -> Optional[DataType]:
        """The data type with this name, or None."""
        return next((DataType(*row) for row in cls.iana_data_types if row[0] == key), None)

    @staticmethod
    def _named(dt: Union[DataType, str]) -> str:
        return dt.type if isinstance(dt, DataType) else dt

    @classmethod
    def is_signed(cls, dt: Union[DataType, str]) -> bool:
        """Whether it is a signed integer."""
        return cls._named(dt) in ("signed8", "signed16", "signed32", "signed64")

    @classmethod
    def is_float(cls, dt: Union[DataType, str]) -> bool:
        """Whether it is a floating point number."""
        return cls._named(dt) in ("float32", "float64")

    @classmethod
    def is_bytes(cls, dt: Union[DataType, str]) -> bool:
        """Whether its values are octets to begin with."""
        return cls._named(dt) in ("octetArray", "string", "macAddress", "ipv4Address", "ipv6Address", "dateTimeMicroseconds",
                                  "dateTimeNanoseconds")

    @classmethod
    def to_fitting_object(cls, field: Any) -> None:
        """Does nothing, as in netflow 0.12.2."""


class IPFIXMalformedPacket(MalformedPacket):
    """A message contradicts itself."""


class IPFIXRFCError(IPFIXMalformedPacket):
    """A set has an id that RFC 7011 forbids."""


IPFIXMalformedPacket.reserved = IPFIXRFCError  # type: ignore[attr-defined]


class IPFIXMalformedRecord(MalformedPacket):
    """A record is cut."""


class IPFIXTemplateError(MalformedPacket):
    """A template cannot be."""


class IPFIXTemplateNotRecognized(KeyError):
    """A data set refers to a template that is not among those that were passed."""


class PaddingCalculationError(MalformedPacket):
    """What netflow 0.12.2 raises when padding is not zero; never raised here."""


_HEADER = struct.Struct("!HHIII")
_SET = struct.Struct("!HH")


class IPFIXHeader:
    """The header: version, length (octets of the message), export_uptime (s since 1970), sequence_number and
    obervation_domain_id (spelt so for those who use it; observation_domain_id is the same)."""

    size = 16  #: octets

    def __init__(self, data: bytes):
        try:
            (self.version, self.length, self.export_uptime, self.sequence_number,
             self.obervation_domain_id) = _HEADER.unpack_from(data)
        except struct.error as why:
            raise IPFIXMalformedPacket(f"IPFIX header: {why}") from None

    @property
    def observation_domain_id(self) -> int:
        """The observation domain."""
        return self.obervation_domain_id

    def to_dict(self) -> Dict[str, int]:
        """The values by name."""
        return self.__dict__


_AnyField = Union[TemplateField, TemplateFieldEnterprise]


class IPFIXTemplate(List[_AnyField]):
    """The fields of a template, a list: what the dict of templates holds."""

    _handle: Any = None
    scope_field_count = 0  #: so many of them, the first, are scopes
    options = False  #: whether it is an options template

    def _definition(self) -> Tuple[List[Tuple[int, int, Optional[int]]], int, bool]:
        rows = [(f.id, f.length, getattr(f, "enterprise_number", None)) for f in self]
        return rows, self.scope_field_count, self.options

    def __reduce__(self):
        return _restore_template, (list(self), self.scope_field_count, self.options)


def _restore_template(fields: List[_AnyField], n_scope: int, options: bool, handle: Any = None) -> IPFIXTemplate:
    made = IPFIXTemplate(fields)
    made.scope_field_count = n_scope
    made.options = options
    made._handle = handle
    return made


@functools.lru_cache(maxsize=4096)
def _field(number: int, length: int, enterprise: Optional[int]) -> _AnyField:
    """A field of a template; those that come again are one object."""
    return TemplateField(number, length) if enterprise is None else TemplateFieldEnterprise(number, length, enterprise)


def _make_template(handle: Any, rows: List[Tuple[int, int, Optional[int]]], n_scope: int, options: bool) -> IPFIXTemplate:
    """A template as a decoder has learnt it."""
    return _restore_template([_field(*row) for row in rows], n_scope, options, handle)


class IPFIXTemplateRecord:
    """A template record: `template_id`, `field_count`, `fields`. Without fields it is a withdrawal."""

    def __init__(self, data: bytes):
        if len(data) < 4:
            raise IPFIXMalformedRecord(f"a template record has at least 4 octets, not {len(data)}")
        self.template_id, self.field_count = _SET.unpack_from(data)
        self.fields, octets = parse_fields(data[4:], self.field_count)
        self._length = 4 + octets

    def get_length(self) -> int:
        """Its octets."""
        return self._length

    def __repr__(self) -> str:
        return f"<IPFIXTemplateRecord with {len(self.fields)} fields>"


class IPFIXOptionsTemplateRecord:
    """An options template record: `template_id`, `field_count` (scopes included), `scope_field_count`, `scope_fields`,
    `fields`."""

    def __init__(self, data: bytes):
        self.template_id, self.field_count = _SET.unpack_from(data) if len(data) >= 4 else (0, -1)
        if self.field_count < 0 or (self.field_count and len(data) < 6):
            raise IPFIXMalformedRecord(f"an options template record has at least 6 octets, not {len(data)}")
        self.scope_field_count = int.from_bytes(data[4:6], "big") if self.field_count else 0
        if self.scope_field_count > self.field_count:
            raise IPFIXMalformedRecord(f"options template {self.template_id} has {self.scope_field_count} scopes of "
                                       f"{self.field_count} fields")
        at = 6 if self.field_count else 4
        self.scope_fields, octets = parse_fields(data[at:], self.scope_field_count)
        at += octets
        self.fields, octets = parse_fields(data[at:], self.field_count - self.scope_field_count)
        self._length = at + octets

    def get_length(self) -> int:
        """Its octets."""
        return self._length

    def __repr__(self) -> str:
        return f"<IPFIXOptionsTemplateRecord with {len(self.scope_fields)} scope fields and {len(self.fields)} fields>"


@_weir.record_type
class IPFIXDataRecord(_weir.Record):
    """One record. `data` is a dict of its values, which are attributes too: `flow.octetDeltaCount`."""

    __slots__ = ()

    def __new__(cls, data: bytes, template: List[_AnyField]):
        body = bytes(data)
        if all(f.length != 65535 for f in template):
            body = body[:sum(f.length for f in template)]
        records = _message(_SET.pack(256, 4 + len(body)) + body, {256: template}).flows
        if not records:
            raise IPFIXMalformedRecord(f"{len(data)} octets are no record of the template")
        flow = records[0]
        if cls is type(flow):
            return flow
        return _weir._restore_record(cls, flow.data, None, None, flow.get_length(),
                                     {n.name: n.id for n in map(IPFIXFieldTypes.by_id, (f.id for f in template)) if n})

    @property
    def fields(self) -> set:
        """Pairs (number of the element, value)."""
        return self._fields

    def get_length(self) -> int:
        """Its octets."""
        return self._get_length()

    def __repr__(self) -> str:
        return f"<IPFIXDataRecord with {len(self.data)} entries>"


class IPFIXSetHeader:
    """The header of a set: `set_id` (2: templates, 3: options templates, from 256 on: data), `length` in octets."""

    size = 4  #: octets

    def __init__(self, data: bytes):
        if len(data) < 4:
            raise IPFIXMalformedPacket(f"a set has at least 4 octets, not {len(data)}")
        self.set_id, self.length = _SET.unpack_from(data)
        if self.set_id < 2 or 3 < self.set_id < 256:
            raise IPFIXRFCError(f"IPFIX set has forbidden ID {self.set_id}")

    def to_dict(self) -> Dict[str, int]:
        """The values by name."""
        return self.__dict__

    def __repr__(self) -> str:
        return f"<IPFIXSetHeader with set_id {self.set_id} and length {self.length}>"


class IPFIXSet:
    """A set: `header`, `records` (of templates or data), `templates` by id (None: withdrawn)."""

    def __init__(self, data: bytes, templates: Dict[int, Any]):
        self.header = IPFIXSetHeader(data)
        if self.header.length < 4 or self.header.length > len(data):
            raise IPFIXMalformedPacket(f"set {self.header.set_id} says it has {self.header.length} octets of {len(data)}")
        self._data = bytes(data[:self.header.length])
        self._templates, self.records = _template_records(self._data)
        if self.is_data:
            packet = _message(self._data, dict(templates))
            self.records = packet.flows + packet.options

    @classmethod
    def _of(cls, data: bytes, records: list) -> "IPFIXSet":
        made = cls.__new__(cls)
        made.header = IPFIXSetHeader(data)
        made._templates, made.records = _template_records(data)
        if made.is_data:
            made.records = records
        return made

    def get_length(self) -> int:
        """Its octets."""
        return self.header.length

    @property
    def is_template(self) -> bool:
        """Whether it defines templates."""
        return self.header.set_id in (2, 3)

    @property
    def is_data(self) -> bool:
        """Whether it has data records."""
        return self.header.set_id >= 256

    @property
    def templates(self) -> Dict[int, Any]:
        """The fields of the templates that it defines, by id."""
        return self._templates

    def __repr__(self) -> str:
        return f"<IPFIXSet with set_id {self.header.set_id} and {len(self.records)} records>"


def _template_records(data: bytes) -> Tuple[Dict[int, Any], list]:
    """What a template set holds: fields by id, and records. Nothing of a data set."""
    number, length = _SET.unpack_from(data)
    templates: Dict[int, Any] = {}
    records: list = []
    at = 4
    while number in (2, 3) and length - at >= 4 and any(data[at:length]):
        record: Any = (IPFIXTemplateRecord if number == 2 else IPFIXOptionsTemplateRecord)(data[at:length])
        records.append(record)
        fields = record.fields if number == 2 else record.scope_fields + record.fields
        templates[record.template_id] = fields if record.field_count else None
        at += record.get_length()
    return templates, records


def _message(sets: bytes, templates: Dict[int, Any]) -> "IPFIXExportPacket":
    return IPFIXExportPacket(_HEADER.pack(10, 16 + len(sets), 0, 0, 0) + sets, templates)


class IPFIXExportPacket(_weir.Packet):
    """A message: `header`, `sets`, `flows` and `options` (both IPFIXDataRecord), and `templates`, the caller's dict, into which
    its templates went.

    Raises IPFIXTemplateNotRecognized when a data set has no template there (its templates are kept then)."""

    _header_type = IPFIXHeader

    def __init__(self, data: bytes, templates: Dict[int, Any]):
        self._decode(data, 10, templates)

    @property
    def sets(self) -> List[IPFIXSet]:
        """Its sets, in order."""
        made = self.__dict__.get("_sets")
        if made is None:
            made = self.__dict__["_sets"] = list(self._make_sets())
        return made

    def _make_sets(self) -> Iterator[IPFIXSet]:
        iterators = {False: iter(self.flows), True: iter(self.options)}
        # Records of a set that was decoded late stand behind those of the others.
        records: Dict[int, list] = {}
        starts = []
        at = IPFIXHeader.size
        while at + 4 <= self.header.length:
            length = _SET.unpack_from(self._raw, at)[1]
            starts.append((at, length))
            if length < 4:
                break
            at += length
        for octet, count, options in self._places():
            start = max((s for s, _ in starts if s <= octet), default=0)
            records.setdefault(start, []).extend(next(iterators[options]) for _ in range(count))
        for start, length in starts:
            yield IPFIXSet._of(self._raw[start:start + length], records.get(start, []))

    @property
    def contains_new_templates(self) -> bool:
        """Whether it has a template set."""
        return self._new_templates

    @property
    def templates(self) -> Dict[int, Any]:
        """The dict of templates that was passed."""
        return self._templates

    def __repr__(self) -> str:
        return f"<IPFIXExportPacket with {len(self.sets)} sets, exported at {self.header.export_uptime}>"

    def __reduce__(self):
        self.sets  # made while the octets are there
        return _restore, (type(self), self._raw, self.flows, self.__dict__, self.options, self._new_templates,
                          self._templates)


def parse_fields(data: bytes, count: int) -> Tuple[List[_AnyField], int]:
    """The first `count` field specifiers in `data`, and their octets."""
    fields: List[_AnyField] = []
    at = 0
    try:
        for _ in range(count):
            number, length = _SET.unpack_from(data, at)
            at += 4
            if number & 0x8000:
                fields.append(TemplateFieldEnterprise(number & 0x7fff, length, struct.unpack_from("!I", data, at)[0]))
                at += 4
            else:
                fields.append(TemplateField(number, length))
    except struct.error:
        raise IPFIXMalformedRecord(f"{count} fields do not fit into {len(data)} octets") from None
    return fields, at


def rest_is_padding_zeroes(data: bytes, offset: int) -> bool:
    """Whether nothing but zeroes stands from `offset` on."""
    if offset > len(data):
        raise ValueError(f"offset {offset} is behind the {len(data)} octets")
    return not any(data[offset:])
