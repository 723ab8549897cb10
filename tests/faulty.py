"""Stems with one fault each, small, and the sound stem beside every fault."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

WIDTH = 16


class Sized(nn.Module):
    """Takes its grid from a nominal patch size, as torchvision's VisionTransformer does.

    Nothing holds the strides against it: two convolutions of stride 2 are a patch of 4, and with
    another stride the reshape fails.
    """

    def __init__(self, strides=(2, 2), patch_size=4):
        super().__init__()
        self.patch_size = patch_size
        self.conv1 = nn.Conv2d(3, 8, 3, strides[0], 1)
        self.conv2 = nn.Conv2d(8, WIDTH, 3, strides[1], 1)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, image):
        n, _, h, w = image.shape
        grid = self.conv2(self.conv1(image))
        rows, columns = h // self.patch_size, w // self.patch_size
        tokens = grid.reshape(n, WIDTH, rows * columns)
        return self.norm(tokens.permute(0, 2, 1))


class MismatchedStrides(Sized):
    """Strides that multiply to 2 beside a nominal patch of 4."""

    def __init__(self):
        super().__init__(strides=(2, 1))


class Ordered(nn.Module):
    """A patchify stem that turns its grid into tokens in one of three ways."""

    def __init__(self, order="rows"):
        super().__init__()
        self.order = order
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, image):
        grid = self.proj(image)  # (b, d, rows, columns)
        if self.order == "scrambled":
            return grid.reshape(len(grid), -1, WIDTH)
        if self.order == "columns":
            return grid.transpose(1, 3).reshape(len(grid), -1, WIDTH)
        return rearrange(grid, "b d rows columns -> b (rows columns) d")


class Scrambled(Ordered):
    """The shape of tokens, and numbers of several tokens in each."""

    def __init__(self):
        super().__init__("scrambled")


class ColumnsFirst(Ordered):
    """Whole tokens, column after column."""

    def __init__(self):
        super().__init__("columns")


class Placed(nn.Module):
    """A patchify stem with class token and a position table of `places` vectors."""

    def __init__(self, places=65, cut=False):
        super().__init__()
        self.cut = cut
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.table = nn.Parameter(torch.zeros(1, places, WIDTH))

    def forward(self, image):
        tokens = self.proj(image).flatten(2).mT  # (b, d, rows, columns) -> (b, n, d)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return tokens + (self.table[:, : tokens.shape[1]] if self.cut else self.table)


class SlicedTable(Placed):
    """A table that is too long, and cut to fit in silence."""

    def __init__(self):
        super().__init__(197, cut=True)


class BroadcastTable(Placed):
    """A table of one vector, added to every token in silence."""

    def __init__(self):
        super().__init__(1)


class ShortTable(Placed):
    """A table for an image of another size."""

    def __init__(self):
        super().__init__(50)


class Activated(nn.Module):
    """Convolution, BatchNorm with statistics of its own, ReLU."""

    def __init__(self, inplace=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=inplace)
        nn.init.constant_(self.norm.running_mean, 0.2)

    def forward(self, image):
        return self.act(self.norm(self.conv(image)))


class Overwritten(Activated):
    """A ReLU that writes over the output of the norm."""

    def __init__(self):
        super().__init__(inplace=True)


class AddedInPlace(nn.Module):
    """A function that writes over the output of a layer, and over what shares its memory."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, image):
        grid = self.proj(image)
        tokens = grid.flatten(2)
        tokens += 1
        return tokens


class Encoded(nn.Module):
    """A patchify stem before PyTorch's own encoder layer, which has a fused path."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True)

    def forward(self, image):
        return self.encoder(self.proj(image).flatten(2).transpose(1, 2))


class Attending(nn.Module):
    """PyTorch's attention alone, which returns two things."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, image):
        tokens = self.proj(image).flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, value=tokens)


class Shared(nn.Module):
    """One activation under two names, and a convolution that runs twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.again = nn.Conv2d(8, 8, 3, 2, 1)
        self.act1 = self.act2 = nn.GELU()

    def forward(self, image):
        grid = self.act1(self.first(image))
        return self.act2(self.again(self.again(grid)))


class SamePadded(nn.Conv2d):
    """Pads in a function while its attribute says 0, as timm's Conv2dSame does."""

    def forward(self, input):
        sides = []
        for size, kernel, stride in zip(
            input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            short = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides += [short // 2, short - short // 2]
        padded = functional.pad(input, sides)
        return functional.conv2d(padded, self.weight, self.bias, self.stride)


class Padded(nn.Module):
    """A convolution with SAME padding before one that shows its padding."""

    def __init__(self):
        super().__init__()
        self.same = SamePadded(3, 8, 3, 2)
        self.plain = nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, image):
        return self.plain(self.same(image))


class ByName(nn.Module):
    """Takes its image by name only, and calls its layers likewise."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, *, pixel_values):
        return {"tokens": self.proj(input=pixel_values).flatten(2), "loss": None}


class Raising(nn.Module):
    """Fails between its second and its third layer."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.conv2 = nn.Conv2d(8, 8, 3, 2, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, image):
        grid = self.conv2(self.conv1(image))
        return self.head(grid + torch.zeros(7))


class Unpermuted(nn.Module):
    """A linear layer on a grid whose channels are not last."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, image):
        return self.head(self.proj(image))


class WrongPattern(nn.Module):
    """An einops pattern that does not fit."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, image):
        return rearrange(self.proj(image), "b (rows columns) d -> b rows columns d", rows=8)


class Recovering(nn.Module):
    """Tries a layer that fails, and goes on with another."""

    def __init__(self):
        super().__init__()
        self.wrong = nn.Sequential(nn.Conv2d(4, 8, 1))
        self.right = nn.Sequential(nn.Conv2d(3, 8, 1))

    def forward(self, image):
        try:
            return self.wrong(image)
        except RuntimeError:
            return self.right(image)


class Remembering(nn.Module):
    """Changes its buffers, its attributes, its weights, its mode and the random numbers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("mean", torch.zeros(8))
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.calls = 0
        self.history = []
        self.cache = {}

    def forward(self, image):
        grid = self.drop(self.norm(self.conv(image)))
        self.seen += 1
        self.mean = grid.mean(dim=(0, 2, 3))
        self.calls += 1
        self.history.append(grid)
        self.cache[self.calls] = grid
        self.conv.weight.mul_(2)
        self.conv.weight.requires_grad_(False)
        self.norm.eval()
        self.norm.weight.data = torch.zeros(8, dtype=torch.float64)
        image.zero_()
        return grid


class Sidestepped(nn.Module):
    """Calls one layer by its forward, reads the weights of another, and leaves two alone."""

    def __init__(self):
        super().__init__()
        self.direct = nn.Conv2d(3, 8, 3, 2, 1)
        self.read = nn.Linear(8, 8)
        self.spare = nn.Linear(8, 8)
        self.branch = nn.Sequential(nn.Linear(8, 8))
        self.plain = [nn.GELU()]
        self.steps = nn.ModuleList([nn.Identity()])

    def forward(self, image):
        grid = self.direct.forward(image)
        tokens = functional.linear(grid.flatten(2).transpose(1, 2), self.read.weight)
        return self.steps[0](self.plain[0](tokens))
