"""The live model: promotion, rollback, approval and the monitor."""
