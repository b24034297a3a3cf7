"""What several encoders are built of."""
