"""What panels tell: whether each column says something in some run, and each panel shows something in a run with everything in it."""

# Columns that tell nothing in any run that the checks can make, by the title of their panel.
NEVER_TOLD = {
    # Complete runs lag behind nothing, and no database was away.
    ("Lag", "lag_s"), ("Lag and spool", "spooled"),
    # Simulated nodes have addresses of their own.
    ("Scores", "colocation"),
    # The number of the first chain is 0.
    ("Events", "chain"),
    # Not at the heights that are opened.
    ("What each receiver got", "invalid"),
}

# Panels that are right to show nothing over a lab, by dashboard and title, and why.
NO_LOSS, NO_LAG = "nothing was lost, and the monitor has all secrets", "what was analysed lags behind nothing"
RIGHTLY_EMPTY = {
    ("consensus", "Lower bounds"): NO_LOSS,
    ("consensus", "Sessions not read"): NO_LOSS,
    ("consensus", "Counts that are lower bounds"): NO_LOSS,
    ("nodes", "Nodes not seen in full"): NO_LOSS,
    ("consensus", "Lag"): NO_LAG,
    ("consensus", "Lag and spool"): NO_LAG,
}
# What a panel says instead of nothing, beside zeros.
NOTHING = {"", "none"}


class Told:
    """What the answers of panels told, on any number of databases and runs."""

    def __init__(self):
        self._columns, self._panels = {}, {}

    def note(self, dashboard, database, title, columns, rows):
        """A column tells something with a number other than 0, or a word. A panel shows something with a number other than 0; if it has
        only words, with one in each column."""
        for place, column in enumerate(columns):
            where = dashboard, database, title, column
            self._columns[where] = self._columns.get(where, False) or any(row[place] for row in rows)
        shown = [[row[place] for row in rows if row[place] is not None] for place, column in enumerate(columns) if column != "time"]
        numbers = [value for values in shown for value in values if not isinstance(value, str)]
        shows = any(numbers) if numbers else all(any(value not in NOTHING for value in values) for values in shown)
        where = dashboard, database, title
        self._panels[where] = self._panels.get(where, False) or shows

    def check_columns(self, problems):
        """Over runs with every kind of trouble each column tells something at least once: what is 0 or null in all of them is of no
        use, or asks for something that is never written."""
        for (dashboard, database, title, column), tells in self._columns.items():
            if not tells and (title, column) not in NEVER_TOLD:
                problems.add(f"{dashboard}, {database}, {title}", f"column {column} is empty in all runs")

    def check_panels(self, problems, losses, live):
        """Over a run with everything in it each panel shows something; what is listed as rightly empty is, if the run has no losses.
        In databases that were written live, it depends on the machine and the moment."""
        for (dashboard, database, title), shows in self._panels.items():
            reason = RIGHTLY_EMPTY.get((dashboard, title))
            if reason and database in live:
                continue
            if reason == NO_LOSS and losses:
                reason = None
            where = f"{dashboard}, {database}, {title}"
            if shows and reason:
                problems.add(where, f"shows something, and is listed as empty: {reason}")
            if not shows and not reason:
                problems.add(where, "shows nothing but zeros")
        known = {(dashboard, title) for dashboard, _, title in self._panels}
        for dashboard, title in RIGHTLY_EMPTY.keys() - known:
            problems.add(dashboard, f"{title} is listed as empty, and there is no such panel")
