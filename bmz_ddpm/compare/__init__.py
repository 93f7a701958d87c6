"""Which method is better, as tables, statistics and figures from finished evaluations."""
