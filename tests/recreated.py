"""Sound stems and models of others, written anew and small, each with what is odd about it.

The structure, the names and the functions between modules are those of torchvision's
models/vision_transformer.py and of timm's layers/patch_embed.py and models/vision_transformer.py,
vision_transformer_hybrid.py, levit.py, pit.py, swin_transformer.py, pvt_v2.py and xcit.py.
"""

from __future__ import annotations

from functools import partial
from math import ceil

import torch
from torch import nn
from torch.nn import functional


class NormActivation(nn.Sequential):
    """torchvision's Conv2dNormActivation: no bias before a norm, and an activation in place."""

    def __init__(self, before, after, kernel_size, stride):
        padding = (kernel_size - 1) // 2
        conv = nn.Conv2d(before, after, kernel_size, stride, padding, bias=False)
        super().__init__(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class EncoderBlock(nn.Module):
    """torchvision's block: nn.MultiheadAttention by name and without weights, then an MLP."""

    def __init__(self, width, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, dropout=0.1, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, input):
        torch._assert(input.dim() == 3, "Expected (batch_size, seq_length, hidden_dim)")
        x = self.ln_1(input)
        x, _ = self.self_attention(query=x, key=x, value=x, need_weights=False)
        x = self.dropout(x) + input
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """torchvision's encoder, which holds the position table."""

    def __init__(self, seq_length, width, heads):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, seq_length, width).normal_(std=0.02))
        self.dropout = nn.Dropout(0.1)
        self.layers = nn.Sequential(EncoderBlock(width, heads), EncoderBlock(width, heads))
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, input):
        input = input + self.pos_embedding
        return self.ln(self.layers(self.dropout(input)))


class TorchvisionViT(nn.Module):
    """torchvision's VisionTransformer: reshape and permute are functions, the head starts at 0."""

    def __init__(self, convs=None, image_size=32, patch_size=4, hidden_dim=16):
        super().__init__()
        self.image_size, self.patch_size, self.hidden_dim = image_size, patch_size, hidden_dim
        if convs is None:
            self.conv_proj = nn.Conv2d(3, hidden_dim, patch_size, patch_size)
        else:
            self.conv_proj = nn.Sequential()
            before = 3
            for number, (after, kernel_size, stride) in enumerate(convs):
                stage = NormActivation(before, after, kernel_size, stride)
                self.conv_proj.add_module(f"conv_bn_relu_{number}", stage)
                before = after
            self.conv_proj.add_module("conv_last", nn.Conv2d(before, hidden_dim, 1))
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_dim))
        self.seq_length = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(self.seq_length, hidden_dim, heads=2)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(hidden_dim, 10))
        nn.init.zeros_(self.heads.head.weight)

    def _process_input(self, x):
        n, _, h, w = x.shape
        torch._assert(h == self.image_size, "Wrong image height!")
        rows, columns = h // self.patch_size, w // self.patch_size
        x = self.conv_proj(x).reshape(n, self.hidden_dim, rows * columns)
        return x.permute(0, 2, 1)

    def forward(self, x):
        x = self._process_input(x)
        first = self.class_token.expand(x.shape[0], -1, -1)
        x = self.encoder(torch.cat([first, x], dim=1))
        return self.heads(x[:, 0])


class TorchvisionConvViT(TorchvisionViT):
    """The same with conv_stem_configs."""

    def __init__(self):
        super().__init__([(8, 3, 2), (12, 3, 2)])


class TorchvisionHalfStrides(TorchvisionViT):
    """The same with strides that multiply to half of patch_size, which nobody checks."""

    def __init__(self):
        super().__init__([(8, 3, 2), (12, 3, 1)])


class PatchEmbed(nn.Module):
    """timm's PatchEmbed: patch_size is a pair, and the norm may be nothing."""

    def __init__(self, image_size=32, patch_size=4, width=16, norm=nn.Identity, padded=False):
        super().__init__()
        self.img_size, self.patch_size = (image_size,) * 2, (patch_size,) * 2
        self.grid_size = (image_size // patch_size,) * 2
        self.embed_dim, self.padded = width, padded
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)
        self.norm = norm(width)

    def forward(self, x):
        _, _, height, width = x.shape
        if self.padded:
            below, right = (-side % patch for side, patch in ((height, 4), (width, 4)))
            x = functional.pad(x, (0, right, 0, below))
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))


