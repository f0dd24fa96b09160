"""What Grafana makes of variables and macros, by its sources; expand.py must make the same of them."""

import unittest

from .expand import ExpandError, Range, expand, interval, interval_text, macros, variables

RANGE = Range(1_795_000_000_182, 1_795_003_600_182)


class Macros(unittest.TestCase):
    def both(self, text, mysql, postgres):
        self.assertEqual(macros(text, "mysql", RANGE), mysql)
        self.assertEqual(macros(text, "postgres", RANGE), postgres)

    def test_each_macro_on_each_database(self):
        for text, mysql, postgres in [
            ("$__timeFilter(c)", "c BETWEEN FROM_UNIXTIME(1795000000) AND FROM_UNIXTIME(1795003600)",
             "c BETWEEN '2026-11-18T11:06:40.182Z' AND '2026-11-18T12:06:40.182Z'"),
            ("$__timeFrom()", "FROM_UNIXTIME(1795000000)", "'2026-11-18T11:06:40.182Z'"),
            ("$__timeTo()", "FROM_UNIXTIME(1795003600)", "'2026-11-18T12:06:40.182Z'"),
            ("$__timeGroup(c,5m)", "UNIX_TIMESTAMP(c) DIV 300 * 300", "floor(extract(epoch from c)/300)*300"),
            ("$__timeGroupAlias(c,5m)", 'UNIX_TIMESTAMP(c) DIV 300 * 300 AS "time"',
             'floor(extract(epoch from c)/300)*300 AS "time"'),
            ("$__unixEpochFilter(c)", "c >= 1795000000 AND c <= 1795003600", "c >= 1795000000 AND c <= 1795003600"),
            ("$__unixEpochGroup(c,5m)", "c DIV 300 * 300", "floor((c)/300)*300"),
            ("$__time(c)", "UNIX_TIMESTAMP(c) as time_sec", 'c AS "time"'),
        ]:
            with self.subTest(text):
                self.both(text, mysql, postgres)

    def test_arguments_are_trimmed_and_quotes_of_intervals_taken_off(self):
        self.both("$__unixEpochGroup(c, '1m')", "c DIV 60 * 60", "floor((c)/60)*60")

    def test_an_argument_ends_at_the_first_closing_parenthesis(self):
        self.both("$__unixEpochFilter(FLOOR(c))", "FLOOR(c >= 1795000000 AND FLOOR(c <= 1795003600)",
                  "FLOOR(c >= 1795000000 AND FLOOR(c <= 1795003600)")

    def test_arguments_are_split_at_every_comma(self):
        with self.assertRaises(ExpandError):
            macros("$__unixEpochGroup(GREATEST(a, b), 1m)", "mysql", RANGE)

    def test_an_interval_below_a_second_stays_one(self):
        self.both("$__unixEpochGroup(c,500ms)", "c DIV 0.5 * 0.5", "floor((c)/0.5)*0.5")

    def test_unknown_macros_and_missing_arguments_are_refused(self):
        for text in ("$__unixEpochNanoFilter(c)", "$__timeFilter()", "$__timeGroup(c)", "$__unixEpochGroup(c, soon)"):
            with self.subTest(text), self.assertRaises(ExpandError):
                macros(text, "mysql", RANGE)


class Variables(unittest.TestCase):
    def expanded(self, text, **values):
        return variables(text, values, RANGE, 2000)

    def test_the_three_ways_to_write_a_variable(self):
        self.assertEqual(self.expanded("$run ${run} [[run]] 0$run", run=7), "7 7 7 07")

    def test_text_is_quoted_where_asked(self):
        self.assertEqual(self.expanded("${x:sqlstring}", x="o'neil"), "'o''neil'")
        self.assertEqual(self.expanded("IN (${x:sqlstring})", x=["a", "b'c"]), "IN ('a','b''c')")

    def test_without_format_one_text_has_its_quotes_doubled_and_several_are_quoted(self):
        self.assertEqual(self.expanded("'$x'", x="o'neil"), "'o''neil'")
        self.assertEqual(self.expanded("IN ($x)", x=["a", "b'c"]), "IN ('a','b''c')")

    def test_no_choice_at_all_is_an_empty_text(self):
        self.assertEqual(self.expanded("IN (${x:sqlstring})", x=""), "IN ('')")

    def test_the_range(self):
        self.assertEqual(self.expanded("${__from} $__to ${__from:date:seconds} ${__to:date:iso}"),
                         "1795000000182 1795003600182 1795000000 2026-11-18T12:06:40.182Z")

    def test_the_interval(self):
        self.assertEqual(self.expanded("$__interval $__interval_ms"), "2s 2000")

    def test_unknown_variables_and_macros_stay(self):
        self.assertEqual(self.expanded("$no ${no:sqlstring} $__unixEpochFilter(c)"),
                         "$no ${no:sqlstring} $__unixEpochFilter(c)")

    def test_unknown_formats_are_refused(self):
        with self.assertRaises(ExpandError):
            self.expanded("${x:glob}", x="a")


class Intervals(unittest.TestCase):
    def test_range_by_points_is_rounded_and_floored(self):
        hour, day = Range(0, 3_600_000), Range(0, 86_400_000)
        self.assertEqual(interval(hour, 1000), 5000)
        self.assertEqual(interval(hour, 1200), 2000)
        self.assertEqual(interval(day, 1000), 60_000)
        self.assertEqual(interval(Range(0, 10_000), 1000), 1000)
        self.assertEqual(interval(Range(0, 10_000), 1000, "10ms"), 10)

    def test_texts(self):
        for milliseconds, text in [(1000, "1s"), (1500, "1s"), (60_000, "1m"), (90_000, "1m"), (7_200_000, "2h"), (20, "20ms"), (604_800_000, "7d")]:
            self.assertEqual(interval_text(milliseconds), text)


class Whole(unittest.TestCase):
    def test_variables_first_then_macros(self):
        text = "SELECT $__unixEpochGroup(s, $__interval) AS time FROM t WHERE r = $run AND $__unixEpochFilter(s) AND n IN (${n:sqlstring})"
        self.assertEqual(
            expand(text, "postgres", {"run": 3, "n": ["cn1"]}, RANGE, 5000),
            "SELECT floor((s)/5)*5 AS time FROM t WHERE r = 3 AND s >= 1795000000 AND s <= 1795003600 AND n IN ('cn1')",
        )

    def test_a_value_that_looks_like_a_macro_is_expanded_like_one(self):
        # Grafana does the same: why texts of users are quoted, and why only readers get the data source.
        self.assertEqual(expand("$x", "mysql", {"x": "$__timeFrom()"}, RANGE, 1000), "FROM_UNIXTIME(1795000000)")


if __name__ == "__main__":
    unittest.main()
