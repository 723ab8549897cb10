"""The terms on the screen, each with its meaning, its formula and its source."""

from __future__ import annotations

from dataclasses import dataclass

_CONV = "torch.nn.Conv2d"
_VIT = "Dosovitskiy et al. 2021, arXiv:2010.11929"
_XIAO = "Xiao et al. 2021, arXiv:2106.14881"
_GUIDE = "Dumoulin and Visin 2016, arXiv:1603.07285"
_TRANSFORMER = "Vaswani et al. 2017, arXiv:1706.03762"
_SIZE = "output size = ⌊(input size + 2 × padding − window) / stride⌋ + 1"
_WINDOW = "window = dilation × (kernel − 1) + 1"
_NORMALISED = "y = (x − mean) / √(variance + ε) × scale + shift"
_LENGTH = "sequence length = rows × columns + class tokens"


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term and what its card says, at most 60 words together."""

    key: str
    """Key in GLOSSARY."""
    title: str
    """The term as the heading of its card."""
    text: str
    """What it means, in whole sentences."""
    formula: str = ""
    """Its formula, or empty; a test evaluates those that are arithmetic."""
    source: str = ""
    """Where it was introduced or is documented, or empty."""


_IMAGE_TO_TOKENS = (
    Term(
        key="stem",
        title="Stem",
        text="Everything between the image and the first transformer block: it turns pixels into"
        " tokens. The original ViT uses one large convolution (patchify), a convolutional stem a"
        " few small ones.",
        source=_XIAO,
    ),
    Term(
        key="patchify",
        title="Patchify",
        text="Cut the image into squares that do not overlap and multiply each by one matrix. It"
        " is a single convolution whose kernel is as large as its stride: the patch size.",
        formula="tokens = ⌊height / patch size⌋ × ⌊width / patch size⌋",
        source=_VIT,
    ),
    Term(
        key="grid",
        title="Token grid",
        text="The rows and columns of tokens: height and width of the stem's last feature map.",
        formula="image tokens = rows × columns",
    ),
    Term(
        key="flattening",
        title="Flattening",
        text="Reading the grid row by row, left to right, into one sequence; rows, columns and"
        " tokens are counted from 0. Another order has the same shape, but gives the tokens other"
        " rows of the position table.",
        formula="token number = row × columns + column",
    ),
    Term(
        key="token",
        title="Token",
        text="One vector of the sequence that the transformer reads. A token of the image is"
        " computed from the pixels of its receptive field, and the transformer sees nothing else"
        " of them.",
        source=_VIT,
    ),
    Term(
        key="embed_dim",
        title="Token width",
        text="How many numbers a token has, also called embedding dimension or hidden size. It is"
        " the number of output channels of the stem's last convolution, and every transformer"
        " block keeps it.",
    ),
    Term(
        key="class_token",
        title="Class token",
        text="A learned vector in front of the image tokens. It reads no pixel: attention lets it"
        " collect from the other tokens, and the classifier reads it at the end.",
        formula=_LENGTH,
        source=_VIT,
    ),
    Term(
        key="position_table",
        title="Position table",
        text="A learned vector for each place of the sequence, added to the token there. Without"
        " it attention could not tell places apart. Its length is fixed, so an image of another"
        " size may not fit.",
        formula="table rows = rows × columns + class tokens",
        source=_VIT,
    ),
    Term(
        key="sequence_length",
        title="Sequence length",
        text="How many tokens the transformer reads: those of the image, and the class token if"
        " there is one. The work of softmax attention grows with its square.",
        formula=_LENGTH,
    ),
)

_CONVOLUTIONS = (
    Term(
        key="convolution",
        title="Convolution",
        text="A window slides over the input. At each place its numbers are multiplied by those of"
        " a kernel and summed. Each kernel makes one channel of the output.",
        formula=_SIZE,
        source=_CONV,
    ),
    Term(
        key="kernel",
        title="Kernel",
        text="The weights a window is multiplied by: kernel × kernel numbers for each input channel"
        " it reads. Every output channel has its own.",
        formula="weights of a kernel = in channels / groups × kernel²",
        source=_CONV,
    ),
    Term(
        key="window",
        title="Window",
        text="The square of input positions that one output number is computed from. It moves by"
        " the stride. With dilation 1 its side is the kernel size.",
        formula=_WINDOW,
        source=_GUIDE,
    ),
    Term(
        key="stride",
        title="Stride",
        text="How far the window moves from one place to the next, in positions of its input. A"
        " stride of 2 halves height and width.",
        formula=_SIZE,
        source=_CONV,
    ),
    Term(
        key="padding",
        title="Padding",
        text="Zeros added on every side of the input, so that windows can reach over its edge. For"
        " an odd kernel, stride 1 and dilation 1, this keeps the size:",
        formula="padding = (kernel − 1) / 2",
        source=_CONV,
    ),
    Term(
        key="dilation",
        title="Dilation",
        text="Distance between neighbouring taps of a kernel. With dilation 2, a 3×3 kernel reads"
        " every second position of a 5×5 window, with no more weights than before.",
        formula=_WINDOW,
        source=_GUIDE,
    ),
    Term(
        key="groups",
        title="Groups",
        text="Blocks of channels that are convolved apart: an output channel reads the input"
        " channels of its own group only. As many groups as channels is a depthwise convolution.",
        formula="channels read = in channels / groups",
        source=_CONV,
    ),
    Term(
        key="bias",
        title="Bias",
        text="A learned number added to every value of an output channel. It is left out before a"
        " norm, whose shift does the same.",
        source=_CONV,
    ),
    Term(
        key="channels",
        title="Channels",
        text="How many numbers stand at each position: 3 in a colour image (red, green, blue),"
        " behind a convolution one from each of its kernels.",
    ),
    Term(
        key="feature_map",
        title="Feature map",
        text="One channel of a layer's output, drawn as an image: where its kernel responded, and"
        " how strongly.",
        formula="values = height × width",
    ),
    Term(
        key="cell",
        title="Cell",
        text="One number of a feature map: all products of a window with a kernel, summed over"
        " the channels it reads, and the bias.",
        formula="cell = Σ window × kernel + bias",
        source=_CONV,
    ),
    Term(
        key="pointwise",
        title="1×1 convolution",
        text="Its window is one position: it mixes channels and keeps height and width. It is a"
        " linear layer applied at every position; in the paper's stems the last one sets the token"
        " width.",
        formula="MACs = height × width × in channels × out channels",
    ),
    Term(
        key="norm",
        title="Norm",
        text="Shifts and scales numbers to mean 0 and variance 1, then applies a learned scale and"
        " shift to each channel. It makes training stable and changes no shape.",
        formula="params = 2 × channels",
    ),
    Term(
        key="batch_norm",
        title="BatchNorm",
        text="A norm with one mean and variance for each channel, over all images of the batch and"
        " all positions. In evaluation it uses averages stored during training.",
        formula=_NORMALISED,
        source="Ioffe and Szegedy 2015, arXiv:1502.03167",
    ),
    Term(
        key="layer_norm",
        title="LayerNorm",
        text="A norm with a mean and variance for each token or position, over its channels."
        " Neither other images nor other positions matter.",
        formula=_NORMALISED,
        source="Ba et al. 2016, arXiv:1607.06450",
    ),
    Term(
        key="activation_function",
        title="Activation function",
        text="A function of each number by itself, such as ReLU or GELU. Without one between them,"
        " convolutions in a row are together one linear map.",
        formula="ReLU(x) = max(0, x)",
    ),
)

_COSTS = (
    Term(
        key="macs",
        title="MACs",
        text="Multiply-accumulates: two numbers multiplied, the product added to a sum. The paper"
        " calls them flops. For a convolution and one image:",
        formula="MACs = out channels × out height × out width × in channels / groups × kernel²",
        source=_XIAO,
    ),
    Term(
        key="flops",
        title="FLOPs",
        text="Floating-point operations. A multiply-accumulate is two: a multiplication and an"
        " addition. Many papers print MACs and call them FLOPs, so ask which is meant.",
        formula="FLOPs = 2 × MACs",
    ),
    Term(
        key="params",
        title="Params",
        text="Numbers that training changes: weights, biases, scales and shifts of norms, class"
        " token, position table. For a convolution, with biases = out channels, or 0 without them:",
        formula="params = out channels × in channels / groups × kernel² + biases",
        source=_CONV,
    ),
    Term(
        key="activations",
        title="Activations",
        text="How many numbers convolutions and matrix products give out. In the paper, time on a"
        " GPU follows them more closely than MACs (r = 0.93 and 0.75). For a convolution:",
        formula="activations = out channels × out height × out width",
        source=_XIAO,
    ),
    Term(
        key="dtype",
        title="Dtype",
        text="The number format of weights and activations: float32 takes 4 bytes; float16 and"
        " bfloat16 take 2, and round more coarsely.",
        formula="bytes = numbers × bytes each",
        source="torch.dtype",
    ),
    Term(
        key="median",
        title="Median",
        text="Half of the measured times are shorter and half are longer. Unlike the mean, it"
        " hardly moves when one run is slow.",
    ),
    Term(
        key="middle_half",
        title="Middle half",
        text="The range without the fastest and the slowest quarter of the runs. A narrow one"
        " means a steady measurement.",
    ),
    Term(
        key="correlation",
        title="Pearson's r",
        text="How closely two quantities follow a straight line: 1 exactly, rising together; 0 not"
        " at all; −1 exactly, one falling as the other rises.",
        formula="r = covariance(x, y) / (std(x) × std(y))",
    ),
)

_READING = (
    Term(
        key="receptive_field",
        title="Receptive field",
        text="The side of the square of pixels that one position is computed from, padding"
        " included. Each kernel enlarges it, the more the larger the stride so far.",
        formula="field = field before + (window − 1) × stride before",
        source="Araujo, Norris and Sim 2019, Distill",
    ),
    Term(
        key="jump",
        title="Stride so far",
        text="Pixels of the image from one position of a layer to the next: the product of all"
        " strides up to it. Also called jump. At the tokens it is the total stride.",
        formula="stride so far = stride before × stride",
        source="Araujo, Norris and Sim 2019, Distill",
    ),
    Term(
        key="overlap",
        title="Overlap",
        text="Pixels that two neighbouring tokens both read, along one axis. Patchify has 0; a"
        " number below 0 is a gap between them.",
        formula="overlap = receptive field − total stride",
    ),
    Term(
        key="coverage",
        title="Coverage",
        text="How many tokens read each pixel. What no token reads, the model cannot use, though"
        " every shape is right.",
        formula="reads of a pixel = reads of its row × reads of its column",
    ),
    Term(
        key="gradient",
        title="Gradient",
        text="How much a token changes when a pixel changes a little, found by backpropagation. A"
        " pixel with a gradient is read; one without may stand behind a ReLU that is off.",
        formula="∂ token / ∂ pixel",
        source="torch.autograd.grad",
    ),
    Term(
        key="cosine",
        title="Cosine similarity",
        text="How alike the directions of two vectors are: 1 the same, 0 at right angles, −1"
        " opposite. Their lengths do not matter.",
        formula="cosine = a · b / (|a| × |b|)",
    ),
    Term(
        key="vector_norm",
        title="Norm of a vector",
        text="The length of a vector, and not the layer that is called norm. A token much longer"
        " than all others stands out.",
        formula="|x| = √(x₁² + x₂² + …)",
    ),
    Term(
        key="dead_map",
        title="Dead map",
        text="A feature map whose values are all equal, mostly 0: it tells nothing about the"
        " image. ReLU makes one where its input is nowhere above 0.",
    ),
    Term(
        key="zeros",
        title="Zeros",
        text="The share of values that are exactly 0. ReLU turns every number below 0 into 0, GELU"
        " hardly any.",
    ),
)

_RUNNING = (
    Term(
        key="predicted",
        title="Predicted",
        text="Computed from the settings by arithmetic alone, before any model is built. What a"
        " hook observes in the real model is laid beside it.",
    ),
    Term(
        key="observed",
        title="Observed",
        text="Recorded by a hook while the real model ran on this image. A tick says that it"
        " equals what was predicted.",
    ),
    Term(
        key="hook",
        title="Hook",
        text="A function that PyTorch calls when a layer has run, with the layer's input and"
        " output. That is how shapes and feature maps are recorded here.",
        source="torch.nn.Module.register_forward_hook",
    ),
    Term(
        key="shape",
        title="Shape",
        text="The sizes of a tensor's axes: channels × height × width of feature maps, tokens ×"
        " width of a sequence. The first axis of PyTorch, the batch, is left out.",
    ),
    Term(
        key="seed",
        title="Seed",
        text="The number from which random weights are drawn. The same seed gives the same weights"
        " again, and so the same feature maps.",
        source="torch.manual_seed",
    ),
    Term(
        key="encoder",
        title="Encoder",
        text="The transformer blocks behind the stem. In each, attention mixes the tokens, then an"
        " MLP changes each token by itself; number and width of the tokens stay.",
        source=_TRANSFORMER,
    ),
    Term(
        key="attention",
        title="Attention",
        text="Each token becomes a weighted mean over all tokens; queries compared with keys give"
        " the weights. Work of the two products:",
        formula="MACs = 2 × tokens² × width",
        source=_TRANSFORMER,
    ),
    Term(
        key="linear_attention",
        title="Linear attention",
        text="Attention that sums keys with values once for all tokens instead of comparing every"
        " pair: its work grows with the length, not its square.",
        formula="MACs = 2 × tokens × width × head width + tokens × width",
        source="Katharopoulos et al. 2020, arXiv:2006.16236",
    ),
    Term(
        key="heads",
        title="Heads",
        text="Attention runs in several heads side by side, each on its own share of a token's"
        " numbers. Their number does not change the MACs of softmax attention.",
        formula="head width = width / heads",
        source=_TRANSFORMER,
    ),
    Term(
        key="mlp_ratio",
        title="MLP ratio",
        text="The MLP of a block widens each token by this factor, and a second linear layer"
        " narrows it again.",
        formula="hidden width = MLP ratio × width",
        source=_VIT,
    ),
)

TERMS = (*_IMAGE_TO_TOKENS, *_CONVOLUTIONS, *_COSTS, *_READING, *_RUNNING)
"""Every term, from the image to the encoder."""
