"""What a build is about to write. Nothing lies in the folder before everything is made and within its limits."""

from dataclasses import dataclass, field
from pathlib import Path

from edgelstm.aot.folder import SUMS, write_folder
from edgelstm.aot.module import Wishes
from edgelstm.aot.plan import StepProgram
from edgelstm.aot.targets import BuildTarget


@dataclass
class Artefacts:
    """A model compiled to the object `content`, and the files for the folder: contents and what each of them is, by name.

    `self_test` asks for a program that runs the probe; `usage` is what README.md says beside C; `replaces` are patterns of
    files of earlier builds that are deleted.
    """

    program: StepProgram
    target: BuildTarget
    wishes: Wishes
    content: bytes
    self_test: bool = False
    usage: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    replaces: list[str] = field(default_factory=list)

    def add(self, name: str, content: bytes | str, about: str = "") -> None:
        """A file for the folder; one without a word about it is not listed in README.md."""
        self.files[name] = content.encode() if isinstance(content, str) else content
        if about:
            self.about[name] = about

    @property
    def names(self) -> tuple[str, ...]:
        """What will lie in the folder."""
        return tuple(sorted([*self.files, SUMS]))

    def write(self, folder: Path) -> None:
        """Write all files, or none. Raises BuildError where that is not possible."""
        write_folder(folder, self.files, self.replaces)
