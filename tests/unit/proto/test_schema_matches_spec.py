"""Our schemas say what Kafka's message specifications say, field by field.

Reads the specifications' JSON from the folder $MOLDAU_KAFKA_SPEC (`kafka spec` of the reference unpacks it below $KAFKA_REF, which is where
this looks by default) and compares, for every API that is not internal to Kafka's own brokers: key, versions, flexible and unstable versions, and per field in wire order: name, type,
versions, nullable versions, tag, tagged versions, default, ignorable. Skipped where the specifications are not unpacked.
"""
import json
import os
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "proto" / "gen"))
import kmsg_parse  # noqa: E402

REFERENCE = os.environ.get("KAFKA_REF") or os.path.join(os.environ.get("TMPDIR", "/tmp"), "kafka-ref")
SPEC = os.environ.get("MOLDAU_KAFKA_SPEC") or os.path.join(REFERENCE, "spec/common/message")
WHY_SKIPPED = f"Kafka's message specifications are not unpacked in {SPEC} (MOLDAU_KAFKA_SPEC)"
# Need "I" of protocol.md: between Kafka's own brokers and controllers.
INTERNAL = {27, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82, 83, 84, 85, 86, 87}


def load_spec():
    """{api key: {"request": JSON, "response": JSON}} of what can still be spoken."""
    apis = {}
    for path in sorted(Path(SPEC).glob("*.json")):
        spec = json.loads(re.sub(r"^\s*//.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
        if spec["type"] in ("request", "response") and spec["validVersions"] != "none":
            apis.setdefault(spec["apiKey"], {})[spec["type"]] = spec
    return apis


def spec_range(text, outer):
    """Kafka's notation of a range, cut to the range it lies in; None when nothing remains."""
    if text in (None, "none"):
        return None
    match = re.fullmatch(r"(\d+)(\+|-(\d+))?", text)
    first = int(match[1])
    last = first if not match[2] else outer[1] if match[2] == "+" else int(match[3])
    first, last = max(first, outer[0]), min(last, outer[1])
    return (first, last) if first <= last else None


def spec_default(field):
    default = field.get("default")
    kind = field["type"]
    if default is None:
        return "null" if kind == "records" else False if kind == "bool" else 0 if re.match(r"u?int", kind) else "empty"
    if default == "null":
        return "null"
    if kind == "bool":
        return str(default).lower() == "true"
    return int(str(default), 0) if re.match(r"u?int", kind) else "empty" if default == "" else default


def spec_rows(fields, outer, common, path=""):
    """One tuple a field, those of structs after their own, in wire order."""
    for field in fields:
        versions = spec_range(field["versions"], outer)
        if versions is None:
            continue
        nullable = spec_range(field.get("nullableVersions"), versions)
        tagged = spec_range(field.get("taggedVersions"), versions)
        element = field["type"].removeprefix("[]")
        children = field.get("fields") or common.get(element)
        yield (f"{path}{field['name']}", field["type"], versions, nullable, field.get("tag"), tagged, spec_default(field),
               bool(field.get("ignorable")))
        if children:
            # A shared struct's fields are compared within the versions of the whole message, as both sides declare them.
            yield from spec_rows(children, versions, common, f"{path}{field['name']}.")


def our_default(field):
    if field.default is not None:
        return field.default
    if field.is_array or field.is_struct or field.type in ("string", "bytes", "float64", "uuid"):
        return "empty"
    return "null" if field.type == "records" else False if field.type == "bool" else 0


def cut(versions, outer):
    if versions is None:
        return None
    first, last = max(versions[0], outer[0]), min(versions[1], outer[1])
    return (first, last) if first <= last else None


def our_rows(struct, outer, path=""):
    for field in struct.fields:
        versions = cut(field.versions, outer)
        if versions is None:
            continue
        yield (f"{path}{field.name}", ("[]" if field.is_array else "") + field.type, versions, cut(field.nullable, versions),
               field.tag, cut(field.tagged, versions), our_default(field), field.ignorable)
        if field.is_struct:
            yield from our_rows(field.struct, versions, f"{path}{field.name}.")


@unittest.skipUnless(Path(SPEC).is_dir(), WHY_SKIPPED)
class SchemaMatchesSpec(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.spec = load_spec()
        cls.ours = {}
        for path in sorted((ROOT / "proto" / "schema").glob("*.kmsg")):
            api = kmsg_parse.parse_file(path)
            cls.ours[api.key] = api

    def test_every_api_that_is_not_internal_has_a_schema(self):
        self.assertEqual(set(self.ours), set(self.spec) - INTERNAL)

    def test_names_and_versions(self):
        for key, api in self.ours.items():
            for kind in ("request", "response"):
                with self.subTest(api=api.name, kind=kind):
                    spec = self.spec[key][kind]
                    versions = spec_range(spec["validVersions"], (0, 999))
                    flexible = spec_range(spec["flexibleVersions"], (0, 999))
                    self.assertEqual(spec["name"], api.name + kind.capitalize())
                    self.assertEqual(api.versions, versions)
                    self.assertEqual(api.flexible, flexible and flexible[0])
            unstable = versions[1] if self.spec[key]["request"].get("latestVersionUnstable") else None
            self.assertEqual(api.unstable, unstable, api.name)

    def test_fields(self):
        compared = 0
        for key, api in self.ours.items():
            for kind, message in (("request", api.request), ("response", api.response)):
                with self.subTest(api=api.name, kind=kind):
                    spec = self.spec[key][kind]
                    common = {struct["name"]: struct["fields"] for struct in spec.get("commonStructs", [])}
                    theirs = list(spec_rows(spec["fields"], api.versions, common))
                    self.assertEqual(list(our_rows(message.root, api.versions)), theirs)
                    compared += len(theirs)
        self.assertGreater(compared, 1000)


if __name__ == "__main__":
    if not Path(SPEC).is_dir():
        print(WHY_SKIPPED)
        sys.exit(77)  # Meson: skipped
    unittest.main(verbosity=2)
