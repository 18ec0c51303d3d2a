"""Where things of the checkout are."""

from pathlib import Path

KITS = Path(__file__).resolve().parent
TESTS = KITS.parent
ROOT = TESTS.parent
BUILD = ROOT / "build"
"""What tests and tools fetch or make once, kept between runs; git-ignored."""
CASES = TESTS / "cases"
"""Files from the field; its README says what each must give."""
REFERENCES = TESTS / "references"
"""What reference implementations answered."""
