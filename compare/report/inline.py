"""Matplotlib's SVG files as elements of one HTML page: small, themed, with ids of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping

_USES = re.compile(r"<g([^>]*)>\s*((?:<use [^>]*/>\s*)+)</g>")
_COORDINATES = re.compile(r' (d|x|y)="([^"]*)"')
_MANY = 20
_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def inline_svg(svg: str, name: str, alt: str, theme: Mapping[str, str]) -> str:
    """Make a Matplotlib SVG file an element of a page that holds other figures.

    Args:
        svg: The whole file.
        name: Prefix of the ids, so that figures do not share one.
        alt: Text for who cannot see the figure: its title.
        theme: Colour as `#rrggbb` → name of the page's own custom property for it.

    Returns:
        An `<svg>` element without a fixed size.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    # Matplotlib names everything, and two equal images alike: keep what is referred to.
    needed = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in needed else "", svg)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = _COORDINATES.sub(_rounded, _USES.sub(_dotted, svg))
    for color, variable in theme.items():
        svg = svg.replace(color, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening = f'<svg {box[0]} role="img" aria-labelledby="{name}-title" {links}>'
    title = f'<title id="{name}-title">{_escaped(alt)}</title>'
    body = re.sub(r"\s*\n\s*", "\n", svg[svg.index(">") + 1 :])
    return f"{opening}{title}{body}".strip()


def _dotted(group: re.Match[str]) -> str:
    """Many markers that look alike, as one path with a marker at every point."""
    looks = set(re.findall(r'href="#([^"]*)"[^>]*? style="([^"]*)"', group[2]))
    places = re.findall(r' x="([^"]*)" y="([^"]*)"', group[2])
    if len(looks) != 1 or len(places) != group[2].count("<use ") or len(places) < _MANY:
        return group[0]
    ((marker, style),) = looks
    name = f"{marker}-dot"
    ends = " ".join(f'marker-{place}="url(#{name})"' for place in ("start", "mid", "end"))
    points = "L".join(f"{x} {y}" for x, y in places)
    return (
        f'<g{group[1]}><marker id="{name}" overflow="visible" markerUnits="userSpaceOnUse">'
        f'<use href="#{marker}" style="{style}"/></marker>'
        f'<path d="M{points}" fill="none" stroke="none" {ends}/></g>'
    )


def _rounded(attribute: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point."""
    text = _NUMBER.sub(lambda number: f"{float(number[0]):.2f}", attribute[2])
    return f' {attribute[1]}="{" ".join(text.split())}"'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
