"""Label sets: what vectors of pictures are classified with, however many labels there are."""
