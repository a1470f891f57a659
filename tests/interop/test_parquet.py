"""test_parquet.py READER -- our Parquet files read by another reader and its files read by ours, value for value.

READER: pyarrow, duckdb or chdb. It is installed into WEIR_INTEROP_DIR/READER when it is not there; where that cannot be
(no network, no npm, no pip) the test is skipped and says so. chdb is large: it is installed only when
WEIR_INTEROP_CHDB is set. Ours are WEIR_PARQUET_MAKE and WEIR_PARQUET_CAT.
"""
import datetime
import importlib
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import readers
from readers import run, skip

MAKE, CAT = os.environ["WEIR_PARQUET_MAKE"], os.environ["WEIR_PARQUET_CAT"]
CODECS = ["none", "zstd", "lz4"]
# Rows a group, groups: usual, one row, many groups, no group.
SHAPES = [(5000, 3), (1, 1), (40, 60), (1000, 0)]
EPOCH = datetime.datetime(1970, 1, 1)


# ---- what parquet_make writes ----

def h(i):
    return i * 2654435761 % 2**32


def signed(v, bits):
    return v - 2**bits if v >= 2**(bits - 1) else v


def text(i, few):
    v = h(i)
    return f"192.0.2.{v % 50}" if few else ("" if v % 3 else "ä") + str(v)


COLUMNS = {  # in the order of parquet_make.c; whether they may be null, and the value of row i
    "bool": (False, lambda i: bool(h(i) >> 5 & 1)),
    "bool_opt": (True, lambda i: bool(h(i) >> 5 & 1)),
    "u8": (True, lambda i: h(i) >> 24),
    "u16": (False, lambda i: h(i) >> 16),
    "u32": (True, h),
    "u64": (True, lambda i: h(i) << 32 | h(h(i))),
    "i8": (True, lambda i: signed(h(i) >> 24, 8)),
    "i16": (False, lambda i: signed(h(i) >> 16, 16)),
    "i32": (True, lambda i: signed(h(i), 32)),
    "i64": (False, lambda i: signed(h(i) << 32 | h(h(i)), 64)),
    "rising": (False, lambda i: 1700000000000000 + i * 1000 + h(i) % 1000),
    "time_us": (True, lambda i: 1700000000000000 + h(i)),
    "time_ms": (False, lambda i: 1700000000000 + h(i) % 1000 * 60000),
    "date": (True, lambda i: h(i) % 30000),
    "float": (True, lambda i: (h(i) >> 12) / 8),
    "double": (False, lambda i: h(i) / 3),
    "few": (True, lambda i: text(i, True).encode().hex()),
    "many": (False, lambda i: text(i, False).encode().hex()),
    "octets": (True, lambda i: bytes(h(i) >> 4 * k & 0xff for k in range((h(i) >> 8) % 9)).hex()),
    "mac": (True, lambda i: bytes(h(i) >> 4 * k & 0xff for k in range(6)).hex()),
    "all_null": (True, lambda i: None),
    "constant": (False, lambda i: 6),
    "ints": (True, lambda i: [COLUMNS["i64"][1](4 * i + k) for k in range(h(i) % 4)]),
    "words": (False, lambda i: [text(4 * i + k, True).encode().hex() for k in range(h(i) % 4)]),
}


def expected(rows):
    return {name: [None if null and h(i * 31 + at) % 5 == 0 else value(i) for i in range(rows)]
            for at, (name, (null, value)) in enumerate(COLUMNS.items())}


failures = []


def same(what, got, want):
    if got == want:
        return
    where = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    failures.append(f"{what}: {len(got)} values, {len(want)} wanted; at {where}: "
                    f"{got[where:where + 2]!r}, wanted {want[where:where + 2]!r}")


def our_files(folder):
    """Name, path, rows of files of ours; each is also read by our own reader."""
    for codec, (rows, groups) in itertools.product(CODECS, SHAPES):
        path = pathlib.Path(folder) / f"ours-{codec}-{rows}-{groups}.parquet"
        run(MAKE, path, codec, rows, groups)
        ours_read(path, expected(rows * groups), 777)
        yield path.stem, path, rows * groups


