"""The questions of the h2o db-benchmark on group_by and join: data and queries."""
