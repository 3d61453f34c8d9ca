"""What is sent: values that are unique within their key, in records that can be checked byte by byte."""
import itertools
import threading

FILLER = "abcdefghijklmnopqrstuvwxyz0123456789" * 300


def payload(value, size):
    """The whole record is a function of the value and its length."""
    head = f"{value}:{size}:"
    begin = value % 36
    return (head + FILLER[begin:begin + max(0, size - len(head))]).encode()


def value_of(data):
    """The value; a text that says what is wrong when these are not the bytes that were sent."""
    try:
        value, size, _rest = data.decode().split(":", 2)
        if payload(int(value), int(size)) == data:
            return int(value)
    except (ValueError, UnicodeDecodeError, AttributeError):
        pass
    return f"broken: {data[:60] if data is not None else None!r}"


class Values:
    """Of all clients; any thread may take some."""

    def __init__(self, topic, partitions):
        self.keys = [f"{topic}/{partition}" for partition in range(partitions)]
        self._counters, self._lock = {key: itertools.count() for key in self.keys}, threading.Lock()

    def next(self, key):
        with self._lock:
            return next(self._counters[key])
