"""The checker of the flights finds every anomaly that is planted, and none where there is none."""
import pytest

import flights
from flight_check import check


def history(count=12, partitions=2):
    """A clean one: (sent, acked, read)."""
    sent = [(b"K%d" % (number % 4), b'{"row":%d,"x":1}' % number) for number in range(count)]
    acked, read = {}, {partition: [] for partition in range(partitions)}
    for number, (key, value) in enumerate(sent):
        partition = number % 4 % partitions
        acked[number] = (partition, len(read[partition]))
        read[partition].append((len(read[partition]), key, value))
    return sent, acked, read


def renumbered(messages):
    return [(offset, key, value) for offset, (_, key, value) in enumerate(messages)]


def plant(kind, sent, acked, read):
    first = read[0]
    if kind == "lost":
        read[0] = first[:-1]
    elif kind == "duplicate":
        first.append((len(first), *first[-1][1:]))
    elif kind == "wrong offset":
        # Two keys change places: the order of each key stays right.
        first[0], first[1] = (0, *first[1][1:]), (1, *first[0][1:])
    elif kind == "order":
        same = [index for index, message in enumerate(first) if message[1] == b"K0"]
        first[same[0]], first[same[1]] = (same[0], *first[same[1]][1:]), (same[1], *first[same[0]][1:])
    elif kind == "offset gap":
        first[-1] = (first[-1][0] + 1, *first[-1][1:])
    elif kind == "offset goes back":
        first.append(first[0])
    elif kind == "changed":
        first[0] = (0, first[0][1], first[0][2].replace(b'"x":1', b'"x":2'))
    elif kind == "not ours":
        first.append((len(first), b"K0", b"hello"))
    elif kind == "key in two partitions":
        read[1].append((len(read[1]), *first[-1][1:]))
        read[0] = first[:-1]


def test_a_clean_history_is_clean():
    kinds, examples = check(*history())
    assert not kinds and not examples


def test_an_unacknowledged_row_may_be_missing_or_there():
    sent, acked, read = history()
    del acked[11]
    assert not check(sent, acked, read)[0]
    partition = 11 % 4 % 2
    read[partition] = read[partition][:-1]
    assert not check(sent, acked, read)[0]


def test_a_row_acknowledged_without_an_offset_must_be_there_in_its_partition():
    sent, acked, read = history()
    partition = acked[11][0]
    acked[11] = (partition, None)
    assert not check(sent, acked, read)[0]
    acked[11] = (1 - partition, None)
    assert check(sent, acked, read)[0]["wrong offset"] == 1
    acked[11] = (partition, None)
    read[partition] = read[partition][:-1]
    assert check(sent, acked, read)[0]["lost"] == 1


@pytest.mark.parametrize("kind", ["lost", "duplicate", "wrong offset", "order", "offset gap", "offset goes back", "changed", "not ours",
                                  "key in two partitions"])
def test_a_planted_anomaly_is_found(kind):
    sent, acked, read = history()
    plant(kind, sent, acked, read)
    kinds, examples = check(sent, acked, read)
    assert kinds[kind] >= 1, f"found only {dict(kinds)}"
    assert examples[kind]


def test_the_flights_are_all_there_and_know_their_number():
    rows = flights.rows()
    assert len(rows) == 336_776
    assert [flights.row_number(value) for _, value in rows[:3]] == [0, 1, 2]
    assert flights.row_number(rows[-1][1]) == 336_775
    assert flights.row_number(b"hello") == flights.row_number(b'{"row":x,') == -1
    assert len({key for key, _ in rows}) == 4_044
