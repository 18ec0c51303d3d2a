"""How many labels are many. Imports nothing: options of tasks have the same bounds."""

LARGE = 2_000
"""Scoring more labels than this takes milliseconds, so it goes through a queue; and their
vectors are mapped, not read into memory."""

MOST_HELD = 64_000_000
"""Bytes of vectors that live in memory where the disk can't take them."""

LONGEST_NAME = 1000
"""Characters of a name or a prompt in a list of labels; the rest is left out. The text model
reads 77 tokens."""

MOST_LABELS = 1000
"""Labels that one request may bring along: each costs a run of the text model."""

MOST_ANSWERS = 1000
"""Labels that one answer names. All of 450,000 would be 27 MB of JSON, and take the scoring
thread a second and the event loop a third of one; nobody reads on that far."""
