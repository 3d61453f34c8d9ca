"""What a hostile or broken peer sends to the Kafka port: at worst its own connection closes, and the log says why."""
import http.client
import os
import random
import re
import socket
import ssl
import struct

import pytest

from cluster import External, Node, answers_metadata
from kafka_wire import Closed, Connection
from waiting import stretched, wait_until

API_VERSIONS, METADATA, PRODUCE, FETCH, CREATE_TOPICS = 18, 3, 0, 1, 19
INT32_MAX, INT32_MIN = 0x7FFFFFFF, -0x80000000
FLEXIBLE = {API_VERSIONS: 3, METADATA: 9, PRODUCE: 9, FETCH: 12, CREATE_TOPICS: 5}  # the first version with tags, by API


@pytest.fixture(scope="module")
def bystander(node):
    """A well-behaved connection that lives through everything below."""
    with Connection(node.bootstrap) as connection:
        yield connection


@pytest.fixture(autouse=True)
def node_stays_up(node, bystander):
    yield
    assert isinstance(node, External) or node.is_running, node.log_tail()
    bystander.send_frame(metadata_request(bystander))
    assert struct.unpack_from(">i", bystander.receive_frame(), 4)[0] == 1, "an old connection is served as before"
    assert answers_metadata(node.bootstrap), "a new connection is served as before"


def metadata_request(connection):
    """Metadata version 1 of no topic."""
    return connection.header(METADATA, 1, False) + struct.pack(">i", 0)


def closed_and_logged(node, data, why):
    """Sends bytes; the broker closes without a word, and the line of this very client in the log says why."""
    with Connection(node.bootstrap) as connection:
        client = "127.0.0.1:%d" % connection.socket.getsockname()[1]
        connection.send_bytes(data)
        assert connection.wait_closed() == b""
    if not isinstance(node, External):
        line = node.wait_log(rf"[^\n]*client={re.escape(client)} [^\n]*").group()
        assert "level=warn" in line and "action=closed" in line and re.search(why, line), line


# ---- frames ----
@pytest.mark.parametrize("size,why", [
    (INT32_MAX, "larger than allowed.*raise socket.request.max.bytes"),
    (104857601, r"larger than allowed.*\(size 104857601, limit 104857600\)"),
    (0, "zero or negative"),
    (-1, "zero or negative"),
    (INT32_MIN, "zero or negative"),
    (3, "smaller than its header"),
])
def test_frame_size(node, size, why):
    closed_and_logged(node, struct.pack(">i", size) + b"\0" * 16, why)


def test_http_on_the_kafka_port(node):
    closed_and_logged(node, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "an HTTP request .* use the address of http.listener")
    host, port = node.bootstrap.split(":")
    client = http.client.HTTPConnection(host, int(port), timeout=stretched(10))
    client.request("POST", "/topics/t", body=b"{}")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        client.getresponse()
    client.close()


def test_tls_on_the_kafka_port(node):
    host, port = node.bootstrap.split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=stretched(10)) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain)
    if not isinstance(node, External):
        node.wait_log(r"a TLS handshake came to a plaintext listener: set security.protocol=PLAINTEXT")


# ---- requests ----
MALFORMED = {
    "more topics than bytes": (METADATA, 1, struct.pack(">i", INT32_MAX)),
    "a name longer than the request": (METADATA, 1, struct.pack(">ih", 1, 32767) + b"t"),
    "a varint that does not end": (METADATA, 12, b"\xff\xff\xff\xff\xff\xff"),
    "4 billion topics, compact": (METADATA, 12, b"\xff\xff\xff\xff\x0f"),
    "a topic's name of 2 GiB": (PRODUCE, 9, b"\0\0\1\0\0\0\0\2\xff\xff\xff\xff\x07"),
    "cut off": (FETCH, 12, b"\0" * 8),
    "a negative count": (CREATE_TOPICS, 2, struct.pack(">i", 1) + b"\0\1t" + struct.pack(">ihi", 1, 1, -7)),
    "versions asked for in half a request": (API_VERSIONS, 3, b"\x05"),
    "an API that does not exist": (999, 0, b""),
    "a version that does not exist": (METADATA, 99, b""),
    "a version that is no longer spoken": (FETCH, 0, b""),
    "a negative version": (METADATA, -1, b""),
}


def test_request_that_is_not_well_formed(folder):
    """Each on a connection of its own; the log has a line for each (a worker writes ten of a kind in ten seconds, so not more here)."""
    wrong = []
    with Node(folder / "node", {"num.worker.threads": 2}) as own:
        own.start()
        for what, (api, version, body) in MALFORMED.items():
            with Connection(own.bootstrap) as connection:
                client = "127.0.0.1:%d" % connection.socket.getsockname()[1]
                connection.send_frame(connection.header(api, version, version >= FLEXIBLE.get(api, 99)) + body)
                answer = connection.wait_closed()
            lines = [line for line in own.log_text().splitlines() if f"client={client} " in line]
            if answer or len(lines) != 1 or not re.search(r'level=warn .*event=request_refused .*action=closed why=".+"', lines[0]):
                wrong.append(f"{what}: answer {answer.hex()!r}, log {lines}")
        assert not wrong, "\n".join(wrong)


