"""Where our answers differ from Apache Kafka 4.3's on purpose: a pattern of the place (fnmatch) and a sentence of why."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    place: str  # as test_differential.py prints it: "case-v3: 2 Fetch/Responses/t/ErrorCode"
    why: str


LISTED = (
)
