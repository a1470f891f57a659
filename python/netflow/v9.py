"""NetFlow version 9 (RFC 3954): packets, templates, flows and options records."""

import struct
from typing import Any, Dict, List, Optional, Tuple

from . import _weir
from ._names import V9_KNOWN
from ._packets import MalformedPacket, _restore

__all__ = ["V9DataFlowSet", "V9DataRecord", "V9ExportPacket", "V9Header", "V9TemplateField",
           "V9TemplateFlowSet", "V9TemplateNotRecognized", "V9TemplateRecord",
           "V9OptionsTemplateFlowSet", "V9OptionsTemplateRecord", "V9OptionsDataRecord"]

#: Numbers of the fields whose values are text of an address.
V9_FIELD_TYPES_CONTAINING_IP = [8, 12, 15, 18, 27, 28, 62, 63]


def _field_types() -> Dict[int, str]:
    types = {0: "UNKNOWN_FIELD_TYPE"}
    for pen, number, name, v9_name, *_ in _weir.elements("v9"):
        if pen == 0:
            types[number] = v9_name or name
    types.update(V9_KNOWN)
    return types


#: Name of each field type, from the registry.
V9_FIELD_TYPES: Dict[int, str] = _field_types()

V9_SCOPE_TYPES = {1: "System", 2: "Interface", 3: "Line Card", 4: "Cache", 5: "Template"}

_Row = Tuple[int, int, Optional[int]]


class V9TemplateNotRecognized(KeyError):
    """A data flow set refers to a template that is not among those that were passed."""


