"""An output depends on its image, and on no other image of the batch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests import recreated
from tests.audit.audits import audited, kinds
from tests.tracing.modules import assert_same, image, state_of
from vitc_inspect.audit.audit import audit_module


class Classifier(nn.Module):
    """Patches, a class token, a table, something that mixes tokens, and a head."""

    def __init__(self, mix, pool=lambda x: x[:, 0], zero_head=False, batch_first=True):
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, 16))
        self.pos = nn.Parameter(torch.randn(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.rnn = nn.GRU(16, 16, batch_first=batch_first)
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, 5)
        self.unused = nn.BatchNorm1d(16, track_running_stats=False)
        if zero_head:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        self.mix, self.pool = mix, pool

    def forward(self, x):
        x = self.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos
        return self.head(self.pool(self.mix(self, x)))


def encode(module, x):
    return module.encoder(x)


def by_hand(module, x, over=1):
    scores = x.transpose(over, 1) @ x.transpose(over, 1).mT
    return (scores.softmax(-1) @ x.transpose(over, 1)).transpose(over, 1)


def fused(module, x):
    return functional.scaled_dot_product_attention(x, x, x)


def fused_across(module, x):
    x = x.transpose(0, 1)
    return functional.scaled_dot_product_attention(x, x, x).transpose(0, 1)


def mean(x):
    return x.mean(dim=1)


SOUND = [
    Classifier(encode),
    Classifier(encode, mean),
    Classifier(encode, zero_head=True),
    Classifier(fused),
    Classifier(by_hand),
    Classifier(lambda m, x: m.rnn(x)[0], lambda x: x[:, -1]),
    Classifier(encode, lambda x: x),
    Classifier(encode, lambda x: x.transpose(0, 1)),  # (tokens, images, classes)
    Classifier(lambda m, x: m.norm(encode(m, x).mT).mT, mean),
    Classifier(lambda m, x: m.unused(encode(m, x).mT).mT, mean),  # statistics of the batch
    Classifier(lambda m, x: m.encoder(x.transpose(0, 1)).transpose(0, 1), batch_first=False),
    *(make().eval() for make in recreated.SOUND),
]


@pytest.mark.parametrize("module", SOUND, ids=lambda module: type(module).__name__)
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_sound_module_is_left_alone(module, batch):
    assert kinds(module, batch, 3, 32, 32) == []


ATTENTION = "attention in encoder.layers.0.self_attn runs across the batch"
FUSED, RECURRENT = "attention runs across the batch", "layer in rnn runs across the batch"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("module", "kind", "words", "sure"),
    [
        (Classifier(encode, batch_first=False), "image", ATTENTION, "certain"),
        (Classifier(encode, batch_first=False, zero_head=True), "image", ATTENTION, "certain"),
        (Classifier(encode, mean, batch_first=False), "batch", ATTENTION, "certain"),
        (Classifier(fused_across, mean), "batch", FUSED, "certain"),
        (Classifier(lambda m, x: by_hand(m, x, 0), mean), "batch", "softmax", "certain"),
        (
            Classifier(lambda m, x: m.rnn(x)[0], mean, batch_first=False),
            "batch",
            RECURRENT,
            "certain",
        ),
        (Classifier(lambda m, x: x), "image", "does not depend on the image", "certain"),
        (Classifier(lambda m, x: m.encoder(x * 0 + m.pos)), "image", "dropped", "certain"),
        (Classifier(encode, lambda x: x - x.mean(dim=0)), "batch", "mean is taken", "certain"),
        (
            Classifier(encode, lambda x: x[:, 1:] + x[:, 1:].roll(1, 0)),
            "batch",
            "depends",
            "likely",
        ),
        (Classifier(encode, lambda x: x.mean(dim=0)), "batch", "mean is taken", "certain"),
        (  # without the axis of the images
            Classifier(lambda m, x: m.encoder(m.pos)),
            "image",
            "does not depend on the image",
            "certain",
        ),
    ],
)
def test_what_mixes_images_or_drops_them_is_found(module, kind, words, sure, batch):
    (fault,) = audited(module, batch, 3, 32, 32).faults
    assert (fault.kind, fault.likelihood) == (kind, sure)
    assert words in f"{fault.sentence} {fault.fixes}"


def test_batch_first_is_the_fix_and_works():
    (fault,) = audited(Classifier(encode, batch_first=False), 2, 3, 32, 32).faults
    assert "batch_first=True" in fault.fixes[0]
    assert kinds(Classifier(encode, batch_first=True), 2, 3, 32, 32) == []


@pytest.mark.parametrize("pool", ["softmax", "mean", "places"])
def test_a_bag_of_images_and_places_alone_are_meant(pool):
    """The vectors of all images become one, as in learning from bags; and a table of places."""

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj, self.weigh, self.head = (
                nn.Conv2d(3, 16, 8, 8),
                nn.Linear(16, 1),
                nn.Linear(16, 2),
            )

        def forward(self, x):
            x = functional.gelu(self.proj(x)).mean(dim=(2, 3))
            if pool == "mean":
                return self.head(x.mean(dim=0))
            return self.head((self.weigh(x).softmax(dim=0) * x).sum(dim=0, keepdim=True))

    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(50, 16)

        def forward(self, x):
            return self.table(torch.arange(x.shape[-1]))

    assert kinds(Positions() if pool == "places" else Bag(), 3, 3, 32, 32) == []


def test_an_image_inside_an_object_is_not_exchanged_and_accuses_nobody():
    class Held(Classifier):
        def forward(self, batch):
            return super().forward(batch.image)

    batch = SimpleNamespace(image=torch.randn(2, 3, 32, 32))
    found = audit_module(Held(encode).eval(), (batch,))
    assert (found.faults, found.unchecked) == ((), ())


class Compared(nn.Module):
    """The similarity of every image with every other, as contrastive training compares them."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 8, 8)

    def forward(self, x):
        x = functional.normalize(self.proj(x).mean(dim=(2, 3)), dim=-1)
        return x @ x.T


