"""The pages of docs/ that are written from the code: ``make docs`` writes them anew.

A page is a function that gives its text; :mod:`pages.written` says which file each is, and a test
fails when a file isn't what its function gives.
"""