@_weir.record_type
class V9DataRecord(_weir.Record):
    """One flow. `data` is a dict of its values, which are attributes too: `flow.IN_BYTES`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<DataRecord with data: {self.data}>"


@_weir.record_type
class V9OptionsDataRecord(_weir.Record):
    """One options record: `scopes` says what it is about, `data` what is said."""

    __slots__ = ()

    @property
    def scopes(self) -> Dict[Any, Any]:
        """Values of the scope fields by name, or by number where that has none."""
        return self._scopes

    @scopes.setter
    def scopes(self, value: Dict[Any, Any]) -> None:
        self._scopes = value

    def __repr__(self) -> str:
        return f"<V9OptionsDataRecord with scopes {self.scopes.keys()} and data {self.data.keys()}>"


class V9TemplateField:
    """A field of a template: `field_type` (a number) and `field_length` in octets."""

    def __init__(self, field_type: int, field_length: int):
        self.field_type = field_type
        self.field_length = field_length

    def __repr__(self) -> str:
        return f"<TemplateField type {self.field_type}:{_name(self.field_type)}, length {self.field_length}>"


def _name(number: int) -> str:
    return V9_FIELD_TYPES.get(number, V9_FIELD_TYPES[0])


class _Template:
    """What a decoder knows of a template stays with it: `_handle`, which also has the fields until they are asked for. Copies are
    taught anew."""

    _handle: Any = None

    def __getstate__(self) -> Dict[str, Any]:
        self._show()
        return {name: value for name, value in self.__dict__.items() if name != "_handle"}

    def _show(self) -> None:
        """Make the objects that the fields are."""
        raise NotImplementedError

    def _shown(self, name: str) -> Any:
        self._show()
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None


class V9TemplateRecord(_Template):
    """A template: `template_id`, `field_count` and `fields`, a list of V9TemplateField."""

    def __init__(self, template_id: int, field_count: int, fields: List[V9TemplateField]):
        self.template_id = template_id
        self.field_count = field_count
        self.fields = fields

    @property
    def fields(self) -> List[V9TemplateField]:
        """Its fields: what is changed there is so from the next packet on."""
        return self._shown("fields")

    @fields.setter
    def fields(self, value: List[V9TemplateField]) -> None:
        if self._handle is not None:
            self._handle._show()
        self.__dict__["fields"] = value

    def _show(self) -> None:
        if self._handle is not None and "fields" not in self.__dict__:
            self.__dict__["fields"] = [V9TemplateField(number, length) for number, length, _ in self._handle._show()]

    def _definition(self) -> Tuple[List[_Row], int, bool]:
        return [(f.field_type, f.field_length, None) for f in self.fields], 0, False

    def __repr__(self) -> str:
        return f"<TemplateRecord {self.template_id} with {self.field_count} fields: " \
               f"{' '.join(_name(f.field_type) for f in self.fields)}>"


class V9OptionsTemplateRecord(_Template):
    """An options template: `scope_fields` and `option_fields` are dicts, type to length."""

    _rows: Optional[Tuple[List[_Row], int]] = None  # as sent, repeated fields included
    _n_scope = 0

    def __init__(self, template_id: int, scope_fields: Dict[int, int], option_fields: Dict[int, int]):
        self.template_id = template_id
        self.scope_fields = scope_fields
        self.option_fields = option_fields

    @property
    def scope_fields(self) -> Dict[int, int]:
        """What the records are about: what is changed there is so from the next packet on."""
        return self._shown("scope_fields")

    @scope_fields.setter
    def scope_fields(self, value: Dict[int, int]) -> None:
        self._show()
        self.__dict__["scope_fields"] = value

    @property
    def option_fields(self) -> Dict[int, int]:
        """What the records say: as scope_fields."""
        return self._shown("option_fields")

    @option_fields.setter
    def option_fields(self, value: Dict[int, int]) -> None:
        self._show()
        self.__dict__["option_fields"] = value

    def _show(self) -> None:
        if self._handle is not None and "scope_fields" not in self.__dict__:
            rows = self._handle._show()
            self._rows = rows, self._n_scope
            self.__dict__["scope_fields"] = _lengths(rows[:self._n_scope])
            self.__dict__["option_fields"] = _lengths(rows[self._n_scope:])

    def _definition(self) -> Tuple[List[_Row], int, bool]:
        scopes, options = list(self.scope_fields.items()), list(self.option_fields.items())
        if self._rows:
            rows, n_scope = self._rows
            if [list(_lengths(part).items()) for part in (rows[:n_scope], rows[n_scope:])] == [scopes, options]:
                return rows, n_scope, True
        return [(number, length, None) for number, length in scopes + options], len(scopes), True

    def __repr__(self) -> str:
        return f"<V9OptionsTemplateRecord with scope fields {self.scope_fields.keys()} and option fields " \
               f"{self.option_fields.keys()}>"


def _lengths(rows: List[_Row]) -> Dict[int, int]:
    return {number: length for number, length, _ in rows}


def _make_template(handle: Any, template_id: int, n_fields: int, n_scope: int, options: bool) -> _Template:
    """A template as a decoder has learnt it."""
    made: Any
    if options:
        made = V9OptionsTemplateRecord.__new__(V9OptionsTemplateRecord)
        made._n_scope = n_scope
    else:
        made = V9TemplateRecord.__new__(V9TemplateRecord)
        made.field_count = n_fields
    made.template_id = template_id
    made._handle = handle
    return made


_HEADER = struct.Struct("!HHIIII")
_SET = struct.Struct("!HH")


class V9Header:
    """The header: version, count (of records), uptime (ms), timestamp (s since 1970), sequence and source_id."""

    length = 20  #: octets

    def __init__(self, data: bytes):
        try:
            self.version, self.count, self.uptime, self.timestamp, self.sequence, self.source_id = _HEADER.unpack_from(data)
        except struct.error as why:
            raise MalformedPacket(f"v9 header: {why}") from None

    def to_dict(self) -> Dict[str, int]:
        """The values by name."""
        return self.__dict__


class V9ExportPacket(_weir.Packet):
    """A packet: `header`, `flows` (V9DataRecord), `options` (V9OptionsDataRecord) and `templates`, the caller's dict, into
    which its templates went.

    Raises V9TemplateNotRecognized when a data flow set has no template there (its templates are kept then)."""

    _header_type = V9Header

    def __init__(self, data: bytes, templates: Dict[int, Any]):
        self._decode(data, 9, templates)

    @property
    def contains_new_templates(self) -> bool:
        """Whether it brought a template with an id that the dict had not."""
        return self._new_templates

    @property
    def templates(self) -> Dict[int, Any]:
        """The dict of templates that was passed."""
        return self._templates

    def __repr__(self) -> str:
        new = " and new template(s)" if self.contains_new_templates else ""
        return f"<V9ExportPacket with {self.header.count} records{new}>"

    def __reduce__(self):
        return _restore, (type(self), self._raw, self.flows, self.__dict__, self.options, self._new_templates,
                          self._templates)


def _set_head(data: bytes) -> Tuple[int, int]:
    if len(data) < 4:
        raise MalformedPacket(f"a flow set has at least 4 octets, not {len(data)}")
    number, length = _SET.unpack_from(data)
    if length < 4 or length > len(data):
        raise MalformedPacket(f"flow set {number} says it has {length} octets of {len(data)}")
    return number, length


def _packet_of(data: bytes, templates: Dict[int, Any]) -> V9ExportPacket:
    return V9ExportPacket(_HEADER.pack(9, 1, 0, 0, 0, 0) + bytes(data), templates)


class V9TemplateFlowSet:
    """A flow set of templates, read on its own: `flowset_id`, `length`, `templates` by id."""

    def __init__(self, data: bytes):
        self.flowset_id, self.length = _set_head(data)
        self.templates: Dict[int, V9TemplateRecord] = {}
        _packet_of(data[:self.length], self.templates)

    def __repr__(self) -> str:
        return f"<TemplateFlowSet with id {self.flowset_id} of length {self.length} containing templates: " \
               f"{self.templates.keys()}>"


class V9OptionsTemplateFlowSet:
    """A flow set of options templates, read on its own: `flowset_id`, `flowset_length`, `templates` by id."""

    def __init__(self, data: bytes):
        self.flowset_id, self.flowset_length = _set_head(data)
        self.templates: Dict[int, V9OptionsTemplateRecord] = {}
        _packet_of(data[:self.flowset_length], self.templates)

    def __repr__(self) -> str:
        return f"<V9OptionsTemplateFlowSet with {len(self.templates)} templates: {self.templates.keys()}>"


class V9DataFlowSet:
    """A data flow set, read on its own with its template: `template_id`, `length`, `flows`."""

    def __init__(self, data: bytes, template: V9TemplateRecord):
        self.template_id, self.length = _set_head(data)
        self.flows = _packet_of(data[:self.length], {self.template_id: template}).flows

    def __repr__(self) -> str:
        return f"<DataFlowSet with template {self.template_id} of length {self.length} holding {len(self.flows)} flows>"


class V9OptionsDataFlowset:
    """A data flow set of options records, read on its own with its template: `template_id`, `length`,
    `option_data_records`."""

    def __init__(self, data: bytes, template: V9OptionsTemplateRecord):
        self.template_id, self.length = _set_head(data)
        self.option_data_records = _packet_of(data[:self.length], {self.template_id: template}).options
