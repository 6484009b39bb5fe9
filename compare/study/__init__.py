"""The main job: variants trained in both frameworks, run by run, into a run folder."""
