"""What a card says of an official checkpoint that is not fetched here, and of serving a model elsewhere."""

from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    model_validator,
)

_Repository = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
_Revision = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|main)$")]


class Checkpoint(BaseModel):
    """An official folder on the hub, to be downloaded by its own client and converted here.

    Its files have no checksum in the card: they were never in our hands. The conversion checks every key and
    shape instead, and opens pickles with ``weights_only=True``.

    Attributes:
        repository: ``owner/name``.
        revision: a commit, or ``main`` where none is pinned.
        bytes: size of the whole folder, about.
        files: path -> size in bytes as published; 0 where it is not known.
        family_folder: where the checkpoints of a family lie side by side, to be converted together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: _Repository
    revision: _Revision = "main"
    bytes: PositiveInt
    files: dict[str, NonNegativeInt] = {}
    family_folder: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*$")] | None = None

    @property
    def folder(self) -> str:
        """The folder name that the releases expect."""
        return self.repository.partition("/")[2]

    @property
    def pinned(self) -> bool:
        """Whether the revision is one commit."""
        return self.revision != "main"

    @property
    def commands(self) -> tuple[str, str]:
        """What to type: the download, and the conversion."""
        revision = f" --revision {self.revision}" if self.pinned else ""
        whole = self.family_folder or self.folder
        place = f"{whole}/{self.folder}" if self.family_folder else self.folder
        return (
            f"hf download {self.repository}{revision} --local-dir {place}",
            f"stepaudio models convert {whole} -o {whole}-converted",
        )


class Serve(BaseModel):
    """How to run a model behind an OpenAI-compatible server.

    Attributes:
        program: its name, and the version or image it needs.
        command: the exact line; FOLDER stands for the checkpoint's folder.
        machine: what the machine needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    program: str
    command: str
    machine: str

    @model_validator(mode="after")
    def _loopback(self) -> Self:
        if "--host 127.0.0.1" not in self.command:
            raise ValueError(
                "a serve line must bind to 127.0.0.1: such servers listen to everybody by default"
            )
        return self
