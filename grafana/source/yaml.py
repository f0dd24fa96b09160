"""Writes YAML: as much of it as provisioning files need. Python's standard library reads and writes none."""

import json


def dump(value, comment):
    """The value as YAML, under lines of comment."""
    head = "".join(f"# {line}\n" for line in comment.split("\n"))
    return head + "".join(f"{line}\n" for line in _lines(value))


def _lines(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _entry(f"{key}:", item)
    else:
        for item in value:
            yield from _entry("-", item)


def _entry(start, item):
    if isinstance(item, str) and "\n" in item:
        yield f"{start} |-"
        for line in item.split("\n"):
            yield f"  {line}"
    elif not isinstance(item, (dict, list)) or not item:
        yield f"{start} {json.dumps(item, ensure_ascii=False)}"
    elif start == "-":
        for index, line in enumerate(_lines(item)):
            yield f"{'  ' if index else '- '}{line}"
    else:
        yield start
        for line in _lines(item):
            yield f"  {line}"
