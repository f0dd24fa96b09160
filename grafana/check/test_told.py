"""What counts as showing something."""

import unittest

from .queries import Problems
from .told import RIGHTLY_EMPTY, Told


def problems(panel, columns, rows, losses=False, live=()):
    """What is said of one panel, where all others are as they should be."""
    told, found = Told(), Problems()
    for dashboard, title in RIGHTLY_EMPTY:
        told.note(dashboard, "mysql", title, ["amount"], [(int(losses),)])
    told.note(*panel, columns, rows)
    told.check_panels(found, losses, live)
    return [problem for problem in found if problem.startswith(f"{panel[0]}, {panel[1]}, {panel[2]}: ")]


class Panels(unittest.TestCase):
    PANEL = ("nodes", "mysql", "Dials")
    LISTED = ("nodes", "postgres", "Nodes not seen in full")

    def test_numbers_show_something_and_zeros_do_not(self):
        self.assertEqual(problems(self.PANEL, ["time", "dials"], [(1795000000, 0), (1795000001, 2)]), [])
        for rows in ([], [(1795000000, 0)], [(1795000000, None)]):
            self.assertEqual(len(problems(self.PANEL, ["time", "dials"], rows)), 1, rows)

    def test_words_instead_of_nothing_are_nothing(self):
        self.assertEqual(problems(self.PANEL, ["cause"], [("resent",)]), [])
        self.assertEqual(len(problems(self.PANEL, ["cause"], [("none",)])), 1)
        self.assertEqual(len(problems(self.PANEL, ["node", "dials"], [("nobody dialled", 0)])), 1)
        self.assertEqual(len(problems(self.PANEL, ["node", "score"], [("no node was scored", None)])), 1)

    def test_what_is_listed_must_be_empty_unless_something_was_lost(self):
        nothing, something = (["nodes"], [(0,)]), (["nodes"], [(2,)])
        self.assertEqual(problems(self.LISTED, *nothing), [])
        self.assertEqual(len(problems(self.LISTED, *something)), 1)
        self.assertEqual(len(problems(self.LISTED, *nothing, losses=True)), 1)
        self.assertEqual(problems(self.LISTED, *something, losses=True), [])
        self.assertEqual(problems(self.LISTED, *something, live={"postgres"}), [])

    def test_the_list_names_panels_that_are_there(self):
        found = Problems()
        Told().check_panels(found, False, ())
        self.assertEqual(len(found), len(RIGHTLY_EMPTY))


if __name__ == "__main__":
    unittest.main()
