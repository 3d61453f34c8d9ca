"""The model of replication holds in every scope, and finds every flaw that can be planted in it.

  python3 tests/model/test_model.py [SCOPE or FLAW ...]      MOLDAU_MODEL_FULL=1: the large scopes too
"""
import multiprocessing
import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import replication_model as model  # noqa: E402

PROCESSES = 2


def explore(job):
    scope, flaw = job
    return job, model.Model(flaw=flaw, **model.SCOPES[scope]).explore()


def jobs():
    is_full = os.environ.get("MOLDAU_MODEL_FULL") == "1"
    scopes = [(scope, None) for scope in model.SCOPES if is_full or not scope.startswith("full-")]
    return scopes + [(model.FLAW_SCOPES.get(flaw, "crash"), flaw) for flaw in model.FLAWS]


class ReplicationModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with multiprocessing.Pool(PROCESSES) as pool:
            cls.results = dict(pool.imap_unordered(explore, jobs()))

    def test_no_scope_has_a_violation(self):
        for (scope, flaw), (states, trace) in self.results.items():
            if flaw is None:
                with self.subTest(scope=scope):
                    self.assertIsNone(trace, trace and "\n".join(trace))
                    self.assertGreater(states, 10000, "the scope explores too little to say anything")

    def test_every_planted_flaw_is_found(self):
        for (scope, flaw), (states, trace) in self.results.items():
            if flaw is not None:
                with self.subTest(flaw=flaw, scope=scope):
                    self.assertIsNotNone(trace, f"{states} states and no violation")

    def test_histories_part_where_the_epochs_say(self):
        """KIP-279: the answer names an epoch that the follower does not have, so it asks again."""
        self.assertEqual(model.lineage_end((1, 1, 2), (1, 1, 3)), 2)
        self.assertEqual(model.lineage_end((1, 2, 2), (1, 3)), 1)
        self.assertEqual(model.lineage_end((2, 2), (1, 3)), 0)
        self.assertEqual(model.lineage_end((1, 1, 1), (1, 3, 3)), 1)
        self.assertEqual(model.lineage_end((1, 3), (1, 1, 2, 4)), 1)


if __name__ == "__main__":
    unittest.main()
