"""Texts and colours of the words that the store uses, the same on all dashboards."""

from .panels import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW, override, value_texts

OUTCOMES = value_texts({
    "decided": ("decided", GREEN), "changed": ("changed", ORANGE), "open": ("open", BLUE), "unknown": ("unknown", GREY),
})
SESSION_STATES = value_texts({
    "decrypted": ("decrypted", GREEN), "no_handshake": ("no_handshake", GREY), "no_secret": ("no_secret", RED),
    "lost": ("lost", RED), "failed": ("failed", RED),
})
COVERAGE = value_texts({"full": ("full", GREEN), "lossy": ("lossy", ORANGE), "partial": ("partial", GREY)})
SEVERITIES = value_texts({"critical": ("critical", RED), "warning": ("warning", ORANGE), "info": ("info", BLUE)})
# (of `event.suspicious`)
SUSPICIOUS = value_texts({"1": ("suspicious", RED), "0": ("worth knowing", GREY)})

_SEVERITY_COLORS = {"critical": RED, "warning": ORANGE, "info": BLUE}
_CAUSE_COLORS = {"echo_signer": PURPLE, "resent": RED, "echo_source": ORANGE, "crossing": YELLOW, "regossip": BLUE}
# What the causes of copies of no use are called where there is room for a few words.
CAUSE_NAMES = {
    "echo_signer": "echo to the signer", "resent": "sent again", "echo_source": "echo to the source", "crossing": "crossing",
    "regossip": "had it already",
}


class Words:
    """Words of the store with what people are told instead, for queries that name bars."""

    def __init__(self, names):
        self._names = names
        self.names = list(names.values())

    def sql(self, column):
        """The column in these words; what is not among them stays."""
        cases = " ".join(f"WHEN '{word}' THEN '{name}'" for word, name in self._names.items())
        return f"CASE {column} {cases} ELSE {column} END"


ROUND_CAUSES = Words({
    "no_preprepare": "no proposal", "late_preprepare": "proposal too late", "votes_missing": "votes missing",
    "quorum_too_late": "quorum too late", "unknown": "unknown",
})
CAUSES = Words(CAUSE_NAMES)
POLICIES = Words({
    "as_seen": "as it was", "none": "nothing handed on", "not_to_signer_and_source": "not to signer and source",
    "sqrt": "to the square root",
})


def colored(field, color, name=None, **more):
    """A series of a fixed colour."""
    named = {"displayName": name} if name else {}
    return override(field, **named, color={"mode": "fixed", "fixedColor": color}, **more)


def severity_colors():
    return [colored(severity, color) for severity, color in _SEVERITY_COLORS.items()]


def cause_colors():
    return [colored(cause, color, CAUSE_NAMES[cause]) for cause, color in _CAUSE_COLORS.items()]
