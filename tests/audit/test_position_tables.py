"""Position tables: which entry each token gets, and in which order."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from tests.audit.audits import Tabled, audited, kinds
from vitc_inspect import inspect_module


class Added(nn.Module):
    """A patchify stem of stride 4 that adds what `table` makes of itself and of the map."""

    def __init__(self, table, places=(), **others):
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 4, 4)
        self.pos_embed = nn.Parameter(torch.randn(1, *places, 16)) if places else None
        self.table = table
        for name, value in others.items():
            setattr(self, name, value)

    def forward(self, x):
        x = self.proj(x)
        return x.flatten(2).transpose(1, 2) + self.table(self, x)


# ---- the order of a learned table


def turned(module, x):
    rows, columns = x.shape[2:]
    return module.pos_embed.view(1, rows, columns, 16).transpose(1, 2).flatten(1, 2)


def resized(*sides, mode="bicubic"):
    def table(module, x):
        grid = module.pos_embed.permute(0, 3, 1, 2)
        size = tuple(x.shape[axis] for axis in sides)
        return functional.interpolate(grid, size=size, mode=mode).flatten(2).mT

    return table


def by_letters(table):
    return rearrange(table, "b (h w) d -> b (w h) d", h=8)


def as_map(module):
    return module.pos_embed.view(1, 6, 6, 16).permute(0, 3, 1, 2)


def reshaped_before(module, x):
    """(1, 36, 16) reshaped to (1, 16, 6, 6), where it has to be transposed."""
    wrong = module.pos_embed.reshape(1, 16, 6, 6)
    return functional.interpolate(wrong, x.shape[2:]).flatten(2).mT


def reshaped_behind(module, x):
    return functional.interpolate(as_map(module), x.shape[2:]).reshape(1, -1, 16)


def by_columns(module, x):
    return functional.interpolate(as_map(module), x.shape[2:]).permute(0, 3, 2, 1).flatten(1, 2)


@pytest.mark.parametrize(
    ("module", "shape", "sure"),
    [
        (Added(turned, (64,)), (32, 32), "likely"),
        (Added(lambda m, x: m.pos_embed.mT.reshape(1, 64, 16), (8, 8)), (32, 32), "likely"),
        (Added(lambda m, x: m.pos_embed.reshape(1, 16, 64).mT, (64,)), (32, 32), "likely"),
        (Added(lambda m, x: m.pos_embed.reshape(1, 64, 16), (64,)), (32, 32), None),
        (Added(reshaped_before, (36,)), (32, 32), "certain"),
        (Added(reshaped_before, (36,)), (32, 48), "certain"),
        (Added(reshaped_behind, (36,)), (32, 48), "certain"),
        (Added(resized(2, 3), (6, 6)), (32, 48), None),
        (Added(lambda m, x: by_columns(m, x), (6, 6)), (32, 48), "likely"),
        (
            Added(lambda m, x: m.pos_embed.permute(0, 2, 1, 3).flatten(1, 2), (8, 8)),
            (32, 32),
            "likely",
        ),
        (
            Added(lambda m, x: rearrange(m.pos_embed, "b (h w) d -> b (w h) d", h=8), (64,)),
            (32, 32),
            "likely",
        ),
        (Added(lambda m, x: m.pos_embed.flatten(1, 2), (8, 8)), (32, 32), None),
        (Added(lambda m, x: m.pos_embed.view(1, 8, 8, 16).flatten(1, 2), (64,)), (32, 32), None),
        (Added(lambda m, x: m.pos_embed[:, :8, :8].flatten(1, 2), (14, 14)), (32, 32), None),
        (Added(resized(2, 3), (8, 8)), (24, 40), None),
        (Added(resized(3, 2), (8, 8)), (24, 40), "certain"),
        (Added(resized(3, 2, mode="bilinear"), (14, 14)), (40, 24), "certain"),
        (Added(resized(3, 2), (8, 8)), (24, 24), None),  # a square is a square either way
    ],
)
def test_a_table_that_is_turned_is_found(module, shape, sure):
    faults = audited(module, 2, 3, *shape).faults
    assert [(fault.kind, fault.likelihood) for fault in faults] == (
        [("position table", sure)] if sure else []
    )


def test_a_table_is_turned_as_the_tokens_are_and_fits():
    class Columns(Added):
        def forward(self, x):
            x = self.proj(x)
            return x.mT.flatten(2).mT + self.table(self, x)

    found = audited(Columns(turned, (64,)), 2, 3, 32, 32).faults
    assert [fault.kind for fault in found] == ["token order"]


class OnMap(nn.Module):
    """A patchify stem whose table is added to the map, before the tokens are made."""

    def __init__(self, add, *places):
        super().__init__()
        self.proj, self.pos_embed = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.randn(1, *places))
        self.add, self.head = add, nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.add(self.proj(x), self.pos_embed))


def channels_last(x):
    return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("add", "places", "sure"),
    [
        (lambda x, table: (x + table).flatten(2).mT, (16, 8, 8), None),
        (lambda x, table: (x + table.mT).flatten(2).mT, (16, 8, 8), "likely"),
        (lambda x, table: (channels_last(x) + table).flatten(1, 2), (8, 8, 16), None),
        (
            lambda x, table: (channels_last(x) + table.transpose(1, 2)).flatten(1, 2),
            (8, 8, 16),
            "likely",
        ),
        (lambda x, table: (x + table[:, :, 4:12, 4:12]).flatten(2).mT, (16, 16, 16), None),
    ],
)
def test_a_table_is_followed_onto_the_map(add, places, sure):
    faults = audited(OnMap(add, *places), 2, 3, 32, 32).faults
    assert [(fault.kind, fault.likelihood) for fault in faults] == (
        [("position table", sure)] if sure else []
    )


class Prefixed(OnMap):
    """A class token and its entry, which stays while the others are resized."""

    def __init__(self, resize):
        super().__init__(resize, 37, 16)  # 6·6 + 1
        self.cls = nn.Parameter(torch.zeros(1, 1, 16))

    def forward(self, x):
        maps = self.proj(x)
        x = torch.cat([self.cls.expand(len(x), -1, -1), maps.flatten(2).mT], dim=1)
        resized = self.add(self.pos_embed[:, 1:], maps.shape[2:])
        return self.head(x + torch.cat([self.pos_embed[:, :1], resized], dim=1))


def resize(table, sides):
    table = table.reshape(1, 6, 6, 16).permute(0, 3, 1, 2)
    return channels_last(functional.interpolate(table, tuple(sides))).flatten(1, 2)


@pytest.mark.parametrize(
    ("how", "found"),
    [
        (resize, []),
        (lambda table, sides: resize(table, sides[::-1]), ["position table"]),
        (
            lambda table, sides: (
                functional.interpolate(table.reshape(1, 16, 6, 6), tuple(sides)).flatten(2).mT
            ),
            ["position table"],
        ),
    ],
)
def test_a_table_is_followed_past_the_entry_of_the_class_token(how, found):
    assert kinds(Prefixed(how), 2, 3, 32, 48) == found


class Looked(nn.Module):
    """Takes the entries of two nn.Embedding, one for rows and one for columns."""

    def __init__(self, columns):
        super().__init__()
        self.proj, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 2)
        self.rows, self.columns = nn.Embedding(16, 16), nn.Embedding(16, 16)
        self.count = columns

    def forward(self, x):
        at = torch.arange(8 * 12)
        places = self.rows(at // self.count), self.columns(at % self.count)
        x = self.proj(x).flatten(2).mT
        return self.head(x + places[0] + places[1]), self.head(x + (places[0] + places[1]))


def test_tables_of_rows_and_of_columns_are_no_short_tables():
    assert kinds(Looked(12), 2, 3, 32, 48) == []


@pytest.mark.parametrize(("entries", "found"), [(False, ["position table"]), (True, [])])
def test_an_embedding_is_known_by_the_name_around_its_weight(entries, found):
    def add(module, x):
        count = x[0, 0].numel()
        return module.pos_table(torch.arange(count) * entries)

    assert kinds(Added(add, pos_table=nn.Embedding(64, 16)), 2, 3, 32, 32) == found


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
@pytest.mark.parametrize("columns_first", [False, True])
def test_places_that_go_through_a_linear_layer_have_an_order_too(columns_first, shape):
    def add(module, x):
        rows, columns = (torch.arange(float(side)) for side in x.shape[2:])
        if columns_first:
            column, row = torch.meshgrid(columns, rows, indexing="ij")
        else:
            row, column = torch.meshgrid(rows, columns, indexing="ij")
        return module.embed(torch.stack([row, column], dim=-1).flatten(0, 1))

    found = kinds(Added(add, embed=nn.Linear(2, 16)), 2, 3, *shape)
    assert found == ["position table"] * columns_first


# ---- a table that is worked out


def sines(places, width):
    angles = places.flatten()[:, None] / 100 ** torch.linspace(0, 1, width // 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def of_grid(indexing="ij", column_first=False, register=False):
    def table(module, x):
        rows, columns = (torch.arange(float(side)) for side in x.shape[2:])
        row, column = torch.meshgrid(rows, columns, indexing=indexing)
        pair = (column, row) if column_first else (row, column)
        return torch.cat([sines(each, 8) for each in pair], dim=1)

    return table


def of_sequence(module, x):
    return sines(torch.arange(float(x[0, 0].numel())), 16)


def by_cells(module, x):
    """The first of MAE's: the grid as (columns, rows), which numpy's meshgrid gives rows first."""
    rows, columns = (torch.arange(float(side)) for side in x.shape[2:])
    column, row = torch.meshgrid(columns, rows, indexing="xy")
    return torch.cat([sines(column, 8), sines(row, 8)], dim=1)


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
@pytest.mark.parametrize(
    ("table", "found"),
    [
        (of_grid(), False),
        (of_grid(column_first=True), False),
        (by_cells, False),
        (of_sequence, False),
        (of_grid("xy"), True),
        (of_grid("xy", column_first=True), True),
        (lambda m, x: rearrange(of_grid()(m, x), "(h w) d -> (w h) d", h=x.shape[2]), True),
    ],
)
def test_a_table_of_sines_in_another_order_is_found_on_any_image(table, found, shape):
    faults = audited(Added(table), 2, 3, *shape).faults
    assert [(fault.kind, fault.likelihood) for fault in faults] == (
        [("position table", "certain")] if found else []
    )


def test_a_class_token_stands_before_a_table_of_sines():
    class Headed(Added):
        def forward(self, x):
            x = self.proj(x)
            tokens = x.flatten(2).transpose(1, 2)
            tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], dim=1)
            return tokens + torch.cat([torch.zeros(1, 16), self.table(self, x)])

    cls = nn.Parameter(torch.zeros(1, 1, 16))
    assert kinds(Headed(of_grid(), cls=cls), 2, 3, 24, 40) == []
    assert kinds(Headed(of_grid("xy"), cls=cls), 2, 3, 24, 40) == ["position table"]
    assert kinds(Headed(of_grid("xy"), cls=cls), 2, 3, 32, 32) == ["position table"]


# ---- one entry for every token


@pytest.mark.parametrize(
    ("add", "sure"),
    [
        (lambda m, x: x + m.learned[x.shape[1]], "certain"),
        (lambda m, x: x + m.learned[None, x.shape[1]], "certain"),
        (lambda m, x: x + m.learned.select(0, x.shape[1]), "certain"),
        (lambda m, x: x + m.embedding(torch.tensor(x.shape[1])), "certain"),
        (lambda m, x: x + m.embedding(torch.full((64,), 64)), "certain"),
        (lambda m, x: x + m.pos_table[0], "likely"),
        (lambda m, x: x + m.pos_table[-1:], "likely"),
        (lambda m, x: x + m.learned[: x.shape[1]], "possible"),  # as a table of a greatest length
        (lambda m, x: x + m.embedding(torch.arange(64)), "possible"),
        (lambda m, x: x + m.level[1], None),  # one of a few, as a camera's or a level's
        (lambda m, x: x + m.learned[7], None),  # one of many, by its number
        (lambda m, x: x + m.pos_embed + m.learned[x.shape[1]], None),
        (lambda m, x: x + m.pos_table[:1] + sines(torch.arange(64.0), 16), None),
    ],
)
def test_one_entry_for_all_is_found(add, sure):
    others = {
        "learned": nn.Parameter(torch.randn(100, 16)),
        "pos_table": nn.Parameter(torch.randn(100, 16)),
        "level": nn.Parameter(torch.randn(4, 16)),
        "embedding": nn.Embedding(100, 16),
    }
    faults = audited(Tabled(add, **others)).faults
    assert [(fault.kind, fault.likelihood) for fault in faults] == (
        [("position table", sure)] if sure else []
    )


@pytest.mark.parametrize(
    ("take", "found"),
    [
        (lambda table: table[:, :64], []),
        (lambda table: table[:, :1], ["position table"]),
        (lambda table: functional.embedding(torch.zeros(64).long(), table[0]), ["position table"]),
        (lambda table: functional.embedding(torch.arange(64), table[0]), []),
    ],
)
def test_one_entry_for_all_patches_that_a_linear_layer_makes(take, found):
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.pos_embed = nn.Linear(48, 16), nn.Parameter(torch.randn(1, 64, 16))

        def forward(self, x):
            x = rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4)
            return self.embed(x) + take(self.pos_embed)

    assert kinds(Patches(), 2, 3, 32, 32) == found


# ---- a table that is longer than the sequence


@pytest.mark.parametrize(
    ("places", "prefix", "others", "sure"),
    [
        (197, 1, {}, "certain"),  # 14·14 + 1
        (577, 1, {}, "certain"),
        (196, 0, {}, "certain"),
        (5000, 0, {}, "possible"),
        (512, 0, {}, "possible"),
        (1001, 1, {}, "possible"),
        (257, 1, {}, "certain"),
        (1024, 0, {}, "possible"),  # 32·32, and a greatest length as well
        (1024, 0, {"img_size": (128, 128)}, "certain"),
        (1024, 0, {"grid_size": (32, 32)}, "certain"),
        (1024, 0, {"num_patches": 1024}, "certain"),
        (1024, 0, {"num_patches": 64}, "possible"),
        (400, 0, {"image_size": 80}, "certain"),
        (400, 0, {}, "possible"),
    ],
)
def test_a_longer_table_is_surely_a_grids_only_where_something_shows_it(
    places, prefix, others, sure
):
    def add(module, x):
        if prefix:
            x = torch.cat([module.cls.expand(len(x), -1, -1), x], dim=1)
        return x + module.pos_embed[:, : x.shape[1]]

    module = Tabled(add, places, cls=nn.Parameter(torch.zeros(1, 1, 16)), **others)
    (fault,) = audited(module).faults
    assert (fault.kind, fault.likelihood) == ("position table", sure)
    assert ("is correct" in fault.sentence) == (sure == "possible")
    assert ("made for 50×100" in fault.sentence) is False


def test_a_longer_table_of_patches_that_a_linear_layer_makes():
    class Linear(nn.Module):
        def __init__(self, places):
            super().__init__()
            self.embed = nn.Linear(48, 16)
            self.table = nn.Parameter(torch.randn(1, places, 16))

        def forward(self, x):
            x = self.embed(rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4))
            return x + self.table[:, : x.shape[1]]

    for places, sure in ((196, "certain"), (5000, "possible")):
        (fault,) = inspect_module(Linear(places), torch.randn(1, 3, 32, 32)).faults
        assert (fault.kind, fault.likelihood) == ("position table", sure)
