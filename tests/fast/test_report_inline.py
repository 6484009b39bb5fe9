from __future__ import annotations

from compare.report.pages import inline_svg


def test_the_title_is_escaped_and_named() -> None:
    svg = '<?xml version="1.0"?><svg width="1pt" viewBox="0 0 1 1"><g/></svg>\n'
    text = inline_svg(svg, "name", "a & <c>", {})
    assert text.startswith('<svg viewBox="0 0 1 1" role="img" aria-labelledby="name-title"')
    assert '<title id="name-title">a &amp; &lt;c></title><g/></svg>' in text


def test_ids_that_are_used_are_kept_and_renamed() -> None:
    svg = '<svg viewBox="0 0 1 1"><g id="a"/><g id="b"/><use xlink:href="#a"/></svg>'
    text = inline_svg(svg, "name", "alt", {})
    assert text.endswith('<g id="name-a"/><g/><use xlink:href="#name-a"/></svg>')


def test_colours_become_the_pages_own() -> None:
    svg = '<svg viewBox="0 0 1 1"><g style="fill: #abcdef; stroke: #123456"/></svg>'
    assert "fill: var(--ink); stroke: #123456" in inline_svg(svg, "n", "alt", {"#abcdef": "ink"})


def test_coordinates_are_short_and_transforms_untouched() -> None:
    svg = (
        '<svg viewBox="0 0 1 1"><path d="M 1.23456 -2.98765\nL 3 4" transform="s(0.123456)"/></svg>'
    )
    assert '<path d="M 1.23 -2.99 L 3 4" transform="s(0.123456)"/>' in inline_svg(svg, "n", "a", {})


def test_many_equal_markers_become_one_path_with_every_point() -> None:
    uses = [f'<use xlink:href="#m" x="{i}.5" y="{i}" style="fill: red"/>' for i in range(30)]
    svg = '<svg viewBox="0 0 1 1"><path id="m"/><g clip-path="c">\n{}\n</g></svg>'
    text = inline_svg(svg.format("\n".join(uses)), "n", "a", {})
    assert text.count("<use ") == 1
    assert all(f"{i}.5 {i}" in text for i in range(30))
    assert 'marker-end="url(#n-m-dot)"' in text
    few = inline_svg(svg.format("\n".join(uses[:3])), "n", "a", {})
    assert few.count("<use ") == 3
    other = [*uses, uses[0].replace("red", "blue")]
    assert inline_svg(svg.format("\n".join(other)), "n", "a", {}).count("<use ") == 31
