"""Maps of a city as a page to look around in: drag, zoom, and play the time.

Runs of the same streets stand side by side and move together. Everything is in the one file, which
asks nobody for anything: lines, levels and queues as base64 of their arrays, drawn on a canvas,
roads of a colour at a time.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.report.city_map import MODES, NO_LEVEL, CityMap
from topis.report.city_picture import LEVEL_COLOURS, MODE_COLOURS, ROAD_COLOUR

#: A queue is told up to this many vehicles a road.
_MOST_VEH = 254

_CSS = """
:root{color-scheme:light;font:14px/1.4 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
body{margin:0;display:flex;flex-direction:column;height:100vh;background:#f6f7f9;color:#1d2430}
header{display:flex;gap:1rem;align-items:center;flex-wrap:wrap;padding:.5rem 1rem;background:#fff;
border-bottom:1px solid #d9dee5}
header b{font-size:1.05rem}
main{flex:1;display:flex;min-height:0}
section{flex:1;position:relative;min-width:0;border-right:1px solid #d9dee5}
canvas{width:100%;height:100%;display:block;cursor:grab}
.title{position:absolute;left:.6rem;top:.4rem;background:#fffc;padding:.1rem .5rem;
border-radius:.3rem}
.key{display:inline-flex;align-items:center;gap:.25rem;margin-right:.6rem}
.key i{width:1.1rem;height:.35rem;border-radius:.1rem;display:inline-block}
.key i.dot{width:.6rem;height:.6rem;border-radius:50%}
input[type=range]{width:18rem}
"""

_JS = """
"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const raw = s => Uint8Array.from(atob(s), c => c.charCodeAt(0)).buffer;
const P = new Float32Array(raw(D.points)), PTR = new Int32Array(raw(D.ptr));
const LANES = new Uint8Array(raw(D.lanes)), XY = new Float32Array(raw(D.signals));
const N = PTR.length - 1, FRAMES = D.frames;
const maps = D.maps.map((m, k) => ({...m, level: new Uint8Array(raw(m.level)),
  queue: new Uint8Array(raw(m.queue)), mode: new Uint8Array(raw(m.mode)),
  canvas: document.getElementById("map" + k), title: document.getElementById("title" + k)}));
let lowX = 1/0, lowY = 1/0, highX = -1/0, highY = -1/0;
for (let i = 0; i < P.length; i += 2) {
  lowX = Math.min(lowX, P[i]); highX = Math.max(highX, P[i]);
  lowY = Math.min(lowY, P[i+1]); highY = Math.max(highY, P[i+1]);
}
const view = {x: (lowX + highX) / 2, y: (lowY + highY) / 2, scale: 0};
let frame = 0, asked = false;
const two = n => String(n).padStart(2, "0");
const clock = s => two(Math.floor(Math.round(s / 60) / 60)) + ":" + two(Math.round(s / 60) % 60);
function draw() {
  asked = false;
  for (const map of maps) {
    const c = map.canvas, ratio = window.devicePixelRatio || 1;
    const w = c.width = Math.max(1, c.clientWidth * ratio);
    const h = c.height = Math.max(1, c.clientHeight * ratio);
    if (!view.scale) view.scale = 0.95 * Math.min(w / (highX - lowX), h / (highY - lowY));
    const g = c.getContext("2d"), s = view.scale, ox = w / 2 - s * view.x, oy = h / 2 + s * view.y;
    g.fillStyle = "#fff"; g.fillRect(0, 0, w, h);
    g.lineCap = "round";
    const base = frame * N, classes = new Map();
    for (let k = 0; k < N; k++) {
      const width = Math.min(3, Math.round(LANES[k] / 2 + Math.sqrt(map.queue[base + k]) / 3));
      const key = map.level[base + k] * 4 + width;
      if (!classes.has(key)) classes.set(key, []);
      classes.get(key).push(k);
    }
    // Roads without a level first, the worst on top.
    const rank = key => key >> 2 === D.none ? -1 : key;
    const zoom = Math.max(0.5, Math.min(5, s * 9));
    for (const key of [...classes.keys()].sort((a, b) => rank(a) - rank(b))) {
      g.beginPath();
      for (const k of classes.get(key)) {
        const from = 2 * PTR[k], to = 2 * PTR[k + 1];
        g.moveTo(ox + s * P[from], oy - s * P[from + 1]);
        for (let i = from + 2; i < to; i += 2) g.lineTo(ox + s * P[i], oy - s * P[i + 1]);
      }
      g.strokeStyle = key >> 2 === D.none ? D.road : D.colours[key >> 2];
      g.lineWidth = ratio * zoom * (0.5 + 0.5 * (key & 3));
      g.stroke();
    }
    const r = Math.max(0.8, Math.min(6, s * 14)) * ratio;
    for (let m = 0; m < D.modes.length + 1; m++) {
      g.beginPath();
      for (let j = 0; j < map.mode.length; j++) {
        if (Math.min(map.mode[j], D.modes.length) !== m) continue;
        const x = ox + s * XY[2 * j], y = oy - s * XY[2 * j + 1];
        if (x < -r || x > w + r || y < -r || y > h + r) continue;
        g.moveTo(x + r, y); g.arc(x, y, r, 0, 7);
      }
      g.fillStyle = m < D.modes.length ? D.modes[m][1] : "#3b4450"; g.fill();
    }
    let standing = 0, full = 0, told = 0;
    for (let k = 0; k < N; k++) {
      standing += map.queue[base + k];
      if (map.level[base + k] !== D.none) { told++; full += map.level[base + k] >= 5; }
    }
    map.title.textContent = map.name + (D.window_s ? ": " + standing.toLocaleString("en") +
      " vehicles stand, " + (100 * full / Math.max(told, 1)).toFixed(1) + " % of roads at F" : "");
  }
  document.getElementById("when").textContent = D.window_s ?
    clock(D.times_s[frame]) + " to " + clock(D.times_s[frame] + D.window_s) : "";
}
const ask = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };
for (const {canvas} of maps) {
  canvas.onwheel = event => {
    event.preventDefault();
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    const px = (event.clientX - box.left) * ratio - canvas.width / 2;
    const py = canvas.height / 2 - (event.clientY - box.top) * ratio;
    const by = Math.exp(-event.deltaY / 400);
    view.x += px / view.scale * (1 - 1 / by); view.y += py / view.scale * (1 - 1 / by);
    view.scale *= by; ask();
  };
  canvas.onpointermove = event => {
    if (!event.buttons) return;
    const ratio = window.devicePixelRatio || 1;
    view.x -= event.movementX * ratio / view.scale; view.y += event.movementY * ratio / view.scale;
    ask();
  };
}
const slider = document.getElementById("slider"), play = document.getElementById("play");
if (slider) {
  slider.oninput = () => { frame = Number(slider.value); ask(); };
  let timer = 0;
  play.onclick = () => {
    if (timer) { clearInterval(timer); timer = 0; play.textContent = "Play"; return; }
    play.textContent = "Stop";
    timer = setInterval(() => { frame = (frame + 1) % FRAMES; slider.value = frame; ask(); }, 700);
  };
}
window.onresize = ask;
ask();
"""


def write_page(maps: Sequence[CityMap], path: Path) -> None:
    """Maps of one or more runs of the same streets.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    network = maps[0].network
    frames = min(len(shown.times_s) for shown in maps)
    # Metres from the middle keep their decimals in single precision.
    middle_m = network.link_shape_m.mean(axis=0) if len(network.link_shape_m) else np.zeros(2)
    data = {
        "points": _coded((network.link_shape_m - middle_m).astype(np.float32)),
        "ptr": _coded(network.link_shape_ptr.astype(np.int32)),
        "lanes": _coded(np.minimum(np.diff(network.link_lane_ptr), 6).astype(np.uint8)),
        "signals": _coded((network.junction_xy_m - middle_m).astype(np.float32)),
        "frames": frames,
        "times_s": maps[0].times_s[:frames].tolist(),
        "window_s": maps[0].window_s,
        "none": NO_LEVEL,
        "road": ROAD_COLOUR,
        "colours": LEVEL_COLOURS[: len(maps[0].letters)],
        "modes": list(zip(MODES, MODE_COLOURS, strict=True)),
        "maps": [
            {
                "name": shown.title,
                "level": _coded(shown.level[:frames]),
                "queue": _coded(
                    np.minimum(np.rint(shown.standing_veh[:frames]), _MOST_VEH).astype(np.uint8)
                ),
                "mode": _coded(shown.mode),
            }
            for shown in maps
        ],
    }
    path.write_text(_page(maps, frames, data), encoding="utf-8")


def _page(maps: Sequence[CityMap], frames: int, data: dict[str, Any]) -> str:
    network = maps[0].network
    title = f"{network.junctions:,} signals, {network.links:,} roads"
    keys = [
        f'<span class="key"><i style="background:{colour}"></i>{escape(letter)}</span>'
        for letter, colour in zip(maps[0].letters, LEVEL_COLOURS, strict=False)
        if maps[0].window_s
    ]
    keys += [
        f'<span class="key"><i class="dot" style="background:{MODE_COLOURS[k]}"></i>'
        f"{escape(MODES[k])}</span>"
        for k in np.unique(np.concatenate([shown.mode for shown in maps])).tolist()
        if k < len(MODES)
    ]
    time = (
        f'<button id="play">Play</button><input id="slider" type="range" min="0" '
        f'max="{frames - 1}" value="0" aria-label="time"> '
        if frames > 1
        else ""
    )
    panes = "".join(
        f'<section><canvas id="map{k}" role="img" aria-label="{escape(shown.title)}"></canvas>'
        f'<div class="title" id="title{k}"></div></section>'
        for k, shown in enumerate(maps)
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    text = json.dumps(data).replace("</", "<\\/")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head>\n<body><header>"
        f'<b>{escape(title)}</b><span id="when"></span>{time}<span>{"".join(keys)}</span></header>'
        f'<main>{panes}</main>\n<script id="data" type="application/json">{text}</script>'
        f"<script>{_JS}</script></body></html>\n"
    )


def _coded(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
