"""The figure of a set: its sizes, containers and qualities, forged area, and where forged pixels lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from bench.data.facts import Facts


def table(found: list[Facts]) -> pd.DataFrame:
    """The usable images as rows: class, container, JPEG quality, megapixels, forged share."""
    return pd.DataFrame(
        {
            "class": "tampered" if one.tampered else "authentic",
            "container": one.format,
            "quality": one.quality,
            "megapixels": one.height * one.width / 1e6,
            "forged": one.share,
        }
        for one in found
        if not one.problem
    )


def stats_figure(found: list[Facts], title: str, path: Path) -> None:
    """Size, forged area, position heat map, JPEG quality and container of a set, to an image file."""
    rows = table(found)
    areas = [one.area for one in found if one.area is not None]
    with sns.axes_style("whitegrid"), plt.rc_context({"text.parse_math": False}):
        drawn, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
        hue = {"hue": "class", "hue_order": ["tampered", "authentic"], "palette": "colorblind"}
        sns.histplot(rows, x="megapixels", ax=axes[0, 0], multiple="stack", bins=20, **hue)
        sns.histplot(rows, x="container", ax=axes[0, 1], multiple="dodge", shrink=0.8, legend=False, **hue)
        if rows["quality"].notna().any():
            sns.histplot(rows, x="quality", ax=axes[0, 2], multiple="stack", discrete=True, legend=False, **hue)
        if rows["forged"].notna().any():
            sns.histplot(rows["forged"].astype(float), ax=axes[1, 0], bins=20, color=sns.color_palette("colorblind")[0])
        _heat(axes[1, 1], np.mean(areas, axis=0) / 255 if areas else None)
        labels = ("size", "container", "JPEG quality (nearest of libjpeg)", "forged share", "where forged pixels lie")
        for axis, label in zip(axes.flat, labels, strict=False):
            axis.set_title(label)
        axes[1, 2].set_axis_off()
        drawn.suptitle(title)
        drawn.savefig(path, dpi=110)
        plt.close(drawn)


def figure(report: Mapping, path: Path) -> None:
    """The figure of an audit: the AUC of each fact of the files alone, and where forged pixels lie."""
    facts = {name: values["auc"] for name, values in report["facts"].items() if values["auc"] is not None}
    if report["auc"] is not None:
        facts["all together"] = report["auc"]
    with sns.axes_style("whitegrid"), plt.rc_context({"text.parse_math": False}):
        drawn, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        if facts:
            sns.barplot(x=list(facts.values()), y=list(facts), ax=left, color=sns.color_palette("colorblind")[0])
            left.axvline(0.5, color="black", linewidth=1)
        left.set(title="AUC of the file's facts, tampered against authentic", xlim=(0, 1))
        _heat(right, np.array(report["area"]) if report["area"] else None)
        right.set_title("where forged pixels lie")
        drawn.suptitle(report["title"])
        drawn.savefig(path, dpi=110)
        plt.close(drawn)


def _heat(axis: plt.Axes, area: np.ndarray | None) -> None:
    if area is None:
        axis.set_axis_off()
        return
    sns.heatmap(area, ax=axis, cmap="mako", vmin=0, square=True, xticklabels=False, yticklabels=False)
