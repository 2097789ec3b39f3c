#!/usr/bin/env python3
"""Draws the pictures of docs/method.md from a run of the program on the bundled sample.

    python docs/img/method.py --program target/release/psescope

Writes docs/img/method/*.svg. Needs nothing but Python; the numbers in the pictures are those of the run.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMOTION, SUPPRESSION, BALANCED, INERT, INK = "#c2410c", "#1d4ed8", "#7c3aed", "#9ca3af", "#111827"
COLOURS = {"promotion": PROMOTION, "suppression": SUPPRESSION, "balanced": BALANCED, "inert": INERT}


class Plot:
    """A panel with two axes; data coordinates in, SVG out."""

    def __init__(self, x, y, w, h, xs, ys, title, across="", up=""):
        self.box, self.xs, self.ys = (x, y, w, h), xs, ys
        self.parts = [
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="none" stroke="#6b7280"/>',
            text(x, y - 10, title, weight="bold"),
            text(x + w / 2, y + h + 34, across, anchor="middle"),
            f'<g transform="translate({x - 40},{y + h / 2}) rotate(-90)">{text(0, 0, up, anchor="middle")}</g>',
        ]
        for value, at in ((xs[0], x), (xs[1], x + w)) if across else ():
            self.parts.append(text(at, y + h + 17, number(value), anchor="middle"))
        for value, at in ((ys[0], y + h), (ys[1], y + 10)):
            self.parts.append(text(x - 6, at, number(value), anchor="end"))

    def at(self, u, v):
        x, y, w, h = self.box
        place = lambda value, span: min(max((value - span[0]) / (span[1] - span[0]), 0), 1)
        return x + w * place(u, self.xs), y + h * (1 - place(v, self.ys))

    def line(self, points, colour, dash=""):
        path = " ".join("{:.1f},{:.1f}".format(*self.at(*p)) for p in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')

    def dot(self, u, v, colour):
        x, y = self.at(u, v)
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity=".75"/>')

    def note(self, u, v, words, colour=INK, anchor="start"):
        x, y = self.at(u, v)
        self.parts.append(text(x, y, words, colour, anchor))

    def cells(self, rows, cols, colour):
        x, y, w, h = self.box
        for i in range(rows * cols):
            fill, opacity = colour(i)
            self.parts.append(
                f'<rect x="{x + w * (i % cols) / cols:.1f}" y="{y + h * (i // cols) / rows:.1f}" width="{w / cols:.1f}" '
                f'height="{h / rows:.1f}" fill="{fill}" fill-opacity="{opacity:.2f}"/>'
            )


def text(x, y, words, colour=INK, anchor="start", weight="normal"):
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{words}</text>'


def number(value):
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"


def save(name, title, plots, width=860, height=330):
    parts = "\n".join(part for plot in plots for part in plot.parts)
    path = ROOT / "docs/img/method" / f"{name}.svg"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" font-size="13">\n'
        f'<title>{title}</title>\n<rect width="{width}" height="{height}" fill="#ffffff"/>\n{parts}\n</svg>\n'
    )


def cells(pse):
    rows, cols = pse["grid"]["rows"], pse["grid"]["cols"]
    floor, limit = pse["floor"], max(max(c["s_raw"], c["b_raw"]) for c in pse["cells"])
    grid = Plot(60, 40, 240, 240, (0, cols), (rows, 0), "cells of the image, by type", "column", "row")
    strength = lambda c: 0.25 + 0.75 * min(max(c["s"], c["b"]) / limit, 1)
    grid.cells(rows, cols, lambda i: (COLOURS[pse["cells"][i]["type"]], strength(pse["cells"][i])))
    exponent = lambda v: math.log2(max(v, floor))
    span = (math.log2(floor) - 0.3, math.log2(limit) + 0.5)
    plane = Plot(400, 40, 420, 240, span, span, "each cell: what undoing it gives back", "log2 s: true logit regained", "log2 b: target logit lost")
    for shift in (pse["threshold"], -pse["threshold"]):
        plane.line([(u, u + shift) for u in (span[0] + max(-shift, 0), span[1] - max(shift, 0))], "#6b7280", "4 4")
    for cell in pse["cells"]:
        plane.dot(exponent(cell["s_raw"]), exponent(cell["b_raw"]), COLOURS[cell["type"]])
    plane.note(span[0] + 0.5, span[1] - 0.5, "promotion: r > 1", PROMOTION)
    plane.note(span[1] - 0.2, span[0] + 0.6, "suppression: r < -1", SUPPRESSION, "end")
    plane.note(span[1] - 0.2, span[1] - 0.5, "balanced", BALANCED, "end")
    plane.note(span[0] + 0.5, span[0] + 0.6, "inert: both at the floor", "#6b7280")
    save("cells", "Cells of the image by type, and their two effects on a plane", [grid, plane])


def time(timeline):
    steps = timeline["steps"]
    last = steps[-1]["step"]
    highest = max(max(s["whole"]["s_raw"], s["whole"]["b_raw"]) for s in steps)
    whole = Plot(70, 40, 320, 240, (0, last), (0, math.ceil(highest)), "whole perturbation (exact)", "step", "logits")
    for key, colour, name, level in (("s_raw", SUPPRESSION, "s: suppressed", 0.95), ("b_raw", PROMOTION, "b: promoted", 0.86)):
        whole.line([(s["step"], s["whole"][key]) for s in steps], colour)
        whole.note(last * 0.04, level * highest, name, colour)
    shares = Plot(480, 40, 340, 240, (0, last), (0, 1), "share of cells (linear estimate)", "step", "share")
    for at, key in enumerate(("suppression", "promotion", "balanced", "inert")):
        shares.line([(s["step"], s["share"][key]) for s in steps], COLOURS[key])
        shares.note(last * 0.98, 0.96 - 0.07 * at, key, COLOURS[key], "end")
    save("time", "Suppression and promotion over the steps of the attack", [whole, shares])


def region(cam):
    rows, cols = cam["shape"]
    low, high = min(cam["raw"]), max(cam["raw"])
    heat = Plot(60, 40, 240, 240, (0, cols), (rows, 0), f"CAM of {cam['class']['name']} on x0", "column", "row")
    heat.cells(rows, cols, lambda i: (PROMOTION, (cam["raw"][i] - low) / (high - low)))
    curve = Plot(400, 40, 420, 240, (0, 1), (0, 1), "interpretability score over the threshold", "level of the quantile", "IS")
    for key, colour, dash, name, level in (("score", SUPPRESSION, "", "IS of the perturbation", 0.2), ("baseline", "#6b7280", "5 4", "spread evenly", 0.1)):
        curve.line([(p["level"], p[key]) for p in cam["is"]], colour, dash)
        curve.note(0.05, level, name, colour)
    save("region", "Class activation map and interpretability score over the threshold", [heat, curve])


def layers(table):
    names = [l["name"] for l in table["layers"]]
    cosine = Plot(60, 40, 700, 200, (0, len(names) - 1), (0, 1), "cosine of the activations on x0 and x', layer by layer", "", "cosine")
    cosine.line([(i, l["cosine"]) for i, l in enumerate(table["layers"])], INK)
    cosine.line([(0, table["turning_threshold"]), (len(names) - 1, table["turning_threshold"])], "#6b7280", "4 4")
    for i, layer in enumerate(table["layers"]):
        up = layer["promoted"] / layer["units"]
        down = layer["suppressed"] / layer["units"]
        x, bottom = cosine.at(i, 0)
        for share, colour, shift in ((up, PROMOTION, -7), (down, SUPPRESSION, 1)):
            cosine.parts.append(f'<rect x="{x + shift:.1f}" y="{bottom - 120 * share:.1f}" width="6" height="{120 * share:.1f}" fill="{colour}" fill-opacity=".6"/>')
        label = f'<g transform="translate({x + 3:.1f},{bottom + 14:.1f}) rotate(35)">{text(0, 0, names[i])}</g>'
        cosine.parts.append(label)
    if table["turning_point"] in names:
        i = names.index(table["turning_point"])
        cosine.note(i + 0.1, 0.66, f"turning point: {names[i]}")
        cosine.line([(i, 0.5), (i, 0.9)], "#6b7280", "2 3")
    cosine.note(0.2, 0.48, "bars: share of units promoted / suppressed", "#374151")
    save("layers", "Cosine per layer with the turning point and the shares of promoted and suppressed units", [cosine], height=330)


def units(table):
    span = max(max(abs(u["effect_true"]), abs(u["effect_target"])) for u in table["units"])
    change = max(abs(u["change"]) for u in table["units"])
    plane = Plot(70, 40, 330, 240, (-span, span), (-span, span), f"units of {table['layer']}: effects (estimate)", "on the true logit", "on the target logit")
    for unit in table["units"]:
        plane.dot(unit["effect_true"], unit["effect_target"], COLOURS[unit["type"]])
    bars = Plot(520, 40, 300, 240, (-change, change), (10, 0), "most moved units: change of the mean", "change", "")
    for at, unit in enumerate(sorted(table["units"], key=lambda u: -abs(u["change"]))[:10]):
        colour = PROMOTION if unit["change"] > 0 else SUPPRESSION
        (x0, y), (x1, _) = bars.at(0, at + 0.2), bars.at(unit["change"], at + 0.2)
        bars.parts.append(f'<rect x="{min(x0, x1):.1f}" y="{y:.1f}" width="{abs(x1 - x0):.1f}" height="14" fill="{colour}" fill-opacity=".7"/>')
        name = f"{unit['unit']} {unit['concept'] or ''}"
        bars.parts.append(text(x0 + (6 if unit["change"] < 0 else -6), y + 12, name, anchor="start" if unit["change"] < 0 else "end"))
    save("units", "Effects of units on both logits, and the most moved units", [plane, bars])


def faithfulness(found):
    left = Plot(70, 40, 330, 240, (0, 1), (0, 1), "deletion and insertion", "share of pixels", "probability")
    for at, (key, colour) in enumerate((("deletion", SUPPRESSION), ("insertion", PROMOTION))):
        left.line(list(zip(found[key]["fraction"], found[key]["probability"])), colour)
        left.note(0.98, 0.55 - 0.09 * at, f"{key}: area {found[key]['auc']:.2f}, random {found['control'][key + '_auc']:.2f}", colour, "end")
    right = Plot(480, 40, 340, 240, (0, 1), (0, 1), f"ROAD: {found['road']['combined']:.2f}", "share of pixels removed", "probability")
    for at, (key, colour, name) in enumerate((("morf", SUPPRESSION, "most relevant first"), ("lerf", PROMOTION, "least relevant first"))):
        right.line(list(zip(found["road"][key]["fraction"], found["road"][key]["probability"])), colour)
        right.note(0.04, 0.3 - 0.09 * at, name, colour)
    save("faithfulness", "Deletion, insertion and ROAD curves", [left, right])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/psescope")
    program = Path(parser.parse_args().program).resolve()
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run.pse")

        def ask(*arguments):
            done = subprocess.run([program, *arguments, "--json"], cwd=ROOT, check=True, capture_output=True, text=True)
            return json.loads(done.stdout)

        steps = ["--attack", "ifgsm", "--target", "368", "--steps", "20", "--eps", "8/255", "--alpha", "1/255"]
        ask("attack", "onnx/squeezenet1_1.onnx", "samples/panda.jpg", *steps, "--out", run)
        pse = ask("pse", run, "--timeline")
        cells(pse)
        time(pse["timeline"])
        found = ask("cam", run, "--faithfulness")["faithfulness"]
        layers(ask("layers", run))
        units(ask("units", run, "--layer", "fire9"))
        faithfulness(found)
        # Sign steps change every pixel alike; this attack chooses where.
        ask("attack", "onnx/squeezenet1_1.onnx", "samples/panda.jpg", "--attack", "cw", "--target", "368", "--search-steps", "3", "--steps", "100", "--out", run)
        region(ask("cam", run, "--is"))


if __name__ == "__main__":
    main()
