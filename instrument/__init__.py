"""The C core, built for those who look into it: for tests through cffi, counted, and fuzzed."""
