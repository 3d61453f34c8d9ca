"""Peers that are slow, greedy or gone: they cost the node little, and the others nothing.

Bounds of memory are stretched like deadlines: a sanitizer's build needs more of both.
"""
import os
import random
import socket
import struct

import pytest

from cluster import Node, answers_metadata
from kafka_wire import Closed, Connection
from waiting import stretched, wait_until

API_VERSIONS_REQUEST = struct.pack(">hhih", 18, 0, 7, -1)  # key, version, correlation, no client id
RANDOM_REQUESTS = 400


@pytest.fixture(scope="module")
def node(module_folder):
    with Node(module_folder / "node", {"socket.request.max.bytes": 1 << 20}) as started:
        yield started.start()


def framed(body):
    return struct.pack(">i", len(body)) + body


@pytest.fixture(autouse=True)
def still_serving(node):
    """After every test: the same process, and it answers."""
    pid = node.process.pid
    yield
    assert node.is_running and node.process.pid == pid, f"the node is gone:\n{node.log_tail()}"
    wait_until(lambda: answers_metadata(node.bootstrap), 10, "the node to answer after bad input")
    node.check_log()


def test_an_oversize_frame_costs_no_memory(node):
    before = node.memory_bytes()
    connections = [Connection(node.bootstrap) for _ in range(50)]
    for connection in connections:
        connection.send_bytes(struct.pack(">i", 2**31 - 1))
    for connection in connections:
        connection.wait_closed()
        connection.close()
    assert node.memory_bytes() - before < stretched(8 << 20)


def test_announced_but_never_sent_bytes_cost_no_memory(node):
    """Each connection announces the largest request and sends little of it."""
    before = node.memory_bytes()
    connections = [Connection(node.bootstrap) for _ in range(100)]
    for connection in connections:
        connection.send_bytes(struct.pack(">i", 1 << 20) + b"\0" * 100)
    assert answers_metadata(node.bootstrap)
    grown = node.memory_bytes() - before
    for connection in connections:
        connection.close()
    assert grown < stretched(64 << 20), f"100 connections that send 104 bytes each cost {grown >> 20} MiB"


def test_random_bytes_and_damaged_requests(node):
    seed = int(os.environ["MOLDAU_SEED"]) if os.environ.get("MOLDAU_SEED", "").isdigit() else random.randrange(1 << 32)
    print(f"seed {seed} (MOLDAU_SEED repeats it)")
    draw = random.Random(seed)
    for _ in range(RANDOM_REQUESTS):
        key, version = draw.choice((0, 1, 2, 3, 18, 19, 20, 22, 23, 32, 35, 37, 44, 60, 75)), draw.randrange(14)
        body = bytearray(struct.pack(">hhih", key, version, 1, 4) + b"test" + draw.choice((b"", b"\0")) + draw.randbytes(draw.randrange(120)))
        if draw.random() < 0.3:
            body[draw.randrange(8, len(body))] = draw.choice((0, 0x7F, 0x80, 0xFF))
        with Connection(node.bootstrap) as connection:
            try:
                connection.send_frame(bytes(body))
                # A good request behind it: answered if the first was legal, or the connection is closed.
                connection.send_frame(API_VERSIONS_REQUEST)
                connection.socket.shutdown(socket.SHUT_WR)
                connection.wait_closed()
            except (Closed, OSError):
                continue


def test_a_request_byte_by_byte_is_answered(node):
    with Connection(node.bootstrap) as connection:
        for byte in framed(API_VERSIONS_REQUEST):
            connection.send_bytes(bytes([byte]))
        assert struct.unpack_from(">ih", connection.receive_frame()) == (7, 0)


def test_slow_connections_do_not_hold_up_the_others(node):
    slow = [Connection(node.bootstrap) for _ in range(300)]
    for connection in slow:
        connection.send_bytes(b"\0\0")
    for _ in range(20):
        assert answers_metadata(node.bootstrap)
    for connection in slow:
        connection.send_bytes(framed(API_VERSIONS_REQUEST)[2:])
    for connection in slow:
        assert struct.unpack_from(">ih", connection.receive_frame()) == (7, 0)
        connection.close()


def test_a_client_that_never_reads_is_bounded(node):
    """Answers pile up on the client's side of the socket, then the node stops reading: its memory stays bounded."""
    before = node.memory_bytes()
    with Connection(node.bootstrap) as connection:
        connection.socket.settimeout(1)
        burst = framed(API_VERSIONS_REQUEST) * 2000
        sent = 0
        try:
            while sent < 64 << 20:
                sent += connection.socket.send(burst)
        except (TimeoutError, OSError):
            pass
        assert answers_metadata(node.bootstrap)
        assert node.memory_bytes() - before < stretched(32 << 20)
        assert sent < 64 << 20, "the node read everything although nobody took its answers"


def test_connections_that_vanish(node):
    """Reset in the middle of a request and of an answer."""
    for _ in range(100):
        connection = Connection(node.bootstrap)
        connection.send_bytes(framed(API_VERSIONS_REQUEST) * 20 + b"\0\0\1")
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
