"""The JSON document keeps its promise, whatever the run held."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files

import factories
import pytest
from jsonschema import Draft202012Validator

from nanautopsy.model import Autopsy
from nanautopsy.render.json import render

SCHEMA = json.loads((files("nanautopsy") / "schema" / "autopsy-1.json").read_text("utf-8"))
ALL = [
    factories.failing,
    factories.healthy,
    factories.diverged,
    factories.undetermined,
    factories.no_cause,
    factories.all_nan,
    factories.empty,
    factories.hostile,
]


def _refuse(token: str) -> None:
    raise AssertionError(f"{token} is no JSON")


def load(autopsy: Autopsy) -> dict[str, object]:
    """Parse strictly and validate."""
    text = render(autopsy)
    text.encode("utf-8")
    document: dict[str, object] = json.loads(text, parse_constant=_refuse)
    Draft202012Validator(SCHEMA).validate(document)
    return document


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("make", ALL)
def test_every_result_is_strict_and_valid(make: Callable[[], Autopsy]) -> None:
    assert load(make())["schema_version"] == "1"


def test_the_promised_names_and_values() -> None:
    document = json.loads(render(factories.failing()))
    assert document["onset"] == {
        "step": 1204,
        "interval": [1202, 1204],
        "axis": "step",
        "quantity": "grad_norm",
        "value": "nan",
        "persistent": True,
        "layer": "model.layers.17.self_attn.q_proj",
        "layers": [
            "model.layers.17.self_attn.q_proj",
            "model.layers.18.self_attn.q_proj",
            "model.layers.16.self_attn.q_proj",
        ],
        "rank": None,
        "masked": True,
        "how": document["onset"]["how"],
        "source": {
            "path": "checkpoint-1200/trainer_state.json",
            "line": 4013,
            "tag": "grad_norm",
            "step": 1204,
        },
    }
    first = document["causes"][0]
    assert (first["id"], first["status"], first["probability"]) == ("fp16-overflow", "fired", 0.86)
    assert first["evidence"][0]["for"] is True
    assert document["causes"][1]["evidence"][0]["source"]["index"] == [0, 3]
    assert document["run"]["artifacts"][2] == {
        "path": "train.log",
        "kind": "text-log",
        "bytes": 9412990,
        "status": "partly-read",
        "problems": ["line 99001 is cut off in the middle"],
        "digest": "sha256:" + "ef" * 32,
    }
    assert document["environment"]["packages"]["torch"]["version"] == "2.1.0+cu118"
    assert document["config"]["training.fp16"]["value"] is True
    assert document["coverage"]["missing"][0].keys() == {
        "what",
        "why_it_matters",
        "how_to_collect",
        "experiment",
    }


def test_series_and_checkpoints_in_numbers() -> None:
    document = json.loads(render(factories.failing()))
    norm = next(s for s in document["series"] if s["tag"] == "train/grad_norm")
    assert (norm["nonfinite"], norm["first_nonfinite_step"], norm["last"]) == (298, 1203, "nan")
    bad = document["checkpoints"][1]
    assert bad["nonfinite_tensors"] == 1
    assert bad["worst"][0]["name"] == "model.layers.17.self_attn.q_proj.weight"
    assert bad["worst"][1]["note"] == "all zero"


def test_numbers_that_json_lacks_are_words() -> None:
    config = load(factories.all_nan())["config"]
    assert config["a.x"]["value"] == "nan"  # type: ignore[index]
    assert config["a.y"]["value"] == "-inf"  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "fine"),
        (("onset", "value"), "NaN"),
        (("onset", "interval"), [1]),
        (("causes", 0, "status"), "quiet"),
        (("causes", 0, "probability"), 1.5),
        (("run", "artifacts", 0, "status"), "ok"),
        (("timeline", 0, "source"), "train.log"),
    ],
)
def test_the_schema_refuses_what_breaks_the_promise(
    path: tuple[str | int, ...], value: object
) -> None:
    document = json.loads(render(factories.failing()))
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    assert not Draft202012Validator(SCHEMA).is_valid(document)


def test_every_promised_name_is_required() -> None:
    document = json.loads(render(factories.failing()))
    for name in SCHEMA["required"]:
        less = {key: value for key, value in document.items() if key != name}
        assert not Draft202012Validator(SCHEMA).is_valid(less), name
