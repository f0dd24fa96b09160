"""What must hold of the dashboards and provisioning files on disk, without any database."""

import re
import subprocess
import sys
import unittest

import yaml

from .dashboards import HERE, NAMES, alert_rules, load, panels
from .expand import Range, expand

DATABASES = {"mysql": ("mysql", "bftap-mysql"), "postgres": ("grafana-postgresql-datasource", "bftap-postgres")}
RANGE = Range(1_795_000_000_000, 1_795_003_600_000)
# Words of MySQL 8 that may not name a column or table without quotes; MariaDB would let some of them through.
RESERVED = {"rank", "groups", "lead", "lag", "row_number", "system", "window", "function", "rows", "range", "interval", "key", "over",
            "recursive", "empty", "except", "of", "cume_dist", "percent_rank", "first_value", "last_value", "ntile", "commit"}


def dashboards():
    for database in DATABASES:
        for name in NAMES:
            yield f"{database}/{name}", database, load(database, name)


def queries(dashboard):
    """(what, SQL) of everything that a dashboard asks."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield panel["title"], target["rawSql"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]
    for mark in dashboard["annotations"]["list"]:
        yield f"annotation {mark['name']}", mark["target"]["rawSql"]


class Generated(unittest.TestCase):
    def test_the_files_are_what_the_source_says(self):
        result = subprocess.run([sys.executable, str(HERE / "generate.py"), "--check"], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_the_two_databases_get_the_same_panels(self):
        for name in NAMES:
            mysql, postgres = (load(database, name) for database in DATABASES)
            for one, other in zip(panels(mysql), panels(postgres), strict=True):
                for panel in (one, other):
                    panel.pop("datasource")
                    for target in panel["targets"]:
                        target.pop("datasource")
                        target.pop("rawSql")
                self.assertEqual(one, other)


class Panels(unittest.TestCase):
    def test_each_says_what_it_shows(self):
        for where, _, dashboard in dashboards():
            titles = [panel["title"] for panel in panels(dashboard)]
            self.assertEqual(len(titles), len(set(titles)), where)
            for panel in panels(dashboard):
                with self.subTest(f"{where}, {panel['title']}"):
                    self.assertGreater(len(panel["description"]), 30)
                    self.assertTrue(panel["description"].endswith("."))
                    self.assertTrue(panel["targets"])
                    self.assertEqual(panel["interval"], "1s")

    def test_units_legends_and_thresholds_are_set(self):
        for where, _, dashboard in dashboards():
            for panel in panels(dashboard):
                with self.subTest(f"{where}, {panel['title']}"):
                    defaults = panel["fieldConfig"]["defaults"]
                    self.assertTrue(defaults["thresholds"]["steps"])
                    if panel["type"] in ("timeseries", "trend", "barchart"):
                        self.assertIn("legend", panel["options"])
                        self.assertIn("unit", defaults)
                        self.assertTrue(defaults["custom"]["axisLabel"])
                    if panel["type"] == "stat":
                        self.assertIn("unit", defaults)

    def test_none_overlaps_another_or_leaves_the_grid(self):
        for where, _, dashboard in dashboards():
            taken = set()
            identities = [panel["id"] for panel in dashboard["panels"]]
            self.assertEqual(len(identities), len(set(identities)), where)
            for panel in dashboard["panels"]:
                place = panel["gridPos"]
                self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
                cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
                self.assertFalse(cells & taken, f"{where}, {panel['title']}")
                taken |= cells

    def test_all_ask_the_data_source_that_the_user_chose(self):
        for where, database, dashboard in dashboards():
            kind, uid = DATABASES[database]
            chooser = dashboard["templating"]["list"][0]
            self.assertEqual((chooser["type"], chooser["query"], chooser["current"]["value"]), ("datasource", kind, uid), where)
            wanted = {"type": kind, "uid": "${datasource}"}
            asked = [target for panel in panels(dashboard) for target in panel["targets"]] + panels(dashboard)
            asked += [v for v in dashboard["templating"]["list"] if v["type"] == "query"] + dashboard["annotations"]["list"]
            for one in asked:
                self.assertEqual(one["datasource"], wanted, where)

    def test_each_dashboard_leads_to_all_others_for_the_same_run(self):
        for where, _, dashboard in dashboards():
            urls = [link["url"] for link in dashboard["links"]]
            for uid in {other["uid"] for _, _, other in dashboards()} - {dashboard["uid"]}:
                (url,) = (url for url in urls if url.startswith(f"/d/{uid}?"))
                self.assertIn("var-run=${run}", url, where)
                self.assertIn("var-datasource=${datasource}", url, where)

    def test_words_are_said_where_no_number_says_them(self):
        said = [panel for _, _, dashboard in dashboards() for panel in dashboard["panels"] if panel["type"] == "text"]
        self.assertTrue(said)
        for panel in said:
            self.assertEqual(panel["options"]["mode"], "markdown")
            self.assertGreater(len(panel["options"]["content"]), 200)

    def test_links_lead_to_dashboards_and_variables_that_exist(self):
        known = {dashboard["uid"]: {v["name"] for v in dashboard["templating"]["list"]} for _, _, dashboard in dashboards()}
        for where, _, dashboard in dashboards():
            own = {variable["name"] for variable in dashboard["templating"]["list"]}
            urls = re.findall(r'"(/d/[^"]+)"', str(dashboard).replace("'", '"'))
            self.assertTrue(urls, where)
            for url in urls:
                uid, _, settings = url.removeprefix("/d/").partition("?")
                self.assertIn(uid, known, url)
                for name, value in (setting.split("=", 1) for setting in settings.split("&")):
                    if name.startswith("var-"):
                        self.assertIn(name.removeprefix("var-"), known[uid], url)
                    else:
                        self.assertIn(name, ("from", "to"), url)
                    for used in re.findall(r"\$\{(\w+)", value):
                        self.assertTrue(used in own or used in ("__data", "__from", "__to"), url)


class Queries(unittest.TestCase):
    def test_only_macros_that_mean_the_same_on_both_databases(self):
        for where, database, dashboard in dashboards():
            for what, sql in queries(dashboard):
                with self.subTest(f"{where}, {what}"):
                    # Raises at a macro that the checks do not know.
                    text = expand(sql, database, {}, RANGE, 1000)
                    self.assertNotRegex(text, r"FROM_UNIXTIME|UNIX_TIMESTAMP\(\w|(?i:to_timestamp\(\w+_ns)", "depends on a time zone")

    def test_only_variables_that_exist_and_texts_are_quoted(self):
        for where, _, dashboard in dashboards():
            several = {v["name"] for v in dashboard["templating"]["list"] if v.get("multi")} | {"sequence"}
            names = {v["name"] for v in dashboard["templating"]["list"]} | {"__from", "__to", "__interval", "__interval_ms"}
            for what, sql in queries(dashboard):
                with self.subTest(f"{where}, {what}"):
                    for name, form in re.findall(r"\$\{(\w+)(?::([\w:]+))?\}", sql):
                        self.assertIn(name, names)
                        if name in several:
                            self.assertEqual(form, "sqlstring")
                    for name in re.findall(r"\$(\w+)(?!\w*\()", sql):
                        self.assertIn(name, names)
                        self.assertNotIn(name, several, "a text must be quoted")

    def test_only_two_dashboards_read_deliveries_and_only_of_few_heights(self):
        for database in DATABASES:
            for name in NAMES:
                for what, sql in queries(load(database, name)):
                    with self.subTest(f"{database}/{name}, {what}"):
                        # The view looks up every text there is before it looks at a condition.
                        self.assertNotRegex(sql, r"\bdelivery\b")
                        if "delivery_row" in sql:
                            self.assertIn(name, ("one-sequence", "redundancy"))
                            self.assertRegex(sql, r"d\.sequence = (\$height|chosen\.sequence)\b")

    def test_tables_that_grow_with_a_run_are_read_within_bounds(self):
        # By the range, by heights that are near the end of it, or a number of the newest rows.
        bound = re.compile(r"\$__unixEpochFilter|\bminute_s >=|\.sequence >|sequence > \(|sequence = \$height|LIMIT \d+|(sequence|chain_id) = \$")
        for where, _, dashboard in dashboards():
            for what, sql in queries(dashboard):
                for table in ("message_count", "minute_count", "minute_round", "link_count", "round", "node_round", "vote", "progress", "event"):
                    # Variables list the rules and nodes of all events, of which there are no more than the analysis lists.
                    if what.startswith("variable") and table == "event":
                        continue
                    if re.search(rf"\b(FROM|JOIN) {table}\b", sql):
                        self.assertRegex(sql, bound, f"{where}, {what}: {table}")

    def test_no_word_of_mysql_8_names_anything(self):
        for where, database, dashboard in dashboards():
            for what, sql in queries(dashboard):
                for name in re.findall(r"\bAS (\w+)", sql):
                    self.assertNotIn(name.lower(), RESERVED, f"{where}, {what}")


class Provisioning(unittest.TestCase):
    def file(self, database, kind):
        return yaml.safe_load((HERE / "provisioning" / database / kind / "bftap.yaml").read_text(encoding="utf-8"))

    def test_data_sources_have_fixed_uids_and_no_secret(self):
        for database, (kind, uid) in DATABASES.items():
            file = self.file(database, "datasources")
            self.assertEqual(file["apiVersion"], 1)
            (source,) = file["datasources"]
            self.assertEqual((source["type"], source["uid"], source["access"]), (kind, uid, "proxy"))
            for value in (source["url"], source["user"], source["jsonData"]["database"], source["secureJsonData"]["password"]):
                self.assertRegex(value, r"^\$BFTAP_DB_[A-Z]+$")
        self.assertEqual(self.file("mysql", "datasources")["datasources"][0]["jsonData"]["timezone"], "+00:00")

    def test_dashboards_are_read_from_a_folder(self):
        for database in DATABASES:
            file = self.file(database, "dashboards")
            self.assertEqual(file["apiVersion"], 1)
            (provider,) = file["providers"]
            self.assertEqual(provider["type"], "file")
            self.assertEqual(provider["options"]["path"], "$BFTAP_DASHBOARDS")

    def test_alert_rules_are_whole(self):
        for database, (_, uid) in DATABASES.items():
            file = self.file(database, "alerting")
            self.assertEqual(file["apiVersion"], 1)
            (group,) = file["groups"]
            self.assertTrue(group["name"] and group["folder"])
            self.assertRegex(group["interval"], r"^\d+s$")
            rules = alert_rules(database)
            self.assertEqual({rule["title"] for rule, _ in rules}, {
                "Stalled chain", "Round-change storm", "Silent validator", "Critical events", "Events not listed", "Loss",
                "Monitor silent"})
            for rule, query in rules:
                with self.subTest(f"{database}, {rule['title']}"):
                    self.assertRegex(rule["uid"], r"^[a-z-]{1,40}$")
                    asked, threshold = rule["data"]
                    self.assertEqual((asked["refId"], asked["datasourceUid"], query["format"]), ("A", uid, "table"))
                    self.assertEqual((threshold["datasourceUid"], threshold["model"]["type"]), ("__expr__", "threshold"))
                    self.assertEqual((threshold["model"]["expression"], rule["condition"]), ("A", threshold["refId"]))
                    self.assertEqual((rule["noDataState"], rule["execErrState"]), ("OK", "Error"))
                    self.assertRegex(rule["for"], r"^\d+s$")
                    self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
                    (dashboard,) = (d for d in map(lambda name: load(database, name), NAMES) if d["uid"] == rule["dashboardUid"])
                    linked = {panel["id"] for panel in panels(dashboard)}
                    self.assertIn(rule["panelId"], linked)
                    self.assertEqual(rule["dashboardUid"], rule["annotations"]["__dashboardUid__"])
                    self.assertEqual(str(rule["panelId"]), rule["annotations"]["__panelId__"])
                    for text in ("summary", "description", "runbook"):
                        self.assertGreater(len(rule["annotations"][text]), 20)
                    # Grafana would take a dollar for the name of an environment variable.
                    self.assertNotIn("$", str(rule["annotations"]))
                    # There are no dashboard variables in alert rules.
                    self.assertNotIn("$", expand(query["rawSql"], database, {}, RANGE, 1000))


if __name__ == "__main__":
    unittest.main()
