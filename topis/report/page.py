"""A self-contained page: no script, no font, no request to anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_CSS = """
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5b6573;--page:#f6f7f9;--card:#fff;
--line:#d9dee5;--mark:#0b5cad;--warn:#7a3b00;--warnbg:#fff1dc}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#a3adba;--page:#14181e;
--card:#1d232b;--line:#38414d;--mark:#7db8f5;--warn:#ffd9a0;--warnbg:#4a3007}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:54rem;margin:0 auto;padding:1.25rem 1rem 3rem}
h1{font-size:1.6rem;line-height:1.25;margin:.2rem 0 .8rem}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.5rem 0}
.kicker,.note,figcaption,small{color:var(--soft)}
.kicker{margin:0;font-size:.95rem}
.headline{font-size:1.15rem;border-left:4px solid var(--mark);padding:.1rem 0 .1rem .8rem}
.banner{background:var(--warnbg);color:var(--warn);border:1px solid currentColor;
border-radius:.5rem;padding:.6rem .9rem;font-weight:600;margin:.8rem 0}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.5rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.95rem}
th,td{padding:.4rem .7rem;text-align:right;vertical-align:top;border-top:1px solid var(--line);
white-space:nowrap}
thead th{border-top:0}
th:first-child{text-align:left;font-weight:500;position:sticky;left:0;background:var(--card)}
thead th{font-weight:650}
td small{display:block;font-size:.85em}
figure{margin:1.2rem 0}
.picture{background:#fff;border:1px solid var(--line);border-radius:.5rem;padding:.6rem}
.picture svg{display:block;width:100%;height:auto;max-width:48rem;margin:0 auto}
figcaption,.note{font-size:.9rem}
figcaption{margin-top:.45rem}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.25rem 1rem;margin:0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
@media print{:root{--ink:#000;--soft:#444;--page:#fff;--card:#fff;--line:#bbb;--warn:#000;
--warnbg:#fff}body{font-size:11pt}main{max-width:none;padding:0}.wide{overflow:visible}
th,td{white-space:normal}
figure,table,.banner{break-inside:avoid}h2{break-after:avoid}}
"""


@dataclass(frozen=True)
class Picture:
    """A figure on the page: SVG text (trusted), heading, caption and what it shows in words."""

    svg: str
    title: str
    caption: str
    alt: str


def document(title: str, kicker: str, parts: Sequence[str]) -> str:
    """The page as text; ``parts`` are HTML already."""
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            (
                '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
                "style-src 'unsafe-inline'; img-src data:\">"
            ),
            f"<title>{escape(title)}: {escape(kicker.lower())}</title>",
            f"<style>{_CSS}</style>\n</head>\n<body>\n<main>",
            f'<p class="kicker">{escape(kicker)}</p>\n<h1>{escape(title)}</h1>',
            *parts,
            "</main>\n</body>\n</html>\n",
        ]
    )


def banner(text: str) -> str:
    """A warning on top of the page."""
    return f'<p class="banner" role="note">{escape(text)}</p>'


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Wrap cells, which are HTML already, into a table whose first column is the heading."""
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "\n".join(
        f'<tr><th scope="row">{line[0]}</th>'
        + "".join(f"<td>{cell}</td>" for cell in line[1:])
        + "</tr>"
        for line in lines
    )
    return (
        f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def figure(picture: Picture) -> str:
    """A picture with its heading and caption."""
    return (
        f'<figure>\n<h2>{escape(picture.title)}</h2>\n<div class="picture" role="img" '
        f'aria-label="{escape(picture.alt)}">\n{picture.svg}\n</div>\n'
        f"<figcaption>{escape(picture.caption)}</figcaption>\n</figure>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and what they are."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n" for name, text in pairs)
    return f"<dl>\n{items}</dl>"
