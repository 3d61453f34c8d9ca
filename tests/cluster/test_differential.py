"""The same requests to Apache Kafka 4.3 and to us; every difference in the decoded answers is fixed or listed in differences.py."""
from fnmatch import fnmatchcase

import pytest

import cases_admin  # noqa: F401  importing them fills comparison.CASES
import cases_cluster  # noqa: F401
import cases_fetch  # noqa: F401
import cases_metadata  # noqa: F401
import cases_offsets  # noqa: F401
import cases_produce  # noqa: F401
import cases_restart  # noqa: F401
import reference as kafka
from comparison import Difference, Side, case_list, compare
from differences import LISTED
from kafka_spec import Protocol

pytestmark = pytest.mark.needs_reference


def all_cases():
    if kafka.missing():
        return [(None, None)]
    return case_list(Protocol.from_jars(kafka.lib_folder()))


def case_id(function, version):
    if function is None:
        return "none"
    stem = function.__name__.replace("_", "-")
    return stem if version is None else f"{stem}-v{version}"


PAIRS = all_cases()


@pytest.fixture(scope="module")
def ledger():
    """Which cases ran, and which rows of the list were needed."""
    return {"ran": 0, "used": set()}


def run_case(function, version, broker):
    """The steps that one broker answered."""
    prefix = f"{case_id(function, version)}-"
    side = Side(broker.bootstrap, Protocol.from_jars(kafka.lib_folder()), prefix, broker)
    try:
        function(side, version)
    finally:
        side.drop()
    return side.steps


@pytest.mark.parametrize("function,version", PAIRS, ids=[case_id(*pair) for pair in PAIRS])
def test_answers_like_kafka(function, version, reference, node, ledger):
    ledger["ran"] += 1
    name = case_id(function, version)
    unlisted = []
    for difference in compare(name, run_case(function, version, reference), run_case(function, version, node)):
        rows = [row for row in LISTED if fnmatchcase(difference.place, row.place)]
        ledger["used"].update(row.place for row in rows)
        if not rows:
            unlisted.append(str(difference))
    assert not unlisted, f"{len(unlisted)} differences that differences.py does not list:\n" + "\n".join(unlisted)


def test_no_listed_difference_is_stale(ledger):
    """A row that nothing needs any more hides the next difference; decided only when every case ran."""
    if ledger["ran"] == len(PAIRS):
        stale = [row.place for row in LISTED if row.place not in ledger["used"]]
        assert not stale, "rows of differences.py that no answer needs:\n" + "\n".join(stale)


def test_comparison_sees_a_planted_difference():
    """The gate can fail: a changed value, a missing item, a missing step."""
    kafka_steps = [("1 Fetch", {"ErrorCode": 0, "Topics": {"t": {"Offset": 5}}}), ("2 Fetch", "x")]
    our_steps = [("1 Fetch", {"ErrorCode": 3, "Topics": {}})]
    assert compare("c", kafka_steps, our_steps) == [
        Difference("c: 1 Fetch/ErrorCode", 0, 3),
        Difference("c: 1 Fetch/Topics/t", {"Offset": 5}, "<absent>"),
        Difference("c: number of steps", 2, 1),
    ]
    assert compare("c", kafka_steps, kafka_steps) == []
