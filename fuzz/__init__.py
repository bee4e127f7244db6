"""Fuzzing of the C core: libFuzzer targets under AddressSanitizer and UBSan.

A target is a file of ``targets/``; :mod:`fuzz.build` compiles it, :mod:`fuzz.seeds` gives it
something to start from, and ``python -m fuzz`` runs it.
"""
