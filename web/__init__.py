"""The files of the console: templates, styles, scripts. vendor/manifest.json says what each foreign file is."""

from __future__ import annotations

from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"
