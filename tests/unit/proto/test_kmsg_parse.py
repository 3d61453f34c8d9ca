"""The schema notation: what it means, and that each broken rule is named with its line."""
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "proto" / "gen"))
import kmsg  # noqa: E402
import kmsg_parse  # noqa: E402

GOOD = """\
# What it is for.
api 7 SomeThing versions 1-9 flexible 4+ unstable 9+ advertise 0

request
    Name   string
    Items  [Item]?3+  2+
        Id     uuid
        Parts  [int32]
        Share  Shared?  5-7 tag 2 ignorable = null

request struct Shared
    Count  int64  = -1

response
    Code  int16
"""


def parse(text):
    return kmsg_parse.Parser(text).run()


class Notation(unittest.TestCase):
    def test_a_whole_schema(self):
        api = parse(GOOD)
        self.assertEqual((api.key, api.name, api.about), (7, "SomeThing", "What it is for."))
        self.assertEqual((api.versions, api.flexible, api.unstable, api.advertise), ((1, 9), 4, 9, 0))
        name, items = api.request.root.fields
        self.assertEqual((name.type, name.versions, name.nullable, name.is_array), ("string", (1, 9), None, False))
        self.assertEqual((items.type, items.versions, items.nullable, items.is_array), ("Item", (2, 9), (3, 9), True))
        _, parts, share = items.struct.fields
        self.assertEqual((parts.type, parts.versions, parts.is_array), ("int32", (2, 9), True))
        self.assertEqual((share.versions, share.tag, share.tagged, share.ignorable), ((5, 7), 2, (5, 7), True))
        self.assertIs(share.struct, api.request.shared["Shared"])
        self.assertEqual(share.struct.fields[0].default, -1)
        self.assertEqual(api.response.root.fields[0].name, "Code")

    def test_broken_rules_are_named(self):
        for old, new, why in (
                ("Code  int16", "Code  int17", "line 15: .*|int17 has no fields"),
                ("Code  int16", "Code  int16?", "line 15: int16 can't be null"),
                ("Code  int16", "Code  int16  = 40000", "line 15: 40000 does not fit int16"),
                ("Code  int16", "Code  int16  0-3", "line 15: versions 0-3 do not lie in 1-9"),
                ("Code  int16", "Code  int16  5-3", "line 15: versions 5-3"),
                ("Code  int16", "Code  int16  often", "line 15: unknown word 'often'"),
                ("Code  int16", "Code  int16  3+ tag 1", "line 15: .*only in flexible versions"),
                ("Code  int16", "Code  [int16", "line 15: .*is not: Name type"),
                ("    Code", "      Code", "line 15: indentation"),
                ("Code  int16", "Code  int16\n    Code  int16", "line 16: Code occurs twice"),
                ("Code  int16", "A  int8  4+ tag 1\n    B  int8  4+ tag 1", "line 16: tag 1 is used twice"),
                ("Shared?  5-7 tag 2 ignorable = null", "Shared?  5-7 tag 2", "line 9: .*null as its default"),
                ("string\n", "string?2+  = null\n", "line 5: only a field that may be null in all"),
                ("request struct Shared", "request struct Other", "struct Shared has no fields"),
                ("Count  int64  = -1", "Again  Shared", "contains itself"),
                ("versions 1-9", "versions 9-1", "line 2"),
                ("advertise 0", "sometimes 0", "line 2: unknown words"),
                ("request\n", "question\n", "line 4: expected: request")):
            with self.subTest(new=new):
                self.assertIn(old, GOOD)
                with self.assertRaisesRegex(kmsg_parse.SchemaError, why):
                    parse(GOOD.replace(old, new, 1))

    def test_names_in_c(self):
        for name, expected in (("ThrottleTimeMs", "throttle_time_ms"), ("V3AndBelowTopics", "v3_and_below_topics"),
                               ("timeoutMs", "timeout_ms"), ("Default", "default_")):
            self.assertEqual(kmsg.member(name), expected)

    def test_the_smallest_wire_size_is_over_the_versions_where_it_occurs(self):
        api = parse(GOOD)
        item = api.request.root.fields[1].struct
        # A uuid, then an array's length: four bytes, or one where flexible, with the count of tagged fields.
        self.assertEqual(kmsg.wire_bytes_min(api, api.request, item), 16 + 1 + 1)
        self.assertEqual(kmsg.wire_bytes_min(api, api.response, api.response.root), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
