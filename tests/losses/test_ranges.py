"""One statement of what an argument may be: constructors and the sections of params.yaml refuse alike."""

import inspect
from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import ValidationError

from pfml.losses import BASELINES, LOSSES
from pfml.losses.common.describe import baseline
from pfml.losses.common.ranges import Argument, Count, Fraction, Positive, Range, arguments, checked, settings_of
from pfml.settings.losses import LOSS_SETTINGS
from tests.losses.bad_values import bad_values


@checked
def build(
    num_classes: Count, share: Fraction = 0.5, low: float = 0.0, high: Annotated[float, Range(at_least="low")] = 1.0,
    kind: Literal["a", "b"] = "a", radius: Positive | None = None, on: bool = True,
):  # fmt: skip
    return num_classes, share, low, high, kind, radius, on


def test_what_is_right_arrives_as_it_is_and_whole_numbers_as_python_ones():
    assert build(3) == (3, 0.5, 0.0, 1.0, "a", None, True)
    assert build(np.int64(3), 0, -2, high=-2, kind="b", radius=1, on=False) == (3, 0, -2, -2, "b", 1, False)
    assert type(build(np.int64(3))[0]) is int and type(build(3, np.float32(0.25))[1]) is np.float32


@pytest.mark.parametrize("settings, words", [
    ({"num_classes": 0}, "num_classes=0; expected an integer >= 1"),
    ({"num_classes": 2.0}, "num_classes=2.0; expected an integer >= 1"),
    ({"num_classes": True}, "num_classes=True; expected an integer >= 1"),
    ({"share": 1.0}, "share=1.0; expected a finite number >= 0 and < 1"),
    ({"share": float("nan")}, "share=nan; expected a finite number >= 0 and < 1"),
    ({"share": "0.5"}, "share='0.5'; expected a finite number >= 0 and < 1"),
    ({"low": float("inf")}, "low=inf; expected a finite number"),
    ({"high": 0.5, "low": 0.75}, "high=0.5; expected a finite number >= 0.75"),
    ({"kind": "c"}, "kind='c' is not an option; expected one of a, b"),
    ({"kind": None}, "kind=None is not an option; expected one of a, b"),
    ({"radius": 0}, "radius=0; expected a finite number > 0"),
    ({"on": "yes"}, "on='yes' is not an option; expected one of True, False"),
])  # fmt: skip
def test_what_an_annotation_excludes_is_refused_in_words(settings, words):
    with pytest.raises(ValueError) as error:
        build(**{"num_classes": 3} | settings)
    assert str(error.value) == words


def test_unknown_and_missing_arguments_stay_type_errors():
    with pytest.raises(TypeError, match="shear"):
        build(3, shear=0.5)
    with pytest.raises(TypeError, match="num_classes"):
        build()


def test_an_annotation_of_another_form_is_refused_where_the_loss_is_defined():
    for hint in (str, int | str, list[int], Annotated[float, "above 0"], Annotated[str, Range(above=0)]):
        with pytest.raises(TypeError, match=r"expected an annotation that pfml\.losses\.common\.ranges lists"):
            Argument.of(hint)
    with pytest.raises(TypeError, match="expected an annotation"):

        @baseline("Toy")
        def toy(num_classes: Count, embedding_dim: Count, weight: str = "1"):
            pass

    with pytest.raises(ValueError, match="acts='pairs'; expected one of pair, proxy, field"):
        baseline("Toy", acts="pairs")


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_says_its_title_its_needs_and_the_range_of_every_argument(name):
    loss = LOSSES[name]
    assert isinstance(loss.title, str) and isinstance(loss.pairs, bool) and loss.least in (1, 2)
    assert loss.acts in (None, "pair", "proxy", "field")
    found = arguments(loss)
    assert list(found)[:2] == ["num_classes", "embedding_dim"]
    assert all(argument.range.at_least in (1, 2) for argument in list(found.values())[:2])
    assert list(found) == list(inspect.signature(loss).parameters)


def test_titles_are_different():
    titles = [loss.title for loss in LOSSES.values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", LOSSES)
def test_the_section_of_params_yaml_refuses_what_the_loss_refuses(name):
    signature, kind = inspect.signature(LOSSES[name]), LOSS_SETTINGS[name]
    settings = {key: signature.parameters[key].default for key in kind.model_fields}
    assert kind.model_validate(settings).model_dump() == settings
    assert set(settings) == set(settings_of(LOSSES[name]))
    for key, argument in settings_of(LOSSES[name]).items():
        for value in bad_values(argument, signature):
            with pytest.raises(ValidationError, match=key):
                kind.model_validate(settings | {key: value})
    with pytest.raises(ValidationError, match="extra"):
        kind.model_validate(settings | {"no_such_setting": 1})
    if not settings:  # zero_shot
        return
    with pytest.raises(ValidationError, match="missing"):
        kind.model_validate({key: settings[key] for key in list(settings)[1:]})


def test_sections_are_strict_and_give_floats():
    assert type(LOSS_SETTINGS["proxy_nca"].model_validate({"scale": 3}).scale) is float
    with pytest.raises(ValidationError, match="integer"):
        LOSS_SETTINGS["fast_ap"].model_validate({"bins": 10.0})


def test_what_params_yaml_does_not_set_is_left_out():
    for name in ("pfml", "cpml"):
        left = set(arguments(LOSSES[name])) - set(LOSS_SETTINGS[name].model_fields)
        assert left == {"num_classes", "embedding_dim", "eps", "gather", "shard_proxies"}
    assert all(not hasattr(LOSSES[name], "not_settings") for name in BASELINES)
