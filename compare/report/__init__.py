"""Tables, words and pages from the files of a run folder alone."""
