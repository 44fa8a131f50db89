import io

from rich.console import Console

from wsss_lightning.utils import console
from wsss_lightning.utils.console import track


def test_tracking_yields_all_items_and_is_silent_without_a_terminal(capsys):
    assert list(track(iter("abc"), 3, "crf")) == list("abc")
    assert capsys.readouterr().out == ""


def test_tracking_shows_description_and_count_on_a_terminal(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=out, force_terminal=True, width=100))
    assert list(track(iter("abc"), 3, "crf")) == list("abc")
    assert "crf" in out.getvalue()
    assert "/3" in out.getvalue()
