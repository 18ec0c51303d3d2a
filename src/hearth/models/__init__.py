"""Model managers: pre- and post-processing around sessions; numpy in, numpy out."""
