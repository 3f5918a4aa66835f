"""The figure of a profile: positions and texts, read back from matplotlib's objects."""

from lsabinet_core.plots.profile import draw_profile


def profile(backend, **milliseconds):
    total = sum(milliseconds.values())
    rows = [{"name": name, "ms": ms, "share": ms / total, "bound_ms": ms / 2} for name, ms in milliseconds.items()]
    return {"model": "$a", "backend": backend, "precision": "bf16", "size": [64, 96], "ms": total, "groups": rows}


def test_a_bar_for_each_part(figures, tmp_path):
    draw_profile(tmp_path / "profile.png", [profile("eager", decoder=30.0, stem=10.0), profile("openvino", stem=4.0)])
    upper, lower = figures[-1].axes
    assert [bar.get_width() for bar in upper.patches] == [30.0, 10.0]
    assert [text.get_text() for text in upper.get_yticklabels()] == ["decoder", "stem"]
    assert list(upper.lines[0].get_xdata()) == [15.0, 5.0]
    assert list(upper.lines[0].get_ydata()) == [2, 1]
    assert upper.get_title() == "$a, eager bf16, 64x96: 40.0 ms"
    assert "30.0 (75 %)" in [text.get_text() for text in upper.texts]
    # A common scale makes the bars of both panels comparable.
    assert upper.get_xlim() == lower.get_xlim()
    assert (tmp_path / "profile.png").stat().st_size > 0
