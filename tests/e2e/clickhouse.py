"""ClickHouse for tests, on loopback, in a directory of its own, as the user who runs the test:

Server   Debian's clickhouse-server (18.16; 16 MB to download, 103 MB installed with what it needs; answers after half a second)
Cluster  several of them, shards and replicas, with Debian's ZooKeeper (Java; answers after a second and a half)
Current  a current engine from the Python package chdb behind a small HTTP server: its tables, types and SQL, not its network
         (350 MB; found in the Python that WEIR_CHDB_PYTHON names, else in the one that runs the test)

Both are started with start() and asked with ask(). `missing` says why there is none.
"""
import http.client
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

DEADLINE_S = 60

CONFIG = """<?xml version="1.0"?>
<yandex>
  <logger><level>warning</level><console>1</console></logger>
  <http_port>{http}</http_port>
  <tcp_port>{tcp}</tcp_port>
  <interserver_http_port>{inter}</interserver_http_port>
  <listen_host>127.0.0.1</listen_host>
  <path>{dir}/data/</path>
  <tmp_path>{dir}/tmp/</tmp_path>
  <users_config>{dir}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <mark_cache_size>67108864</mark_cache_size>
  {more}
</yandex>
"""
TLS = """<https_port>{https}</https_port>
  <openSSL><server>
    <certificateFile>{dir}/server.crt</certificateFile><privateKeyFile>{dir}/server.key</privateKeyFile>
    <verificationMode>none</verificationMode><cacheSessions>true</cacheSessions>
  </server></openSSL>"""
USERS = """<?xml version="1.0"?>
<yandex>
  <profiles>
    <default><max_memory_usage>2000000000</max_memory_usage></default>
    <reader><readonly>1</readonly></reader>
    <small><max_memory_usage>1000000</max_memory_usage></small>
  </profiles>
  <users>
    <default><password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></default>
    <writer><password>se'cret</password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></writer>
    <reader><password>x</password><networks><ip>::/0</ip></networks><profile>reader</profile><quota>default</quota></reader>
    <small><password>x</password><networks><ip>::/0</ip></networks><profile>small</profile><quota>default</quota></small>
  </users>
  <quotas><default></default></quotas>
</yandex>
"""


