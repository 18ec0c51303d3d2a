"""Models and their loaders: pre- and post-processing around sessions; numpy in, numpy out."""
