"""Writes a synthetic Broden set, maps of a made-up layer, and the counts that NumPy finds for them, without any code of psescope.

python tests/golden/dissect/make.py   (numpy, pillow) writes beside itself; tests/dissect.rs reads what it wrote.
"""
import csv, json, os
import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(20190402)
N, UNITS, MAP, SEG, INPUT = 24, 12, (6, 7), (31, 37), (62, 74)
CATEGORIES = ["object", "scene", "texture"]
# number: name, coverage in each category (absent where None). 300 needs the second byte; 4 ties, which goes to the later category.
LABELS = {1: ("cat", [3.0, None, None]), 2: ("dog, old", [2.0, None, None]), 3: ("zoo-s", [None, 5.0, None]),
          4: ("fur", [1.0, None, 1.0]), 300: ("dotted", [None, None, 2.0]), 301: ("hall-s", [None, 4.0, None])}
PRIMARY = {0: 2, 1: 0, 2: 0, 3: 1, 4: 2, 300: 2, 301: 1}
FIELD = dict(offset=-3, size=17, step=10)  # r = 2: knots at 2, 7, ...

maps = np.maximum(rng.normal(size=(N, UNITS, *MAP)) - 1, 0).astype("<f4")
maps[:, 3] = 0                       # dead
maps[:, 4] = np.round(maps[:, 4])    # ties
maps[:, 5] = 1                       # constant


def axis_knots(kind, n, out):
    p = np.arange(out)
    at = (p + .5) * n / out - .5 if kind == "plain" else (p - (FIELD["size"] // 2 + FIELD["offset"]) // 2) / (FIELD["step"] // 2)
    at = np.clip(at, 0, n - 1)
    low = np.floor(at).astype(int)
    return low, np.minimum(low + 1, n - 1), at - low


def upsample(m, kind):
    (a, b, f), (c, d, g) = axis_knots(kind, MAP[0], SEG[0]), axis_knots(kind, MAP[1], SEG[1])
    m = m.astype(float)
    rows = m[a] + f[:, None] * (m[b] - m[a])
    return rows[:, c] + g * (rows[:, d] - rows[:, c])


def write(name, rows):
    with open(os.path.join(HERE, name), "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(rows)


os.makedirs(os.path.join(HERE, "images"), exist_ok=True)
index, truth_planes, whole = [["image", "split", "ih", "iw", "sh", "sw", *CATEGORIES]], [], []
for i in range(N):
    planes, scalars, cells = [], [], []
    for c, choices in enumerate([[0, 1, 2, 4], None, [0, 4, 300]]):
        items = []
        if c == 1:
            scalars += [[3], [301], [], [0]][i % 4]
            items = [str(s) for s in scalars]
        elif (i + c) % 3:
            blocks = rng.choice(choices, size=(6, 6)).astype(np.int64)
            plane = np.kron(blocks, np.ones((6, 7), int))[:SEG[0], :SEG[1]]
            name = f"{i:02}_{CATEGORIES[c]}.png"
            rgb = np.zeros((*SEG, 3), np.uint8)
            rgb[..., 0], rgb[..., 1] = plane % 256, plane // 256
            Image.fromarray(rgb).save(os.path.join(HERE, "images", name), optimize=True)
            planes.append(plane)
            items = [name]
        cells.append(";".join(items))
    truth_planes.append(planes)
    whole.append(scalars)
    index.append([f"{i:02}.png", "train", INPUT[0], INPUT[1], *SEG, *cells])
write("index.csv", index)
write("label.csv", [["number", "name", "category", "frequency", "coverage", "syns"]] + [
    [n, name, ";".join(f"{c}(1)" for c, v in zip(CATEGORIES, cov) if v), 1, f"{max(v for v in cov if v):f}", ""] for n, (name, cov) in LABELS.items()])
write("category.csv", [["name", "first", "last", "count", "frequency"]] + [[c, 1, 301, 2, N] for c in CATEGORIES])
for k, c in enumerate(CATEGORIES):
    members = [(n, name, cov[k]) for n, (name, cov) in LABELS.items() if cov[k]]
    write(f"c_{c}.csv", [["code", "number", "name", "frequency", "coverage"]] + [[j + 1, n, name, 1, f"{v:f}"] for j, (n, name, v) in enumerate(members)])
np.save(os.path.join(HERE, "maps.npy"), maps)

level = 1 - .02 * 1000 / 999
values = np.sort(maps.transpose(1, 0, 2, 3).reshape(UNITS, -1).astype(float), axis=1)
at = level * (values.shape[1] - 1)
low = int(np.floor(at))
thresholds = values[:, low] + (at - low) * (values[:, low + 1] - values[:, low])

out = {"quantile": .02, "thresholds": thresholds.tolist(), "runs": []}
size = max(LABELS) + 1
for kind in ("plain", "field"):
    for rule in ("original", "lite"):
        truth, both, act = np.zeros(size, int), np.zeros((UNITS, size), int), np.zeros((UNITS, 3), int)
        for i in range(N):
            labels = [np.bincount(p.ravel(), minlength=size) for p in truth_planes[i]]
            labels += [np.bincount([s], minlength=size) * SEG[0] * SEG[1] for s in whole[i]]
            here = sum(labels, np.zeros(size, int))
            here[0] = 0
            truth += here
            present = {PRIMARY[n] for n in np.flatnonzero(here)}
            for u in range(UNITS):
                mask = upsample(maps[i, u], kind) > thresholds[u]
                met = np.zeros(size, int)
                for p in truth_planes[i]:
                    met += np.bincount(p[mask], minlength=size)
                for s in whole[i]:
                    met[s] += mask.sum()
                met[0] = 0
                both[u] += met
                for c in present if rule == "original" else {PRIMARY[n] for n in np.flatnonzero(met)}:
                    act[u, c] += mask.sum()
        best = []
        for u in range(UNITS):
            ious = {n: both[u, n] / max(act[u, PRIMARY[n]] + truth[n] - both[u, n], 1) for n in LABELS}
            top = max(sorted(ious), key=lambda n: ious[n])
            best.append([LABELS[top][0] if ious[top] > 0 else "", ious[top]])
        numbers = sorted(LABELS)
        out["runs"].append({"upsampling": kind, "rule": rule, "numbers": numbers, "truth": truth[numbers].tolist(),
                            "both": both[:, numbers].tolist(), "activation": act.tolist(), "best": best})
json.dump(out, open(os.path.join(HERE, "expected.json"), "w"))