class FusedAttention(nn.Module):
    """timm's Attention: one Linear for queries, keys and values, and the fused function."""

    def __init__(self, width, heads=2):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class TimmViT(nn.Module):
    """timm's VisionTransformer; with class token, or with the mean of the tokens."""

    def __init__(self, embed=PatchEmbed, prefix=1, apart=False):
        super().__init__()
        self.patch_embed = embed()
        self.embed_dim, self.apart = 16, apart
        self.cls_token = nn.Parameter(torch.zeros(1, prefix, 16)) if prefix else None
        places = 64 + (0 if apart else prefix)
        self.pos_embed = nn.Parameter(torch.randn(1, places, 16) * 0.02)
        self.norm1, self.attn = nn.LayerNorm(16), FusedAttention(16)
        self.scale = nn.Parameter(1e-5 * torch.ones(16))
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.patch_embed(x)
        first = [] if self.cls_token is None else [self.cls_token.expand(x.shape[0], -1, -1)]
        if self.apart:  # as DeiT III: the class token has no place
            x = torch.cat([*first, x + self.pos_embed], dim=1)
        else:
            x = torch.cat([*first, x], dim=1) + self.pos_embed
        x = x + self.scale * self.attn(self.norm1(x))
        return self.head(x[:, 0] if first else x.mean(dim=1))


class MaskedAutoencoder(nn.Module):
    """MAE's encoder: the table in two parts, fixed sines, most tokens left out."""

    def __init__(self):
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.pos_embed = nn.Parameter(torch.randn(1, 65, 16), requires_grad=False)
        self.norm = nn.LayerNorm(16)

    def forward(self, x):
        x = self.patch_embed(x) + self.pos_embed[:, 1:, :]
        noise = torch.arange(64.0).flip(0).repeat(len(x), 1)
        kept = noise.argsort(dim=1)[:, :16]
        x = torch.gather(x, dim=1, index=kept.unsqueeze(-1).repeat(1, 1, 16))
        first = (self.cls_token + self.pos_embed[:, :1, :]).expand(x.shape[0], -1, -1)
        return self.norm(torch.cat((first, x), dim=1))


class PoseViT(nn.Module):
    """ViTPose's sum of the table's places and, for every token, that of the class token."""

    def __init__(self):
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.pos_embed = nn.Parameter(torch.randn(1, 65, 16))

    def forward(self, x):
        x = self.patch_embed(x)
        x = x + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        return x.permute(0, 2, 1).reshape(len(x), -1, 8, 8).contiguous()


class Interpolating(nn.Module):
    """DINO's table, made for another grid and interpolated to the one that comes."""

    def __init__(self):
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.pos_embed = nn.Parameter(torch.randn(1, 197, 16))

    def forward(self, x):
        x = self.patch_embed(x)
        grid = self.pos_embed[:, 1:].reshape(1, 14, 14, 16).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(8, 8), mode="bicubic")
        table = torch.cat((self.pos_embed[:, :1], grid.permute(0, 2, 3, 1).view(1, -1, 16)), dim=1)
        return torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1) + table


class Sines(nn.Module):
    """The tutorial's table of sines, reckoned for 5000 places and cut to those that come."""

    def __init__(self):
        super().__init__()
        self.patch_embed = PatchEmbed()
        places = torch.arange(5000.0)[:, None] / 100 ** torch.linspace(0, 1, 16)
        self.register_buffer("pe", places.sin()[None])

    def forward(self, x):
        x = self.patch_embed(x)
        return x + self.pe[:, : x.size(1)]


