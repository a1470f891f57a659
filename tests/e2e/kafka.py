"""A broker for tests: Apache Kafka in KRaft mode where Java and its jars are to be had, else librdkafka's mock cluster.

Jars come from the directory $WEIR_KAFKA_LIBS, else from a cache that Maven fills once (46 MB). WEIR_KAFKA=real or =mock asks
for one of them; without, the best that there is. Everything is on loopback and in the test's own directory."""
import os
import shutil
import signal
import socket
import subprocess
import time

VERSION = "3.9.1"
START_S = 60
PEER = os.environ.get("WEIR_KAFKA_PEER", os.path.join(os.path.dirname(__file__), "../../build/tests/e2e/kafka_peer"))
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>test</groupId><artifactId>broker</artifactId><version>1</version><dependencies><dependency>
<groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
</dependency></dependencies></project>
"""


def jars():
    """The directory with Kafka's jars, or None and why there is none."""
    given = os.environ.get("WEIR_KAFKA_LIBS")
    if given:
        return given, ""
    if not shutil.which("java"):
        return None, "no java"
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "weir-tests", f"kafka-{VERSION}")
    if os.path.isdir(cache):
        return cache, ""
    if not shutil.which("mvn"):
        return None, "no Kafka and no mvn that could bring it"
    work = f"{cache}.{os.getpid()}"
    os.makedirs(work)
    try:
        with open(os.path.join(work, "pom.xml"), "w", encoding="utf-8") as f:
            f.write(POM)
        subprocess.run(["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={work}/libs"],
                       cwd=work, check=True, capture_output=True, timeout=240)
        os.rename(os.path.join(work, "libs"), cache)
    except (subprocess.SubprocessError, OSError) as e:
        if not os.path.isdir(cache):  # another test may have been faster
            return None, f"Maven did not bring Kafka: {e}"
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return cache, ""


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    try:
        for s in held:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in held]
    finally:
        for s in held:
            s.close()


def read(servers, topic):
    """All messages: (partition, key, id, value), in order per partition; id None: it has none."""
    r = subprocess.run([PEER, "read", servers, topic], capture_output=True, text=True, timeout=120, check=False)
    if r.returncode:
        raise AssertionError(r.stderr)
    lines = r.stdout.splitlines()
    out = []
    for line in lines[:-1]:
        partition, key, row, value = line.split("\t")
        out.append((int(partition), bytes.fromhex(key) if key != "-" else None, row if row != "-" else None,
                    bytes.fromhex(value) if value != "-" else b""))
    assert lines[-1].split()[:2] == ["end", str(len(out))], lines[-1]
    return out


class Mock:
    """One broker of librdkafka's mock cluster; topics are made with it, or when somebody asks for them."""
    what = "librdkafka's mock cluster"
    real = False

    def __init__(self, _directory):
        self.process = subprocess.Popen([PEER, "mock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.servers = self.process.stdout.readline().split()[1]

    def _do(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer == "ok\n", (command, answer)

    def topic(self, name, partitions):
        self._do(f"topic {name} {partitions}")

    def kill(self):
        self._do("down")

    def start(self):
        self._do("up")

    def pause(self):
        self._do("rtt 3600000")

    def resume(self):
        self._do("rtt 0")

    def close(self):
        self.process.communicate(timeout=30)


class Real:
    """Apache Kafka, broker and controller in one process. What it has stays in its directory over kill and start."""
    what = f"Apache Kafka {VERSION}"
    real = True

    def __init__(self, directory, libs):
        self.directory, self.process = os.path.join(directory, "kafka"), None
        self.java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", os.path.join(libs, "*")]
        os.makedirs(self.directory)
        self.config = os.path.join(self.directory, "server.properties")
        port, controller = free_ports(2)
        self.servers = f"127.0.0.1:{port}"
        with open(self.config, "w", encoding="utf-8") as f:
            f.write("\n".join([
                "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{controller}",
                f"listeners=PLAINTEXT://{self.servers},CONTROLLER://127.0.0.1:{controller}",
                f"advertised.listeners=PLAINTEXT://{self.servers}", "controller.listener.names=CONTROLLER",
                "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
                f"log.dirs={self.directory}/data", "offsets.topic.replication.factor=1",
                "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
                "auto.create.topics.enable=false", "num.partitions=3", "controlled.shutdown.enable=false", ""]))
        subprocess.run([*self.java, "kafka.tools.StorageTool", "format", "-t", "A" * 22, "-c", self.config],
                       check=True, capture_output=True, timeout=START_S)
        self.start()

    def start(self):
        with open(os.path.join(self.directory, "out"), "ab") as out:
            self.process = subprocess.Popen([*self.java, "kafka.Kafka", self.config], stdout=out, stderr=out)
        end = time.monotonic() + START_S
        while subprocess.run([PEER, "wait", self.servers, "1"], capture_output=True, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > end:
                with open(os.path.join(self.directory, "out"), encoding="utf-8", errors="replace") as f:
                    raise AssertionError(f"{self.what} does not start: {f.read()[-2000:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.kill()


def broker(directory):
    """The best that there is, running; `.what` says which."""
    wanted = os.environ.get("WEIR_KAFKA", "")
    libs, why = (None, "WEIR_KAFKA=mock") if wanted == "mock" else jars()
    if libs:
        return Real(directory, libs)
    if wanted == "real":
        raise AssertionError(f"no real broker: {why}")
    b = Mock(directory)
    b.what += f" ({why})"
    return b
