"""Judges what a consumer read of the flights against what the producer sent and what was acknowledged. No I/O.

    sent    rows in the order of sending: (key, value)
    acked   {row number: (partition, offset)} as the delivery reports said; offset None: acknowledged, and the client was not told where
            (load.py, WITHOUT_OFFSET)
    read    {partition: [(offset, key, value), ...]} in the order of reading
"""
from collections import Counter

from flights import row_number

SHOWN_MAX = 5


def check(sent, acked, read):
    """Counter of anomalies by kind, and the first examples of each: both empty when all is well."""
    kinds, examples = Counter(), {}

    def report(kind, what):
        kinds[kind] += 1
        if kinds[kind] <= SHOWN_MAX:
            examples.setdefault(kind, []).append(what)
    places = {}  # row number -> (partition, offset)
    for partition, messages in sorted(read.items()):
        check_partition(sent, partition, messages, places, report)
    check_acknowledged(sent, acked, places, report)
    return kinds, examples


def check_partition(sent, partition, messages, places, report):
    """Offsets without a gap, contents as sent, no row twice, rows of a key in the order of sending."""
    newest_of_key = {}
    for index, (offset, key, value) in enumerate(messages):
        place = (partition, offset)
        expected = messages[index - 1][0] + 1 if index else 0
        if offset != expected:
            report("offset gap" if offset > expected else "offset goes back", f"{expected} was due, {place} came")
        number = row_number(value)
        if not 0 <= number < len(sent):
            report("not ours", f"{value[:60]!r} at {place}")
            continue
        if (key, value) != sent[number]:
            report("changed", f"row {number} at {place} is {key!r} {value[:60]!r}")
        if number in places:
            report("duplicate", f"row {number} at {places[number]} and {place}")
            continue
        places[number] = place
        if newest_of_key.get(key, -1) > number:
            report("order", f"row {number} of {key!r} at {place} comes after row {newest_of_key[key]}")
        newest_of_key[key] = max(number, newest_of_key.get(key, -1))


def check_acknowledged(sent, acked, places, report):
    partition_of_key = {}
    for number, place in acked.items():
        found = places.get(number)
        if found is None:
            report("lost", f"row {number}, acknowledged at {place}")
        elif found != place and (place[1] is not None or found[0] != place[0]):
            report("wrong offset", f"row {number}, acknowledged at {place}, is at {found}")
    for number, (partition, _) in places.items():
        key = sent[number][0]
        if partition_of_key.setdefault(key, partition) != partition:
            report("key in two partitions", f"{key!r} in {partition_of_key[key]} and {partition}")


def assert_clean(sent, acked, read, reader):
    kinds, examples = check(sent, acked, read)
    lines = [f"{kind}: {count}, such as " + "; ".join(examples[kind]) for kind, count in sorted(kinds.items())]
    assert not kinds, f"what {reader} read is not what was sent:\n" + "\n".join(lines)
