"""Section `map`: pictures of a score over two settings of a field method at once (docs/figures.md)."""

from typing import Annotated

from pydantic import Field, model_validator

from pfml.settings.values import CountOrZero, Number, Section, one_of_each

Values = Annotated[list[Number], Field(min_length=2)]


class Map(Section):
    """`over`: name of a map -> two settings of `loss`, each with its values. `draw`: names of the maps to make."""

    draw: list[str]
    method: str
    noise: Number
    seed: CountOrZero
    over: dict[str, dict[str, Values]]

    @model_validator(mode="after")
    def _two_settings(self):
        for name, axes in self.over.items():
            if len(axes) != 2:
                raise ValueError(f"over.{name}: expected two settings of loss with their values, found {list(axes)}")
            for values in axes.values():
                one_of_each(values)
        for name in one_of_each(self.draw) if self.draw else ():
            if name not in self.over:
                raise ValueError(f"draw: expected names of map.over ({', '.join(self.over)}), found {name!r}")
        return self

    def points(self, name: str) -> list[dict[str, float]]:
        """The points of a map, the second setting fastest; without those whose delta_rep is below delta."""
        (one, ones), (other, others) = self.over[name].items()
        points = [{one: first, other: second} for first in ones for second in others]
        return [point for point in points if point.get("delta_rep", 9.0) >= point.get("delta", 0.0)]
