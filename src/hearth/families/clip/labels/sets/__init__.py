"""Where labels come from, and what they are called."""
