"""The sheet: scales put values where they belong, ticks are round, and the SVG is well formed."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_afro.reports.svg import COLOURS, SHAPES, Scale, Sheet, linear_ticks, log_ticks, padded


def test_a_scale_puts_its_ends_and_its_middle_in_place():
    scale = Scale(10, 20, 100, 300)
    assert [scale(value) for value in (10, 15, 20)] == [100, 200, 300]
    assert [scale(value) for value in (0, 99)] == [100, 300]
    assert Scale(1, 100, 0, 50, math.log10)(10) == pytest.approx(25)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0.62, 0.91, [0.65, 0.7, 0.75, 0.8, 0.85, 0.9]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    assert linear_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_there_are_ticks_and_all_are_inside(low, room):
    ticks = linear_ticks(low, low + room)
    assert 2 <= len(ticks) <= 12
    assert all(low - 1e-6 * room <= tick <= low + room * (1 + 1e-6) for tick in ticks)


def test_log_ticks_are_1_2_5_and_fall_back_where_those_are_few():
    assert log_ticks(8e6, 3e8) == pytest.approx([1e7, 2e7, 5e7, 1e8, 2e8])
    assert len(log_ticks(2.1e7, 2.6e7)) >= 3


def test_there_is_room_around_a_single_value_too():
    assert padded([5.0]) == (4.5, 5.5)
    assert padded([0.0]) == (-1.0, 1.0)
    assert padded([1.0, 2.0], 0.1) == pytest.approx((0.9, 2.1))


def test_a_drawing_is_well_formed_and_escaped():
    sheet = Sheet(200, 100)
    sheet.text(1, 2, "<b> & co")
    for series in range(len(SHAPES) + 1):
        sheet.mark(10 * series, 50, series, f"<{series}>")
    sheet.line([(0, 0), (1, 1)], dash="1 2")
    root = ET.fromstring(sheet.render('a "drawing" <here>'))
    assert root.get("aria-label") == 'a "drawing" <here>'
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["<b> & co"]
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [f"<{series}>" for series in range(len(SHAPES) + 1)]


def test_a_legend_goes_on_in_a_new_row_where_the_sheet_ends():
    sheet = Sheet(200, 0)
    names = [f"a model of number {number}" for number in range(3)]
    assert sheet.legend(names, 0) > Sheet(2000, 0).legend(names, 0)


def contrast(colour: str, ground: float = 1.0) -> float:
    """Contrast with white by WCAG 2."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (ground + 0.05) / (luminance + 0.05)


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_can_be_seen_on_white(colour):
    assert contrast(colour) >= 3
