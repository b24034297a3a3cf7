"""Evidence of past test sets becomes a decision: promote, keep, or wait."""