def free_ports(n):
    """Ports that were free a moment ago: the server cannot be told to take any that is."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class Engine:
    """What both have in common."""
    process = None
    port = None

    def url(self, database="default", more="", user=""):
        return f"clickhouse://{user}127.0.0.1:{self.port}/{database}{more}"

    def ask(self, sql, **settings):
        """The answer as text; AssertionError with the server's words when there is none."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        c.request("POST", "/?" + urllib.parse.urlencode(settings), sql.encode())
        r = c.getresponse()
        text = r.read().decode("utf-8", "replace")
        c.close()
        if r.status != 200:
            raise AssertionError(f"{sql[:200]}: {text}")
        return text

    def rows(self, sql):
        """The answer as lists of texts."""
        return [line.split("\t") for line in self.ask(sql + " FORMAT TSV").splitlines()]

    def value(self, sql):
        return self.rows(sql)[0][0]

    def exists(self, database, table):
        return self.rows(f"SELECT count() FROM system.tables WHERE database = '{database}' AND name = '{table}'") == [["1"]]

    def wait(self):
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"{type(self).__name__} ended with {self.process.returncode}: {self.said()}")
            try:
                if self.ask("SELECT 1").strip() == "1":
                    return self
            except (OSError, http.client.HTTPException):
                try:
                    self.process.wait(0.05)
                except subprocess.TimeoutExpired:
                    pass
        raise AssertionError(f"{type(self).__name__} does not answer in {DEADLINE_S} s: {self.said()}")

    def said(self):
        with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-2000:]

    def kill(self):
        """At once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.process:
            shutil.rmtree(self.dir, ignore_errors=True)
        self.process = None


class Server(Engine):
    path = shutil.which("clickhouse-server") or next(
        (p for p in ["/usr/sbin/clickhouse-server", "/usr/bin/clickhouse-server"] if os.access(p, os.X_OK)), None)
    missing = None if path else "clickhouse-server is not installed (apt-get install clickhouse-server: 16 MB)"

    def __init__(self, tls=False):
        self.dir = tempfile.mkdtemp(prefix="weir-clickhouse-")
        for name in ["data", "tmp"]:
            os.mkdir(os.path.join(self.dir, name))
        self.port, self.tcp, self.inter, self.tls_port = free_ports(4)
        more = ""
        if tls:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
                            self.dir + "/server.key", "-out", self.dir + "/server.crt"], check=True,
                           capture_output=True)
            more = TLS.format(https=self.tls_port, dir=self.dir)
        self.configure(more)
        with open(os.path.join(self.dir, "users.xml"), "w", encoding="ascii") as f:
            f.write(USERS)

    def configure(self, more):
        with open(os.path.join(self.dir, "config.xml"), "w", encoding="ascii") as f:
            f.write(CONFIG.format(http=self.port, tcp=self.tcp, inter=self.inter, dir=self.dir, more=more))

    def start(self):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen([self.path, f"--config-file={self.dir}/config.xml"], cwd=self.dir,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Keeper:
    """ZooKeeper, which Replicated tables and ON CLUSTER need."""
    jar = "/usr/share/java/zookeeper.jar"
    missing = None if os.path.exists(jar) and shutil.which("java") else \
        "ZooKeeper is not installed (apt-get install --no-install-recommends zookeeper: Java, and 33 MB)"
    process = None

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="weir-zookeeper-")
        self.port, = free_ports(1)
        with open(os.path.join(self.dir, "zoo.cfg"), "w", encoding="ascii") as f:
            f.write(f"tickTime=500\ndataDir={self.dir}/data\nclientPort={self.port}\nclientPortAddress=127.0.0.1\n"
                    "admin.enableServer=false\n4lw.commands.whitelist=srvr\n")

    def start(self):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.forceSync=no", "-cp", self.jar,
                 "org.apache.zookeeper.server.ZooKeeperServerMain", self.dir + "/zoo.cfg"],
                cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait(self):
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                    s.sendall(b"srvr")  # ruok is answered before clients are
                    if s.makefile("rb").read().startswith(b"Zookeeper version"):
                        return
            except OSError:
                pass
            try:
                self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
        with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as f:
            raise AssertionError(f"ZooKeeper does not answer: {f.read()[-2000:]}")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Cluster:
    """The cluster "flows": shards is how many replicas each has. servers are in the order of shards and replicas."""
    missing = Server.missing or Keeper.missing

    def __init__(self, shards):
        self.keeper = Keeper()
        self.shards = [[Server() for _ in range(n)] for n in shards]
        self.servers = [s for shard in self.shards for s in shard]
        all_shards = "".join(
            "<shard><internal_replication>true</internal_replication>" +
            "".join(f"<replica><host>127.0.0.1</host><port>{s.tcp}</port></replica>" for s in shard) + "</shard>"
            for shard in self.shards)
        for i, shard in enumerate(self.shards):
            for k, server in enumerate(shard):
                server.configure(f"""
  <interserver_http_host>127.0.0.1</interserver_http_host>
  <zookeeper><node><host>127.0.0.1</host><port>{self.keeper.port}</port></node>
    <session_timeout_ms>3000</session_timeout_ms></zookeeper>
  <distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>
  <remote_servers><flows>{all_shards}</flows></remote_servers>
  <macros><shard>{i + 1}</shard><replica>{k + 1}</replica></macros>""")

    def start(self):
        self.keeper.start()
        self.keeper.wait()
        for s in self.servers:
            s.start()
        return self

    def stop(self):
        for s in self.servers:
            if s.process:
                s.kill()  # an orderly end takes ten seconds
            s.stop()
        self.keeper.stop()


class Current(Engine):
    python = os.environ.get("WEIR_CHDB_PYTHON", sys.executable)
    missing = None if subprocess.run([python, "-c", "import importlib.util as u; raise SystemExit(u.find_spec('chdb') is None)"],
                                     check=False).returncode == 0 else \
        "no current engine: Python package chdb is not installed (WEIR_CHDB_PYTHON names a Python that has it)"

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="weir-chdb-")
        self.port, = free_ports(1)

    def start(self):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen([self.python, __file__, self.dir, str(self.port)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        return self.wait()


def unpack(body):
    """ClickHouse's compressed blocks: checksum, method, lengths, data."""
    import pyarrow
    out = []
    while body:
        size = int.from_bytes(body[17:21], "little")
        plain = int.from_bytes(body[21:25], "little")
        codec = {0x82: "lz4_raw", 0x90: "zstd"}[body[16]]
        out.append(pyarrow.decompress(body[25:16 + size], plain, codec=codec, asbytes=True))
        body = body[16 + size:]
    return b"".join(out)


def serve(directory, port):
    """chdb behind as much of ClickHouse's HTTP interface as deliveries and tests use."""
    from chdb import session
    engine = session.Session(os.path.join(directory, "data"))
    known = set(engine.query("SELECT name FROM system.settings", "TSV").bytes().decode().split())
    not_settings = {"query_id", "decompress", "wait_end_of_query"}
    mark = b" FORMAT RowBinary\n"

    def answer(sql, names):
        unknown = [n for n in names if n not in not_settings and n not in known]
        if unknown:
            raise RuntimeError(f"Code: 115. DB::Exception: Unknown setting {unknown[0]}")
        if sql.startswith(b"INSERT INTO") and mark in sql:
            head, rows = sql.split(mark, 1)
            path = os.path.join(directory, "rows.bin")
            with open(path, "wb") as f:
                f.write(rows)
            sql = head + b" FROM INFILE '" + path.encode() + b"' FORMAT RowBinary"
        form = "TSV"
        for name in ["RowBinary", "TSV"]:
            if sql.endswith(b" FORMAT " + name.encode()):
                sql, form = sql[:-len(" FORMAT " + name)], name
                break
        if b" INFILE " in sql:
            sql += b" FORMAT RowBinary"
        return bytes(engine.query(sql.decode(), form).bytes())

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            names = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status = 200
            try:
                out = answer(unpack(body) if names.get("decompress") else body, names)
            except Exception as e:  # the engine's words, whatever they are
                status, out = 500, str(e).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        def log_message(self, *args):
            pass

    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