class StandardConv(nn.Conv2d):
    """timm's StdConv2dSame: a weight that is standardised, and padding in a function."""

    def forward(self, x):
        pads = []
        kernel, stride = self.kernel_size[0], self.stride[0]
        for side in x.shape[:1:-1]:
            short = max((ceil(side / stride) - 1) * stride + kernel - side, 0)
            pads += [short // 2, short - short // 2]
        weight = functional.batch_norm(
            self.weight.reshape(1, self.out_channels, -1), None, None, training=True
        ).reshape_as(self.weight)
        return functional.conv2d(functional.pad(x, pads), weight, self.bias, self.stride)


class Bottleneck(nn.Module):
    """A block of the hybrid's ResNet, its shortcut a convolution of stride 2."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = StandardConv(8, 8, 3, 2, bias=False), nn.GroupNorm(2, 8)
        self.conv2, self.norm2 = StandardConv(8, 12, 1, bias=False), nn.GroupNorm(2, 12)
        self.shortcut = StandardConv(8, 12, 1, 2, bias=False)

    def forward(self, x):
        y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(y + self.shortcut(x))


class HybridEmbed(nn.Module):
    """timm's HybridEmbed: a ResNet of stride 4 before a patch_size of 1, which is that of proj."""

    def __init__(self):
        super().__init__()
        self.img_size, self.patch_size = (32, 32), (1, 1)
        self.backbone = nn.Sequential(
            StandardConv(3, 8, 7, 2, bias=False), nn.GroupNorm(2, 8), nn.ReLU(), Bottleneck()
        )
        self.proj = nn.Conv2d(12, 16, 1, 1)

    def forward(self, x):
        x = self.backbone(x)
        if isinstance(x, (list, tuple)):
            x = x[-1]
        return self.proj(x).flatten(2).transpose(1, 2)


class ChainedHybrid(nn.Module):
    """A hybrid whose backbone is a plain chain: patch_size speaks of proj alone."""

    def __init__(self):
        super().__init__()
        self.patch_size = (2, 2)
        self.backbone = nn.Sequential(NormActivation(3, 8, 3, 2), NormActivation(8, 12, 3, 2))
        self.proj = nn.Conv2d(12, 16, 2, 2)

    def forward(self, x):
        return self.proj(self.backbone(x)).flatten(2).transpose(1, 2)


class ConvNorm(nn.Module):
    """LeViT's convolution and norm; the first is called "linear"."""

    def __init__(self, before, after):
        super().__init__()
        self.linear = nn.Conv2d(before, after, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x):
        return self.bn(self.linear(x))


class LinearNorm(nn.Module):
    """LeViT's linear layer, with BatchNorm over all tokens of all images."""

    def __init__(self, before, after):
        super().__init__()
        self.linear, self.bn = nn.Linear(before, after, bias=False), nn.BatchNorm1d(after)

    def forward(self, x):
        x = self.linear(x)
        return self.bn(x.flatten(0, 1)).reshape_as(x)


class LeViT(nn.Module):
    """LeViT: its stem ends in a norm, attention adds a table by index and halves the grid."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            ConvNorm(3, 8), nn.Hardswish(), ConvNorm(8, 12), nn.Hardswish(), ConvNorm(12, 16)
        )
        self.qkv, self.proj = LinearNorm(16, 48), LinearNorm(16, 16)
        self.attention_biases = nn.Parameter(torch.zeros(2, 16))
        self.register_buffer("indices", torch.arange(16).repeat(16, 1), persistent=False)
        self.cache = {}

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 2, -1).split([8, 8, 8], dim=3)
        q, k, v = q.permute(0, 2, 1, 3), k.permute(0, 2, 3, 1), v.permute(0, 2, 1, 3)
        if "cpu" not in self.cache:
            self.cache["cpu"] = self.attention_biases[:, self.indices]
        x = x + self.proj(
            ((q @ k + self.cache["cpu"]).softmax(-1) @ v).transpose(1, 2).reshape(b, n, c)
        )
        halved = x.view(b, 4, 4, c)[:, ::2, ::2].reshape(b, -1, c)
        return halved.mean(dim=1)


class PiT(nn.Module):
    """PiT: overlapping patches, patch_size their side, a table that is added to the map."""

    def __init__(self):
        super().__init__()
        self.patch_size, self.embed_dim = (8, 8), 32
        self.patch_embed = nn.Sequential()
        self.patch_embed.add_module("conv", nn.Conv2d(3, 16, (8, 8), 4))
        self.pos_embed = nn.Parameter(torch.randn(1, 16, 7, 7))
        self.cls_token = nn.Parameter(torch.randn(1, 1, 16))
        self.block = EncoderBlock(16, 2)
        self.pool, self.fc = nn.Conv2d(16, 32, 3, 2, 1, groups=16), nn.Linear(16, 32)
        self.last, self.head = EncoderBlock(32, 2), nn.Linear(32, 10)

    def forward(self, x):
        x = self.patch_embed(x) + self.pos_embed
        first = self.cls_token.expand(x.shape[0], -1, -1)
        b, c, h, w = x.shape
        x = self.block(torch.cat((first, x.flatten(2).transpose(1, 2)), dim=1))
        first, x = self.fc(x[:, :1]), self.pool(x[:, 1:].transpose(1, 2).reshape(b, c, h, w))
        x = self.last(torch.cat((first, x.flatten(2).transpose(1, 2)), dim=1))
        return self.head(x[:, 0])


class Windowed(nn.Module):
    """Swin: tokens stay a map with the channels last, are cut into windows and merged by fours."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 4, 4))
        self.norm, self.attn = nn.LayerNorm(16), FusedAttention(16)
        self.reduce = nn.Linear(64, 32, bias=False)

    def forward(self, x):
        x = self.norm(self.features(x).permute(0, 2, 3, 1))
        b, h, w, c = x.shape
        padded = functional.pad(x, (0, 0, 0, -w % 4, 0, -h % 4))
        shifted = torch.roll(padded, (-2, -2), dims=(1, 2))
        windows = shifted.view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5)
        windows = self.attn(windows.reshape(-1, 16, c))
        windows = windows.view(b, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5)
        x = x + torch.roll(windows.reshape(b, h, w, c), (2, 2), dims=(1, 2))
        parts = [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        return self.reduce(torch.cat(parts, dim=-1))


class Pyramid(nn.Module):
    """PVT v2: overlapping patches in each stage, tokens made a map again in between."""

    def __init__(self):
        super().__init__()
        self.patch_size = 7
        self.proj, self.norm = nn.Conv2d(3, 16, 7, 4, 3), nn.LayerNorm(16)
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, 16)
        self.dwconv = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.next, self.last = nn.Conv2d(16, 24, 3, 2, 1), nn.LayerNorm(24)

    def forward(self, x):
        x = self.proj(x)
        h, w = x.shape[2:]
        x = self.norm(x.flatten(2).transpose(1, 2))
        maps = self.fc1(x).transpose(1, 2).view(len(x), 8, h, w)
        x = x + self.fc2(functional.gelu(self.dwconv(maps).flatten(2).transpose(1, 2)))
        x = x.reshape(len(x), h, w, -1).permute(0, 3, 1, 2).contiguous()
        return self.last(self.next(x).flatten(2).transpose(1, 2))


