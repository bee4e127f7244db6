"""The benchmarks: ``make bench``, or a part of them: ``make bench BENCH="codec scale"``."""
