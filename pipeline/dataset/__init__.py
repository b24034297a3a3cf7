"""Sessions become a data set: filter, bins, codes, features, shards and manifest."""