class Frames(nn.Module):
    """Takes the frames of a video for a batch, and shifts some channels along them."""

    def __init__(self):
        super().__init__()
        self.proj, self.n_segment = nn.Conv2d(3, 16, 8, 8), 4

    def forward(self, x):
        x = self.proj(x)
        return torch.cat([x[:, :2].roll(1, 0), x[:, 2:]], dim=1).flatten(2).mT


class Counted(nn.Module):
    """Gives whole numbers, which say little of what they depend on."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 8, 8)

    def forward(self, x):
        return self.proj(x).flatten(2).mT.argmax(dim=-1)


class Random(nn.Module):
    """Gives other numbers each time, from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.proj, self.draw = nn.Conv2d(3, 16, 8, 8), torch.Generator()

    def forward(self, x):
        x = self.proj(x).flatten(2).mT
        return x + torch.randn(x.shape, generator=self.draw)


@pytest.mark.parametrize("make", [Compared, Frames, Counted, Random])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_what_compares_images_on_purpose_is_left_alone(make, batch):
    assert kinds(make(), batch, 3, 32, 32) == []


def test_heads_that_are_as_many_as_the_images_are_no_images():
    class Heads(nn.Module):
        def __init__(self, images_first=True):
            super().__init__()
            self.proj, self.norm = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(4)
            self.images_first = images_first

        def forward(self, x):
            x = self.proj(x).flatten(2)  # (b, d, n)
            if self.images_first:
                return self.norm(x.reshape(-1, 4, x.shape[-1]).transpose(1, 2))
            return self.norm(torch.cat(x.chunk(4, dim=1)).transpose(1, 2))

    for images_first in (True, False):
        for batch in (1, 3, 4, 16):
            assert kinds(Heads(images_first), batch, 3, 32, 32) == []


def test_a_module_of_one_fixed_batch_is_not_asked_of_others():
    class Fixed(Classifier):
        def forward(self, x):
            assert len(x) == 2
            return super().forward(x)

    assert kinds(Fixed(encode, mean, batch_first=False), 2, 3, 32, 32) == []
    assert kinds(Fixed(encode), 2, 3, 32, 32) == []
    assert kinds(Fixed(encode, batch_first=False), 2, 3, 32, 32) == ["image"]  # which shows


def test_a_weight_without_numbers_is_left_as_it_is():
    class Empty(Classifier):
        def __init__(self):
            super().__init__(encode)
            self.registers = nn.Parameter(torch.zeros(1, 0, 16))
            self.prompts = nn.Parameter(torch.zeros(0, 16))

    found = audited(Empty(), 2, 3, 32, 32)
    assert (found.faults, found.unchecked) == ((), ())


@pytest.mark.parametrize("zero_head", [True, False])
def test_weights_are_put_back(zero_head):
    module = Classifier(encode, zero_head=zero_head, batch_first=False).eval()
    before = state_of(module)
    audited(module, 2, 3, 32, 32)
    assert_same(before, state_of(module))


def test_a_text_beside_the_image_is_repeated_with_it():
    class Captioned(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj, self.words = nn.Conv2d(3, 16, 8, 8), nn.Embedding(10, 16)

        def forward(self, pixel_values, input_ids):
            pixels = self.proj(pixel_values).mean(dim=(2, 3))
            return pixels @ self.words(input_ids).mean(dim=1).T, pixels

    from vitc_inspect import inspect_module

    ids = torch.randint(0, 10, (3, 7))
    report = inspect_module(Captioned(), pixel_values=image(3, 3, 32, 32), input_ids=ids)
    assert (report.faults, report.audited) == ((), True)