class ChannelNormed(nn.Module):
    """ConvNeXt's LayerNorm2d: to the channels and back for the norm, convolution after it."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.down = nn.Conv2d(8, 16, 2, 2)
        self.head = nn.LayerNorm(16)

    def forward(self, x):
        x = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.down(functional.gelu(x))
        x = functional.adaptive_avg_pool2d(x, 1)  # (b, c, 1, 1)
        return self.head(x.permute(0, 2, 3, 1)).flatten(1)


class Compact(nn.Module):
    """CCT: its tokenizer ends in an activation and a pooling, and tokens are pooled by weight."""

    def __init__(self):
        super().__init__()
        self.conv_layers = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.positional_emb = nn.Parameter(torch.randn(1, 64, 16))
        self.attention_pool = nn.Linear(16, 1)

    def forward(self, x):
        x = self.conv_layers(x).flatten(2, 3).transpose(-2, -1) + self.positional_emb
        weights = functional.softmax(self.attention_pool(x), dim=1).transpose(-1, -2)
        return torch.matmul(weights, x).squeeze(-2)


SOUND = (
    *(TorchvisionViT, TorchvisionConvViT, PatchEmbed, TimmViT, MaskedAutoencoder, PoseViT),
    *(Interpolating, Sines, HybridEmbed, ChainedHybrid, LeViT, PiT, Windowed, Pyramid),
    *(ChannelNormed, Compact),
    partial(PatchEmbed, norm=nn.LayerNorm),
    partial(PatchEmbed, padded=True),
    partial(TimmViT, prefix=0),
    partial(TimmViT, prefix=2),
    partial(TimmViT, apart=True),
    partial(TimmViT, embed=HybridEmbed),
)
"""Everything that must get no warning; it takes images of 32×32 pixels."""
