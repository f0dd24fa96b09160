"""What lab nodes recorded of themselves (docs/lab-record.md), read while it grows."""

import json

# Seconds that a lab does not take, whatever the machine.
AT_MOST_S = 360


class Record:
    """One node's: what it did wrong, and what it decided."""

    def __init__(self, path):
        self._path, self._offset = path, 0
        self.deeds, self.decided = [], {}

    def read(self):
        """Takes in whole lines that were added."""
        if not self._path.exists():
            return
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            added = file.read()
        whole = added[:added.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            # Most of it is what went to and fro.
            if b'"what":"deed"' in line or b'"what":"decided"' in line:
                entry = json.loads(line)
                if entry["what"] == "deed":
                    self.deeds.append(entry)
                else:
                    self.decided[entry["sequence"]] = entry["round"]

    def did(self, fault, kind=None):
        """How often a fault made it do something, or leave it."""
        return sum(deed["fault"].startswith(fault) and kind in (None, deed.get("kind")) for deed in self.deeds)

    def heights(self, fault):
        """About how many heights that was."""
        return len({deed.get("sequence") for deed in self.deeds if deed["fault"].startswith(fault)})

    def seconds(self, fault):
        """From the first time to the last."""
        times = [deed["time_ns"] for deed in self.deeds if deed["fault"].startswith(fault)]
        return (max(times) - min(times)) / 10**9 if times else 0
