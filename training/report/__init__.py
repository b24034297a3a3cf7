"""What the report says about models: gathered from the registry, decisions and evaluations."""
