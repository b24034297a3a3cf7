"""Large files in spans, which are read each on its own, by any process, in any order."""
