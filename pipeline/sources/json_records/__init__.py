"""Objects of JSON: the texts in them by path, and lists in them whose elements are records."""
