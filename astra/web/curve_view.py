"""How a light curve is shown: in flux or magnitude, of the difference or in total, with what is forced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from astra.web import magnitudes, plots
from astra.web.filters import Query

if TYPE_CHECKING:
    from astra.database.pages.light_curves import LightPoint
    from astra.web.links import Links

WORDS = {
    "scale": ("flux", "mag"),
    "flux": ("difference", "total"),
    "forced": ("yes", "no"),
    "limits": ("yes", "no"),
}  # the first one is what an address does not tell
TITLES = {"mag": "magnitude"}
WIDE, NARROW = (860.0, 300.0), (372.0, 280.0)


@dataclass(frozen=True)
class CurveView:
    """What of `WORDS` is chosen."""

    scale: str = "flux"
    flux: str = "difference"
    forced: str = "yes"
    limits: str = "yes"

    @classmethod
    def of(cls, query: Query) -> CurveView:
        """Read it from an address.

        Raises
        ------
        BadFilterError
            If a word is none of those that there are.
        """
        return cls(**{name: query.choice(name, words, words[0]) or words[0] for name, words in WORDS.items()})

    def keys(self) -> dict[str, str | None]:
        """Return what an address tells of it."""
        chosen = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: None if word == WORDS[name][0] else word for name, word in chosen.items()}

    def switches(self, links: Links, number: int, source: int | None) -> list[list[dict[str, object]]]:
        """Return the groups of switches: of each its text, its address, and whether it is on.

        Words of which one is chosen are a group of links; what is shown or not is one link that turns it.
        """
        groups = []
        for name, words in WORDS.items():
            now = getattr(self, name)
            wanted = words if words != ("yes", "no") else ("no" if now == "yes" else "yes",)
            groups.append(
                [
                    {
                        "id": f"{name}-{word if len(wanted) > 1 else 'switch'}",
                        "text": TITLES.get(word, word) if len(wanted) > 1 else name,
                        "address": links.to(
                            "object", object=number, source=source, **replace(self, **{name: word}).keys()
                        ),
                        "on": word == now if len(wanted) > 1 else now == "yes",
                        "turns": len(wanted) == 1,
                    }
                    for word in wanted
                ]
            )
        return groups

    def points(self, points: Sequence[LightPoint]) -> list[LightPoint]:
        """Return the points that are shown, with the fluxes that are shown."""
        kept = [point for point in points if self.forced == "yes" or not point.is_forced]
        if self.flux == "difference":
            return kept
        return [replace(one, flux=one.science_flux, flux_err=one.science_flux_err) for one in kept]

    def draw(self, points: Sequence[LightPoint], *, name: str, marked: int | None) -> list[Markup]:
        """Draw the light curve for a wide and for a narrow page."""
        make = magnitudes.light_curve if self.scale == "mag" else plots.light_curve
        shown = self.points(points)
        return [
            make(shown, name=name, marked=marked, quantity=self.flux, limits=self.limits == "yes", size=size)
            for size in (WIDE, NARROW)
        ]