def ours_read(path, want, window):
    """Every column of the file by our reader, which verifies it too."""
    try:
        lines = run(CAT, "-v", "-w", window, path).splitlines()
    except subprocess.CalledProcessError as e:
        failures.append(f"{path.name}: our reader: {e.stderr.strip()[-400:]}")
        return []
    found = [json.loads(line) for line in lines[1:]]
    same(f"{path.name}: our reader: columns", [c["column"] for c in found], list(want))
    for c in found:
        if c["column"] in want:
            same(f"{path.name}: our reader: {c['column']}", c["values"], want[c["column"]])
    return found


# ---- pyarrow ----

def plain(v):
    """A value of pyarrow's as parquet_cat prints it."""
    if isinstance(v, bytes):
        return v.hex()
    if isinstance(v, str):
        return v.encode().hex()
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    if isinstance(v, datetime.datetime):
        return (v.replace(tzinfo=None) - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(v, datetime.date):
        return (v - EPOCH.date()).days
    return v


def with_nulls(values, share):
    return [None if random.random() < share else v for v in values]


def arrow_table(pa, n, share):
    r = random
    day = 86400 * 10**6
    columns = {
        "bool": pa.array(with_nulls([r.random() < .5 for _ in range(n)], share), pa.bool_()),
        "i8": pa.array(with_nulls([r.randint(-128, 127) for _ in range(n)], share), pa.int8()),
        "u16": pa.array(with_nulls([r.randint(0, 65535) for _ in range(n)], share), pa.uint16()),
        "i32": pa.array(with_nulls([r.randint(-2**31, 2**31 - 1) for _ in range(n)], share), pa.int32()),
        "u32": pa.array(with_nulls([r.randint(0, 2**32 - 1) for _ in range(n)], share), pa.uint32()),
        "i64": pa.array(with_nulls([r.randint(-2**63, 2**63 - 1) for _ in range(n)], share), pa.int64()),
        "u64": pa.array(with_nulls([r.randint(0, 2**64 - 1) for _ in range(n)], share), pa.uint64()),
        "few": pa.array(with_nulls([r.randint(0, 9) for _ in range(n)], share), pa.int64()),
        "time": pa.array(with_nulls([day * i + r.randint(0, day) for i in range(n)], share), pa.timestamp("us", "UTC")),
        "float": pa.array(with_nulls([r.gauss(0, 1) for _ in range(n)], share), pa.float32()),
        "double": pa.array(with_nulls([r.gauss(0, 1) for _ in range(n)], share), pa.float64()),
        "text": pa.array(with_nulls([f"abc{r.randint(0, 300)}" for _ in range(n)], share), pa.string()),
        "text2": pa.array(with_nulls(["x" * r.randint(0, 30) + str(i) for i in range(n)], share), pa.string()),
        "fixed": pa.array(with_nulls([r.randbytes(5) for _ in range(n)], share), pa.binary(5)),
        "ints": pa.array(with_nulls([[r.randint(0, 50) for _ in range(r.randint(0, 4))] for _ in range(n)], share),
                         pa.list_(pa.int32())),
        "words": pa.array(with_nulls([with_nulls([f"v{r.randint(0, 50)}" for _ in range(r.randint(0, 4))], share)
                                      for _ in range(n)], share), pa.list_(pa.string())),
    }
    return pa.table(columns)


DELTA, SPLIT = "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"
ARROW_ENCODINGS = {
    "dict": {"use_dictionary": True},
    "dict-then-plain": {"use_dictionary": True, "dictionary_pagesize_limit": 3000},
    "plain": {"use_dictionary": False},
    "delta": {"use_dictionary": False, "column_encoding": {
        "i8": DELTA, "u16": DELTA, "i32": DELTA, "u32": DELTA, "i64": DELTA, "u64": DELTA, "few": DELTA, "time": DELTA,
        "text": "DELTA_LENGTH_BYTE_ARRAY", "text2": "DELTA_BYTE_ARRAY", "fixed": "DELTA_BYTE_ARRAY",
        "float": SPLIT, "double": SPLIT}},
    "split": {"use_dictionary": False, "column_encoding": {"i32": SPLIT, "u64": SPLIT, "fixed": SPLIT, "bool": "RLE"}},
}


def test_pyarrow(folder):
    pa = readers.python_package("pyarrow")
    pq = importlib.import_module("pyarrow.parquet")
    pc = importlib.import_module("pyarrow.compute")
    for name, path, rows in our_files(folder):
        want = expected(rows)
        table = pq.read_table(path, page_checksum_verification=True)
        same(f"{name}: pyarrow: columns", table.column_names, list(want))
        for column in table.column_names:
            values = table[column]
            if str(values.type).startswith("timestamp"):
                values = values.cast(pa.int64())
            same(f"{name}: pyarrow: {column}", [plain(v) for v in values.to_pylist()], want[column])
        if rows:
            middle = want["rising"][rows // 2]
            part = pq.read_table(path, filters=pc.field("rising") >= middle)
            same(f"{name}: pyarrow: filter", [len(part)], [sum(v >= middle for v in want["rising"])])
    types = {c: str(pq.read_schema(path).field(c).type) for c in COLUMNS}
    same("types for pyarrow", [types[c] for c in ("u8", "u64", "i16", "time_us", "time_ms", "date", "few", "octets", "mac", "ints")],
         ["uint8", "uint64", "int16", "timestamp[us, tz=UTC]", "timestamp[ms]", "date32[day]", "string", "binary",
          "fixed_size_binary[6]", "list<element: int64 not null>"])
    same("key-value metadata", [pq.read_metadata(path).metadata.get(b"weir.test")], [b"value"])

    random.seed(1)
    n = 3000
    for share, codec in [(0, "zstd"), (.2, "none"), (.2, "snappy"), (.2, "gzip"), (.95, "lz4"), (1, "snappy")]:
        table = arrow_table(pa, n, share)
        want = {c: [plain(v) for v in table[c].to_pylist()] for c in table.column_names}
        for version, (kind, more) in itertools.product(["1.0", "2.0"], ARROW_ENCODINGS.items()):
            path = pathlib.Path(folder) / f"arrow-{share}-{codec}-{version}-{kind}.parquet"
            pq.write_table(table, path, compression=codec, data_page_version=version,
                           data_page_size=random.choice([500, 5000, 1 << 20]), row_group_size=random.choice([1111, n]),
                           write_page_index=random.random() < .5, write_page_checksum=random.random() < .5,
                           write_batch_size=random.choice([64, 1024]), **more)
            ours_read(path, want, random.choice([1, 63, 1000, 100000]))
    # Columns that our schema leaves out; old timestamps; lists as they were called before; an empty table.
    path = pathlib.Path(folder) / "arrow-nested.parquet"
    times = [None, datetime.datetime(2026, 1, 2, 3, 4, 5, 678000), datetime.datetime(1969, 1, 1)]
    table = pa.table({
        "a": [1, 2, None], "struct": [{"x": 1, "y": None}, None, {"x": 2, "y": "b"}],
        "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
        "lists": [[[1], []], None, [[2, 3]]], "category": pa.array(["u", None, "v"]).dictionary_encode(),
        "old": pa.array(times, pa.timestamp("ns")), "items": [[1, None], [], None], "nothing": pa.nulls(3)})
    for compliant in (True, False):
        pq.write_table(table, path, use_deprecated_int96_timestamps=True, use_compliant_nested_type=compliant)

        def int96(t):
            us = (t - EPOCH) // datetime.timedelta(microseconds=1)
            days, rest = divmod(us, 86400 * 10**6)
            return ((rest * 1000).to_bytes(8, "little") + (days + 2440588).to_bytes(4, "little")).hex()
        ours_read(path, {"a": [1, 2, None], "category": [b"u".hex(), None, b"v".hex()],
                         "old": [t and int96(t) for t in times], "items": [[1, None], [], None],
                         "nothing": [None, None, None]}, 2)
    pq.write_table(table.slice(0, 0).select(["a", "items"]), path)
    ours_read(path, {"a": [], "items": []}, 10)


# ---- DuckDB ----

# How a column of ours looks in SQL, as text; None stays NULL.
def duck_select(name):
    q = f'"{name}"'
    if name in ("few", "many", "octets", "mac"):
        return f"lower(hex({q}{'::BLOB' if name in ('octets', 'mac') else ''}))"
    if name == "time_us":
        return f"epoch_us({q})"
    if name == "time_ms":
        return f"epoch_ms({q})"
    if name == "date":
        return f"date_diff('day', DATE '1970-01-01', {q})"
    if name == "words":
        return f"list_transform({q}, x -> lower(hex(x)))"
    return q


def as_text(v):
    """An expected value as DuckDB's JSON has it: integers above 32 bits are strings there."""
    if v is None or isinstance(v, bool):
        return v
    if isinstance(v, list):
        return [as_text(x) for x in v]
    return str(v)


def test_duckdb(folder):
    duck = readers.duckdb()
    files = list(our_files(folder))
    selects = ", ".join(duck_select(c) for c in COLUMNS)
    statements = [f"SELECT {selects} FROM read_parquet('{path}')" for _, path, _ in files]
    for (name, path, rows), found in zip(files, duck(*statements)):
        want = expected(rows)
        same(f"{name}: DuckDB: rows", [len(found)], [rows])
        for at, column in enumerate(COLUMNS):
            got = [row[at] for row in found]
            if column in ("float", "double"):
                same(f"{name}: DuckDB: {column}", got, want[column])
            else:
                same(f"{name}: DuckDB: {column}", [as_text(v) for v in got], [as_text(v) for v in want[column]])
    # Predicates: statistics, page index and bloom filters must not lose a row.
    name, path, rows = files[0]
    want = expected(rows)
    checks = []
    for column, value in [("many", "'%s'" % bytes.fromhex(want["many"][rows // 3]).decode()), ("u16", want["u16"][7]),
                          ("i64", want["i64"][-1]), ("rising", want["rising"][rows // 2]), ("i64", 12345)]:
        plain_value = value.strip("'").encode().hex() if isinstance(value, str) else value
        checks.append((f"SELECT count(*) FROM read_parquet('{path}') WHERE {column} = {value}",
                       sum(v == plain_value for v in want[column])))
        if column != "many":
            checks.append((f"SELECT count(*) FROM read_parquet('{path}') WHERE {column} >= {value}",
                           sum(v >= value for v in want[column])))
    for (sql, count), found in zip(checks, duck(*[sql for sql, _ in checks])):
        same(f"{name}: DuckDB: {sql}", [str(found[0][0])], [str(count)])

    # The other way: 150 000 rows are two of its row groups.
    n = 150000
    null = "CASE WHEN i % 7 = {0} THEN NULL ELSE {1} END AS {2}"
    sql = ", ".join(null.format(at % 7, expression, name) for at, (name, expression) in enumerate({
        "b": "i % 3 = 0", "i8": "(i % 256 - 128)::TINYINT", "u16": "(i % 65536)::USMALLINT", "i32": "(i * 17 - 5)::INTEGER",
        "u64": "(i * 1000003 + 9223372036854775808)::UBIGINT", "f": "(i / 4.0)::FLOAT", "d": "(i / 8.0)::DOUBLE",
        "few": "'v' || (i % 100)::VARCHAR", "many": "'text ' || (i * 7919)::VARCHAR",
        "t": "make_timestamp(1700000000000000 + i * 1000)", "day": "DATE '2026-01-01' + (i % 1000)::INTEGER",
        "price": "((i % 1000) / 4.0)::DECIMAL(9, 2)", "l": "[i % 5, NULL, i]", "s": "{'x': i}"}.items()))
    expected_duck = {
        "b": lambda i: i % 3 == 0, "i8": lambda i: i % 256 - 128, "u16": lambda i: i % 65536, "i32": lambda i: i * 17 - 5,
        "u64": lambda i: i * 1000003 + 2**63, "f": lambda i: i / 4, "d": lambda i: i / 8,
        "few": lambda i: f"v{i % 100}".encode().hex(), "many": lambda i: f"text {i * 7919}".encode().hex(),
        "t": lambda i: 1700000000000000 + i * 1000,
        "day": lambda i: (datetime.date(2026, 1, 1) - EPOCH.date()).days + i % 1000, "price": lambda i: (i % 1000) * 25,
        "l": lambda i: [i % 5, None, i]}
    want = {name: [None if i % 7 == at % 7 else value(i) for i in range(n)]
            for at, (name, value) in enumerate(expected_duck.items())}
    forms = [("snappy", "v1"), ("zstd", "v2"), ("gzip", "v2"), ("lz4_raw", "v1"), ("uncompressed", "v2")]
    paths = [pathlib.Path(folder) / f"duck-{codec}-{version}.parquet" for codec, version in forms]
    duck(*[f"COPY (SELECT {sql} FROM range({n}) r(i)) TO '{path}' (FORMAT parquet, COMPRESSION {codec}, PARQUET_VERSION {version})"
           for path, (codec, version) in zip(paths, forms)])
    for path in paths:
        ours_read(path, want, 10000)


# ---- chdb ----

def test_chdb(folder):
    reader = pathlib.Path(os.environ["WEIR_INTEROP_DIR"]) / "chdb"
    if not os.environ.get("WEIR_INTEROP_CHDB") and not (reader / "chdb").is_dir():
        skip("chdb is several hundred MB; WEIR_INTEROP_CHDB=1 lets it be installed")
    chdb = readers.python_package("chdb")

    def click(sql):
        return [json.loads(line) for line in
                str(chdb.query(sql + " SETTINGS output_format_json_quote_64bit_integers=0, "
                               "schema_inference_make_columns_nullable='auto', "
                               "input_format_parquet_preserve_order=1", "JSONCompactEachRow")).splitlines()]

    def select(c):
        if c in ("few", "many", "octets", "mac"):
            return f"lower(hex({c}))"
        if c == "time_us":
            return f"toUnixTimestamp64Micro({c})"
        if c == "time_ms":
            return f"toUnixTimestamp64Milli({c})"
        if c == "date":
            return f"toInt32({c})"
        return f"arrayMap(x -> lower(hex(x)), {c})" if c == "words" else c
    for name, path, rows in our_files(folder):
        want = expected(rows)
        # Its arrays have no nulls, and it counts a null list as an empty one.
        want["ints"] = [v or [] for v in want["ints"]]
        found = click(f"SELECT {', '.join(select(c) for c in COLUMNS)} FROM file('{path}', Parquet)") if rows else []
        for at, c in enumerate(COLUMNS):
            same(f"{name}: chdb: {c}", [row[at] for row in found], want[c])
    n = 20000
    path = pathlib.Path(folder) / "chdb.parquet"
    chdb.query(f"INSERT INTO FUNCTION file('{path}', Parquet) SELECT toUInt32(number * 7) AS a, "
               f"if(number % 3 = 0, NULL, toString(number)) AS s, arrayMap(x -> x * number, range(number % 4)) AS l "
               f"FROM numbers({n})")
    ours_read(path, {"a": [i * 7 for i in range(n)], "s": [None if i % 3 == 0 else str(i).encode().hex() for i in range(n)],
                     "l": [[x * i for x in range(i % 4)] for i in range(n)]}, 1000)


def main():
    reader = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        {"pyarrow": test_pyarrow, "duckdb": test_duckdb, "chdb": test_chdb}[reader](folder)
    for failure in failures[:20]:
        print(failure)
    print(f"{reader}: {len(failures)} differences")
    sys.exit(1 if failures else 0)


main()
