"""Runs a tool."""

import subprocess


class Failed(Exception):
    """A tool that was not expected to fail, and its own words."""


def problems(*command) -> list[str]:
    """What a command that checks something complains about: nothing when it succeeds."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


def output(*command) -> str:
    """What a command prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(done.stdout + done.stderr)
    return done.stdout
