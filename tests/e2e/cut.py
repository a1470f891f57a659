"""A network for tests: a port that passes everything on to another one, until it is told to do worse."""
import contextlib
import socket
import struct
import threading


class Cut:
    def __init__(self, port):
        self.to = port
        self.lock = threading.Condition()
        self.mode, self.left = "pass", None
        self.pairs, self.hurt = [], 0  # connections; how many of them were broken
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    # ---- what can be done to it ----

    def pass_on(self):
        """All is well again."""
        self._set("pass")

    def cut(self):
        """All connections end with a reset, and so does every new one."""
        self._set("cut")
        self._break()

    def cut_after(self, octets):
        """The same when so many octets have gone to the server: in the middle of a request."""
        self._set("pass", octets)

    def stall(self):
        """Nothing gets through, nothing ends."""
        self._set("stall")

    def lose_answers(self):
        """Requests arrive, and instead of the answer comes the end."""
        self._set("deaf")

    def broken(self):
        with self.lock:
            return self.hurt

    def close(self):
        self._set("cut")
        self._break()
        self.listener.close()

    # ---- how ----

    def _set(self, mode, left=None):
        with self.lock:
            self.mode, self.left = mode, left
            self.lock.notify_all()

    def _break(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
            self.hurt += len(pairs)
        for pair in pairs:
            for s in pair:
                with contextlib.suppress(OSError):
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
                s.close()

    def _accept(self):
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                here.close()
                continue
            with self.lock:
                self.pairs.append((here, there))
                refused = self.mode == "cut"
            if refused:
                self._break()
                continue
            for source, sink, up in ((here, there, True), (there, here, False)):
                threading.Thread(target=self._pass, args=(source, sink, up), daemon=True).start()

    def _pass(self, source, sink, up):
        while True:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            with self.lock:
                self.lock.wait_for(lambda: self.mode != "stall")
                ends = self.mode == "cut" or (data and not up and self.mode == "deaf")
                if up and self.left is not None:
                    self.left -= len(data)
                    if self.left <= 0:
                        self.mode, ends = "cut", True
            if ends:
                self._break()
                return
            try:
                if data:
                    sink.sendall(data)
                    continue
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            return
