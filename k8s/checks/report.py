"""Counts checks, and says of each whether it holds."""

from collections.abc import Callable


class Report:
    """One line per check, each problem below it, the sum at the end."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name: str, problems: Callable[[], list[str]]) -> None:
        """A check holds when it finds no problem. One that breaks down has found one."""
        try:
            found = problems()
        except Exception as error:  # the other checks still count
            found = [f"{type(error).__name__}: {error}"]
        if found:
            self.failed += 1
        else:
            self.passed += 1
        print(f"{'FAIL' if found else 'ok  '} {name}", flush=True)
        for problem in found:
            print("     " + problem.strip().replace("\n", "\n     "), flush=True)

    def close(self) -> int:
        """Prints the sum, and returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0
