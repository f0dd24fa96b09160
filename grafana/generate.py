#!/usr/bin/env python3
"""Writes the dashboards and provisioning files of this folder from what source/ says, for MySQL and for PostgreSQL.

    grafana/generate.py            writes the files
    grafana/generate.py --check    fails if a file is not what would be written, or should not be there
"""

import argparse
import json
import pathlib
import sys

from source import alerts, consensus, nodes, one_sequence, provisioning, redundancy, suspicious, yaml
from source.sql import DATABASES

HERE = pathlib.Path(__file__).resolve().parent
DASHBOARDS = {
    "consensus": consensus.DASHBOARD, "one-sequence": one_sequence.DASHBOARD, "redundancy": redundancy.DASHBOARD,
    "nodes": nodes.DASHBOARD, "suspicious": suspicious.DASHBOARD,
}
COMMENT = "Written by grafana/generate.py; changes here are lost. grafana/README.md says how to use it."


def files():
    """Every file by its path in this folder."""
    made = {}
    for database in DATABASES:
        for name, dashboard in DASHBOARDS.items():
            text = json.dumps(dashboard.json(database), indent=2, ensure_ascii=False) + "\n"
            made[f"dashboards/{database}/{name}.json"] = text
        folder = f"provisioning/{database}"
        made[f"{folder}/datasources/bftap.yaml"] = yaml.dump(provisioning.data_sources(database), COMMENT)
        made[f"{folder}/dashboards/bftap.yaml"] = yaml.dump(provisioning.dashboards(database), COMMENT)
        made[f"{folder}/alerting/bftap.yaml"] = yaml.dump(alerts.provisioning(database), COMMENT)
    return made


def differences(made):
    """What is wrong on disk, in words."""
    for path, text in made.items():
        file = HERE / path
        if not file.is_file():
            yield f"grafana/{path} is missing"
        elif file.read_text(encoding="utf-8") != text:
            yield f"grafana/{path} is not what generate.py writes"
    for folder in ("dashboards", "provisioning"):
        for file in sorted((HERE / folder).rglob("*")):
            path = file.relative_to(HERE).as_posix()
            if file.is_file() and path not in made:
                yield f"grafana/{path} is not made by generate.py"


def main():
    parser = argparse.ArgumentParser(description="Writes the dashboards and provisioning files of grafana/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the files are not as they would be written")
    made = files()
    if parser.parse_args().check:
        wrong = list(differences(made))
        for line in wrong:
            print(line, file=sys.stderr)
        if wrong:
            sys.exit("Run grafana/generate.py and commit what it writes; change source/, not its results.")
        print(f"{len(made)} files are as generate.py writes them")
        return
    for path, text in made.items():
        file = HERE / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    print(f"{len(made)} files written")


if __name__ == "__main__":
    main()
