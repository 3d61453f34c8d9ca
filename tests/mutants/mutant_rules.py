"""What tests/mutants/run keeps: rules.txt (which rule each fault breaks), found.txt (what found it), and the table made of both."""
import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CHAOS = HERE.parent / "chaos" / "mutants"
RULES = HERE / "rules.txt"
FOUND = HERE / "found.txt"


class Rule(NamedTuple):
    trap: str
    sentence: str
    patch: str = ""
    note: str = ""
    more: str = ""  # "with: NAME" or "chaos: OPTIONS"

    def combined(self):
        """The patch that takes the other guard away as well, or None."""
        return self.more.removeprefix("with:").strip() if self.more.startswith("with:") else None

    def chaos(self):
        """What tests/chaos/run is asked, or None."""
        return self.more.removeprefix("chaos:").split() if self.more.startswith("chaos:") else None


def read_found():
    rows = {}
    for line in FOUND.read_text(encoding="utf-8").splitlines() if FOUND.exists() else []:
        name, layer, seed, checker = line.split(" | ", 3)
        rows[name] = (layer, seed, checker)
    return rows


def write_found(rows):
    FOUND.write_text("".join(f"{name} | {' | '.join(rows[name])}\n" for name in sorted(rows)), encoding="utf-8")


def read_rules():
    lines = [line for line in RULES.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [Rule(*(field.strip() for field in line.split("|"))) for line in lines]


def all_patches():
    """Those that tests/chaos finds lie there."""
    return sorted(HERE.glob("*.patch")) + sorted(CHAOS.glob("*.patch"))


def shorten(checker):
    text = re.sub(r"\s+", " ", checker).replace("|", "/")
    return text if len(text) <= 90 else text[:87] + "..."


def row_of(rule, found):
    """The last four fields of the table: patch, layer, seed or test, checker."""
    if not rule.patch:
        return "-", "-", "-", rule.note
    note = f"; {rule.note}" if rule.note else ""
    if rule.patch in found:
        layer, seed, checker = found[rule.patch]
        return rule.patch, layer, seed, shorten(checker) + note
    if rule.combined() in found:
        layer, seed, checker = found[rule.combined()]
        return f"{rule.patch}, {rule.combined()}", layer, seed, f"guarded twice{note}; with both removed: {shorten(checker)}"
    return rule.patch, "-", "-", f"no result yet{note}"


def print_table():
    found = read_found()
    print("| trap | rule | patch | layer | seed or test | checker |\n|---|---|---|---|---|---|")
    for rule in read_rules():
        print("| " + " | ".join((rule.trap, rule.sentence, *row_of(rule, found))) + " |")


def rules_lack():
    """What rules.txt and the folders do not agree about."""
    named = {name for rule in read_rules() for name in (rule.patch, rule.combined()) if name}
    there = {path.stem for path in all_patches()}
    return [f"{name}: no rule in rules.txt" for name in sorted(there - named)] + \
           [f"{name}: named in rules.txt, but there is no patch" for name in sorted(named - there)]
