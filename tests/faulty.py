"""Stems with one fault each, small, and the sound stem beside every fault.

`BESIDE` names the sound one of each.
"""

from __future__ import annotations

import sys
from itertools import pairwise

import torch
from einops import rearrange
from einops.layers.torch import Rearrange
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
        self.act = nn.ReLU()
        self.conv2 = nn.Conv2d(8, WIDTH, 3, strides[1], 1)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, image):
        n, _, h, w = image.shape
        grid = self.conv2(self.act(self.conv1(image)))
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
        self.conv = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
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
        return self.act2(self.again(self.act1(self.again(grid))))


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
        self.act = nn.ReLU()
        self.plain = nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, image):
        return self.plain(self.act(self.same(image)))


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
        self.act = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 8, 3, 2, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, image):
        grid = self.conv2(self.act(self.conv1(image)))
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
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
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


class Convolutional(nn.Module):
    """The paper's stem, small: two convolutions with BatchNorm and ReLU, and a bare 1x1."""

    def __init__(self, bias=False, last=None, between=True):
        super().__init__()
        layers = []
        for channels, width in ((3, 8), (8, 12)):
            layers.append(nn.Conv2d(channels, width, 3, 2, 1, bias=bias or not between))
            layers += [nn.BatchNorm2d(width), nn.ReLU()] if between else []
        self.stem = nn.Sequential(*layers, nn.Conv2d(12, WIDTH, 1), *([last] if last else []))

    def forward(self, image):
        return self.stem(image).flatten(2).transpose(1, 2)


class Linear(Convolutional):
    """Convolutions with nothing between them, as those of the 2021 blog."""

    def __init__(self):
        super().__init__(between=False)


class Blog(nn.Module):
    """The stem of the 2021 blog as it is written, with narrower channels and its pattern."""

    def __init__(self, act=nn.Identity):
        super().__init__()
        layers = []
        channels = (3, 4, 8, 16, 24)
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), act()]
        pattern = "batch channels height width -> batch (height width) channels"
        self.layers = nn.Sequential(*layers, nn.Conv2d(24, WIDTH, 1), Rearrange(pattern))

    def forward(self, image):
        return self.layers(image)


class ActiveBlog(Blog):
    """The same with an activation after each but the last."""

    def __init__(self):
        super().__init__(nn.GELU)


class Biased(Convolutional):
    """A bias in front of each BatchNorm."""

    def __init__(self):
        super().__init__(bias=True)


class LastActivated(Convolutional):
    """A ReLU after the last 1x1."""

    def __init__(self):
        super().__init__(last=nn.ReLU())


class Overpadded(nn.Module):
    """Patchify with a padding of 2, which shifts every window and loses the end of the image."""

    def __init__(self, padding=2):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 16, 16, padding)

    def forward(self, image):
        return self.proj(image).flatten(2).transpose(1, 2)


class Patchify(Overpadded):
    """The same without padding."""

    def __init__(self):
        super().__init__(0)


class Cropped(nn.Module):
    """Pads in a function on two sides, and cuts the image's other end off before."""

    def __init__(self, cut=2):
        super().__init__()
        self.cut = cut
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, image):
        rows, columns = (side - self.cut for side in image.shape[2:])
        padded = functional.pad(image[:, :, :rows, :columns], (self.cut, 0, self.cut, 0))
        return self.proj(padded).flatten(2).transpose(1, 2)


class Uncropped(Cropped):
    """The same with all of the image."""

    def __init__(self):
        super().__init__(0)


class TableWithoutToken(nn.Module):
    """A position table with a place for the class token, and no class token."""

    def __init__(self, spare=1):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)
        self.pos_embed = nn.Parameter(torch.zeros(1, 64 + spare, WIDTH))

    def forward(self, image):
        tokens = self.proj(image).flatten(2).transpose(1, 2)
        return tokens + self.pos_embed[:, : tokens.shape[1]]


class TableOfTokens(TableWithoutToken):
    """The same with as many places as there are tokens."""

    def __init__(self):
        super().__init__(0)


class Headed(nn.Module):
    """A classifier that takes the first token; with a class token or without."""

    def __init__(self, class_token=True):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH)) if class_token else None
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, image):
        tokens = self.proj(image).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + tokens.mean(dim=1, keepdim=True)  # in place of attention
        return self.head(self.norm(tokens)[:, 0])


class HeadedByAPatch(Headed):
    """No class token, so that the first is the corner of the image."""

    def __init__(self):
        super().__init__(False)


class Normed(nn.Module):
    """A convolution with a norm over the channels."""

    def __init__(self, norm=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = norm or nn.GroupNorm(1, 8)
        self.proj = nn.Conv2d(8, WIDTH, 2, 2)

    def forward(self, image):
        return self.proj(self.norm(self.conv(image)).relu()).flatten(2).transpose(1, 2)


class WidthNormed(Normed):
    """nn.LayerNorm as it is, which takes the 16 columns for channels."""

    def __init__(self):
        super().__init__(nn.LayerNorm(16))


class Widened(nn.Module):
    """Says how wide its tokens are."""

    def __init__(self, embed_dim=WIDTH):
        super().__init__()
        self.embed_dim = embed_dim
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, image):
        return self.proj(image).flatten(2).transpose(1, 2)


class Misstated(Widened):
    """Says another width than its convolution has."""

    def __init__(self):
        super().__init__(2 * WIDTH)


class Leaving(Raising):
    """Asks to leave the program between two layers."""

    def forward(self, image):
        self.conv1(image)
        sys.exit(7)


BESIDE = {
    MismatchedStrides: Sized,
    Scrambled: Ordered,
    ColumnsFirst: Ordered,
    SlicedTable: Placed,
    BroadcastTable: Placed,
    ShortTable: Placed,
    TableWithoutToken: TableOfTokens,
    HeadedByAPatch: Headed,
    Linear: Convolutional,
    Blog: ActiveBlog,
    Biased: Convolutional,
    LastActivated: Convolutional,
    Overpadded: Patchify,
    Cropped: Uncropped,
    WidthNormed: Normed,
    Misstated: Widened,
}
"""The sound stem beside each whose fault keeps the shapes right or breaks a promise."""
