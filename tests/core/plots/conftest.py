import pytest
from matplotlib.figure import Figure


@pytest.fixture
def figures(monkeypatch):
    """The saved figures, in order."""
    saved = []
    save = Figure.savefig

    def remember(figure, *arguments, **options):
        saved.append(figure)
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return saved
