"""How a localizer looks in figures and on the page: colours, markers, dashes."""

from __future__ import annotations

# Colour-blind safe (after Okabe and Ito 2008, darkened to read on white); dashes and markers differ as well.
COLOURS = ("#0072b2", "#d55e00", "#00875f", "#b5508f", "#b07a00", "#555555", "#7b4a2d", "#2b8fc7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 3)))
GREY = "#a8a8a8"
HIGHLIGHTED = 5  # lines that keep their colour where there are more than BANDS
BANDS = 6  # lines up to which intervals are drawn as bands
