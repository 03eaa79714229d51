"""Where does a published parameter come from, and how sure is it?"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Provenance:
    """How sure a parameter set or a formula is, and by what.

    Parameters
    ----------
    label : "V" recomputed to the published figures, "S" read in a primary source, "3P" third-party code only,
        "M" from memory and unconfirmed. What is "3P" or "M" is never shown as the venue's own.
    source : the page or file it was read in.
    date : when it was published or in force, as far as known ("2025-01", "genesis").
    """

    label: Literal["V", "S", "3P", "M"]
    source: str
    date: str = ""

    @property
    def verified(self) -> bool:
        """Whether the published figures were recomputed."""
        return self.label == "V"