def test_requests_cut_and_random(node):
    """A storm from a seed: cut, extended, flipped and random requests, with connections broken off at any byte."""
    seed = int(os.environ.get("MOLDAU_SEED", "")) if os.environ.get("MOLDAU_SEED", "").isdigit() else random.randrange(1 << 32)
    print(f"seed {seed} (MOLDAU_SEED repeats it)")
    source = random.Random(seed)
    closed = answered = 0
    for _ in range(1500):
        with Connection(node.bootstrap, timeout_s=10) as connection:
            api = source.choice([PRODUCE, FETCH, 2, METADATA, API_VERSIONS, CREATE_TOPICS, 20, 22, 23, 32, 35, 37, 44, 60, 75])
            frame = bytearray(connection.header(api, source.randrange(0, 14), source.random() < 0.5))
            frame += source.randbytes(source.choice([0, 1, 3, 8, 40, 300]))
            for _ in range(source.randrange(0, 4)):
                frame[source.randrange(8, len(frame))] = source.choice([0, 1, 0x7F, 0x80, 0xFF])  # the API and its version stay
            size = len(frame) if source.random() < 0.8 else source.randrange(4, 2 * len(frame))
            data = struct.pack(">i", size) + frame
            connection.send_bytes(data[:source.randrange(1, len(data))] if source.random() < 0.2 else data)
            if source.random() < 0.3:
                continue  # gone without waiting for anything
            connection.socket.shutdown(socket.SHUT_WR)
            got = connection.wait_closed()
            closed, answered = closed + (not got), answered + bool(got)
    assert closed > 100 and answered > 10, f"{closed} closed, {answered} answered: the storm is not a mix"


# ---- time ----
def test_slow_sender_is_served(node):
    """A request that comes byte by byte is answered, and does not hold up others."""
    with Connection(node.bootstrap) as slow, Connection(node.bootstrap) as other:
        body = metadata_request(slow)
        for byte in struct.pack(">i", len(body)) + body:
            slow.send_bytes(bytes([byte]))
            other.send_frame(metadata_request(other))
            other.receive_frame()
        assert struct.unpack_from(">i", slow.receive_frame(), 4)[0] == 1


def test_many_requests_in_one_go_are_answered_in_order(node):
    with Connection(node.bootstrap) as connection:
        count = 2000  # far more than may be in flight at once: the broker pauses reading instead of refusing
        connection.send_bytes(b"".join(struct.pack(">i", len(body)) + body for body in (metadata_request(connection) for _ in range(count))))
        assert [struct.unpack_from(">i", connection.receive_frame())[0] for _ in range(count)] == list(range(1, count + 1))


def test_reader_that_takes_nothing(node):
    """A client that sends and never reads: the broker stops reading from it, keeps its memory bounded, and serves the others."""
    with Connection(node.bootstrap) as deaf:
        frame = b"".join(struct.pack(">i", len(body)) + body for body in (metadata_request(deaf) for _ in range(1000)))
        deaf.socket.setblocking(False)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += deaf.socket.send(frame)
        except BlockingIOError:
            pass
        assert sent < 64 << 20, "the broker takes requests without end from a client that takes no answers"
        assert answers_metadata(node.bootstrap)
        if not isinstance(node, External):
            assert node.memory_bytes() < 64 << 20


def test_thousands_of_idle_and_half_open_connections(node):
    """They cost little, and when they are gone everything is as before."""
    open_connections = []
    try:
        for number in range(800):
            connection = Connection(node.bootstrap)
            open_connections.append(connection)
            connection.send_bytes(b"\0\0\0\x40partial"[:number % 12])
        assert answers_metadata(node.bootstrap)
    finally:
        for connection in open_connections:
            connection.close()


def test_idle_and_surplus_connections_are_closed(folder):
    """connections.max.idle.ms and max.connections.per.ip, each with its line in the log."""
    with Node(folder / "node", {"connections.max.idle.ms": 1000, "max.connections.per.ip": 3}) as small:
        small.start()
        with Connection(small.bootstrap) as idle:
            assert idle.wait_closed() == b""
        small.wait_log(r"event=connection_expired .*why=\"idle for connections.max.idle.ms")
        wait_until(lambda: answers_metadata(small.bootstrap), 10, "the closed ones to be counted no more")
        kept = [Connection(small.bootstrap) for _ in range(6)]
        try:
            small.wait_log(r"level=warn .*event=connection_refused .*why=")
        finally:
            for connection in kept:
                connection.close()
        wait_until(lambda: answers_metadata(small.bootstrap), 10, "the node to take connections again")


def test_client_that_vanishes_in_a_long_poll(node):
    """Its waiting fetch is dropped with it; a fetch of a topic that is not there is answered at once otherwise."""
    for _ in range(20):
        connection = Connection(node.bootstrap)
        body = struct.pack(">iiiibii", -1, 30_000, 1, 1 << 20, 0, 0, -1) + struct.pack(">ii", 0, 0)
        connection.send_frame(connection.header(FETCH, 7, False) + body)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an orderly end
        connection.close()


def test_closed_is_seen(node):
    """The helper used above can fail: a good request is answered, not closed."""
    with Connection(node.bootstrap) as connection:
        connection.send_frame(metadata_request(connection))
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.wait_closed() != b""
    with Connection(node.bootstrap) as connection, pytest.raises(Closed):
        connection.send_bytes(struct.pack(">i", -1))
        connection.receive_frame()
