"""A connection that speaks raw Kafka frames: any request at any version, in any broken form, and what comes back."""
import socket
import struct

from waiting import stretched

CLIENT_ID = "moldau-test"
FRAME_BYTES_MAX = 64 << 20


class Closed(Exception):
    """The broker closed the connection."""


class Connection:
    """One TCP connection. `protocol` (kafka_spec.Protocol) is needed for encoded calls only."""

    def __init__(self, address, protocol=None, timeout_s=20):
        host, _, port = address.rpartition(":")
        self.protocol = protocol
        self.socket = socket.create_connection((host, int(port)), timeout=stretched(timeout_s))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- bytes ----
    def send_bytes(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed() from None

    def send_frame(self, body):
        self.send_bytes(struct.pack(">i", len(body)) + body)

    def receive_exactly(self, count):
        parts = bytearray()
        while len(parts) < count:
            try:
                got = self.socket.recv(min(count - len(parts), 1 << 20))
            except ConnectionResetError:
                got = b""
            if not got:
                raise Closed()
            parts += got
        return bytes(parts)

    def receive_frame(self):
        size = struct.unpack(">i", self.receive_exactly(4))[0]
        assert 4 <= size <= FRAME_BYTES_MAX, f"the broker sent a frame of {size} bytes"
        return self.receive_exactly(size)

    def wait_closed(self):
        """Reads until the broker closes; the bytes that came before."""
        got = bytearray()
        while True:
            try:
                part = self.socket.recv(65536)
            except ConnectionResetError:
                return bytes(got)
            if not part:
                return bytes(got)
            got += part

    # ---- messages ----
    def header(self, api_key, version, flexible):
        self.correlation += 1
        name = CLIENT_ID.encode()
        head = struct.pack(">hhi", api_key, version, self.correlation) + struct.pack(">h", len(name)) + name
        return head + (b"\0" if flexible else b"")

    def send(self, api, version, fields):
        """Sends a request, returns what `receive` needs."""
        message = self.protocol.request(api)
        self.send_frame(self.header(message.api_key, version, version in message.flexible) + message.encode(fields, version))
        return api, version, self.correlation

    def receive(self, sent):
        api, version, correlation = sent
        body = self.receive_frame()
        got = struct.unpack(">i", body[:4])[0]
        assert got == correlation, f"answer {got} where {correlation} was due"
        response = self.protocol.response(api)
        at = 4
        if version in response.flexible and api != "ApiVersions":
            assert body[4] == 0, "tags in a response header"
            at = 5
        return response.decode(body[at:], version)

    def call(self, api, version, fields):
        return self.receive(self.send(api, version, fields))
