"""What a module's page is answered: the whole, its panels, and never another module."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.faulty import WIDTH
from tests.ui.requests import FAULTY, call_module, module_inspector
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import SAMPLES
from vitc_inspect.inspection import module_run
from vitc_inspect.ui.module_server import ModuleServer, module_functions


def plain(html: str) -> str:
    """What a reader sees of it."""
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split())


@pytest.fixture(scope="module")
def sliced() -> ModuleServer:
    return module_inspector("SlicedTable")


def test_the_whole_page(sliced: ModuleServer) -> None:
    answer = call_module("show", {"image": "photo"}, sliced)
    assert answer["layer"] == "proj:1"
    assert plain(answer["summary"]).startswith("1× 65 × 16 from 1× 3 × 32×32 layers run 1")
    assert "✓ 1 of 1 layer agrees" in plain(answer["status"])
    photo = (
        "Photograph: Grace Hopper, cropped to its middle 512×512 of 600×512 pixels, then resized"
    )
    assert f"{photo} to 32×32" in plain(answer["status"])
    assert answer["proportions"] == [38, 32]  # 32 · 600 / 512 = 37.5
    table = plain(answer["table"])
    assert "proj Conv2d 1× 3 × 32×32 1× 16 × 8×8 1× 16 × 8×8 ✓ agrees 784 49,152" in table
    assert re.search(r"cat faulty\.py:\d+ tokens = torch\.cat", table)
    assert "Output of proj" in answer["panel"]
    assert answer["sizes"] == ["1,3,32,32"]


def test_faults_that_keep_every_shape_are_told_first(sliced: ModuleServer) -> None:
    alerts = plain(call_module("show", {"image": "photo"}, sliced)["alerts"])
    assert alerts.startswith("✗ 1 fault found ")
    assert "has 197 entries for 65 tokens = 8×8 + 1" in alerts
    assert "Or make the table 65 entries long." in alerts
    assert call_module("show", {"image": "photo"}, module_inspector("Ordered"))["alerts"] == ""


def test_the_pixels_of_a_stem_that_can_be_read_are_counted(sliced: ModuleServer) -> None:
    answer = call_module("show", {"image": "photo", "view": "pixels"}, sliced)
    assert answer["stem"]
    assert "Every pixel is read, by exactly 1 token" in plain(answer["panel"])
    assert not call_module("show", {"image": "photo"}, module_inspector("Padded"))["stem"]


def test_a_failed_forward_is_told_first_with_its_operands() -> None:
    answer = call_module("show", {"image": "photo"}, module_inspector("Raising"))
    alerts = plain(answer["alerts"])
    assert re.match(r"✗ The forward pass raised RuntimeError at faulty\.py:\d+ ", alerts)
    assert "+ was given 1×8×8×8 and a vector of 7" in alerts
    assert "add was given 1×8×8×8 and 7 ." in alerts
    assert answer["layer"] == "failed"
    assert "head Linear never ran: the forward pass ended before it" in plain(answer["table"])
    assert "was given 0 1×8×8×8 float32" in plain(answer["panel"])


@pytest.mark.parametrize(("behind", "folds"), [(6, 0), (7, 1), (60, 1)])
def test_layers_that_were_not_reached_are_folded_into_one_line_where_they_are_many(
    tmp_path: Path, behind: int, folds: int
) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from torch import nn\ndef make(): return nn.Sequential("
        f"nn.Conv2d(4, 8, 1), *[nn.ReLU() for _ in range({behind})])\n"
    )
    table = call_module("show", {"image": "photo"}, module_inspector("make", file=own))["table"]
    says = plain(table)
    assert table.count("data-fold-row") == table.count("data-fold ") == folds
    assert table.count('data-within="ahead"') == folds * behind
    assert says.count("never ran: the forward pass ended before it") == (0 if folds else behind)
    assert says.count(f"{behind} layers were not reached 1 ReLU 2 ReLU") == folds
    assert "more layers never ran" not in says


def test_a_known_cause_stands_alone_without_what_the_message_might_mean() -> None:
    html = call_module("show", {"image": "photo"}, module_inspector("MismatchedStrides"))["alerts"]
    alerts = plain(html)
    assert html.count("<section") == 1
    assert "The strides multiply to 2·1 = 2, and patch_size says 4" in alerts
    assert "less likely" not in alerts


def test_what_was_chosen_is_shown_and_what_is_not_there_gives_way(sliced: ModuleServer) -> None:
    chosen = {"image": "photo", "layer": "/add:1"}
    assert "Output of add" in call_module("show", chosen, sliced)["panel"]
    gone = call_module("show", {**chosen, "layer": "conv9:1"}, sliced)
    assert gone["layer"] == "proj:1"


def test_tokens_are_shown_as_maps_behind_the_class_token(sliced: ModuleServer) -> None:
    panel = call_module("show", {"image": "photo", "layer": "/add:1"}, sliced)["panel"]
    assert f'data-count="{WIDTH}"' in panel
    assert "on 8×8 places, as proj left them" in plain(panel)
    assert "The first 1 stands apart" in plain(panel)


@pytest.mark.parametrize(
    ("layer", "place", "says"),
    [
        ("proj:1", "2,3", "row 2, column 3 .* rows 8 to 11 columns 12 to 15 size 4×4 px"),
        ("/add:1", "2,3", r"token 20, place \(2, 3\) .* rows 8 to 11 columns 12 to 15"),
        ("/add:1", "0", "token 0 .* The gradient of this place is 0 at every pixel"),
        ("/expand:1", "0", "No gradient leads from this place"),
    ],
)
def test_a_place_is_looked_back_from(
    sliced: ModuleServer, layer: str, place: str, says: str
) -> None:
    request = {"image": "photo", "layer": layer, "view": "reach", "token": place}
    assert re.search(says, plain(call_module("show", request, sliced)["panel"]))


@pytest.mark.parametrize("place", ["", "9999,0", "1,2,3", "7", "'\"<"])
@pytest.mark.parametrize("view", ["maps", "reach", "pixels", "?"])
def test_every_view_of_every_row_answers_whatever_is_asked(view: str, place: str) -> None:
    for name, inputs in ANSWERING.items():
        of = SHARED.setdefault(name, module_inspector(name, *inputs))
        for layer in re.findall(r'data-layer="([^"]*)"', call_module("show", {}, of)["table"]):
            request = {"layer": layer, "view": view, "cell": place, "token": place}
            assert "error" not in call_module(
                "show", {**request, "sorting": place, "scale": place}, of
            )


ANSWERING = {"ByName": ["pixel_values=1,3,8,8"], "Attending": ["2,3,8,8"]}
SHARED: dict[str, ModuleServer] = {}


@pytest.mark.parametrize(
    ("request_", "field", "says"),
    [
        ({"sizes": ["1,3,x"]}, "input", "it is not a shape"),
        ({"sizes": ["1,3,20000,20000"]}, "input", "more than 64 MiB"),
        ({"sizes": ["1,3,8,8", "2"]}, "input", "the module takes 1, and 2 were given"),
        ({"image": "nobody"}, "image", "it is not one of photo"),
    ],
)
def test_a_choice_that_cannot_be_is_one_sentence(
    sliced: ModuleServer, request_: dict[str, Any], field: str, says: str
) -> None:
    error = call_module("show", request_, sliced)["error"]
    assert error["field"] == field
    assert says in plain(error["html"])


def test_another_size_is_tried(sliced: ModuleServer) -> None:
    answer = call_module("show", {"image": "photo", "sizes": ["2,3,16,16"]}, sliced)
    assert plain(answer["summary"]).startswith("2× 17 × 16 from 2× 3 × 16×16")


def test_a_broken_file_takes_the_place_of_everything_until_it_is_mended(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    good = "from torch import nn\nclass Own(nn.Sequential):\n    def __init__(self):\n"
    good += "        super().__init__(nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 6, 1))\n"
    own.write_text(good)
    of = module_inspector("Own", file=own)
    chosen = {"image": "photo", "layer": "1:1"}
    assert call_module("show", chosen, of)["layer"] == "1:1"
    own.write_text(good.replace("nn.Conv2d(4", "nn.Konv2d(4"))
    assert call_module("changed", {}, of)["changed"]
    broken = call_module("reload", chosen, of)
    assert "table" not in broken
    says = plain(broken["broken"])
    assert "raises AttributeError: module 'torch.nn' has no attribute 'Konv2d'. Mend it" in says
    assert 'own.py", line 4, in __init__ super().__init__(nn.Conv2d(3, 4, 4, 4), nn.K' in says
    assert "broken" in call_module("show", chosen, of)  # also for whoever opens the page now
    own.write_text(good.replace("4, 6", "4, 9"))
    mended = call_module("reload", chosen, of)
    assert mended["layer"] == "1:1"
    assert plain(mended["summary"]).startswith("1× 9 × 8×8")


def test_a_panel_of_an_older_reading_is_answered_with_the_whole(sliced: ModuleServer) -> None:
    reading = call_module("show", {}, sliced)["reading"]
    assert set(call_module("show", {"part": "panel", "reading": reading}, sliced)) == {
        *("reading", "read_at", "panel", "layer"),
    }
    assert "table" in call_module("show", {"part": "panel", "reading": reading - 1}, sliced)


def test_no_request_can_name_what_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a request says, and under whatever name, only the command line's file is read."""
    other = tmp_path / "other.py"
    other.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Own: pass\n")
    asked: list[str] = []
    load = module_run.load_module
    monkeypatch.setattr(module_run, "load_module", lambda text: asked.append(text) or load(text))
    of = module_inspector("SlicedTable")
    named = f"{other}:Own"
    fields = ("module", "source", "file", "path", "name", "text", "title", "layer", "image", "data")
    fields += ("input", "inputs", "sizes", "part", "view", "cell", "token", "opened", "reading")
    request: dict[str, Any] = dict.fromkeys(fields, named)
    for function in module_functions(of):
        for value in (named, str(other), [named], {"module": named}):
            call_module(function.__name__, {**request, **dict.fromkeys(fields[:7], value)}, of)
            call_module(function.__name__, value, of)
        call_module(function.__name__, {"sizes": [named]}, of)
    assert asked
    assert set(asked) == {f"{FAULTY}:SlicedTable"}
    assert not (tmp_path / "ran").exists()
    assert other.exists()


