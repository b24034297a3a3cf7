"""Data quality: expectations as YAML, judged by Great Expectations, shown as Data Docs."""
