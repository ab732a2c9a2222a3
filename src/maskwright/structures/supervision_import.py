"""supervision, imported only when something is drawn, traced or handed over: it takes half a second."""

from __future__ import annotations

import warnings


def import_supervision() -> None:
    """Make `from supervision import …` quick and quiet.

    Without OpenCV supervision works just as well for us; its warning is for users who import it themselves.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OpenCV", category=UserWarning)
        import supervision  # noqa: F401 - imported for what follows