def test_an_output_is_saved_whole(sliced: ModuleServer) -> None:
    assert call_module("save", {"layer": "/add:1"}, sliced)["name"] == "add.npz"
    failed = call_module("save", {"layer": "failed"}, module_inspector("Raising"))
    assert "its output was not kept" in plain(failed["error"]["html"])


@pytest.mark.parametrize("image", [*SAMPLES, "random"])
def test_every_picture_is_tried(sliced: ModuleServer, image: str) -> None:
    says = plain(call_module("show", {"image": image}, sliced)["status"])
    assert (SAMPLES.get(image) or "random numbers instead of an image") in says


def test_what_cannot_be_made_at_the_start_is_raised(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no Slicd in it"):
        module_inspector("Slicd")
    with pytest.raises(SpecError, match="it is not a shape"):
        module_inspector("SlicedTable", "1,3,a")


def test_one_image_without_a_batch_is_shown_as_one(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(3, 7, 4, 4))\n"
    )
    answer = call_module("show", {"image": "photo"}, module_inspector("make", "3,32,32", file=own))
    assert "batch of" not in plain(answer["summary"])
    assert "7 maps of 8×8" in plain(answer["panel"])
    assert "tokens down" not in plain(answer["panel"])


@pytest.mark.parametrize(
    ("made", "shape", "says"),
    [
        ("nn.Linear(8, 4)", "8", "MACs 32"),
        ("nn.Linear(8, 4)", "196,8", "MACs for this input 6,272"),  # of tokens, or of a batch
        ("nn.ConvTranspose2d(3, 4, 2, 2)", "3,5,5", "MACs for this input 1,200"),
        ("nn.Conv2d(3, 4, 2, 2)", "2,3,8,8", "MACs, batch of 2 1,536"),  # 2 × 4·4·4 × 3·2·2
    ],
)
def test_macs_are_said_of_a_batch_where_there_surely_is_one(
    tmp_path: Path, made: str, shape: str, says: str
) -> None:
    own = tmp_path / "own.py"
    own.write_text(f"from torch import nn\ndef make(): return {made}\n")
    answer = call_module("show", {"image": "photo"}, module_inspector("make", shape, file=own))
    assert says in plain(answer["summary"])


def test_a_class_of_another_name_is_told_with_how_to_start(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    good = "from torch import nn\nclass Own(nn.Identity): pass\n"
    own.write_text(good)
    of = module_inspector("Own", file=own)
    own.write_text(good.replace("Own", "Owm"))
    says = plain(call_module("reload", {"image": "photo"}, of)["broken"])
    assert "there is no Own in it. Mend it and press Reload, or start the app with" in says
    assert f"--module {own}:Owm" in says
