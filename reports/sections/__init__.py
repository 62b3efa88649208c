"""The sections of the page: one module each, with ORDER, TITLE and `context(comparison)`.

`context` returns what the section's template needs, or None where there is nothing to show. The template is the
module's TEMPLATE or, where it is long, the file NAME.html.j2 beside it.
"""
