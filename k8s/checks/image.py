"""The Dockerfile."""

import pathlib

from .command import problems


def lint(root: pathlib.Path) -> list[str]:
    # DL3008 wants apt packages pinned: those versions vanish from the registry with the next security update.
    return problems("hadolint", "--ignore", "DL3008", root / "Dockerfile")
