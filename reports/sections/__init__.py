"""The sections of the page: one module each, with ORDER, TITLE and `context(comparison)`, and a template beside it.

`context` returns what the template NAME.html.j2 needs, or None where the section has nothing to show. A new section is
these two files.
"""
