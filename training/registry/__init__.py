"""MLflow's registry and runs, artefacts, cards, and the chain of records."""
