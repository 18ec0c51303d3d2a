"""Exit codes of the command line."""

OK = 0
FAILURE = 1
USAGE = 2
INTERRUPTED = 130
"""The shell's own for Ctrl-C."""
